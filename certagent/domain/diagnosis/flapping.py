"""Conclusions from several observations of one identifier: results that come and go. Pure.

One repair, or one new fault, is a change; only a result that alternates is flapping.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import groupby, pairwise

import msgspec

from certagent.domain.diagnosis.evidence import Evidence
from certagent.domain.findings import Culprit, Finding
from certagent.domain.observations import PastRehearsal
from certagent.domain.probe_errors import ProbeError
from certagent.domain.rehearsals import ChallengeType, Rehearsal, RehearsalOutcome

FLAPPING_WITHIN = timedelta(minutes=1)
FLAKY_WITHIN = timedelta(minutes=3)
_TURNS = 4  # the first address, another, the first, the other
_FLAKY_TURNS = 6  # failed three times, passed three times
_PASSING_TROUBLE = (ProbeError.REFUSED, ProbeError.TIMEOUT, ProbeError.RESET, "5xx")
"""Errors that may pass by themselves; a response of 404 does not."""


def answers_alternate(evidence: Evidence) -> Iterator[Finding]:
    """dns.flapping: within a minute the name resolved to one address, another, the first and the other again."""
    resolution = evidence.resolution
    turns = flapping(evidence.past)
    if resolution is None or not turns:
        return
    server = resolution.addresses[0].origin.nameserver if resolution.addresses else None
    node, role = evidence.owner(server)
    yield evidence.finding(
        "dns.flapping",
        Culprit(node=node, address=server, role=role),
        detail={"seen": [{"at": look.at.isoformat(), "addresses": list(look.addresses)} for look in turns]},
        places=[evidence.place(address) for look in turns[-2:] for address in look.addresses],
        count=_TURNS,
        seconds=round((turns[-1].at - turns[0].at).total_seconds()),
    )


def path_comes_and_goes(evidence: Evidence) -> Iterator[Finding]:
    """http01.flaky: k of n rehearsals failed, in the same way and at the same address, with passed ones in between."""
    seen = _flaky(evidence.past)
    if not seen:
        return
    failed = [look for look in seen if look.trouble is not None]
    address = failed[-1].addresses[0]
    yield evidence.finding(
        "http01.flaky",
        Culprit(node=evidence.owner(address)[0], address=address),
        detail={"seen": [{"at": look.at.isoformat(), "trouble": look.trouble} for look in seen]},
        failed=len(failed),
        count=len(seen),
        place=evidence.place(address),
        trouble=failed[-1].trouble,
    )


def look_of(rehearsal: Rehearsal) -> PastRehearsal | None:
    """Return what is remembered of a rehearsal; None if it did not run, or if hosts lines decide its name."""
    resolution = rehearsal.resolution
    if (
        rehearsal.outcome is RehearsalOutcome.UNAVAILABLE
        or resolution is None
        or rehearsal.challenge != ChallengeType.HTTP01
    ):
        return None
    if any(resolved.origin.source != "dns" for resolved in resolution.addresses):
        return None
    addresses = tuple(sorted(resolved.address for resolved in resolution.addresses))
    return PastRehearsal(at=rehearsal.at, addresses=addresses, trouble=_trouble_of(rehearsal))


def steady_at(past: Sequence[PastRehearsal]) -> datetime | None:
    """Return when an order may be placed if the answers stay as they are now; None if they do not flap."""
    turns = flapping(past)
    return turns[-1].at + FLAPPING_WITHIN if turns else None


def settled_later(rehearsal: Rehearsal, past: Sequence[PastRehearsal]) -> Rehearsal:
    """Return the rehearsal with the time until which an order waits, postponed while the name flaps."""
    steady = steady_at(past)
    if steady is None or (rehearsal.settles_at is not None and rehearsal.settles_at >= steady):
        return rehearsal
    return msgspec.structs.replace(rehearsal, settles_at=steady)


def flapping(past: Sequence[PastRehearsal]) -> tuple[PastRehearsal, ...]:
    """Return the observations between which the name changed its addresses, if the last of them alternate; else none.

    The first is the last one before the first change, however long the name had been steady until then.
    """
    runs = [list(run) for _, run in groupby(past, key=lambda look: look.addresses)][-_TURNS:]
    if len(runs) < _TURNS:
        return ()
    turns = (runs[0][-1], *(run[0] for run in runs[1:]))
    is_to_and_fro = len({look.addresses for look in turns}) == 2 and all(look.addresses for look in turns)
    is_quick = turns[-1].at - turns[0].at <= FLAPPING_WITHIN and past[-1].at - turns[-1].at <= FLAPPING_WITHIN
    return turns if is_to_and_fro and is_quick else ()


def _flaky(past: Sequence[PastRehearsal]) -> tuple[PastRehearsal, ...]:
    recent = [look for look in past if past[-1].at - look.at <= FLAKY_WITHIN]
    if not recent or len({look.addresses for look in recent}) != 1:
        return ()
    troubles = {look.trouble for look in recent if look.trouble is not None}
    turns = 1 + sum(earlier.trouble != later.trouble for earlier, later in pairwise(recent))
    return tuple(recent) if len(troubles) == 1 and troubles <= set(_PASSING_TROUBLE) and turns >= _FLAKY_TURNS else ()


def _trouble_of(rehearsal: Rehearsal) -> str | None:
    if rehearsal.outcome is RehearsalOutcome.PASSED:
        return None
    hop = rehearsal.attempts[-1].hops[-1] if rehearsal.attempts and rehearsal.attempts[-1].hops else None
    if hop is None:
        return "no answer"
    return hop.error or ("5xx" if (hop.status or 0) >= 500 else str(hop.status))
