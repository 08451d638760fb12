"""Takes the lab down by looking for what is there: nothing here trusts a record of what was started.

So it works after a crash, a Ctrl-C or a kill -9 in the middle of `up` as it does after a good one.
"""

import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from deploy.lab import places
from deploy.lab.processes import Failed, run

_BOUND = 10.0
"""Seconds within which what was killed has to be gone."""


def take_down() -> None:
    """Remove every process, container, mount, control group, namespace and file of the lab.

    Raises:
        Failed: something would not go; it is named.
    """
    _end_processes()
    for mount in _mounts():
        run(["umount", "--lazy", mount])
    _remove_groups()
    for folder in (places.RUNTIME, places.workshop()):
        shutil.rmtree(folder, ignore_errors=True)
        if folder.exists():
            shutil.rmtree(folder)
    _remove_locks()


def found() -> list[str]:
    """What of the lab is on this machine, one line a thing; empty when it is down."""
    return [
        *(f"process {pid}" for pid in _processes()),
        *(f"mount {mount}" for mount in _mounts()),
        *(f"control group {group}" for group in _groups()),
        *(f"file {path}" for path in (places.RUNTIME, places.LXC_LOCKS) if path.exists()),
    ]


def _end_processes() -> None:
    until = time.monotonic() + _BOUND
    killed: set[int] = set()
    while running := set(_processes()) | {pid for pid in killed if _is_ending(pid)}:
        if time.monotonic() > until:
            raise Failed(f"processes {sorted(running)} of the lab would not end")
        for pid in running - killed:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
            killed.add(pid)
        time.sleep(0.01)  # not a wait for work: the condition above is asked again at once


def _is_ending(pid: int) -> bool:
    """Whether it is still there. One that has ended, and waits for its parent to notice, is not."""
    states = [line.split()[1] for line in _read(Path(f"/proc/{pid}/status")).splitlines() if line.startswith("State:")]
    return states not in ([], ["Z"], ["X"])


def _processes() -> Iterator[int]:
    """Processes in the lab's control groups (the containers and their monitors), and marked ones outside them.

    Of the marked ones only those of this PID namespace: a container of this machine may have a lab of its own.
    """
    spared = _myself()
    seen: set[int] = set()
    for group in _groups():
        seen.update(int(pid) for pid in _read(group / "cgroup.procs").split())
    mark = f"{places.MARK}={places.RUNTIME}".encode()
    here = Path("/proc/self/ns/pid").readlink()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and mark in _read(entry / "environ").encode().split(b"\0") and _is_in(entry, here):
            seen.add(int(entry.name))
    yield from seen - spared - {0}


def _is_in(process: Path, namespace: Path) -> bool:
    try:
        return (process / "ns" / "pid").readlink() == namespace
    except OSError:
        return False


def _myself() -> set[int]:
    """This process and those it descends from: a script that marks itself must not be killed by its own `down`."""
    spared, pid = set(), os.getpid()
    while pid > 0:
        spared.add(pid)
        status = _read(Path(f"/proc/{pid}/status"))
        pid = next((int(line.split()[1]) for line in status.splitlines() if line.startswith("PPid:")), 0)
    return spared


def _mounts() -> list[str]:
    """The lab's mount points, the innermost first."""
    tops = tuple(f"{folder}/" for folder in (places.RUNTIME, places.workshop()))
    points = (line.split()[4] for line in _read(Path("/proc/self/mountinfo")).splitlines())
    return sorted((point for point in points if point.startswith(tops)), reverse=True)


def _groups() -> list[Path]:
    """The lab's control groups in every hierarchy, the innermost first.

    LXC puts them beside init's own, and nowhere else: further down may be those of a lab within a container.
    """
    inits = {line.split(":", 2)[2].removesuffix("/init.scope") for line in _read(Path("/proc/1/cgroup")).splitlines()}
    root = Path("/sys/fs/cgroup")
    hierarchies = [root, *(path for path in root.iterdir() if path.is_dir())] if root.is_dir() else []
    tops = {hierarchy / init.lstrip("/") / places.CGROUP for hierarchy in hierarchies for init in inits}
    return sorted((Path(folder) for top in tops for folder, _, _ in os.walk(top)), reverse=True)


def _remove_groups() -> None:
    until = time.monotonic() + _BOUND
    while groups := _groups():
        for group in groups:
            try:
                group.rmdir()
            except OSError:
                if time.monotonic() > until:
                    raise Failed(f"the control group {group} cannot be removed") from None
        time.sleep(0.005)


def _remove_locks() -> None:
    """LXC's lock files, and the folders that hold nothing else."""
    shutil.rmtree(places.LXC_LOCKS, ignore_errors=True)
    for folder in places.LXC_LOCKS.parents:
        if not folder.is_relative_to("/run/lxc"):
            break
        try:
            folder.rmdir()
        except OSError:
            break


def _read(path: Path) -> str:
    """The file's text, or nothing when it (or the process it tells of) is gone."""
    try:
        return path.read_bytes().decode(errors="replace")
    except OSError:
        return ""
