"""The CA's root, as `certagent init` comes to it: given by the real step-ca, taken by its fingerprint only."""

from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from certagent.commands import UnableError
from certagent.commands import init as command
from tests.issuance.conftest import StepCa


def _wish(ca: StepCa, folder: Path, fingerprint: str | None = None) -> command.InitRequest:
    return command.InitRequest(
        directory=ca.directory, root=folder / "root.crt", configuration=folder / "agent.toml", fingerprint=fingerprint
    )


def _nobody(_: str) -> bool:
    raise AssertionError("nobody is to be asked")


@pytest.fixture
def fingerprint(step_ca: StepCa) -> str:
    """The root's, as somebody reads it on the CA's node."""
    return x509.load_pem_x509_certificate(step_ca.root.read_bytes()).fingerprint(hashes.SHA256()).hex()


def test_a_fingerprint_from_elsewhere_is_enough(step_ca: StepCa, tmp_path: Path, fingerprint: str) -> None:
    """In whichever way it is written."""
    written = ":".join(fingerprint[at : at + 2] for at in range(0, 64, 2)).upper()
    command.init(_wish(step_ca, tmp_path, written), _nobody, write=True)
    assert (tmp_path / "root.crt").read_bytes() == step_ca.root.read_bytes()
    assert fingerprint in (tmp_path / "agent.toml").read_text()


def test_another_fingerprint_is_refused_without_asking(step_ca: StepCa, tmp_path: Path, fingerprint: str) -> None:
    """What the CA gave is said, and nothing is kept."""
    with pytest.raises(UnableError, match=f"sends the root {fingerprint}, not {'ab' * 32}"):
        command.init(_wish(step_ca, tmp_path, "ab" * 32), _nobody, write=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("answer", [True, False])
def test_else_a_person_is_asked(step_ca: StepCa, tmp_path: Path, fingerprint: str, answer: bool) -> None:
    """With the fingerprint to compare."""
    asked = []

    def confirm(shown: str) -> bool:
        asked.append(shown)
        return answer

    command.init(_wish(step_ca, tmp_path), confirm, write=True)
    assert asked == [fingerprint]
    assert (tmp_path / "root.crt").exists() is answer


def test_a_ca_that_does_not_answer_is_said(tmp_path: Path) -> None:
    """The rest is done all the same."""
    wish = command.InitRequest(
        directory="https://127.0.0.1:1/acme/acme/directory", root=tmp_path / "r", configuration=tmp_path / "agent.toml"
    )
    document = command.init(wish, _nobody, write=True)
    assert "does not send its roots" in document["by_hand"][0]
    assert (tmp_path / "agent.toml").exists()
