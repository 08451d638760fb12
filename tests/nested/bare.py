"""A fresh, bare Debian in a privileged container of its own: it may make containers, and has nothing to make them with.

It shares this machine's kernel and network (it has to fetch packages); everything else is its own. LXC's command
sockets are abstract, so with the network they are shared too: only one lab may be up, this machine's or that inside.
"""

import hashlib
import os
import shutil
import string
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from deploy.lab import places, rootfs
from deploy.lab.processes import Failed
from tests.nested import handed, traces

NAME = "bare"
GIT = ("git", "-c", "safe.directory=*", "-C", str(places.TREE))
DEBOOTSTRAP = ("debootstrap", "--variant=minbase")
TREE = "/root/certagent"
"""Where the repository's files lie inside."""
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

SETTINGS = string.Template("""\
lxc.include = /usr/share/lxc/config/common.conf
lxc.include = /usr/share/lxc/config/nesting.conf
lxc.apparmor.profile = unconfined
lxc.mount.auto =
lxc.mount.auto = proc:rw sys:rw cgroup:rw:force
# What any machine's init mounts, and this one's does not: semaphores lie there.
lxc.mount.entry = tmpfs dev/shm tmpfs nosuid,nodev,mode=1777,create=dir 0 0
lxc.net.0.type = none
lxc.console.path = none
lxc.tty.max = 0
lxc.uts.name = $name
lxc.rootfs.path = dir:$root
lxc.cgroup.dir = $group
""")


@dataclass(frozen=True)
class Bare:
    """The running machine. `folder` holds its root and LXC's settings, and has given its control groups their name."""

    folder: Path

    @property
    def root(self) -> Path:
        """Its root, as this machine sees it."""
        return self.folder / "root"

    def run(self, *argv: str, log: Path, timeout: float) -> int:
        """Run a program in the repository's folder and give its exit status; what it says goes to `log` at once.

        Raises:
            subprocess.TimeoutExpired: it was not done after `timeout` seconds.
        """
        variables = {"PATH": PATH, "HOME": "/root", "LANG": "C.UTF-8", **handed.environment()}
        given = [word for name, value in variables.items() for word in ("-v", f"{name}={value}")]
        program = ["/bin/sh", "-c", 'cd "$0" && exec "$@"', TREE, *argv]
        with log.open("ab") as said:
            return subprocess.run(
                ["lxc-attach", *_named(self.folder), "--clear-env", *given, "--", *program],
                stdin=subprocess.DEVNULL, stdout=said, stderr=said, timeout=timeout, check=False,
            ).returncode  # fmt: skip

    def inventory(self) -> list[str]:
        """Its processes, mounts and control groups, one line a thing."""
        first = _output("lxc-info", *_named(self.folder), "-p", "-H").strip()
        mounts = Path(f"/proc/{first}/mountinfo").read_text().splitlines()
        return [
            *(f"process {pid}: {traces.command_of(pid)}" for pid in traces.processes(self.folder.name)),
            *(f"mount {line.split()[4]}" for line in mounts),
            *(f"control group {group}" for group in traces.groups(self.folder.name)),
        ]


@contextmanager
def bare_debian(release: rootfs.Release = rootfs.BOOKWORM) -> Iterator[Bare]:
    """A fresh machine with the repository's files in it; however this ends, nothing of it stays."""
    folder = Path(tempfile.mkdtemp(prefix="certagent-nested-", dir="/var/tmp"))  # on disk
    machine = Bare(folder)
    try:
        _fill(machine.root, release)
        handed.put_into(machine.root, release)
        _put_tree(machine.root / TREE.lstrip("/"))
        with _running(machine):
            yield machine
    finally:
        traces.remove(folder)


def _fill(root: Path, release: rootfs.Release) -> None:
    """A minimal Debian: from the cache, else made (half a minute) and put there."""
    root.mkdir()
    what = (*DEBOOTSTRAP, release.name)
    recipe = hashlib.sha256(" ".join(what).encode()).hexdigest()[:16]
    packed = places.cache() / "nested" / f"debian-{recipe}.tar"
    if packed.exists():
        _do("tar", "-x", "-p", "--numeric-owner", "-C", root, "-f", packed)
        return
    alone = ("unshare", "--mount", "--pid", "--fork", "--kill-child")
    _do(*alone, *what, root, rootfs.mirror(), **rootfs.proxy())
    partial = root.parent / packed.name
    _do("tar", "-c", "--numeric-owner", "--exclude=./var/cache/apt/archives/*.deb", "-C", root, "-f", partial, ".")
    packed.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(partial, packed)


def _put_tree(target: Path) -> None:
    """The repository as its clone would be: what is tracked, or would be."""
    target.mkdir(parents=True)
    listed = _output(*GIT, "ls-files", "-z", "-co", "--exclude-standard").split("\0")
    for name in listed:
        source, copy = places.TREE / name, target / name
        if name and os.path.lexists(source):
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, copy, follow_symlinks=False)


@contextmanager
def _running(machine: Bare) -> Iterator[None]:
    """Started with LXC's own small init, which only reaps: a bare Debian has no systemd."""
    settings = machine.folder / "lxc" / NAME / "config"
    settings.parent.mkdir(parents=True)
    settings.write_text(SETTINGS.substitute(name=NAME, root=machine.root, group=machine.folder.name))
    said = machine.folder / "lxc.log"
    start = ["lxc-execute", *_named(machine.folder), "-o", str(said), "--", "sleep", "infinity"]
    # It must not outlive this process even where that is killed, and a Ctrl-C is not for it.
    monitor = subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", *start], stdin=subprocess.DEVNULL, start_new_session=True
    )
    try:
        try:
            _do("lxc-wait", *_named(machine.folder), "-s", "RUNNING", "-t", "30")
        except Failed as late:
            raise Failed(f"the container does not start: {said.read_text()}") from late
        yield
    finally:
        monitor.kill()
        monitor.wait()
        traces.end_processes(machine.folder.name)


def _named(folder: Path) -> tuple[str, ...]:
    return ("-P", str(folder / "lxc"), "-n", NAME)


def _do(*argv: str | Path, **variables: str) -> None:
    environment = {**os.environ, **variables}
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment, check=False)
    if done.returncode != 0:
        raise Failed(f"{argv[0]}: exit status {done.returncode}\n{(done.stdout + done.stderr)[-2000:]}")


def _output(*argv: str | Path) -> str:
    return subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=True).stdout
