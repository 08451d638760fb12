"""One owner per certificate: the second agent is told so, whatever it calls the certificate; its turn comes."""

from pathlib import Path

from certagent.agent.certificate_locks import CertificateLocks
from certagent.config import CertificateSection, CommandTarget, ListenerSolver
from certagent.deployers.deploy import make_target
from certagent.state import State
from tests.deployers.reloads import RELOADS


def _certificate(root: Path, name: str = "web") -> CertificateSection:
    return CertificateSection(
        name=name,
        identifiers=("web.internal",),
        solver=ListenerSolver(listen="127.0.0.1:5002"),
        deploy=(CommandTarget(certificate=root / "web.crt", key=root / "web.key"),),
    )


def _claims(state: Path) -> CertificateLocks:
    def lock_files(certificate: CertificateSection) -> list[Path]:
        return [make_target(certificate.name, one, RELOADS).lock_file() for one in certificate.deploy]

    return CertificateLocks(f"agent-{state.name}", State(state), lock_files)


def test_the_same_state_has_one_owner(tmp_path: Path) -> None:
    """It holds what it has once taken, and lets it go at its end."""
    certificate = _certificate(tmp_path)
    with _claims(tmp_path / "state") as first, _claims(tmp_path / "state") as second:
        assert first.take(certificate) is None
        assert first.take(certificate) is None
        refused = second.take(certificate)
        assert refused is not None
        assert refused.code == "cert.two_owners"
        assert "the agent agent-state, process " in refused.explanation
    with _claims(tmp_path / "state") as third:
        assert third.take(certificate) is None


def test_the_same_target_has_one_owner(tmp_path: Path) -> None:
    """With states of their own, and under another name; what the second had taken before is free again."""
    with _claims(tmp_path / "one") as first, _claims(tmp_path / "two") as second:
        assert first.take(_certificate(tmp_path)) is None
        refused = second.take(_certificate(tmp_path, "site"))
        assert refused is not None
        assert "the agent agent-one" in refused.explanation
        with State(tmp_path / "two").certificate("site").lock("another"):
            pass


def test_a_target_that_cannot_be_written_keeps_nobody_from_it(tmp_path: Path) -> None:
    """The deployment itself says what is wrong."""
    with _claims(tmp_path / "state") as claims:
        assert claims.take(_certificate(tmp_path / "nowhere")) is None
