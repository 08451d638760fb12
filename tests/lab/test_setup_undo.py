"""deploy/setup says what it changes before it does, and --undo takes it back: on a root folder, with stubs of Debian's
programs. tests/nested/test_setup_undo.py does it in a bare Debian."""

import os
import shutil
import stat
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

SETUP = Path(__file__).resolve().parents[2] / "deploy" / "setup"
PROGRAMS = (
    *(
        "bash",
        "cat",
        "comm",
        "cut",
        "dirname",
        "env",
        "find",
        "grep",
        "head",
        "ln",
        "mkdir",
        "mktemp",
        "mv",
        "readlink",
    ),
    *("chmod", "flock", "rm", "rmdir", "sed", "sha256sum", "sort", "tail", "tr", "wc"),
)
DPKG_QUERY = 'while read -r name; do echo "installed $name"; done <"$DB"; echo "config-files gone"'
APT_GET = r"""
all=$*
echo "$all" >>"$CALLS"
case "$all" in
    *" update"*) : >"$CERTAGENT_SETUP_ROOT/var/lib/apt/lists/deb.example_Packages" ;;
    *"-s purge "*) for name in ${all#*purge }; do echo "Purg ${name%%:*} [1]"; done; cat "$NEEDED" 2>/dev/null ;;
    *" purge "*) grep -vxF -f <(printf '%s\n' ${all#*purge }) "$DB" >"$DB.new"; mv "$DB.new" "$DB" ;;
    *" install "*) [ ! -e "$FAILS" ] || exit 1
        printf '%s\n' ${all#*--no-install-recommends } liblxc1:amd64 >>"$DB"
        sort -u -o "$DB" "$DB" ;;
esac
exit 0
"""

State = dict[str, tuple[int, str]]


class Debian:
    """A root folder, and programs that pretend to install into it."""

    def __init__(self, folder: Path) -> None:
        self.root, self.programs, self.home = folder / "root", folder / "bin", folder / "home"
        self.database, self.calls = folder / "installed", folder / "calls"
        self.needed, self.fails = folder / "needed", folder / "fails"
        for made in ("etc/systemd/system", "usr/sbin", "var/lib/apt/lists", "var/lib/lxc"):
            (self.root / made).mkdir(parents=True)
        (self.root / "etc/subuid").write_text("daniel:100000:65536\n")
        (self.root / "etc/subgid").write_text("")
        self.programs.mkdir()
        self.home.mkdir()
        self.database.write_text("bash\nlibc6:amd64\n")
        for name in PROGRAMS:
            (self.programs / name).symlink_to(shutil.which(name) or name)
        for name, script in {
            "apt-get": APT_GET,
            "dpkg-query": DPKG_QUERY,
            "id": "echo 0",
            "newuidmap": "exit 1",
        }.items():
            self.add(name, script)

    def add(self, name: str, script: str) -> None:
        """Put a program on the PATH."""
        (self.programs / name).write_text(f"#!/bin/bash\n{script}\n")
        (self.programs / name).chmod(0o755)

    def set_up(self, *options: str) -> subprocess.CompletedProcess[str]:
        """Run deploy/setup; nothing of this machine is within its reach."""
        environment: Mapping[str, str] = {
            "PATH": str(self.programs),
            "HOME": str(self.home),
            "CERTAGENT_SETUP_ROOT": str(self.root),
            "DB": str(self.database),
            "CALLS": str(self.calls),
            "NEEDED": str(self.needed),
            "FAILS": str(self.fails),
        }
        return subprocess.run([SETUP, *options], env=environment, capture_output=True, text=True, check=False)

    def state(self) -> State:
        """Every file, folder and link below the root, and what is installed."""
        found = {}
        for path in sorted(self.root.rglob("*")):
            mode = path.lstat().st_mode
            content = os.readlink(path) if path.is_symlink() else (path.read_text() if path.is_file() else "")
            found[str(path.relative_to(self.root))] = (stat.S_IFMT(mode), content)
        return found | {"installed": (0, self.database.read_text())}


@pytest.fixture
def debian(tmp_path: Path) -> Debian:
    """On which nothing was ever set up. It ends without a Python, after everything else."""
    return Debian(tmp_path)


def test_it_says_what_it_changes_before_it_does(debian: Debian) -> None:
    """Packages, masks, files; and every change is among what was said."""
    before = debian.state()
    debian.add("apt-get", "echo called >&3; exit 1")  # nothing is installed: it fails at the first step
    done = debian.set_up()
    said = done.stderr.partition("installing Debian packages")[0]
    assert "installs by apt-get, after an update of its lists: lxc debootstrap nftables" in said
    assert "masks, so that no boot starts them: lxc-net.service postgresql.service" in said
    assert "writes /etc/postgresql-common/createcluster.conf" in said
    assert "writes /usr/sbin/policy-rc.d, only meanwhile" in said
    assert "deploy/setup --undo takes it back" in said
    for path in set(debian.state()) - set(before):
        told = Path(path).name in said or path.startswith(("var/lib/certagent-setup", "etc/postgresql-common"))
        assert told, path


