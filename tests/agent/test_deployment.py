"""One owner per certificate: the second agent is told so, whatever it calls the certificate; its turn comes."""

from pathlib import Path

from certagent.agent.deployment import CertificateLocks, DeploymentService
from certagent.config import CertificateSection, CommandTarget, ListenerSolver, TraefikTarget
from certagent.proof import Prover
from certagent.state import State
from tests.agent.context import make_context


def _certificate(root: Path, name: str = "web") -> CertificateSection:
    return CertificateSection(
        name=name,
        identifiers=("web.internal",),
        solver=ListenerSolver(listen="127.0.0.1:5002"),
        deploy=(CommandTarget(certificate=root / "web.crt", key=root / "web.key"),),
    )


def _locks(state: Path) -> CertificateLocks:
    context = make_context(state, node=f"agent-{state.name}")
    return CertificateLocks(context, DeploymentService(context, Prover(state / "root.crt", context.clock)))


async def test_the_same_state_has_one_owner(tmp_path: Path) -> None:
    """It holds what it has once acquired, and releases it at its end."""
    certificate = _certificate(tmp_path)
    with _locks(tmp_path / "state") as first, _locks(tmp_path / "state") as second:
        assert await first.acquire(certificate) is None
        assert await first.acquire(certificate) is None
        refused = await second.acquire(certificate)
        assert refused is not None
        assert refused.code == "cert.two_owners"
        assert "the agent agent-state, process " in refused.explanation
    with _locks(tmp_path / "state") as third:
        assert await third.acquire(certificate) is None


async def test_the_same_target_has_one_owner(tmp_path: Path) -> None:
    """With states of their own, and under another name; what the second had acquired before is free again."""
    with _locks(tmp_path / "one") as first, _locks(tmp_path / "two") as second:
        assert await first.acquire(_certificate(tmp_path)) is None
        refused = await second.acquire(_certificate(tmp_path, "site"))
        assert refused is not None
        assert "the agent agent-one" in refused.explanation
        with State(tmp_path / "two").certificate("site").lock("another"):
            pass


async def test_a_target_that_cannot_be_written_keeps_nobody_from_it(tmp_path: Path) -> None:
    """The deployment itself says what is wrong."""
    with _locks(tmp_path / "state") as locks:
        assert await locks.acquire(_certificate(tmp_path / "nowhere")) is None


def test_what_surrounds_a_target_changes_only_by_others(tmp_path: Path) -> None:
    """A file that another program writes does; one of ours is written at each try, and a look changes nothing."""
    dynamic = tmp_path / "dynamic"
    dynamic.mkdir()
    context = make_context(tmp_path / "state", node="agent")
    service = DeploymentService(context, Prover(tmp_path / "root.crt", context.clock))
    certificate = CertificateSection(
        name="web",
        identifiers=("web.internal",),
        solver=ListenerSolver(listen="127.0.0.1:5002"),
        deploy=(TraefikTarget(dynamic=dynamic), CommandTarget(certificate=tmp_path / "c", key=tmp_path / "k")),
    )
    before = service.surroundings(certificate)
    (dynamic / "certagent-web.yml").write_text("tls: {}")
    assert service.surroundings(certificate) == before
    (dynamic / "apps.yml").write_text("http: {}")
    assert service.surroundings(certificate) != before
