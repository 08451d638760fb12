"""deploy/setup on machines where it must not do what it does elsewhere."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SETUP = Path(__file__).resolve().parents[2] / "deploy" / "setup"
PROGRAMS = (
    *("bash", "cat", "chmod", "comm", "cut", "dirname", "env", "grep", "head", "id", "ln", "mkdir", "mktemp", "mv"),
    *("readlink", "rm", "sed", "sha256sum", "sort", "tail", "wc"),
)


class Machine:
    """A machine without LXC whose apt-get and dpkg-query are stubs; the first notes that it was called."""

    def __init__(self, folder: Path) -> None:
        self.programs = folder / "bin"
        self.home = folder / "home"
        self.root = folder / "root"
        self.installed = folder / "installed"
        (self.root / "usr/sbin").mkdir(parents=True)
        self.programs.mkdir()
        self.home.mkdir()
        for name in PROGRAMS:
            (self.programs / name).symlink_to(shutil.which(name) or name)
        self.add("apt-get", f"echo called >>{self.installed}; exit 1")

    def add(self, name: str, script: str) -> None:
        """Put a program on the PATH."""
        program = self.programs / name
        program.write_text(f"#!/bin/bash\n{script}\n")
        program.chmod(0o755)

    def set_up(self, *options: str) -> subprocess.CompletedProcess[str]:
        """Run deploy/setup."""
        return subprocess.run(
            [SETUP, *options],
            env={"PATH": str(self.programs), "HOME": str(self.home), "CERTAGENT_SETUP_ROOT": str(self.root)},
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Debian, as far as it is known."""
    return Machine(tmp_path)


@pytest.mark.parametrize("options", [(), ("--tests",), ("--no-lab", "--tests")])
@pytest.mark.parametrize(
    ("program", "script", "sign"),
    [
        ("pct", "exit 0", "pct is on the PATH"),
        ("dpkg-query", '[ "${*: -1}" = pve-manager ] && echo -n installed', "the package pve-manager is installed"),
    ],
)
def test_it_refuses_on_a_proxmox_host(
    machine: Machine, program: str, script: str, sign: str, options: tuple[str, ...]
) -> None:
    """Debian's lxc conflicts with Proxmox's: nothing is installed or written, and it says what to do instead."""
    machine.add(program, script)
    done = machine.set_up(*options)
    assert done.returncode == 1
    assert sign in done.stderr
    assert "deploy/lxc/install" in done.stderr
    assert not machine.installed.exists()
    assert not os.listdir(machine.home)
    assert done.stdout == ""


def test_a_removed_proxmox_package_is_no_proxmox(machine: Machine) -> None:
    """Where pve-manager was removed and left its configuration, this is an ordinary Debian: it goes on to install."""
    machine.add("dpkg-query", "echo -n config-files")
    done = machine.set_up()
    assert "Proxmox" not in done.stderr
    assert machine.installed.exists() or "only root can install" in done.stderr
