"""Certificates that somebody else renews (`manage = false`): what is answered for them, and what is not said."""

from pathlib import Path
from typing import Any

from certagent.agent.lifecycle import Lifecycle
from certagent.agent.local_observer import LocalObserver
from certagent.config import AgentSection, AgentSettings, AuthoritySection, CertificateSection, ListenerSolver
from certagent.domain.findings import Impact
from certagent.state import State
from certagent.vantage.node_vantage import NodeVantage

OURS = CertificateSection(
    name="web", identifiers=("web.internal",), solver=ListenerSolver(listen="127.0.0.1:5002"), deploy=()
)
OTHERS = CertificateSection(name="old", identifiers=("old.internal",), manage=False, deploy=())


def test_what_somebody_else_renews_is_not_renewed_or_revoked_here() -> None:
    """Named by a person, it is refused in a sentence; its identifiers can be checked all the same."""
    parts: dict[str, Any] = dict.fromkeys(
        ("preflight", "renewal", "files", "stock", "revoking", "schedule", "attention", "claims", "own", "policy",
         "reporter", "clock"),
    )  # fmt: skip
    lifecycle = Lifecycle("lxc102", [OURS, OTHERS], authority="ca.internal", **parts)
    assert lifecycle.unknown(names=["web"]) is None
    assert lifecycle.unknown(names=["web", "old"]) == "old is renewed by somebody else (manage = false)"
    assert lifecycle.unknown(identifiers=["old.internal"]) is None
    assert "none of this node's certificates: web, old" in (lifecycle.unknown(names=["nothing"]) or "")


def test_no_renewal_of_ours_is_said_to_break(tmp_path: Path) -> None:
    """Of what others renew the state folder knows nothing."""
    settings = AgentSettings(
        agent=AgentSection(name="lxc102", state=tmp_path),
        authority=AuthoritySection(directory="https://ca.internal/acme/directory"),
        certificate=(OURS, OTHERS),
    )
    looks = LocalObserver(settings, NodeVantage((), ()), State(tmp_path), lambda _, facts: facts.not_after)
    assert looks.impact_on("old.internal") is None
    assert looks.impact_on("web.internal") == Impact(certificate="web")
