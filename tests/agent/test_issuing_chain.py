"""A chain that ends before its leaf: ordered again once the CA has another one, and not before."""

from datetime import timedelta
from pathlib import Path

import msgspec

from certagent.agent.deployment import CertificateLocks
from certagent.agent.issuing_chain import IssuingChain
from certagent.agent.lifecycle import RenewalPlan
from certagent.agent.renewal import RenewalRunner
from certagent.agent.schedule import Schedule
from certagent.config import CertificateSection
from certagent.domain.certificates import CertificateFacts
from certagent.system.handshake import ChainLink, Handshake
from tests.agent.context import POLICY, make_context
from tests.certificates import make_facts
from tests.fakes.clock import FakeClock

NAME = "traefik.internal"
START = FakeClock().now()
SHORT = ChainLink("CN=Intermediate", START + timedelta(minutes=30))
RENEWED = ChainLink("CN=Intermediate", START + timedelta(days=300))
OTHER = ChainLink("CN=Another", START + timedelta(days=300))
CERTIFICATE = CertificateSection(name="traefik", identifiers=(NAME,), manage=False)
FACTS = msgspec.structs.replace(
    make_facts(NAME, not_before=START), chain_ends_at=SHORT.ends_at, chain_ends_with=SHORT.name
)


class _Authority:
    """Shows what it has of its own chain; nothing where it cannot be reached."""

    def __init__(self) -> None:
        self.above: tuple[ChainLink, ...] | None = (SHORT,)
        self.looks = 0

    async def probe(self, address: str, port: int, name: str, root: Path, timeout: float) -> Handshake:
        self.looks += 1
        seen = Handshake(address=address, port=port, server_name=name)
        if self.above is None:
            return msgspec.structs.replace(seen, error="refused")
        return msgspec.structs.replace(seen, leaf=FACTS, above=self.above)


async def test_the_ca_s_own_certificate_shows_what_it_issues_with(tmp_path: Path) -> None:
    """The same, renewed under its name, or another one in its place; nothing is said of a CA that nobody reaches."""
    authority, clock = _Authority(), FakeClock()
    chain = IssuingChain(make_context(tmp_path, clock=clock), authority.probe)

    async def has_changed(*above: ChainLink) -> bool | None:
        clock.move(timedelta(minutes=1))
        authority.above = above
        return await chain.has_changed(FACTS)

    assert await has_changed(RENEWED) is True
    assert await has_changed(OTHER) is None  # its own certificate may always have come from elsewhere
    assert await has_changed(SHORT) is False
    assert await has_changed(OTHER) is True
    clock.move(timedelta(minutes=1))
    authority.above = None
    assert await chain.has_changed(FACTS) is None
    assert await chain.has_changed(FACTS.without_chain()) is None


async def test_one_look_serves_all_who_ask_at_once(tmp_path: Path) -> None:
    """A hundred certificates of one CA."""
    authority = _Authority()
    chain = IssuingChain(make_context(tmp_path), authority.probe)
    assert [await chain.has_changed(FACTS) for _ in range(100)] == [False] * 100
    assert authority.looks == 1


class _Renewal(RenewalRunner):
    """One certificate with a chain that ends soon; `tried`: a renewal has brought it before."""

    def __init__(self) -> None:
        self.tried = False
        self.short: CertificateFacts | None = FACTS

    def short_chained(self, certificate: CertificateSection) -> CertificateFacts | None:
        return self.short

    def brought_the_same_chain(self, certificate: CertificateSection, facts: CertificateFacts) -> bool:
        return self.tried


class _Locks(CertificateLocks):
    """Nobody's."""

    def __init__(self) -> None:
        pass


async def test_nothing_is_ordered_while_it_would_bring_the_same_chain(tmp_path: Path) -> None:
    """Looked at again within a minute, and sooner where little of its life is left; ordered when the CA has another. A
    CA that does not show it is asked once, and then not again for hours."""
    authority, renewal, clock = _Authority(), _Renewal(), FakeClock()
    context, schedule = make_context(tmp_path, clock=clock), Schedule("x", POLICY.renewal)
    plan = RenewalPlan(context, schedule, renewal, _Locks(), IssuingChain(context, authority.probe))
    schedule.plan("traefik", FACTS, clock.now())
    clock.move(timedelta(minutes=29))
    assert schedule.ready(clock.now()) == ["traefik"]
    schedule.mark_in_progress("traefik")
    held = await plan.hold(CERTIFICATE)
    assert held is not None
    assert held.note == "the CA still issues with CN=Intermediate, which expires 2026-11-24T03:30:00+00:00"
    assert schedule.next_at(clock.now()) == clock.now() + timedelta(seconds=6)
    clock.move(timedelta(minutes=10))  # and that is its end
    assert await plan.hold(CERTIFICATE) is not None
    assert schedule.next_at(clock.now()) == clock.now() + timedelta(minutes=1)
    clock.move(timedelta(minutes=1))
    authority.above = (RENEWED,)
    assert await plan.hold(CERTIFICATE) is None
    clock.move(timedelta(minutes=1))
    authority.above = None
    assert await plan.hold(CERTIFICATE) is None
    renewal.tried = True
    assert await plan.hold(CERTIFICATE) is not None
    renewal.short = None
    assert await plan.hold(CERTIFICATE) is None
