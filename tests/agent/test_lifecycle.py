"""What becomes of a certificate whose renewal breaks off. The parts around it only answer."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from certagent.agent.deployment import CertificateLocks, DeploymentService, Surroundings, TargetWatch
from certagent.agent.inventory import InventoryReporter
from certagent.agent.lifecycle import Lifecycle
from certagent.agent.renewal import RenewalRunner, Renewed
from certagent.agent.schedule import MOST_IN_A_TURN, Need, Schedule
from certagent.config import CertificateSection
from certagent.domain.certificates import CertificateFacts
from certagent.domain.deployments import EndpointProof, Generation
from certagent.domain.findings import Verdict
from certagent.domain.policy import Judgement
from certagent.domain.reports import FileChange, Outcome, RunKind, Trigger, touched_identifiers
from certagent.reporting import Spool
from tests.agent.context import POLICY, make_context
from tests.certificates import Authority
from tests.fakes.clock import SleepingClock
from tests.fakes.preflight import FakePreflight


class _Renewal(RenewalRunner):
    """Every certificate is good. Renewals of the names in `broken` raise; the others take until `go_on`."""

    def __init__(self, good: Generation) -> None:
        self.broken: dict[str, BaseException] = {}
        self.go_on = asyncio.Event()
        self.cleared: list[str] = []
        self.failing_clears = 0
        self.unproven: set[str] = set()
        self._good = good

    async def prepare(self) -> None:
        """Nothing is ordered."""

    async def run(
        self,
        certificate: CertificateSection,
        judgements: Sequence[Judgement],
        trigger: Trigger,
        *,
        need: Need,
        retry_after: timedelta | None = None,
    ) -> Renewed:
        """Raise, or wait."""
        if certificate.name in self.broken:
            raise self.broken[certificate.name]
        await self.go_on.wait()
        return Renewed(name=certificate.name, outcome=Outcome.DONE)

    async def finish_interrupted(self, certificate: CertificateSection) -> None:
        """There is nothing."""

    def current_generation(self, certificate: CertificateSection) -> Generation:
        """It is good."""
        return self._good

    def facts(self, name: str) -> CertificateFacts:
        """Likewise."""
        return self._good.facts

    def has_unproven(self, certificate: CertificateSection) -> bool:
        """What is in `unproven` was issued and is not served."""
        return certificate.name in self.unproven

    def short_chained(self, certificate: CertificateSection) -> CertificateFacts | None:
        """Its chain lasts as long as it does."""
        return None

    def clear_failure(self, certificate: CertificateSection, trigger: Trigger) -> bool:
        """At once, or at the next attempt."""
        self.cleared.append(certificate.name)
        return self.cleared.count(certificate.name) > self.failing_clears


class _Service(DeploymentService):
    """Deploys nothing; what surrounds the targets is as a test says."""

    def __init__(self) -> None:
        self.seen: Surroundings = ()

    def surroundings(self, certificate: CertificateSection) -> Surroundings:
        """The same for all."""
        return self.seen


class _Locks(CertificateLocks):
    """Those of certificates in `foreign` are held by another agent."""

    def __init__(self) -> None:
        self.foreign: set[str] = set()

    async def acquire(self, certificate: CertificateSection) -> None:
        """Nobody else has it."""

    def holds(self, name: str) -> bool:
        """Unless somebody else does."""
        return name not in self.foreign


class _Inventory(InventoryReporter):
    """Is not taken."""

    def __init__(self) -> None:
        pass

    async def report(
        self, trigger: Trigger, names: Sequence[str] = (), served: tuple[EndpointProof, ...] | None = None
    ) -> None:
        """Nothing."""


def _good(identifier: str) -> Judgement:
    return Judgement(identifier=identifier, verdict=Verdict.PROCEED, rehearsal=None, findings=())


class _Preflight(FakePreflight):
    """Everything is good."""

    async def judge(self, identifiers: Sequence[str]) -> list[Judgement]:
        """What is asked for."""
        return list(map(_good, identifiers))


class _Node:
    """A lifecycle, and what is around it."""

    def __init__(self, folder: Path, *names: str, spool: Spool | None = None) -> None:
        self.clock = SleepingClock()
        pair = Authority().issue(*(names or "x"), not_before=self.clock.now())
        self.schedule = Schedule("x", POLICY.renewal)
        self.renewal = _Renewal(pair.generation())
        self.locks = _Locks()
        sections = (CertificateSection(name=name, identifiers=(name,)) for name in names)
        self.service = _Service()
        context = make_context(folder, *sections, node="x", clock=self.clock, spool=spool)
        self.lifecycle = Lifecycle(
            context,
            preflight=_Preflight(),
            renewal=self.renewal,
            inventory=_Inventory(),
            schedule=self.schedule,
            locks=self.locks,
            targets=TargetWatch(context, self.service),
        )


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[_Node]:
    """With two good certificates, and its loop running."""
    node = _Node(tmp_path, "a", "b")
    running = asyncio.create_task(node.lifecycle.run(), name="lifecycle")
    yield node
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_renewal_that_breaks_off_is_tried_again_and_ends_no_other(node: _Node) -> None:
    """Whatever it was: the other one is renewed to its end, and then it is raised."""
    node.renewal.broken["a"] = ValueError("unheard of")
    asked = asyncio.create_task(node.lifecycle.renew_requested((), force=True), name="renew")
    for _ in range(100):
        await asyncio.sleep(0.001)
    assert not asked.done()
    node.renewal.go_on.set()
    with pytest.raises(ValueError, match="unheard of"):
        await asked
    now = node.clock.now()
    assert node.schedule.ready(now) == []
    assert node.schedule.ready(now + POLICY.renewal.retry_first) == ["a"]
    assert sorted(node.schedule.ready(now + timedelta(days=1))) == ["a", "b"]


async def test_a_renewal_that_is_given_up_is_tried_again(node: _Node) -> None:
    """Who asked for it has gone away."""
    asked = asyncio.create_task(node.lifecycle.renew_requested(("a",), force=True), name="renew")
    for _ in range(100):
        await asyncio.sleep(0.001)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert node.schedule.ready(node.clock.now() + POLICY.renewal.retry_first) == ["a"]


async def test_a_failure_that_cannot_be_cleared_now_is_tried_again_soon(node: _Node) -> None:
    """The state cannot be written yet. Of a certificate that another agent looks after, nothing is."""
    await node.lifecycle.renew_requested((), force=False)
    node.renewal.cleared.clear()
    node.renewal.failing_clears, node.locks.foreign = 2, {"b"}
    for is_soon in (True, True, False):
        (renewed, _) = await node.lifecycle.renew_requested(("a", "b"), force=False)
        assert renewed.outcome == "not_due"
        soon = node.schedule.ready(node.clock.now() + POLICY.renewal.retry_first)
        assert soon == (["a"] if is_soon else [])
    assert node.renewal.cleared == ["a"] * 3


async def test_many_are_judged_in_turns_each_with_its_report(tmp_path: Path) -> None:
    """The collector takes no report of more than a thousand; and what was seen of thousands is never in memory."""
    names = tuple(f"n{number}" for number in range(MOST_IN_A_TURN + 1))
    spool = Spool(tmp_path / "spool")
    node = _Node(tmp_path, *names, spool=spool)
    running = asyncio.create_task(node.lifecycle.run(), name="lifecycle")
    judgements = await node.lifecycle.check(())
    node.lifecycle.judge_again(names)
    while len(spool.waiting()) < 4:
        await asyncio.sleep(0.001)
    running.cancel()
    assert tuple(judgement.identifier for judgement in judgements) == names
    assert {len(report.scopes) for report in spool.next_batch(10)} == {MOST_IN_A_TURN, 1}


async def test_a_node_without_identifiers_reports_that_it_was_asked(tmp_path: Path) -> None:
    """Else nothing would wait for a collector that is gone."""
    spool = Spool(tmp_path / "spool")
    node = _Node(tmp_path, spool=spool)
    running = asyncio.create_task(node.lifecycle.run(), name="lifecycle")
    assert await node.lifecycle.check(()) == []
    running.cancel()
    assert [report.kind for report in spool.next_batch(10)] == [RunKind.PREFLIGHT]


@pytest.mark.parametrize(
    ("file", "line", "touched"),
    [
        ("/etc/hosts", "10.0.0.153 A.internal # old", ["a.internal"]),
        ("/etc/hosts", "10.0.0.153 printer.lan", []),
        ("/etc/hosts", "10.0.0.153 ca.internal.", ["a.internal", "b.internal"]),
        ("/etc/resolv.conf", "nameserver 9.9.9.9", ["a.internal", "b.internal"]),
    ],
)
def test_a_changed_file_touches_what_its_lines_name(file: str, line: str, touched: list[str]) -> None:
    """Of a hosts file; all that is here where the line names the CA, or where the file decides on every name."""
    changes = [FileChange(file=file, exists=True, removed=(line,))]
    assert touched_identifiers(changes, ["a.internal", "b.internal"], "ca.internal") == touched


async def test_a_path_that_is_good_is_no_reason_to_deploy_again(node: _Node) -> None:
    """Only what waits for an order is worked on at once; what was issued and was not served waits for its own time."""
    await node.lifecycle.check(("a", "b"))
    node.renewal.unproven.add("a")
    for name in ("a", "b"):
        node.schedule.plan(name, None, node.clock.now())
        node.schedule.postpone(name, None, node.clock.now())
    await node.lifecycle.check(("a", "b"))
    assert [node.schedule.waits(name) for name in ("a", "b")] == [True, False]


async def test_a_deployment_that_failed_is_tried_again_when_something_has_changed(node: _Node, tmp_path: Path) -> None:
    """Around its targets, once for each change; what was not noted is left alone."""
    await node.lifecycle.check(("a",))
    node.renewal.unproven |= {"a", "b"}
    targets, now = TargetWatch(make_context(tmp_path / "x", node="x", clock=node.clock), node.service), node.clock.now()
    for name in ("a", "b"):
        node.schedule.plan(name, None, now)
        node.schedule.postpone(name, None, now)
        section = CertificateSection(name=name, identifiers=(name,))
        await targets.note(section, is_unproven=name == "a")
    await targets.hurry(node.schedule)
    assert node.schedule.ready(now) == []
    node.service.seen = (((("/etc/nginx/nginx.conf", 1, 1),), 7),)
    await targets.hurry(node.schedule)
    assert node.schedule.ready(now) == ["a"]
    assert targets.longest_wait(30.0) < 30.0
    await targets.note(CertificateSection(name="a", identifiers=("a",)), is_unproven=False)
    assert targets.longest_wait(30.0) == 30.0
