"""What an agent concludes of its own way to the collector; the rest of it is shown on real ones."""

import pytest

from certagent.domain.diagnosis.collector_health import CollectorContact, conclude_contact


@pytest.mark.parametrize(
    ("ahead", "who"),
    [(None, None), (59.0, None), (-59.0, None), (61.0, "the collector is ahead"), (-7200.0, "lxc102 is ahead")],
)
def test_a_minute_between_the_clocks_is_forgiven(ahead: float | None, who: str | None) -> None:
    """Beyond it the finding says who is ahead."""
    contact = CollectorContact(url="https://c", silence=None, waiting=3, dead=0, dead_folder="/x", ahead_seconds=ahead)
    findings = list(conclude_contact("lxc102", contact))
    assert [one.code for one in findings] == (["agent.clock"] if who else [])
    assert all(who in one.explanation for one in findings if who)
