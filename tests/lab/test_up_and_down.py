"""The lab comes up, twice is harmless, and whatever happened, `down` leaves nothing."""

import json
import os
import signal
import subprocess
from collections.abc import Callable

import pytest

from deploy.lab import places
from deploy.lab.fleet import FLEET
from tests.lab.machine import RUN, all_network_namespaces, lab, lab_network_namespaces, started_at, traces, until

pytestmark = pytest.mark.lab

RUNTIME = places.RUNTIME
MOMENTS: dict[str, Callable[[], bool]] = {
    "before the first node": lambda: RUNTIME.exists(),
    "with the network made": lambda: (RUNTIME / "network").exists(),
    "while nodes start": lambda: (RUNTIME / "lxc/lxc103/log").exists(),
    "while services come up": lambda: _enters("client"),
    "while certagent is installed": lambda: (RUNTIME / "secrets/lxc104-collector.toml").exists(),
}


def test_it_comes_up_twice_and_leaves_nothing(nothing: None) -> None:
    """The second `up` starts nothing again, the second `down` finds nothing, and the machine is as it was."""
    lab("up", "--bare")
    first = started_at()
    lab("up", "--bare")
    assert started_at() == first
    status = json.loads(lab("status", "--json").stdout)
    assert status["up"]
    assert {state for node in status["nodes"] for name, state in node["services"].items() if name[:4] != "cert"} == {
        "active"
    }
    ours = lab_network_namespaces()
    assert len(ours) == len(FLEET)
    assert ours < all_network_namespaces()
    lab("down")
    lab("down")
    assert traces() == []
    assert not ours & all_network_namespaces()


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_up_is_cleared(moment: str, nothing: None) -> None:
    """SIGKILL in the middle of `up`: `down` finds what is there by itself, and the next `up` is as good as any."""
    with _begin_up() as up:
        _wait_for(moment, up)
        up.kill()
    lab("down")
    assert traces() == []


def test_an_interrupted_up_is_cleared(nothing: None) -> None:
    """Ctrl-C reaches everything in the foreground; one line tells how to go on."""
    up = _begin_up()
    _wait_for("while services come up", up)
    os.killpg(up.pid, signal.SIGINT)
    _, told = up.communicate(timeout=60)
    assert up.returncode == 130
    assert "interrupted" in told
    lab("up", "--bare")
    lab("down")
    assert traces() == []


def test_two_at_once_wait_for_each_other(nothing: None) -> None:
    """Two `up` at the same time: one fleet, and both succeed."""
    both = [_begin_up("--bare") for _ in range(2)]
    told = [up.communicate(timeout=600)[1] for up in both]
    assert [up.returncode for up in both] == [0, 0], told
    assert sum("waiting for it" in text for text in told) == 1


def test_without_control_groups_one_sentence(nothing: None) -> None:
    """A machine that cannot run containers says what is missing, exit 1, and nothing is begun."""
    blind = ["unshare", "--mount", "sh", "-c", f"umount -l /sys/fs/cgroup && exec {RUN} up"]
    done = subprocess.run(blind, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "control groups" in done.stderr
    assert traces() == []


def test_without_root_one_sentence() -> None:
    """An ordinary user is told so before anything is set up."""
    done = subprocess.run(
        ["setpriv", "--reuid", "65534", "--clear-groups", "bash", "-s", "up"],
        input=RUN.read_text().replace("${BASH_SOURCE[0]}", str(RUN)),
        capture_output=True,
        text=True,
        cwd="/",
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == "lab: The lab needs root: it makes containers, mounts and namespaces.\n"


def _begin_up(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["env", "--default-signal=INT", RUN, "up", *words],  # Ctrl-C counts, wherever these tests are run from
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def _wait_for(moment: str, up: subprocess.Popen[str]) -> None:
    until(MOMENTS[moment])
    assert up.poll() is None, f"it was over {moment}"


def _enters(node: str) -> bool:
    return lab("exec", node, "--", "true", check=False).returncode == 0
