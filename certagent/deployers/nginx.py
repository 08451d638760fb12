"""nginx: two configured files, tested, reloaded. Neither `nginx -t` nor a reload is evidence; a handshake is.

A reload that did not take shows in nginx's own processes, which are only read: it keeps its workers, and its error log
says why (docs/facts.md).
"""

import asyncio
import os
import re
from collections.abc import Sequence
from pathlib import Path

import msgspec

from certagent.config import NginxTarget
from certagent.deployers.generation_store import SymlinkedPair
from certagent.domain.catalogue import Fact
from certagent.domain.deployments import Fault, Generation, Proof
from certagent.domain.web_servers.nginx_tls import WorkerReader
from certagent.system.processes import ReloadCoordinator, attempt
from certagent.system.procfs import ProcFs

_MASTER = "nginx: master process"
_WORKER = "nginx: worker process"
_LEAVING = "is shutting down"
_GRAVE = ("[emerg]", "[alert]", "[crit]")
_CLIENT = re.compile(r"(?: while [^,]*)?, client: .*")
_LARGEST_READ = 64 * 1024
_LONGEST_LINE = 300


class NginxProcesses(msgspec.Struct, frozen=True):
    """One moment: the workers that are not leaving, by number, and how long each error log was."""

    workers: frozenset[int]
    logs: dict[str, int]
    masters: frozenset[int] = frozenset()

    def were_kept(self, now: "NginxProcesses") -> bool:
        """Whether no new worker has come since."""
        return now.workers <= self.workers

    def said_since(self, words: Sequence[str] = _GRAVE) -> tuple[str | None, str | None]:
        """(log, line): the first grave line since this moment, or the first with one of the words; of requests, and of
        whoever made them, nothing is told."""
        for log, size in self.logs.items():
            for line in _read_from(Path(log), size).splitlines():
                if any(word in line for word in words):
                    return log, _CLIENT.sub("", line).strip()[:_LONGEST_LINE]
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
    return NginxProcesses(at_work, {name: _size(name) for name in sorted(names)}, frozenset(masters))


def find_worker_user() -> str | None:
    """Whom nginx's workers run as, by number; None where none runs."""
    now, proc = find_workers(), ProcFs()
    users = (proc.user_of(worker) for worker in sorted(now.workers)) if now is not None else ()
    return next((str(user) for user in users if user is not None), None)


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
    """What a reload came to, and nginx's processes just before it. `is_settled`: its new workers alone accept."""

    fault: Fault | None
    before: NginxProcesses | None
    is_settled: bool = False


class Nginx(SymlinkedPair):
    """A pair of files that nginx reads. Implements `Target`."""

    kind = "nginx"
    service = "nginx"

    def __init__(
        self, name: str, settings: NginxTarget, reloads: ReloadCoordinator, worker: WorkerReader | None = None
    ) -> None:
        super().__init__(name, settings, reloads, self.service)
        self._worker = worker
        self.name = f"nginx {settings.certificate}"
        self._reload = _BY_SYSTEMD if _BOOTED_BY_SYSTEMD.is_dir() else _BY_SIGNAL
        self.reloaded: _Reloaded | None = None

    def reader(self) -> str | None:
        """As configured; else whom the worker runs as, where it reads the pair; else the master, which is root."""
        if self._reader is not None or self._worker is None:
            return self._reader or "root"
        return find_worker_user() or self._worker.user

    def reads_because(self) -> str | None:
        """The line with the variable."""
        if self._reader is not None or self._worker is None:
            return None
        place = self._worker.place
        return f"nginx's workers read it at each handshake, by {place.text} ({place.file}:{place.line})"

    async def validate(self) -> Fault | None:
        """`nginx -t` reads the configured paths: what is live, not what is staged."""
        return await attempt(_TEST, TEST_SECONDS, "deploy.validate_failed")

    async def reload(self) -> Fault | None:
        """Through systemd where it runs the machine, else by nginx's own signal. Told is not read: it is over when
        nginx shows that it has."""
        before = await asyncio.to_thread(find_workers)
        fault = await attempt(self._reload, RELOAD_SECONDS, "deploy.reload_failed")
        is_settled = fault is None and before is not None and await _until_loaded(before)
        self.reloaded = _Reloaded(fault, before, is_settled)
        return fault

    def has_settled(self) -> bool:
        """See `Target`: new workers are there, and of the old ones none accepts any more."""
        return self.reloaded is not None and self.reloaded.is_settled

    async def explain(self, generation: Generation, proof: Proof) -> list[Fault]:
        """Whether nginx went on with its old workers, and what its error log has said since the reload."""
        before = self.reloaded.before if self.reloaded is not None else None
        if before is None:
            return []
        now = await asyncio.to_thread(find_workers)
        if now is not None and not before.were_kept(now):  # whatever is served, nginx has read what is live
            return await asyncio.to_thread(_not_loaded, self.name, before)
        not_told = await asyncio.to_thread(_no_master, self.name, now) if now is not None else None
        if not_told is not None:
            return [not_told]
        if self.reloaded is not None and self.reloaded.fault is not None:
            return []  # it was never told, and that is said already
        log, said = await asyncio.to_thread(before.said_since)
        return [_no_effect(self.name, before, now, log, said)]


async def _until_loaded(before: NginxProcesses) -> bool:
    """Whether new workers were seen to accept, and no old one any more: those go on for 100 ms beside the new ones."""
    for _ in range(int(LOAD_SECONDS / _LOOK_EVERY)):
        now = await asyncio.to_thread(find_workers)
        if now is None:
            return False
        if now.workers and not now.workers & before.workers:
            return True
        await asyncio.sleep(_LOOK_EVERY)
    return False


def _not_loaded(name: str, before: NginxProcesses) -> list[Fault]:
    """What the workers say of a pair that they read themselves, for each handshake."""
    log, said = before.said_since((_LOADING,))
    if said is None:
        return []
    file = _QUOTED.search(said)
    facts: dict[str, Fact] = {"target": name, "said": said}
    return [
        Fault(
            code="deploy.unreadable_by_service",
            variant="logged",
            facts=facts,
            file=file[1] if file else log,
            text=said,
        )
    ]


_LOADING = "cannot load certificate"
_QUOTED = re.compile(r"cannot load certificate(?: key)? \"([^\"]+)\"")


def _no_master(name: str, now: NginxProcesses) -> Fault | None:
    """The file with the master's number, where it does not name the master: whoever reloads nginx by it signals nobody,
    or somebody else."""
    file = _pid_file()
    try:
        content = file.read_text(encoding="ascii", errors="replace")[:_LONGEST_LINE].strip()
    except FileNotFoundError:
        content, said = "", "is missing"
    except OSError as error:
        content, said = "", f"cannot be read ({error.strerror})"
    else:
        said = f"says {content!r}, which is not the process ID of an nginx master" if content else "is empty"
    if content.isdigit() and int(content) in now.masters:
        return None
    facts: dict[str, Fact] = {"target": name, "said": said}
    return Fault(code="deploy.reload_failed", variant="no_master", facts=facts, file=str(file))


def _pid_file(configuration: Path = Path("/etc/nginx/nginx.conf")) -> Path:
    """As configured; else where distributions have it."""
    try:
        named = _PID.search(configuration.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        named = None
    return Path(named[1]) if named else _PID_FILE


_PID = re.compile(r"^\s*pid\s+\"?(/[^\s;\"]+)", re.MULTILINE)
_PID_FILE = Path("/run/nginx.pid")


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
