"""Asking the CA when to renew: what it suggests reaches the schedule, and it is asked no more often than it wants."""

from collections.abc import Sequence
from datetime import timedelta

import pytest

from certagent.agent.renewal_info import FIRST_PAUSE, USUAL_PAUSE, RenewalInfoPoller
from certagent.agent.schedule import Schedule
from certagent.config import load_policy
from certagent.domain.certificates import Window, read_facts
from certagent.domain.deployments import Generation
from certagent.issuance.renewal_info import RenewalInfo
from tests.certificates import Authority
from tests.clock import FakeClock


class _EnoughError(Exception):
    """The test has seen what it wanted."""


class _Ca:
    """Suggests the same for all, and notes what it was asked."""

    def __init__(self, advice: RenewalInfo) -> None:
        self.advice = advice
        self.asked: list[int] = []

    async def ask(self, chains: Sequence[bytes]) -> list[RenewalInfo]:
        """See `AskAll`."""
        self.asked.append(len(chains))
        if len(self.asked) == 3:
            raise _EnoughError
        return [self.advice for _ in chains]


class _Node:
    """Two certificates, one of which there is not yet."""

    def __init__(self, advice: RenewalInfo) -> None:
        self.clock = FakeClock()
        self.ca = _Ca(advice)
        self.woken = 0
        pair = Authority().issue("a.internal", not_before=self.clock.now())
        self.current = Generation(
            number=1, key_pem=pair.key_pem, chain_pem=pair.chain_pem, facts=read_facts(pair.certificate)
        )
        self.schedule = Schedule("lxc102", load_policy(None).renewal)
        self.schedule.set("a", self.current.facts, self.clock.now())
        self.schedule.set("new", None, self.clock.now())
        self.advising = RenewalInfoPoller(
            ("a", "new"),
            standing=lambda name: self.current if name == "a" else None,
            ask=self.ca.ask,
            schedule=self.schedule,
            wake=self._wake,
            clock=self.clock,
        )

    def _wake(self) -> None:
        self.woken += 1


async def test_the_window_decides_when_it_is_due() -> None:
    """Only what there is is asked about; the lifecycle is told that dates have changed."""
    start = FakeClock().now() + timedelta(hours=1)
    advice = RenewalInfo(window=Window(start=start, end=start + timedelta(hours=1)), again_in=timedelta(hours=3))
    node = _Node(advice)
    assert await node.advising.round() == timedelta(hours=3)
    assert node.ca.asked == [1]
    assert node.woken == 1
    assert start <= node.schedule.due_at("a", node.current.facts) <= start + timedelta(hours=1)


async def test_it_asks_as_often_as_the_ca_allows() -> None:
    """After a start not at once, and then by Retry-After."""
    node = _Node(RenewalInfo(window=None, again_in=timedelta(hours=3)))
    before = node.schedule.due_at("a", node.current.facts)
    with pytest.raises(_EnoughError):
        await node.advising.run()
    assert node.clock.slept == [FIRST_PAUSE.total_seconds(), 3 * 3600, 3 * 3600]
    assert node.schedule.due_at("a", node.current.facts) == before


async def test_without_a_certificate_nobody_is_asked() -> None:
    """A new node has other worries."""
    node = _Node(RenewalInfo(window=None, again_in=timedelta(hours=3)))
    node.advising._standing = lambda _: None
    assert await node.advising.round() == USUAL_PAUSE
    assert node.ca.asked == []
