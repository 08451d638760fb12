"""Which process speaks for an agent's name, where more than one does: a restart, or a clone. Pure: no I/O, no clock.

An agent's process makes an id at its start (`link_messages.INSTANCE_HEADER`). A process that follows another speaks in
its place; two that are alive at once are clones, and only one of them counts. Which of the two it is shows the earlier
one alone: it answers a question over its link, or speaks again.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from enum import StrEnum

import msgspec

from certagent.domain import catalogue
from certagent.domain.findings import Culprit, Finding, Vantage

CLONED = "agent.cloned"
HOLD = timedelta(seconds=60)
"""For so long nobody who speaks beside an agent takes its place when it is not heard: it restarts."""
HEARD_WITHIN = timedelta(seconds=45)
"""A clone that has not been heard for longer is gone. One that is refused tries again every ten seconds."""
_LATE = timedelta(seconds=3)  # what a process has sent before its end may arrive after its successor's first word
_REMEMBERED = timedelta(days=1)
_MOST_FORMER, _MOST_CLONES = 4, 8


class Standing(StrEnum):
    """What a process is to its agent's name."""

    SPEAKER = "speaker"  # it alone counts
    CLONE = "clone"  # it lives beside the speaker, and is refused
    FORMER = "former"  # another one followed it


class Voice(msgspec.Struct, frozen=True):
    """Who speaks: the process by its id ("" for an agent that sends none), and the address that it speaks from."""

    instance: str
    address: str


class Speaker(msgspec.Struct, frozen=True, kw_only=True):
    """A process that speaks, or spoke, under an agent's name. `since`: when it came to this standing."""

    instance: str
    address: str
    standing: Standing
    since: datetime
    heard_at: datetime


class Clone(msgspec.Struct, frozen=True, kw_only=True):
    """Two processes that are alive at once under one name: `address` is that of the one that is refused."""

    node: str
    address: str
    speaker_address: str
    since: datetime


def speaker_among(known: Iterable[Speaker]) -> Speaker | None:
    """The one that counts."""
    return next((one for one in known if one.standing is Standing.SPEAKER), None)


def hear(
    known: Sequence[Speaker], voice: Voice, now: datetime, *, alive: str | None, heard_at: datetime | None = None
) -> tuple[Speaker, ...]:
    """All processes of the name once that voice has spoken. `alive`: the process that has just shown that it is;
    `heard_at`: the speaker may have been heard until then."""
    speaker = speaker_among(known)
    before = next((one for one in known if one.instance == voice.instance), None)
    if speaker is None or before is speaker:
        return _with(known, _stand(voice, Standing.SPEAKER, before.since if before else now, now))
    is_alive = speaker.instance == alive
    last = now if is_alive else max(speaker.heard_at, heard_at or speaker.heard_at)
    speaker = msgspec.structs.replace(speaker, heard_at=last)
    has_answered = voice.instance == alive  # so it is no word that comes late
    is_back = has_answered and before is not None and before.standing is Standing.FORMER
    if not is_back and not _may_speak(known, speaker, before, voice, is_alive=is_alive, now=now):
        return _refuse(_with(known, speaker), before, voice, now)
    lives_on = is_alive or (before is not None and before.standing is Standing.FORMER)
    displaced = msgspec.structs.replace(speaker, standing=Standing.CLONE if lives_on else Standing.FORMER, since=now)
    return _kept(_with(known, displaced, _stand(voice, Standing.SPEAKER, now, now)), now)


def clones_of(node: str, known: Sequence[Speaker], since: datetime, now: datetime) -> tuple[Clone, ...]:
    """Those who have been heard beside the speaker; a collector that runs only `since` missed nobody before that."""
    speaker = speaker_among(known)
    if speaker is None:
        return ()
    return tuple(
        Clone(node=node, address=one.address, speaker_address=speaker.address, since=one.since)
        for one in known
        if one.standing is Standing.CLONE
        and one.heard_at >= one.since
        and now - max(one.heard_at, since) < HEARD_WITHIN
    )


def conclude_clones(clones: Iterable[Clone]) -> Iterator[Finding]:
    """agent.cloned: once for each name, however often the copy is restarted."""
    by_node: dict[str, list[Clone]] = {}
    for clone in clones:
        by_node.setdefault(clone.node, []).append(clone)
    for node, found in sorted(by_node.items()):
        copies = sorted({clone.address for clone in found})
        yield catalogue.finding(
            CLONED,
            vantage=Vantage.PEER,
            reporter="collector",
            culprit=Culprit(node=node, address=copies[0]),
            address=found[0].speaker_address,
            others=copies,
            since=min(clone.since for clone in found).strftime("%Y-%m-%d %H:%M UTC"),
        )


def _may_speak(
    known: Sequence[Speaker], speaker: Speaker, before: Speaker | None, voice: Voice, *, is_alive: bool, now: datetime
) -> bool:
    """Whether the voice takes the speaker's place."""
    if before is not None and before.standing is Standing.FORMER:  # replaced, and yet alive: it was here first
        return now - speaker.since > _LATE
    if is_alive:
        return before is None and _is_at_home(known, speaker, voice)
    if now - speaker.heard_at > HOLD:
        return True
    return before is None and not _is_at_a_clones(known, speaker, voice, now)


def _is_at_home(known: Sequence[Speaker], speaker: Speaker, voice: Voice) -> bool:
    """Whether the name spoke from there before the speaker came from elsewhere: the clone was started first."""
    return voice.address != speaker.address and any(
        one.standing is Standing.FORMER and one.address == voice.address for one in known
    )


def _is_at_a_clones(known: Sequence[Speaker], speaker: Speaker, voice: Voice, now: datetime) -> bool:
    """Whether a clone has just spoken from there: it is restarted while the speaker is."""
    return voice.address != speaker.address and any(
        one.standing is Standing.CLONE and one.address == voice.address and now - one.heard_at < HOLD for one in known
    )


def _refuse(known: Sequence[Speaker], before: Speaker | None, voice: Voice, now: datetime) -> tuple[Speaker, ...]:
    if before is None:
        return _kept(_with(known, _stand(voice, Standing.CLONE, now, now)), now)
    if before.standing is Standing.CLONE:
        return _with(known, _stand(voice, Standing.CLONE, before.since, now))
    return tuple(known)  # a former one, whose word may be late


def _stand(voice: Voice, standing: Standing, since: datetime, now: datetime) -> Speaker:
    return Speaker(instance=voice.instance, address=voice.address, standing=standing, since=since, heard_at=now)


def _with(known: Iterable[Speaker], *changed: Speaker) -> tuple[Speaker, ...]:
    by_instance = {one.instance: one for one in (*known, *changed)}
    return tuple(by_instance.values())


def _kept(known: Sequence[Speaker], now: datetime) -> tuple[Speaker, ...]:
    """The speaker, and the few others that were heard last."""
    recent = sorted(known, key=lambda one: one.heard_at, reverse=True)
    former = [one for one in recent if one.standing is Standing.FORMER and now - one.heard_at < _REMEMBERED]
    clones = [one for one in recent if one.standing is Standing.CLONE and now - one.heard_at < _REMEMBERED]
    speakers = [one for one in known if one.standing is Standing.SPEAKER]
    return (*speakers, *former[:_MOST_FORMER], *clones[:_MOST_CLONES])
