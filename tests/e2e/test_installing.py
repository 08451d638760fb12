"""The installer on running agents: upgrade, way back, an offline bundle, and the end; what is served stays served."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.lab.places import CONTAINERS, TREE
from deploy.story import witness
from tests.e2e.fleet import TRAEFIK, until, wait_until_green

pytestmark = pytest.mark.lab

_INSTALLER = TREE / "deploy" / "lxc" / "install"


def _install(*words: str, check: bool = True) -> str:
    way = ["--transport", "lxc-attach", "--lxcpath", str(CONTAINERS)]
    done = subprocess.run(
        [sys.executable, str(_INSTALLER), *words, *way], capture_output=True, text=True, timeout=600, check=False
    )
    assert not check or done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def _sh(node: str, script: str) -> str:
    return witness.inside(node, "sh", "-euc", script).stdout


def _version() -> str:
    return _sh("lxc102", "certagent --version").strip()


@pytest.fixture
def newer(tmp_path: Path) -> Path:
    """This tree, one version on."""
    for name in ("certagent", "policies", "deploy", "pyproject.toml", "README.md", "LICENSE"):
        source = TREE / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tmp_path / name)
    version = tmp_path / "certagent" / "__init__.py"
    version.write_text(version.read_text().replace("0.1.0", "0.1.1"))
    project = tmp_path / "pyproject.toml"
    project.write_text(project.read_text().replace('version = "0.1.0"', 'version = "0.1.1"'))
    return tmp_path


def test_an_upgrade_and_the_way_back(green: None, newer: Path) -> None:
    """With the agent running: it is restarted, finds everything as it was, and works, in both directions."""
    served, before = witness.served("10.0.0.12", TRAEFIK), _version()
    assert "certagent 0.1.1 is in place" in _install("lxc102", "--from", str(newer))
    assert _version().endswith("0.1.1")
    until("a check proceeds", 30, lambda: witness.certagent("lxc102", "check")[0] == 0)
    assert "certagent 0.1.0 is in place again" in _install("lxc102", "--roll-back")
    assert _version() == before
    until("a check proceeds", 30, lambda: witness.certagent("lxc102", "check")[0] == 0)
    assert witness.served("10.0.0.12", TRAEFIK) == served


def test_an_offline_bundle_installs_the_same(green: None, newer: Path) -> None:
    """Made once for Debian 12's and 13's Python; installed with an empty cache, and with no index to fetch from."""
    made = newer / "bundle" / "certagent.tar.gz"
    made.parent.mkdir()
    told = subprocess.run(
        [sys.executable, str(_INSTALLER), "--make-bundle", str(made), "--from", str(newer)],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    assert "Debian 12: Python 3.11" in told.stdout
    assert "Debian 13: Python 3.13" in told.stdout
    way = ["--transport", "lxc-attach", "--lxcpath", str(CONTAINERS)]
    alone = ["env", f"XDG_CACHE_HOME={made.parent}", "PIP_NO_INDEX=1", sys.executable, str(_INSTALLER)]
    done = subprocess.run(
        [*alone, "lxc102", "--bundle", str(made), *way], capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr
    assert _version().endswith("0.1.1")
    _install("lxc102", "--roll-back")
    until("a check proceeds", 30, lambda: witness.certagent("lxc102", "check")[0] == 0)


def test_the_end_leaves_every_certificate_in_place(green: None) -> None:
    """Traefik does not miss it, not even at its next start; installed again, the agent goes on where it was."""
    served = witness.served("10.0.0.12", TRAEFIK)
    try:
        told = _install("lxc102", "--uninstall")
        assert "removed certagent-agent.service" in told
        assert witness.inside("lxc102", "certagent", "--version", check=False).returncode != 0
        assert _sh("lxc102", "ls /etc/systemd/system | grep -c certagent || true").strip() == "0"
        _sh("lxc102", "systemctl restart traefik")
        until("it is served", 20, lambda: _is_served(served))
    finally:
        witness.lab("up")
    wait_until_green(60)
    assert witness.served("10.0.0.12", TRAEFIK) == served


def _is_served(fingerprint: str) -> bool:
    try:
        return witness.served("10.0.0.12", TRAEFIK) == fingerprint
    except witness.Unseen:
        return False


@pytest.mark.parametrize("node", ["lxc101", "lxc102", "lxc103", "lxc104"])
def test_the_units_are_hardened_where_they_run(green: None, node: str) -> None:
    """As systemd itself rates them, in an unprivileged container; beside the CA, too."""
    units = ["certagent-agent", "certagent-collector"] if node == "lxc104" else ["certagent-agent"]
    for unit in units:
        assert _sh(node, f"systemctl is-active {unit}").strip() == "active"
        last = _sh(node, f"systemd-analyze security {unit}.service --no-pager | tail -n1")
        assert float(last.rpartition(": ")[2].split()[0]) <= 3.0, last


def test_an_agent_that_hangs_is_started_again(green: None) -> None:
    """Stopped by a signal, as one that hangs; the watchdog's time is made short for the test."""
    folder = "/run/systemd/system/certagent-agent.service.d"
    short = "[Service]\\nWatchdogSec=2\\nTimeoutAbortSec=1\\n"
    _sh("lxc102", f"mkdir -p {folder}; printf '{short}' > {folder}/short.conf")
    _sh("lxc102", "systemctl daemon-reload; systemctl restart certagent-agent")

    def is_another() -> bool:
        look = "systemctl is-active certagent-agent; systemctl show -p MainPID --value certagent-agent"
        state, _, main = witness.inside("lxc102", "sh", "-c", look, check=False).stdout.strip().partition("\n")
        return state == "active" and main not in ("0", pid)

    try:
        pid = _sh("lxc102", "systemctl show -p MainPID --value certagent-agent").strip()
        _sh("lxc102", f"kill -STOP {pid}")
        until("another one runs", 60, is_another)
    finally:
        _sh("lxc102", f"rm -r {folder}; systemctl daemon-reload; systemctl restart certagent-agent")
    until("a check proceeds", 30, lambda: witness.certagent("lxc102", "check")[0] == 0)
