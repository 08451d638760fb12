"""What becomes of a certificate whose renewal breaks off. The parts around it only answer."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Any

import pytest

from certagent.agent.lifecycle import Lifecycle
from certagent.agent.recheck import RecheckSchedule
from certagent.agent.renewal import Renewed
from certagent.agent.reporter import Reporter
from certagent.agent.schedule import Schedule
from certagent.config import CertificateSection, load_policy
from certagent.domain.certificates import CertificateFacts, read_facts
from certagent.domain.deployments import Generation
from certagent.domain.policy import Judgement
from certagent.domain.reports import Outcome, Trigger
from tests.certificates import Authority
from tests.clock import FakeClock

POLICY = load_policy(None)


class _Clock(FakeClock):
    """Nobody wakes by it."""

    async def sleep(self, seconds: float) -> None:
        """For ever."""
        await asyncio.Event().wait()


class _Node:
    """All that is around a lifecycle. Renewals of the names in `broken` raise; the others take until `go_on`."""

    def __init__(self, *names: str) -> None:
        self.clock = _Clock()
        self.schedule = Schedule("x", POLICY.renewal)
        self.of_others: set[str] = set()
        self.broken: dict[str, BaseException] = {}
        self.go_on = asyncio.Event()
        self.again_at = None
        self.taken_back: list[str] = []
        self.tries_to_take_back = 0
        pair = Authority().issue(*names, not_before=self.clock.now())
        facts = read_facts(pair.certificate)
        self._good = Generation(number=1, key_pem=pair.key_pem, chain_pem=pair.chain_pem, facts=facts)
        around: Any = self
        self.lifecycle = Lifecycle(
            "x",
            [CertificateSection(name=name, identifiers=(name,), solver=None, deploy=()) for name in names],
            authority="ca",
            preflight=around,
            renewal=around,
            files=around,
            stock=around,
            revoking=around,
            schedule=self.schedule,
            attention=RecheckSchedule(POLICY.preflight),
            claims=around,
            own=lambda: (),
            policy=POLICY,
            reporter=Reporter("x", None, self.clock),
            clock=self.clock,
        )

    async def run(self, certificate: CertificateSection, *_: Any, **__: Any) -> Renewed:
        """Of `Renewal`."""
        if certificate.name in self.broken:
            raise self.broken[certificate.name]
        await self.go_on.wait()
        return Renewed(name=certificate.name, outcome=Outcome.DONE)

    async def finish_interrupted(self, _: CertificateSection) -> None:
        """Likewise: there is nothing."""

    def standing(self, _: CertificateSection) -> Generation:
        """Likewise: it is good."""
        return self._good

    def facts(self, _: str) -> CertificateFacts:
        """Likewise."""
        return self._good.facts

    def is_unproven(self, _: CertificateSection) -> bool:
        """Likewise."""
        return False

    def take_back(self, certificate: CertificateSection, _: Trigger) -> bool:
        """Likewise: over at once, or at the next try."""
        self.taken_back.append(certificate.name)
        return self.taken_back.count(certificate.name) > self.tries_to_take_back

    def take(self, _: CertificateSection) -> None:
        """Of `Claims`: nobody else has it."""

    def holds(self, name: str) -> bool:
        """Likewise, or somebody has."""
        return name not in self.of_others

    async def judge(self, _: Sequence[str]) -> list[Judgement]:
        """Of `Preflight`."""
        return []

    async def report(self, trigger: Trigger, names: Sequence[str] = ()) -> None:
        """Of `Stock`."""

    def is_due(self, _: object) -> bool:
        """Of `FileRuns`."""
        return False


@pytest.fixture
async def node() -> AsyncIterator[_Node]:
    """With two good certificates, and its loop running."""
    node = _Node("a", "b")
    running = asyncio.create_task(node.lifecycle.run(), name="lifecycle")
    yield node
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_renewal_that_breaks_off_is_tried_again_and_ends_no_other(node: _Node) -> None:
    """Whatever it was: the other one is renewed to its end, and then it is raised."""
    node.broken["a"] = ValueError("unheard of")
    asked = asyncio.create_task(node.lifecycle.renew_named((), force=True), name="renew")
    for _ in range(100):
        await asyncio.sleep(0.001)
    assert not asked.done()
    node.go_on.set()
    with pytest.raises(ValueError, match="unheard of"):
        await asked
    now = node.clock.now()
    assert node.schedule.ready(now) == []
    assert node.schedule.ready(now + POLICY.renewal.retry_first) == ["a"]
    assert sorted(node.schedule.ready(now + timedelta(days=1))) == ["a", "b"]


async def test_a_renewal_that_is_given_up_is_tried_again(node: _Node) -> None:
    """Who asked for it has gone away."""
    asked = asyncio.create_task(node.lifecycle.renew_named(("a",), force=True), name="renew")
    for _ in range(100):
        await asyncio.sleep(0.001)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert node.schedule.ready(node.clock.now() + POLICY.renewal.retry_first) == ["a"]


async def test_what_cannot_be_taken_back_now_is_tried_again_soon(node: _Node) -> None:
    """The state cannot be written yet. Of a certificate that another agent looks after, nothing is."""
    await node.lifecycle.renew_named((), force=False)
    node.taken_back.clear()
    node.tries_to_take_back, node.of_others = 2, {"b"}
    for is_soon in (True, True, False):
        (renewed, _) = await node.lifecycle.renew_named(("a", "b"), force=False)
        assert renewed["outcome"] == "not_due"
        soon = node.schedule.ready(node.clock.now() + POLICY.renewal.retry_first)
        assert soon == (["a"] if is_soon else [])
    assert node.taken_back == ["a"] * 3
