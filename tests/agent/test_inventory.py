"""The inventory: whoever asks while one is taken shares the next; what is no longer configured is cleared."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from certagent.agent.drift import DriftMonitor
from certagent.agent.inventory import InventoryReporter, report_removed
from certagent.agent.schedule import MOST_IN_A_TURN, Schedule
from certagent.config import CertificateSection
from certagent.domain.deployments import EndpointProof
from certagent.domain.diagnosis.drift import Serving
from certagent.domain.reports import Resolver, RunKind, Trigger
from certagent.reporting import Spool
from certagent.vantage.node_vantage import NodeVantage
from tests.agent.context import POLICY, make_context

NAMES = ("a", "b")


class _Drift(DriftMonitor):
    """Observes as fast as it is told to."""

    def __init__(self) -> None:
        self.observed: list[str] = []
        self.reported: list[list[str]] = []
        self.go_on = asyncio.Event()

    async def observe(
        self, certificate: CertificateSection, served: tuple[EndpointProof, ...] | None = None
    ) -> Serving:
        """Note the name, and wait."""
        self.observed.append(certificate.name)
        await self.go_on.wait()
        return Serving(
            node="x",
            name=certificate.name,
            identifiers=certificate.identifiers,
            at=datetime(2026, 11, 24, tzinfo=UTC),
            after=None,
            manage=True,
            proven=None,
            live=(),
            served=(),
            seen=(),
            expiring_below=0.1,
        )

    async def report(self, observed: Sequence[Serving], trigger: Trigger) -> None:
        """Note the names."""
        self.reported.append([serving.name for serving in observed])

    async def inspect_web_servers(self, trigger: Trigger) -> None:
        """There are none."""


class _Node(NodeVantage):
    """A node about which there is nothing to say."""

    def addresses(self) -> tuple[str, ...]:
        """None."""
        return ()

    def role(self) -> str | None:
        """None."""
        return None

    def resolver(self) -> Resolver:
        """None."""
        return Resolver(order=(), nameservers=())


@pytest.fixture
def drift() -> _Drift:
    """Of a node with two certificates."""
    return _Drift()


@pytest.fixture
def inventory(drift: _Drift, tmp_path: Path) -> InventoryReporter:
    """Of that node."""
    sections = (CertificateSection(name=name, identifiers=(name,)) for name in NAMES)
    context = make_context(tmp_path, *sections)
    return InventoryReporter(context, _Node(), drift, Schedule("x", POLICY.renewal))


async def test_what_a_cancelled_request_was_to_observe_is_observed(drift: _Drift, inventory: InventoryReporter) -> None:
    """Somebody who shared it asked for that, too."""
    first = asyncio.create_task(inventory.report(Trigger.REQUEST, ["a"]), name="first")
    await _pause()
    leader = asyncio.create_task(inventory.report(Trigger.REQUEST, ["a"]), name="leader")
    sharer = asyncio.create_task(inventory.report(Trigger.REQUEST, ["b"]), name="sharer")
    await _pause()
    first.cancel()
    await _pause()
    assert drift.observed == ["a", "a", "b"]
    leader.cancel()
    await _pause()
    drift.go_on.set()
    await sharer
    assert drift.reported == [["a", "b"]]


async def test_of_many_no_more_than_a_turn_is_observed_at_once(tmp_path: Path) -> None:
    """What was seen of each is reported before the next are looked at; the inventory holds all of them."""
    names = [f"n{number}" for number in range(2 * MOST_IN_A_TURN + 1)]
    sections = (CertificateSection(name=name, identifiers=(name,)) for name in names)
    drift, spool = _Drift(), Spool(tmp_path / "spool")
    drift.go_on.set()
    context = make_context(tmp_path, *sections, spool=spool)
    await InventoryReporter(context, _Node(), drift, Schedule("x", POLICY.renewal)).report(Trigger.START)
    assert list(map(len, drift.reported)) == [MOST_IN_A_TURN, MOST_IN_A_TURN, 1]
    assert [name for turn in drift.reported for name in turn] == names
    (report,) = spool.next_batch(10)
    assert report.inventory is not None
    assert [state.name for state in report.inventory.certificates] == names


async def _pause() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def _sections(*names: str) -> tuple[CertificateSection, ...]:
    """One certificate for each, which also bears a name that all share."""
    return tuple(CertificateSection(name=name, identifiers=(f"{name}.internal", "all.internal")) for name in names)


def test_only_what_is_gone_is_cleared_and_only_once(tmp_path: Path) -> None:
    """A certificate that is removed from the configuration: its own identifier, not the one that another certificate
    still has; its own renewal."""
    spool = Spool(tmp_path / "spool")
    for sections in (_sections("one", "two"), _sections("one"), _sections("one")):
        report_removed(make_context(tmp_path / "state", *sections, spool=spool))
    reports = spool.next_batch(10)
    assert [(report.kind, report.scopes) for report in reports] == [
        (RunKind.PREFLIGHT, ("identifier:two.internal",)),
        (RunKind.RENEWAL, ("certificate:two",)),
    ]
    assert all(report.findings == () for report in reports)


def test_many_that_are_gone_are_few_reports(tmp_path: Path) -> None:
    """One for each would be more than the spool holds, and one for all more than the collector takes."""
    spool, names = Spool(tmp_path / "spool"), tuple(f"n{number:03}" for number in range(2 * MOST_IN_A_TURN))
    for sections in (_sections(*names, "kept"), _sections("kept")):
        report_removed(make_context(tmp_path / "state", *sections, spool=spool))
    reports = spool.next_batch(10)
    assert [len(report.scopes) for report in reports] == [MOST_IN_A_TURN] * 4
    cleared = [scope for report in reports for scope in report.scopes]
    assert cleared == [*(f"identifier:{name}.internal" for name in names), *(f"certificate:{name}" for name in names)]