@pytest.mark.parametrize("options", [(), ("--tests",)])
def test_undo_leaves_it_as_it_was(debian: Debian, options: tuple[str, ...]) -> None:
    """Byte by byte, and package by package; a second time there is nothing to do."""
    before = debian.state()
    debian.set_up(*options)
    changed = debian.state()
    assert changed["etc/systemd/system/lxc-net.service"][1] == "/dev/null"
    assert "root:100000:65536" in changed["etc/subuid"][1]
    assert "liblxc1:amd64" in changed["installed"][1]
    undone = debian.set_up("--undo")
    assert undone.returncode == 0, undone.stderr
    assert debian.state() == before
    assert "removes the packages that it brought: " in undone.stderr
    assert "unmasks lxc-net.service" in undone.stderr
    assert "nothing to take back" in debian.set_up("--undo").stderr


def test_it_takes_back_only_what_it_did(debian: Debian) -> None:
    """What was there before stays, and what somebody has changed since."""
    masked = debian.root / "etc/systemd/system/prometheus.service"
    masked.symlink_to("/dev/null")
    (debian.root / "etc/subgid").write_text("root:100000:65536\n")
    (debian.root / "var/lib/apt/lists/other_Packages").touch()
    debian.set_up()
    own = debian.root / "etc/systemd/system/postgresql.service"
    own.unlink()
    own.write_text("[Unit]\n")
    assert debian.set_up("--undo").returncode == 0
    assert masked.is_symlink()
    assert own.read_text() == "[Unit]\n"
    assert (debian.root / "etc/subgid").read_text() == "root:100000:65536\n"
    assert (debian.root / "etc/subuid").read_text() == "daniel:100000:65536\n"
    assert (debian.root / "var/lib/apt/lists/deb.example_Packages").exists()
    assert debian.database.read_text() == "bash\nlibc6:amd64\n"


@pytest.mark.parametrize("obstacle", ["needed", "container", "lab"])
def test_it_changes_nothing_where_that_would_take_more(debian: Debian, obstacle: str) -> None:
    """Packages that others need by now, somebody's containers, a lab that is up: one sentence, and nothing else."""
    debian.set_up()
    if obstacle == "needed":
        debian.needed.write_text("Purg lxc-templates [3]\n")
    else:
        place = "var/lib/lxc/mine/config" if obstacle == "container" else "var/lib/certagent-lab/complete"
        (debian.root / place).mkdir(parents=True)
    before = debian.state()
    done = debian.set_up("--undo")
    assert done.returncode == 1
    assert debian.state() == before
    reasons = {"needed": "lxc-templates", "container": "/var/lib/lxc is in use", "lab": "a lab is up"}
    assert reasons[obstacle] in done.stderr


def test_an_installation_that_was_cut_off_is_taken_back_too(debian: Debian) -> None:
    """What had been changed until then, and what came all the same."""
    before = debian.state()
    debian.fails.touch()
    assert debian.set_up().returncode == 1
    debian.database.write_text(f"{debian.database.read_text()}lxc\n")
    assert debian.set_up("--undo").returncode == 0
    assert debian.state() == before


def test_one_run_takes_back_what_it_brought_alone(debian: Debian) -> None:
    """As the end of `deploy/quickstart --once` does."""
    debian.set_up("--no-lab")  # brings Python
    first = debian.state()
    mark = debian.set_up("--mark").stdout.strip()
    assert int(mark) > 0
    debian.set_up()
    assert debian.state() != first
    assert debian.set_up("--undo", "--since", mark).returncode == 0
    assert debian.state() == first
    assert debian.set_up("--undo", "--since", mark).returncode == 0


def test_the_cache_goes_only_when_asked(debian: Debian) -> None:
    """It is not the machine's, but the user's."""
    cached = debian.home / ".cache/certagent/layers"
    cached.mkdir(parents=True)
    assert debian.set_up("--undo").returncode == 0
    assert cached.exists()
    assert debian.set_up("--undo", "--cache").returncode == 0
    assert not cached.parent.exists()


@pytest.mark.parametrize("words", [["--undo", "--all"], ["--undo", "--since", "x"], ["--cache"], ["--undoo"]])
def test_what_it_does_not_know_changes_nothing(debian: Debian, words: list[str]) -> None:
    before = debian.state()
    done = debian.set_up(*words)
    assert (done.returncode, debian.state()) == (2, before)
    assert done.stderr.startswith("usage: deploy/setup")
