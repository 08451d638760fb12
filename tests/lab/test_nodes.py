"""A node alone: it comes back by itself, has no way out, and is entered as it should be."""

import json
import os
import subprocess

import pytest

from tests.lab.machine import RUN, init_of, inside, lab, until

pytestmark = pytest.mark.lab


def test_a_node_comes_back_with_its_services(bare: None) -> None:
    """Stopped and started, or restarted from inside: its network is made again, its services start by themselves."""
    lab("stop", "lxc102")
    assert json.loads(lab("status", "--json").stdout)["up"] is False
    lab("start", "lxc102")
    wait_until_it_answers("http://traefik.internal.thinkheads.ai/")
    before = init_of("lxc101")
    lab("exec", "lxc101", "--", "systemctl", "reboot", check=False)
    until(lambda: init_of("lxc101") not in ("", before))
    wait_until_it_answers("http://nginx.internal.thinkheads.ai/")


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


def wait_until_it_answers(url: str) -> None:
    """Return when the client gets any answer there."""
    until(lambda: lab("exec", "client", "--", "curl", "-so", "/dev/null", url, check=False).returncode == 0)
