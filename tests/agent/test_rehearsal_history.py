"""What is remembered of rehearsals: bounded, and an order waits while a name flaps."""

from datetime import timedelta

import msgspec

from certagent.agent.rehearsal_history import MOST_LOOKS, RehearsalHistory
from certagent.domain.diagnosis.flapping import FLAPPING_WITHIN, settled_later
from certagent.domain.rehearsals import Rehearsal, RehearsalOutcome
from tests.domain.scene import NAME, NOW, OTHER, OWN, names, pinned, scene, told


def _rehearsal(seconds: int, address: str) -> Rehearsal:
    rehearsal = scene(names(addresses=(told(address),)), passed=address == OWN).rehearsal
    assert rehearsal is not None
    return msgspec.structs.replace(rehearsal, at=NOW + timedelta(seconds=seconds))


def test_an_order_waits_until_the_name_has_been_steady_for_a_minute() -> None:
    """Not for one mend; from the fourth answer to and fro on, a minute after the last change."""
    memory = RehearsalHistory()
    for seconds, address in enumerate((OWN, OTHER, OWN)):
        memory.note(_rehearsal(seconds, address))
    last = _rehearsal(3, OTHER)
    assert settled_later(last, memory.of(NAME)).settles_at is None
    memory.note(last)
    assert settled_later(last, memory.of(NAME)).settles_at == last.at + FLAPPING_WITHIN


def test_only_so_much_is_remembered() -> None:
    """So many looks, and none that is long past."""
    memory = RehearsalHistory()
    for seconds in range(3 * MOST_LOOKS):
        memory.note(_rehearsal(seconds, OWN))
    assert len(memory.of(NAME)) == MOST_LOOKS
    memory.note(_rehearsal(10_000, OWN))
    assert len(memory.of(NAME)) == 1


def test_what_says_nothing_of_dns_is_not_remembered() -> None:
    """No rehearsal, and a name that a hosts line decides: its edits are no flapping."""
    memory = RehearsalHistory()
    unavailable = msgspec.structs.replace(_rehearsal(0, OWN), outcome=RehearsalOutcome.UNAVAILABLE)
    shadowed = scene(names(addresses=(pinned(OTHER),))).rehearsal
    assert shadowed is not None
    memory.note(unavailable)
    memory.note(shadowed)
    assert memory.of(NAME) == ()
