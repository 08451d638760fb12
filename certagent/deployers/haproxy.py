"""HAProxy: one file with key and chain, tested, reloaded. Neither `haproxy -c` nor a reload is evidence, a handshake
is.

```
<certificate's folder>/.certagent-<name>/<N>/{privkey.pem, fullchain.pem, combined.pem}
<certificate> -> .certagent-<name>/current/combined.pem
```
In a folder that `crt` names, HAProxy passes over folders and whatever begins with a dot.

A reload is the usual way, not the runtime API: what is proven then is what HAProxy reads from disk, now and at its next
start, and nothing in its configuration has to allow it. With `socket` the runtime API replaces the certificate in the
running process: for who cannot have old workers linger behind long connections. HAProxy keeps a payload of its within
one buffer (`tune.bufsize`, 16 KiB unless set).
"""

import asyncio
import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise, takewhile
from pathlib import Path

import msgspec

from certagent.config import Endpoint, HaproxyTarget, endpoint_of, split_endpoint
from certagent.deployers.generation_store import Files, Link, SymlinkedPair
from certagent.deployers.pair_inspection import COMBINED, KEY
from certagent.domain.catalogue import Fact
from certagent.domain.deployments import Fault, Generation, Proof
from certagent.domain.web_servers.haproxy import find_binds, loads
from certagent.system.path_walk import read_linked
from certagent.system.processes import ReloadCoordinator, attempt
from certagent.system.procfs import Process, ProcFs
from certagent.system.regular_files import read_texts

TEST_SECONDS = 20.0
RELOAD_SECONDS = 30.0
LOAD_SECONDS = 5.0
"""How long HAProxy may take to start a new worker, once told to."""
API_SECONDS = 5.0
_LOOK_EVERY = 0.02
_LONGEST_ANSWER = 64 * 1024
_LONGEST_LINE = 300

_BOOTED_BY_SYSTEMD = Path("/run/systemd/system")
_BY_SYSTEMD = ("systemctl", "reload", "haproxy")


class HaproxyProcesses(msgspec.Struct, frozen=True):
    """One moment: the master that runs with a configuration, and its workers, by number. `files`: all that it reads,
    the configuration among them."""

    master: int
    workers: frozenset[int]
    files: tuple[str, ...] = ()


def find_processes(configuration: Path) -> HaproxyProcesses | None:
    """HAProxy in this container that was started with that file or folder, in master-worker mode; None where there is
    none, or where it may not be looked at."""
    proc = ProcFs()
    try:
        found = [process for process in proc.processes("haproxy") if proc.shares(process.pid, "pid")]
    except OSError:
        return None
    matching = [process for process in found if str(configuration) in process.command]
    masters = [process.pid for process in matching if _is_master(process)]
    parents = {process.pid: proc.parent_of(process.pid) for process in matching}
    master = next((pid for pid in masters if parents[pid] not in masters), None)
    if master is None:
        return None
    workers = frozenset(pid for pid, parent in parents.items() if parent == master)
    (command,) = (process.command for process in matching if process.pid == master)
    return HaproxyProcesses(master, workers, _files_in(command))


def _files_in(command: Sequence[str]) -> tuple[str, ...]:
    """What follows each `-f`, and all that follows `--`."""
    options = list(takewhile("--".__ne__, command))
    named = [following for word, following in pairwise(options) if word == "-f"]
    return (*named, *command[len(options) + 1 :])


def read_configuration(configuration: Path) -> list[tuple[str, str]]:
    """(name, text) of all files that the running HAProxy reads; where none runs, of `configuration`. Raises OSError."""
    running = find_processes(configuration)
    files = running.files if running is not None else (str(configuration),)
    return [one for file in files for one in read_texts(Path(file), ".cfg")]


def _is_master(process: Process) -> bool:
    return any(word in ("-W", "-Ws") for word in process.command)


class _Reloaded(msgspec.Struct, frozen=True):
    """What a reload came to, and HAProxy's processes just before it."""

    fault: Fault | None
    before: HaproxyProcesses | None


