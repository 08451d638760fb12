"""Taking stock: whoever asks while a look is taken shares the next."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from certagent.agent.inventory import InventoryReporter
from certagent.agent.reporter import Reporter
from certagent.config import AgentSection, AgentSettings, AuthoritySection, CertificateSection
from certagent.domain.diagnosis.drift import Serving
from certagent.domain.reports import Resolver, Trigger
from certagent.state import State
from tests.clock import FakeClock

NAMES = ("a", "b")


class _Node:
    """Looks as fast as it is told; as both of the parts that stock is taken with."""

    def __init__(self) -> None:
        self.looked_at: list[str] = []
        self.told: list[list[str]] = []
        self.go_on = asyncio.Event()

    async def look(self, certificate: CertificateSection) -> Serving:
        """Of `ServingRuns`."""
        self.looked_at.append(certificate.name)
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

    async def report(self, looks: Sequence[Serving], _: Trigger) -> None:
        """Likewise."""
        self.told.append([one.name for one in looks])

    async def look_around(self, _: Trigger) -> None:
        """Likewise."""

    def addresses(self) -> tuple[str, ...]:
        """Of `Looking`."""
        return ()

    def role(self) -> str | None:
        """Likewise."""
        return None

    def resolver(self) -> Resolver:
        """Likewise."""
        return Resolver(order=(), nameservers=())


@pytest.fixture
def node() -> _Node:
    """With two certificates."""
    return _Node()


@pytest.fixture
def stock(node: _Node, tmp_path: Path) -> InventoryReporter:
    """Of that node."""
    sections = tuple(CertificateSection(name=name, identifiers=(name,), solver=None, deploy=()) for name in NAMES)
    authority = AuthoritySection(directory="https://ca/directory", root=tmp_path)
    return InventoryReporter(
        AgentSettings(agent=AgentSection(name="x", state=tmp_path), authority=authority, certificate=sections),
        looking=node,
        facts=lambda _: None,
        serving=node,  # type: ignore[arg-type] # the three coroutines that it uses
        state=State(tmp_path / "state"),
        due_at=lambda *_: datetime(2026, 11, 24, tzinfo=UTC),
        reporter=Reporter("x", None, FakeClock()),
        clock=FakeClock(),
    )


async def test_what_a_cancelled_look_was_to_look_at_is_looked_at(node: _Node, stock: InventoryReporter) -> None:
    """Somebody who shared it asked for that, too."""
    first = asyncio.create_task(stock.report(Trigger.REQUEST, ["a"]), name="first")
    await _pause()
    leader = asyncio.create_task(stock.report(Trigger.REQUEST, ["a"]), name="leader")
    sharer = asyncio.create_task(stock.report(Trigger.REQUEST, ["b"]), name="sharer")
    await _pause()
    first.cancel()
    await _pause()
    assert node.looked_at == ["a", "a", "b"]
    leader.cancel()
    await _pause()
    node.go_on.set()
    await sharer
    assert node.told == [["a", "b"]]


async def _pause() -> None:
    for _ in range(10):
        await asyncio.sleep(0)
