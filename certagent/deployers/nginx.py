"""nginx: two configured files, tested, reloaded. Neither `nginx -t` nor a reload is evidence; a handshake is.

A reload that did not take shows in nginx's own processes, which are only read: it keeps its workers, and its error log
says why (FACTS).
"""

import asyncio
import os
from pathlib import Path

import msgspec

from certagent.config import NginxTarget
from certagent.deployers.generation_store import SymlinkedPair
from certagent.domain.deployments import Fault, Generation, Proof
from certagent.system.processes import ReloadCoordinator, attempt
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
        found = [process for process in proc.processes("nginx") if proc.shares(process.pid, "pid")]
    except OSError:
        return None
    masters = [process.pid for process in found if process.command[0].startswith(_MASTER)]
    if not masters:
        return None
    names = {name for pid in masters for name in proc.open_files(pid) if "error" in Path(name).name}
    workers = [process for process in found if process.command[0].startswith(_WORKER)]
    at_work = frozenset(process.pid for process in workers if _LEAVING not in process.command[0])
    return NginxProcesses(at_work, {name: _size(name) for name in sorted(names)})


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


TEST_SECONDS = 20.0
RELOAD_SECONDS = 30.0
LOAD_SECONDS = 5.0
"""How long nginx may take to read its configuration, once told to, until its new workers are there."""
_LOOK_EVERY = 0.02

_BOOTED_BY_SYSTEMD = Path("/run/systemd/system")
_TEST = ("nginx", "-t", "-q")
_BY_SYSTEMD = ("systemctl", "reload", "nginx")
_BY_SIGNAL = ("nginx", "-s", "reload")


class _Reloaded(msgspec.Struct, frozen=True):
    """What a reload came to, and nginx's processes just before it."""

    fault: Fault | None
    before: NginxProcesses | None


class Nginx(SymlinkedPair):
    """A pair of files that nginx reads. Implements `Target`."""

    kind = "nginx"
    service = "nginx"

    def __init__(self, name: str, settings: NginxTarget, reloads: ReloadCoordinator) -> None:
        self._certificate_name = name
        super().__init__(name, settings, reloads.files_of(self.service))
        self.name = f"nginx {settings.certificate}"
        self._reload = _BY_SYSTEMD if _BOOTED_BY_SYSTEMD.is_dir() else _BY_SIGNAL
        self._reloads = reloads
        self._reloaded: _Reloaded | None = None

    async def validate(self) -> Fault | None:
        """`nginx -t` reads the configured paths: what is live, not what is staged."""
        return await self._reloads.run_shared(_TEST, _test, reads=self.files)

    async def reload(self) -> Fault | None:
        """Through systemd where it runs the machine, else by nginx's own signal; once for all who wait for it."""
        self._reloaded = await self._reloads.reload(self.service, self._certificate_name, self._reload_once)
        return self._reloaded.fault

    async def explain(self, generation: Generation, proof: Proof) -> list[Fault]:
        """Whether nginx went on with its old workers, and what its error log has said since the reload."""
        before = self._reloaded.before if self._reloaded is not None else None
        if before is None:
            return []
        now = await asyncio.to_thread(find_workers)
        if now is not None and not before.were_kept(now):
            return []  # new ones are at work: whatever is served, nginx has read what is live
        log, said = await asyncio.to_thread(before.said_since)
        return [_no_effect(self.name, before, now, log, said)]

    async def _reload_once(self) -> _Reloaded:
        """Told is not read: it is over when nginx shows that it has."""
        before = await asyncio.to_thread(find_workers)
        fault = await attempt(self._reload, RELOAD_SECONDS, "deploy.reload_failed")
        if fault is None and before is not None:
            await _until_loaded(before)
        return _Reloaded(fault, before)


async def _test() -> Fault | None:
    return await attempt(_TEST, TEST_SECONDS, "deploy.validate_failed")


async def _until_loaded(before: NginxProcesses) -> None:
    for _ in range(int(LOAD_SECONDS / _LOOK_EVERY)):
        now = await asyncio.to_thread(find_workers)
        if now is None or not before.were_kept(now):
            return
        await asyncio.sleep(_LOOK_EVERY)


def _no_effect(
    name: str, before: NginxProcesses, now: NginxProcesses | None, log: str | None, said: str | None
) -> Fault:
    kept = [str(worker) for worker in sorted(before.workers)] if now is not None else []
    return Fault(
        code="deploy.reload_no_effect",
        facts={"target": name, "workers": kept, "said": said},
        file=log,
        text=said,
        detail={"workers": sorted(before.workers)},
    )
