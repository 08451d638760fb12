"""Asking the CA when to renew: what it suggests reaches the schedule, and it is asked no more often than it wants."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from certagent.agent.lifecycle import Lifecycle
from certagent.agent.renewal import RenewalRunner
from certagent.agent.renewal_info import FIRST_PAUSE, USUAL_PAUSE, RenewalInfoPoller
from certagent.agent.schedule import Schedule
from certagent.config import CertificateSection
from certagent.domain.certificates import Window
from certagent.domain.deployments import Generation
from certagent.issuance.renewal_info import RenewalInfo, RenewalInfoClient
from tests.agent.context import POLICY, make_context
from tests.certificates import Authority
from tests.fakes.clock import FakeClock


class _EnoughError(Exception):
    """The test has seen what it wanted."""


class _Ca(RenewalInfoClient):
    """Suggests the same for all, and notes what it was asked."""

    def __init__(self, advice: RenewalInfo) -> None:
        self.advice = advice
        self.asked: list[int] = []

    async def ask(self, chains: Sequence[bytes]) -> list[RenewalInfo]:
        """The same for each chain."""
        self.asked.append(len(chains))
        if len(self.asked) == 3:
            raise _EnoughError
        return [self.advice for _ in chains]


class _Renewal(RenewalRunner):
    """Knows the current generation by name."""

    def __init__(self, current: dict[str, Generation]) -> None:
        self.current = current

    def current_generation(self, certificate: CertificateSection) -> Generation | None:
        """None of a certificate that there is not yet."""
        return self.current.get(certificate.name)


class _Lifecycle(Lifecycle):
    """Counts how often it is woken."""

    def __init__(self) -> None:
        self.woken = 0

    def wake(self) -> None:
        """One more."""
        self.woken += 1


class _Node:
    """Two certificates, one of which there is not yet."""

    def __init__(self, folder: Path, advice: RenewalInfo) -> None:
        self.clock = FakeClock()
        self.ca = _Ca(advice)
        self.lifecycle = _Lifecycle()
        self.current = Authority().issue("a.internal", not_before=self.clock.now()).generation()
        self.schedule = Schedule("lxc102", POLICY.renewal)
        self.schedule.plan("a", self.current.facts, self.clock.now())
        self.schedule.plan("new", None, self.clock.now())
        sections = (CertificateSection(name=name, identifiers=(name,)) for name in ("a", "new"))
        context = make_context(folder, *sections, clock=self.clock)
        self.renewal = _Renewal({"a": self.current})
        self.poller = RenewalInfoPoller(context, self.ca, self.renewal, self.schedule, self.lifecycle)


async def test_the_window_decides_when_it_is_due(tmp_path: Path) -> None:
    """Only what there is is asked about; the lifecycle is told that dates have changed."""
    start = FakeClock().now() + timedelta(hours=1)
    advice = RenewalInfo(window=Window(start=start, end=start + timedelta(hours=1)), again_in=timedelta(hours=3))
    node = _Node(tmp_path, advice)
    assert await node.poller.poll() == timedelta(hours=3)
    assert node.ca.asked == [1]
    assert node.lifecycle.woken == 1
    assert start <= node.schedule.due_at("a", node.current.facts) <= start + timedelta(hours=1)


async def test_it_asks_as_often_as_the_ca_allows(tmp_path: Path) -> None:
    """After a start not at once, and then by Retry-After."""
    node = _Node(tmp_path, RenewalInfo(window=None, again_in=timedelta(hours=3)))
    before = node.schedule.due_at("a", node.current.facts)
    with pytest.raises(_EnoughError):
        await node.poller.run()
    assert node.clock.slept == [FIRST_PAUSE.total_seconds(), 3 * 3600, 3 * 3600]
    assert node.schedule.due_at("a", node.current.facts) == before


async def test_without_a_certificate_nobody_is_asked(tmp_path: Path) -> None:
    """A new node has other worries."""
    node = _Node(tmp_path, RenewalInfo(window=None, again_in=timedelta(hours=3)))
    node.renewal.current.clear()
    assert await node.poller.poll() == USUAL_PAUSE
    assert node.ca.asked == []
