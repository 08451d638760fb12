"""The context of an agent under test: a real state folder, a clock that moves only when told, reports in a spool."""

from pathlib import Path

from certagent.agent.context import AgentContext
from certagent.agent.reporter import Reporter
from certagent.config import (
    AgentSection,
    AgentSettings,
    AuthoritySection,
    CertificateSection,
    DnsSection,
    RootPaths,
    VantageSection,
)
from certagent.config.policy_files import load_policy
from certagent.domain.ports import Clock
from certagent.reporting import Spool
from certagent.state import State
from tests.fakes.clock import FakeClock

POLICY = load_policy(None)


def make_context(
    folder: Path,
    *certificates: CertificateSection,
    node: str = "lxc102",
    clock: Clock | None = None,
    spool: Spool | None = None,
    zones: tuple[str, ...] = (),
    is_authority: bool = False,
) -> AgentContext:
    """Without a spool, reports go to the journal alone."""
    clock = clock or FakeClock()
    settings = AgentSettings(
        agent=AgentSection(name=node, state=folder),
        authority=AuthoritySection(directory="https://ca.internal/acme/directory", root=RootPaths(folder / "root.crt")),
        dns=DnsSection(zones=zones),
        vantage=VantageSection(allow=("*",)) if is_authority else None,
        certificate=certificates,
    )
    return AgentContext(
        node=node,
        settings=settings,
        policy=POLICY,
        clock=clock,
        state=State(folder),
        reporter=Reporter(node, spool, clock),
    )
