"""One agent per state folder and socket: real processes, as systemd and a person beside it would start them."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from certagent.agent.app import hold_instance_lock
from certagent.config import AgentSection
from certagent.system.control_client import NoAnswerError, ask_agent
from certagent.system.files import LockedError
from tests.certificates import Authority

PATIENCE = 30.0


def _configuration(folder: Path, name: str, state: str, socket: str) -> Path:
    Authority().write_root(folder / "root.crt")
    path = folder / f"{name}.toml"
    path.write_text(
        f'[agent]\nname = "{name}"\nstate = "{folder}/{state}"\nsocket = "{folder}/{socket}"\n'
        f'[authority]\ndirectory = "https://127.0.0.1:1/acme/directory"\nroot = "{folder}/root.crt"\n'
    )
    return path


def _command(configuration: Path) -> list[str]:
    return [sys.executable, "-m", "certagent.entry", "agent", "--config", str(configuration)]


def _answers(socket: Path) -> bool:
    """Whether an agent does, soon."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            return bool(ask_agent(socket, "status")["agent"] == "first")
        except NoAnswerError:
            time.sleep(0.05)
    return False


@pytest.fixture
def first(tmp_path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """An agent that answers."""
    process = subprocess.Popen(
        _command(_configuration(tmp_path, "first", "state", "agent.sock")), stderr=subprocess.DEVNULL
    )
    assert _answers(tmp_path / "agent.sock")
    yield process
    process.kill()
    process.wait()


@pytest.mark.parametrize(
    ("state", "socket", "what"),
    [("state", "agent.sock", "state folder"), ("state", "other.sock", "state folder"), ("s", "agent.sock", "socket")],
)
def test_a_second_agent_ends_with_a_sentence(
    first: "subprocess.Popen[bytes]", tmp_path: Path, state: str, socket: str, what: str
) -> None:
    """Exit status 1, and who is there; the first one goes on and can be asked as before."""
    second = subprocess.run(
        _command(_configuration(tmp_path, "second", state, socket)),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert second.returncode == 1
    assert f"another agent is already running with the {what} {tmp_path}" in second.stderr
    assert second.stderr.count("\n") == 1
    assert f"first, process {first.pid}" in second.stderr
    assert first.poll() is None
    assert _answers(tmp_path / "agent.sock")


def test_a_killed_agent_is_in_nobodys_way(first: "subprocess.Popen[bytes]", tmp_path: Path) -> None:
    """What it held ends with it, by whatever signal."""
    section = AgentSection(name="next", state=tmp_path / "state", socket=tmp_path / "agent.sock")
    with pytest.raises(LockedError), hold_instance_lock(section):
        pass
    first.kill()
    first.wait()
    with hold_instance_lock(section):
        pass
