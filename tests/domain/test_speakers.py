"""Which process speaks for a name: a restart, a roll-back, a move are one agent; two that live at once are not."""

from datetime import UTC, datetime, timedelta

import pytest

from certagent.domain.findings import Culprit
from certagent.domain.speakers import Speaker, Standing, Voice, clones_of, conclude_clones, hear, speaker_among

START = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
LONG_AGO = START - timedelta(days=1)
HOME, ELSEWHERE = "10.0.0.12", "10.0.0.101"
A, B = Voice("a", HOME), Voice("b", ELSEWHERE)


class Name:
    """The processes of one name, and a clock."""

    def __init__(self) -> None:
        self.known: tuple[Speaker, ...] = ()
        self.now = START

    def hears(self, voice: Voice, after: float = 10.0, *, alive: str | None = None) -> bool:
        """Whether the word of that process counts, so many seconds after the one before."""
        self.now += timedelta(seconds=after)
        self.known = hear(self.known, voice, self.now, alive=alive)
        speaker = speaker_among(self.known)
        return speaker is not None and speaker.instance == voice.instance

    def clones(self) -> list[tuple[str, str]]:
        """(address of the clone, of the speaker)."""
        found = clones_of("lxc102", self.known, LONG_AGO, self.now)
        return [(clone.address, clone.speaker_address) for clone in found]


def test_a_restart_an_upgrade_and_a_rollback_are_one_agent() -> None:
    """A, then B for good: each process is new, and the one before is never heard again."""
    name = Name()
    for number in range(20):
        assert name.hears(Voice(f"process-{number}", HOME), after=1)
        assert name.hears(Voice(f"process-{number}", HOME), after=1)
        assert name.clones() == []
    assert len(name.known) <= 5


def test_a_connection_through_another_address_is_the_same_process() -> None:
    """Its id says so."""
    name = Name()
    assert all(name.hears(Voice("a", address)) for address in (HOME, ELSEWHERE, HOME))
    assert (name.clones(), len(name.known)) == ([], 1)


def test_what_answers_a_question_is_not_late() -> None:
    """Two at two collectors: the first one is asked over its link a second after the other took its place."""
    name = Name()
    assert name.hears(A)
    assert name.hears(B)
    assert name.hears(A, after=1, alive="a")
    assert not name.hears(B)
    assert name.clones() == [(ELSEWHERE, HOME)]


def test_what_arrives_late_is_no_second_life() -> None:
    """The last request of a process may be read after the first one of its successor; and it changes nothing."""
    name = Name()
    assert name.hears(A)
    assert name.hears(Voice("b", HOME))
    assert not name.hears(A, after=1)
    assert name.hears(Voice("b", HOME))
    assert name.clones() == []


def test_two_that_are_alive_at_once_are_clones_at_once() -> None:
    """The earlier one answers over its link: it goes on, the newcomer is refused, and both addresses are known."""
    name = Name()
    assert name.hears(A)
    assert not name.hears(B, alive="a")
    assert name.clones() == [(ELSEWHERE, HOME)]
    assert name.hears(A)
    assert not name.hears(B, alive="a")
    assert name.clones() == [(ELSEWHERE, HOME)]


def test_two_that_alternate_are_clones_without_any_link() -> None:
    """A, B, A: the first one was never gone; B, once it is heard again, is its clone."""
    name = Name()
    assert name.hears(A)
    assert name.hears(B)
    assert name.hears(A)
    assert name.clones() == []
    assert not name.hears(B)
    assert name.clones() == [(ELSEWHERE, HOME)]


def test_a_machine_that_is_rolled_back_with_its_memory_is_no_clone() -> None:
    """The old process goes on; the one between is never heard again."""
    name = Name()
    assert name.hears(A)
    assert name.hears(Voice("b", HOME))
    assert name.hears(A)
    assert name.hears(A, after=60)
    assert name.clones() == []


