"""The package's scripts, run by a shell on folders of their own, with stand-ins for the programs that they call."""

import os
import subprocess
from pathlib import Path

import pytest

from deploy.lab.places import TREE

SCRIPTS = TREE / "deploy" / "release" / "debian"
VERSION = "0.2.0-1~deb12u1"
_PLACES = {
    "/opt/certagent": "opt",
    "/etc/certagent": "etc",
    "/var/lib/certagent": "state",
    "/usr/local/bin/certagent": "local",
    "/usr/lib/certagent": "library",
    "/run/certagent-package-active": "active",
}


class Machine:
    """Where the scripts run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("bin", "etc", "state"):
            (folder / name).mkdir()
        for program in ("runuser", "systemctl", "deb-systemd-invoke", "getent", "userdel"):
            self.stand_in(program, 0)

    def stand_in(self, program: str, status: int) -> None:
        """That program does nothing but write down its words."""
        file = self.folder / "bin" / program
        file.write_text(f'#!/bin/sh\necho "{program} $*" >>"{self.folder}/calls"\nexit {status}\n')
        file.chmod(0o755)

    def run(self, script: str, *words: str) -> "subprocess.CompletedProcess[str]":
        """As dpkg runs it."""
        text = (SCRIPTS / script).read_text().replace("@version@", VERSION).replace("@schema@", "0010")
        for place, instead in _PLACES.items():
            text = text.replace(place, str(self.folder / instead))
        environment = {**os.environ, "PATH": f"{self.folder}/bin:/usr/bin:/bin"}
        command = ["dash", "-c", text, script, *words]
        return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)

    def calls(self) -> list[str]:
        """Each program with its words."""
        notes = self.folder / "calls"
        return notes.read_text().splitlines() if notes.exists() else []


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """With configuration and state, and nothing else."""
    return Machine(tmp_path)


@pytest.mark.parametrize("trace", ["opt/lib", "local"])
def test_the_installers_certagent_is_not_overlaid(machine: Machine, trace: str) -> None:
    """What to do instead is said, and dpkg changes nothing."""
    (machine.folder / trace).parent.mkdir(exist_ok=True)
    (machine.folder / trace).touch()
    done = machine.run("preinst", "install")
    assert done.returncode == 1
    assert "deploy/lxc/install NODE --uninstall" in done.stderr


def test_a_downgrade_puts_the_database_back(machine: Machine) -> None:
    """By the newer program, which is still there, to the schema that the older one knows; as the collector's user."""
    (machine.folder / "etc" / "collector.toml").touch()
    assert machine.run("preinst", "upgrade", "0.3.0-1~deb12u1").returncode == 0
    assert machine.calls() == ["runuser -u certagent-collector -- /usr/bin/certagent store go-back 0010"]


def test_a_downgrade_that_cannot_put_it_back_does_not_happen(machine: Machine) -> None:
    """dpkg stops, and has the newer one go on."""
    (machine.folder / "etc" / "collector.toml").touch()
    machine.stand_in("runuser", 1)
    assert machine.run("preinst", "upgrade", "0.3.0-1~deb12u1").returncode == 1


def test_an_upgrade_leaves_the_database_alone(machine: Machine) -> None:
    """The collector itself migrates it. An agent alone has none."""
    (machine.folder / "etc" / "collector.toml").touch()
    assert machine.run("preinst", "upgrade", "0.1.0-1~deb12u1").returncode == 0
    (machine.folder / "etc" / "collector.toml").unlink()
    assert machine.run("preinst", "upgrade", "0.3.0-1~deb12u1").returncode == 0
    assert machine.calls() == []


def test_a_purge_leaves_configuration_and_state(machine: Machine) -> None:
    """And says so; empty folders are nobody's."""
    (machine.folder / "state" / "account").touch()
    done = machine.run("postrm", "purge")
    assert done.returncode == 0, done.stderr
    assert (machine.folder / "state" / "account").exists()
    assert f"{machine.folder}/state stays" in done.stdout
    assert not (machine.folder / "etc").exists()


def test_a_purge_that_was_asked_to_removes_them(machine: Machine) -> None:
    """And the collector's user."""
    (machine.folder / "state" / "account").touch()
    (machine.folder / "etc" / "purge-state").touch()
    assert machine.run("postrm", "purge").returncode == 0
    assert not (machine.folder / "state").exists()
    assert not (machine.folder / "etc").exists()
    assert machine.calls()[-1] == "userdel certagent-collector"


def test_a_removal_heeds_no_flag(machine: Machine) -> None:
    """Only a purge does."""
    (machine.folder / "etc" / "purge-state").touch()
    assert machine.run("postrm", "remove").returncode == 0
    assert (machine.folder / "state").is_dir()
