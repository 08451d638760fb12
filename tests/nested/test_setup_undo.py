"""`deploy/setup` and `--undo` on a machine on which nobody has installed anything: file by file as before."""

import hashlib
import os
import stat
from pathlib import Path

import pytest

from tests.nested import traces
from tests.nested.bare import Bare, bare_debian

pytestmark = pytest.mark.nested

SETUP_SECONDS = 900.0
LEFT_BY_DEBIAN = (
    "dev", "proc", "run", "sys", "tmp",  # not on its disk
    "root/certagent",  # the tree itself: byte code
    "var/cache", "var/log", "var/tmp",  # of apt, debconf, ldconfig, dpkg
    "var/lib/apt",  # the lists were there, and are newer now
    "var/lib/dpkg",  # compared by what is installed
    "var/lib/systemd/deb-systemd-helper-enabled", "var/lib/systemd/deb-systemd-helper-masked",
    "var/lib/ucf", "var/lib/pam",
    "etc/ld.so.cache", "etc/ssl/certs", "etc/ca-certificates",  # caches that are made anew
    "etc/passwd", "etc/passwd-", "etc/shadow", "etc/shadow-", "etc/group", "etc/group-", "etc/gshadow", "etc/gshadow-",
    "etc/subuid", "etc/subuid-", "etc/subgid", "etc/subgid-",  # Debian's packages keep their users when they are purged
)  # fmt: skip
"""What Debian itself does not take back when packages are purged, or makes anew; nothing of it is ours."""

UNITS = ("etc/systemd", "lib/systemd", "usr/lib/systemd")
NOTES = "var/lib/certagent-setup"

Files = dict[str, tuple[int, int, int, str]]


@pytest.mark.timeout(1800)
def test_a_bare_debian_is_afterwards_what_it_was(tmp_path: Path) -> None:
    """Packages, files and units before and after; and while it is set up, what it changes is said first."""
    log = tmp_path / "setup.log"
    with bare_debian() as machine:
        files, packages = _files(machine.root), _packages(machine, tmp_path)
        assert machine.run("./deploy/setup", log=log, timeout=SETUP_SECONDS) == 0, log.read_text()[-4000:]
        told = log.read_text()
        assert told.index("changes this machine:") < told.index("installing Debian packages")
        assert _packages(machine, tmp_path) > packages
        assert (machine.root / "etc/systemd/system/lxc-net.service").is_symlink()
        undo = machine.run("./deploy/setup", "--undo", "--cache", log=log, timeout=SETUP_SECONDS)
        assert undo == 0, log.read_text()[-4000:]
        assert _packages(machine, tmp_path) == packages
        after = _files(machine.root)
        assert _differences(files, after) == []
        assert [path for path in after if path.startswith(UNITS) and path not in files] == []
        assert not (machine.root / NOTES).exists()
        assert not (machine.root / "root/.cache/certagent").exists()
    assert traces.left_of(machine.folder) == []


def _packages(machine: Bare, folder: Path) -> set[str]:
    """What is installed, with its version."""
    log = folder / "packages"
    log.unlink(missing_ok=True)
    form = "${db:Status-Status} ${binary:Package} ${Version}\\n"
    assert machine.run("dpkg-query", "-W", "-f", form, log=log, timeout=30) == 0
    return {line for line in log.read_text().splitlines() if line.startswith("installed ")}


def _files(root: Path) -> Files:
    """Every file, folder and link on the machine's own disk, but for what Debian leaves."""
    found: Files = {}
    for folder, folders, names in os.walk(root):
        here = Path(folder).relative_to(root)
        folders[:] = [name for name in folders if not _is_left(here / name)]
        for name in [*folders, *names]:
            if not _is_left(here / name):
                found[str(here / name)] = _state(root / here / name)
    return found


def _is_left(path: Path) -> bool:
    return any(str(path) == one or str(path).startswith(f"{one}/") for one in LEFT_BY_DEBIAN)


def _state(path: Path) -> tuple[int, int, int, str]:
    status = path.lstat()
    content = ""
    if stat.S_ISLNK(status.st_mode):
        content = os.readlink(path)
    elif stat.S_ISREG(status.st_mode):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
    return status.st_mode, status.st_uid, status.st_gid, content


def _differences(before: Files, after: Files) -> list[str]:
    gone = [f"gone: {path}" for path in before if path not in after]
    new = [f"new: {path}" for path in after if path not in before]
    changed = [f"changed: {path}" for path, state in before.items() if path in after and after[path] != state]
    return gone + new + changed