def test_the_original_restarts_beside_its_clone() -> None:
    """Its successor counts at once; the clone stays one, and takes no place meanwhile."""
    name = Name()
    assert name.hears(A)
    assert not name.hears(B, alive="a")
    assert not name.hears(B)
    assert name.hears(Voice("c", HOME))
    assert not name.hears(B, alive="c")
    assert name.clones() == [(ELSEWHERE, HOME)]


def test_the_clone_restarts_while_the_original_does() -> None:
    """It comes from where the clone was: it is still the clone."""
    name = Name()
    assert name.hears(A)
    assert not name.hears(B, alive="a")
    assert not name.hears(Voice("d", ELSEWHERE))
    assert name.hears(Voice("c", HOME))


def test_a_clone_that_starts_first_gives_way_to_the_original_at_its_address() -> None:
    """The container was copied while its agent was stopped."""
    name = Name()
    assert name.hears(A)
    assert name.hears(B, after=120)
    assert name.hears(Voice("c", HOME), alive="b")
    assert name.clones() == [(ELSEWHERE, HOME)]
    assert not name.hears(B, alive="c")


def test_it_ends_when_the_clone_is_gone() -> None:
    """Not heard for a while."""
    name = Name()
    assert name.hears(A)
    assert not name.hears(B, alive="a")
    assert name.hears(A, after=50)
    assert name.clones() == []


def test_a_collector_that_was_away_does_not_believe_that_it_ended() -> None:
    """Nobody could be heard."""
    name = Name()
    assert name.hears(A)
    assert not name.hears(B, alive="a")
    later = name.now + timedelta(hours=1)
    assert len(clones_of("lxc102", name.known, later - timedelta(seconds=5), later)) == 1
    assert clones_of("lxc102", name.known, later - timedelta(minutes=5), later) == ()


def test_it_ends_when_the_original_is_gone_for_good() -> None:
    """The clone is all there is: after a minute it is the agent."""
    name = Name()
    assert name.hears(A)
    assert not name.hears(B, alive="a")
    assert [name.hears(B) for _ in range(7)] == [False] * 6 + [True]
    assert name.clones() == []


def test_who_was_heard_by_this_collector_is_not_gone() -> None:
    """What the table says of it may be old."""
    name = Name()
    assert name.hears(A)
    assert not name.hears(B, alive="a")
    now = name.now + timedelta(minutes=10)
    known = hear(name.known, B, now, alive=None, heard_at=now - timedelta(seconds=5))
    assert speaker_among(known) == next(one for one in known if one.instance == "a")


def test_an_agent_that_says_nothing_of_itself_is_one_process() -> None:
    """An older version; its upgrade and its downgrade are restarts."""
    name = Name()
    older = Voice("", HOME)
    assert all(name.hears(voice) for voice in (older, older, A, older, older))
    assert name.clones() == []
    assert not name.hears(B, alive="")
    assert name.clones() == [(ELSEWHERE, HOME)]


def test_what_is_remembered_is_bounded() -> None:
    """However many processes somebody starts."""
    name = Name()
    assert name.hears(A)
    for number in range(100):
        assert not name.hears(Voice(f"clone-{number}", ELSEWHERE), after=0.1, alive="a")
    assert len(name.known) == 9
    assert speaker_among(name.known) is not None


@pytest.mark.parametrize("standing", Standing)
def test_one_finding_names_both_addresses(standing: Standing) -> None:
    """And only where there is a clone."""
    name = Name()
    assert name.hears(A)
    assert not name.hears(B, alive="a")
    name.known = tuple(one for one in name.known if one.standing in (Standing.SPEAKER, standing))
    found = list(conclude_clones(clones_of("lxc102", name.known, LONG_AGO, name.now)))
    assert len(found) == (standing is Standing.CLONE)
    for finding in found:
        assert (finding.code, finding.culprit) == ("agent.cloned", Culprit(node="lxc102", address=ELSEWHERE))
        assert HOME in finding.explanation
        assert ELSEWHERE in finding.explanation
