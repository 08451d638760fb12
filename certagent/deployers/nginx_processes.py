"""nginx as its processes show it: the master, the workers at work, the error logs that it writes. Reads only."""

import os
from pathlib import Path

import msgspec

from certagent.system.procfs import ProcFs

_MASTER = "nginx: master process"
_WORKER = "nginx: worker process"
_LEAVING = "is shutting down"
_GRAVE = ("[emerg]", "[alert]", "[crit]")
_LARGEST_READ = 64 * 1024
_LONGEST_LINE = 300


class NginxProcesses(msgspec.Struct, frozen=True):
    """One moment: the workers that are not leaving, by number, and how long each error log was."""

    workers: frozenset[int]
    logs: dict[str, int]

    def were_kept(self, now: "NginxProcesses") -> bool:
        """Whether no new worker has come since."""
        return now.workers <= self.workers

    def said_since(self) -> tuple[str | None, str | None]:
        """(log, line): the first grave line since this moment; requests, and whoever made them, are not told."""
        for log, size in self.logs.items():
            for line in _read_from(Path(log), size).splitlines():
                if any(word in line for word in _GRAVE):
                    return log, line.strip()[:_LONGEST_LINE]
        return next(iter(self.logs), None), None


def find_workers() -> NginxProcesses | None:
    """nginx in this container; None where it does not run, or may not be looked at."""
    proc = ProcFs()
    try:
        found = [one for one in proc.processes("nginx") if proc.shares(one.pid, "pid")]
    except OSError:
        return None
    masters = [one.pid for one in found if one.command[0].startswith(_MASTER)]
    if not masters:
        return None
    names = {name for pid in masters for name in proc.open_files(pid) if "error" in Path(name).name}
    at_work = (one for one in found if one.command[0].startswith(_WORKER) and _LEAVING not in one.command[0])
    return NginxProcesses(frozenset(one.pid for one in at_work), {name: _size(name) for name in sorted(names)})


def _size(name: str) -> int:
    try:
        return os.stat(name).st_size
    except OSError:
        return 0


def _read_from(log: Path, start: int) -> str:
    try:
        with log.open("rb") as file:
            file.seek(start if start <= os.fstat(file.fileno()).st_size else 0)  # it may have been rotated
            return file.read(_LARGEST_READ).decode("utf-8", "replace")
    except OSError:
        return ""