class Haproxy(SymlinkedPair):
    """A file that HAProxy loads. Implements `Target`."""

    kind = "haproxy"

    def __init__(self, name: str, settings: HaproxyTarget, reloads: ReloadCoordinator) -> None:
        running = ("haproxy", settings.configuration)
        self.service = running if settings.socket is None else None
        super().__init__(name, settings, reloads, running)
        self.name = f"haproxy {settings.certificate}"
        self._configuration = settings.configuration
        self._socket = settings.socket
        self._is_booted_by_systemd = _BOOTED_BY_SYSTEMD.is_dir()
        self.reloaded: _Reloaded | None = None

    def reader(self) -> str | None:
        """As configured; else whom the master runs as, which reads the file at each reload; else root."""
        if self._reader is not None:
            return self._reader
        running = find_processes(self._configuration)
        user = ProcFs().user_of(running.master) if running is not None else None
        return str(user) if user is not None else "root"

    def files_of(self, generation: Generation) -> Files:
        """See `SymlinkedPair`: the pair, and both in one file, which is as private as the key."""
        combined = generation.key_pem.rstrip(b"\n") + b"\n" + generation.chain_pem
        return {**self._ownership.files_of(generation), COMBINED: self._ownership.key_file(combined)}

    async def validate(self) -> Fault | None:
        """`haproxy -c` reads the configured paths: what is live, not what is staged."""
        running = await asyncio.to_thread(find_processes, self._configuration)
        files = running.files if running is not None else (str(self._configuration),)
        command = ("haproxy", "-c", *(word for file in files for word in ("-f", file)))
        fault = await attempt(command, TEST_SECONDS, "deploy.validate_failed")
        if fault is None:
            return None
        variant = "haproxy_not_started" if fault.variant == "not_started" else "haproxy"
        return msgspec.structs.replace(fault, variant=variant)

    async def reload(self) -> Fault | None:
        """By the runtime API, each certificate for itself; else told is not read: it is over when a new worker runs."""
        if self._socket is not None:
            return await self._replace(self._socket)
        before = await asyncio.to_thread(find_processes, self._configuration)
        fault = await self._tell(before)
        if fault is None and before is not None:
            await self._until_loaded(before)
        self.reloaded = _Reloaded(fault, before)
        return fault

    async def explain(self, generation: Generation, proof: Proof) -> list[Fault]:
        """Whether the configuration names the file at all, and whether HAProxy went on with its old worker."""
        unnamed = await asyncio.to_thread(self._not_named)
        if unnamed is not None:
            return [unnamed]
        if self.reloaded is None or self.reloaded.before is None or self.reloaded.fault is not None:
            return []  # that is said already
        before, now = self.reloaded.before, await asyncio.to_thread(find_processes, self._configuration)
        if now is not None and not now.workers <= before.workers:
            return []
        workers = [str(worker) for worker in sorted(before.workers)]
        facts: dict[str, Fact] = {"target": self.name, "workers": workers}
        return [Fault(code="deploy.reload_no_effect", variant="haproxy", facts=facts)]

    def _links(self) -> tuple[Link, ...]:
        return (Link(self._certificate, f"{self._generations.root.name}/current/{COMBINED}", COMBINED),)

    def _found(self) -> Files | None:
        """What was there before holds both, and stays as it is."""
        pair = super()._found()
        return {**pair, COMBINED: pair[KEY]} if pair is not None else None

    async def _tell(self, running: HaproxyProcesses | None) -> Fault | None:
        """Through systemd where it runs the machine, else by the master's own signal."""
        if self._is_booted_by_systemd:
            return await attempt(_BY_SYSTEMD, RELOAD_SECONDS, "deploy.reload_failed")
        if running is not None:
            with suppress(ProcessLookupError):
                os.kill(running.master, signal.SIGUSR2)
                return None
        facts: dict[str, Fact] = {"target": self.name}
        return Fault(code="deploy.reload_failed", variant="no_haproxy", facts=facts, file=str(self._configuration))

    async def _until_loaded(self, before: HaproxyProcesses) -> None:
        for _ in range(int(LOAD_SECONDS / _LOOK_EVERY)):
            now = await asyncio.to_thread(find_processes, self._configuration)
            if now is not None and not now.workers <= before.workers:
                return
            await asyncio.sleep(_LOOK_EVERY)

    async def _replace(self, socket: Path) -> Fault | None:
        """A transaction of the runtime API. What is no success is taken back, or the next one could not begin."""
        found = await asyncio.to_thread(read_linked, self._shown()[0])
        payload = "\n".join(line for line in found.content.decode("ascii", "replace").splitlines() if line.strip())
        commands = (f"set ssl cert {self._certificate} <<\n{payload}\n", f"commit ssl cert {self._certificate}")
        try:
            async with asyncio.timeout(RELOAD_SECONDS):
                said = [await _ask(socket, command) for command in commands]
                if "Success!" in said[1]:
                    return None
                await _ask(socket, f"abort ssl cert {self._certificate}")
        except (OSError, TimeoutError) as error:
            said = [getattr(error, "strerror", None) or f"no answer within {RELOAD_SECONDS:g} s"]
        facts: dict[str, Fact] = {
            "target": self.name,
            "pem": str(self._certificate),
            "said": next((one for one in said if one), "it printed nothing")[:_LONGEST_LINE],
        }
        return Fault(code="deploy.reload_failed", variant="runtime_api", facts=facts, file=str(socket))

    def _not_named(self) -> Fault | None:
        """None as well where the configuration cannot be read, or where a list may name the file."""
        try:
            binds = find_binds(read_configuration(self._configuration))
        except OSError:
            return None
        if loads(binds, str(self._certificate)):
            return None
        facts: dict[str, Fact] = {"target": self.name, "pem": str(self._certificate)}
        return Fault(code="deploy.served_old", variant="not_named", facts=facts, file=str(self._configuration))


def split_provable(settings: HaproxyTarget) -> tuple[list[Endpoint], list[Fault]]:
    """(the endpoints that can be looked at as they are configured, what stands in the way of the others): a `bind` that
    expects the PROXY protocol, of which `prove` says nothing. Blocks."""
    try:
        binds = find_binds(read_configuration(settings.configuration))
    except OSError:
        return list(settings.prove), []
    proxied = {
        address.rpartition(":")[2]: bind.place for bind in binds if bind.is_proxied for address in bind.addresses
    }
    kept, faults = [], []
    for endpoint in settings.prove:
        written = endpoint_of(endpoint)
        place = proxied.get(str(split_endpoint(written.address)[1]))
        if place is None or written.proxy_protocol:
            kept.append(endpoint)
            continue
        facts: dict[str, Fact] = {"target": f"haproxy {settings.certificate}", "endpoint": written.address}
        faults.append(
            Fault(
                code="deploy.unproven",
                variant="haproxy",
                facts=facts,
                file=place.file,
                line=place.line,
                text=place.text,
            )
        )
    return kept, faults


async def _ask(socket: Path, command: str) -> str:
    """What the runtime API answers, in one line. Raises OSError."""
    reader, writer = await asyncio.open_unix_connection(str(socket))
    try:
        writer.write(f"{command}\n".encode())
        await writer.drain()
        return " ".join((await reader.read(_LONGEST_ANSWER)).decode("utf-8", "replace").split())
    finally:
        writer.close()
