"""A certificate that goes out of the configuration takes what was said about it along."""

from pathlib import Path

import pytest

from certagent.agent.removed_config import report_removed
from certagent.agent.reporter import Reporter
from certagent.config import AgentSection, AgentSettings, AuthoritySection, CertificateSection
from certagent.domain.reports import RunKind
from certagent.reporting import Spool
from certagent.state import State
from tests.clock import FakeClock


def _settings(*names: str) -> AgentSettings:
    """One certificate for each, which also bears a name that all share."""
    certificates = tuple(CertificateSection(name=one, identifiers=(f"{one}.internal", "all.internal")) for one in names)
    return AgentSettings(
        agent=AgentSection(name="lxc102"),
        authority=AuthoritySection(directory="https://ca.internal/directory"),
        certificate=certificates,
    )


@pytest.fixture
def said(tmp_path: Path) -> Spool:
    """Where the reports are."""
    return Spool(tmp_path / "spool")


def test_only_what_is_gone_is_cleared_and_only_once(tmp_path: Path, said: Spool) -> None:
    """Its own identifier, not the one that another certificate still has; its own renewal."""
    state, reporter = State(tmp_path / "state"), Reporter("lxc102", said, FakeClock())
    for settings in (_settings("one", "two"), _settings("one"), _settings("one")):
        report_removed(settings, state, reporter)
    reports = said.take(10)
    assert [(one.kind, one.scopes) for one in reports] == [
        (RunKind.PREFLIGHT, ("identifier:two.internal",)),
        (RunKind.RENEWAL, ("certificate:two",)),
    ]
    assert all(one.findings == () for one in reports)
