"""The lab comes up, twice is harmless, and whatever happened, `down` leaves nothing."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lab.machine import RUN, inside, lab, network_namespaces, traces

pytestmark = pytest.mark.lab

RUNTIME = Path("/var/lib/certagent-lab")
MOMENTS: dict[str, Callable[[], bool]] = {
    "before the first node": lambda: RUNTIME.exists(),
    "with the network made": lambda: (RUNTIME / "network").exists(),
    "while nodes start": lambda: (RUNTIME / "lxc/lxc103/log").exists(),
    "while services come up": lambda: _enters("client"),
    "while certagent is installed": lambda: (RUNTIME / "secrets/lxc104-collector.toml").exists(),
}


def test_it_comes_up_twice_and_leaves_nothing(nothing: None) -> None:
    """The second `up` starts nothing again, the second `down` finds nothing, and the machine is as it was."""
    before = network_namespaces()
    lab("up", "--bare")
    first = _started_at()
    lab("up", "--bare")
    assert _started_at() == first
    status = json.loads(lab("status", "--json").stdout)
    assert status["up"]
    assert {state for node in status["nodes"] for name, state in node["services"].items() if name[:4] != "cert"} == {
        "active"
    }
    lab("down")
    lab("down")
    assert traces() == []
    assert network_namespaces() <= before


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


def test_a_node_comes_back_with_its_services(bare: None) -> None:
    """Stopped and started, or restarted from inside: its network is made again, its services start by themselves."""
    lab("stop", "lxc102")
    assert json.loads(lab("status", "--json").stdout)["up"] is False
    lab("start", "lxc102")
    _wait_until_it_answers("http://traefik.internal.thinkheads.ai/")
    before = _started_at("lxc101")
    lab("exec", "lxc101", "--", "systemctl", "reboot", check=False)
    _until(lambda: _started_at("lxc101", check=False) not in ("", before))
    _wait_until_it_answers("http://nginx.internal.thinkheads.ai/")


def test_no_way_out(bare: None) -> None:
    """Containers have each other and nothing else; the machine has no way in."""
    assert inside("client", "ip", "route") == "10.0.0.0/24 dev eth0 proto kernel scope link src 10.0.0.50 \n"
    routes = subprocess.run(["ip", "route", "get", "10.0.0.153"], capture_output=True, text=True, check=False).stdout
    assert "fleet" not in routes


def test_exec_passes_everything_on(bare: None) -> None:
    """Standard input, output, exit status; a clean environment; one sentence for a node that there is not."""
    done = subprocess.run(
        [RUN, "exec", "lxc103", "--", "sh", "-c", "cat; env; exit 7"],
        input=b"hello\n",
        capture_output=True,
        env={**os.environ, "SECRET": "of this machine"},
        check=False,
    )
    assert done.returncode == 7
    assert done.stdout.startswith(b"hello\n")
    assert b"PATH=/usr/local/sbin:/usr/local/bin" in done.stdout
    assert b"SECRET" not in done.stdout
    unknown = lab("exec", "lxc999", "--", "true", check=False)
    assert unknown.returncode == 1
    assert unknown.stderr.count("\n") == 1


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
        [RUN, "up", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def _wait_for(moment: str, up: subprocess.Popen[str]) -> None:
    _until(MOMENTS[moment])
    assert up.poll() is None, f"it was over {moment}"


def _started_at(node: str = "lxc103", check: bool = True) -> str:
    return lab("exec", node, "--", "ps", "-o", "lstart=", "-p", "1", check=check).stdout.strip()


def _enters(node: str) -> bool:
    return lab("exec", node, "--", "true", check=False).returncode == 0


def _wait_until_it_answers(url: str) -> None:
    _until(lambda: lab("exec", "client", "--", "curl", "-so", "/dev/null", url, check=False).returncode == 0)


def _until(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.005)
