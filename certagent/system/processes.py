"""Other programs: an argument list, a clean environment, a bound in time, and what they said; never a shell.

What many want of one service at once is run once for all of them, and not too often, and no file that the service then
reads is changed meanwhile.
"""

import asyncio
import os
import pwd
import re
import signal
import tempfile
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Hashable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from typing import IO, Any, TypeVar

import msgspec

from certagent.domain.catalogue import Fact
from certagent.domain.deployments import Fault
from certagent.domain.ports import Clock
from certagent.system.files import Owner

LARGEST_OUTPUT = 64 * 1024
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Finished(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a program. `status` is its exit status, negative for a signal, None when its time was up.

    `output` is standard output and standard error as they came, at most `LARGEST_OUTPUT` bytes from the end.
    """

    command: tuple[str, ...]
    status: int | None
    output: str

    @property
    def is_good(self) -> bool:
        """Whether it ended with status 0. That is what it says of itself, not evidence of what it did."""
        return self.status == 0


async def run(
    command: Sequence[str],
    *,
    timeout: float,
    environment: Mapping[str, str] | None = None,
    user: Owner | None = None,
) -> Finished:
    """Run a program to its end, or kill it and its children after `timeout` seconds.

    Its environment is PATH, LANG=C and `environment`; `user` None: as whoever this process is. Raises OSError when it
    cannot be started. A daemon that it leaves behind keeps nobody waiting: the output goes to a file, not to a pipe.
    """
    with tempfile.TemporaryFile() as output:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=asyncio.subprocess.STDOUT,
            env={"PATH": os.environ.get("PATH", _PATH), "LANG": "C", **(environment or {})},
            start_new_session=True,
            **_as(user),
        )
        status = await _ended(process, timeout)
        return Finished(command=tuple(command), status=status, output=_tail(output))


def _as(user: Owner | None) -> dict[str, Any]:
    """That user, that group and the user's other groups, and nothing of ours."""
    if user is None:
        return {}
    try:
        name = pwd.getpwuid(user.uid).pw_name
        groups = os.getgrouplist(name, user.gid)
    except KeyError:
        groups = []
    return {"user": user.uid, "group": user.gid, "extra_groups": groups}


async def _ended(process: asyncio.subprocess.Process, timeout: float) -> int | None:
    try:
        async with asyncio.timeout(timeout):
            return await process.wait()
    except TimeoutError:
        return None
    finally:
        if process.returncode is None:
            await _kill(process)


async def _kill(process: asyncio.subprocess.Process) -> None:
    """End the session that was started for it."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


def _tail(output: IO[bytes]) -> str:
    size = output.seek(0, os.SEEK_END)
    output.seek(max(0, size - LARGEST_OUTPUT))
    return output.read().decode("utf-8", "replace").strip()


_PLACE = re.compile(r" in (/\S+):(\d+)$|parsing \[(/[^\]]+):(\d+)\]|: (/[^\s:]+):(\d+): ")
"""Where nginx, HAProxy and Caddy put the file and its line."""
_IS_NO_REASON = re.compile(r'\[warn\]|^\[(?:WARNING|NOTICE)\]|^\{"level":"(?:debug|info|warn)"')
"""A line of theirs that is no error."""


async def attempt(command: Sequence[str], timeout: float, code: str, *, user: Owner | None = None) -> Fault | None:
    """Run it; None when it ended well, else a fault with its own words, and the place that they name."""
    facts: dict[str, Fact] = {"command": " ".join(command)}
    try:
        finished = await run(command, timeout=timeout, user=user)
    except OSError as error:
        return Fault(code=code, variant="not_started", facts=facts | {"said": error.strerror})
    if finished.is_good:
        return None
    said = next((line for line in finished.output.splitlines() if not _IS_NO_REASON.search(line)), "it printed nothing")
    place = _PLACE.search(said)
    named = [part for part in place.groups() if part] if place is not None else []
    return Fault(
        code=code,
        facts=facts | {"status": finished.status, "seconds": f"{timeout:g}", "said": said},
        file=named[0] if named else None,
        line=int(named[1]) if named else None,
        detail={"command": list(command), "status": finished.status, "output": finished.output},
    )


class ReadersWriters:
    """Of one service's files. First come, first served: who wants to read waits for the changes under way, and nobody
    begins another before that.

    A pair is two files, and who reads them before and after a change sees a mixture, however atomic the change is.
    """

    def __init__(self) -> None:
        self._door = asyncio.Lock()
        self._changes = 0
        self._unchanged = asyncio.Event()
        self._unchanged.set()

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[None]:
        """Held while one's own files are changed; others may change theirs."""
        async with self._door:
            self._changes += 1
            self._unchanged.clear()
        try:
            yield
        finally:
            self._changes -= 1
            if not self._changes:
                self._unchanged.set()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[None]:
        """Held while the service reads."""
        async with self._door:
            await self._unchanged.wait()
            yield


_Result = TypeVar("_Result")
_Member = TypeVar("_Member")

APART_SECONDS = 1.05
"""Between two reloads of a service. Not 1.0: what systemd takes until it tells the service varies."""
PATIENCE_SECONDS = 3.0
"""Between two reloads, while others are expected who want one, too."""
_LOOK_EVERY = 0.02


class ReloadCoordinator:
    """One for all deployments of an agent: a hundred certificates of one nginx are a reload a second, not a hundred."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._queues: dict[Hashable, _Queue] = {}
        self._files: defaultdict[Hashable, ReadersWriters] = defaultdict(ReadersWriters)
        self._waiting: defaultdict[Hashable, list[Any]] = defaultdict(list)
        self._expected: defaultdict[Hashable, set[str]] = defaultdict(set)

    def files_of(self, service: Hashable) -> ReadersWriters:
        """For all who change that service's files, and for the turns in which it reads them."""
        return self._files[service]

    @contextmanager
    def expecting(self, service: Hashable, certificate: str) -> Iterator[None]:
        """Meanwhile `who` is on the way to a reload of that service, until it asks for one."""
        expected = self._expected[service]
        expected.add(certificate)
        try:
            yield
        finally:
            expected.discard(certificate)

    async def gather(
        self,
        service: Hashable,
        certificate: str,
        member: _Member,
        act: Callable[[Sequence[_Member]], Awaitable[None]],
        *,
        apart: float = APART_SECONDS,
        reads: ReadersWriters | None = None,
    ) -> None:
        """As `run_shared`: `act` is given this member and all who came before it begins. Of many who come one after the
        other, the last do not wait because one just missed them. `reads`: the service's own files, as a rule."""
        waiting, expected = self._waiting[service], self._expected[service]
        waiting.append(member)
        expected.discard(certificate)

        async def turn() -> None:
            taken = list(waiting)
            waiting.clear()
            try:
                await act(taken)
            except BaseException:
                waiting.extend(taken)  # who leads may be cancelled; another one leads then, with the same members
                raise

        try:
            await self.run_shared(service, turn, apart=apart, reads=reads or self.files_of(service), awaits=expected)
        finally:
            if member in waiting:
                waiting.remove(member)

    async def run_shared(
        self,
        key: Hashable,
        act: Callable[[], Awaitable[_Result]],
        *,
        apart: float = 0.0,
        reads: ReadersWriters | None = None,
        awaits: Collection[str] = (),
    ) -> _Result:
        """Have `act` begin after this call, and share what comes of it with all who ask before it begins. Nobody
        changes the files that it `reads` meanwhile.

        Two never run at once, and begin at least `apart` seconds after each other; more, up to `PATIENCE_SECONDS`,
        while `awaits` is not empty. Raises what `act` raises. When who leads is cancelled, another of them leads.
        """
        queue = self._queues.setdefault(key, _Queue())
        while (shared := queue.next) is not None:
            await asyncio.wait([shared])
            if not shared.cancelled():
                result: _Result = shared.result()
                return result
        queue.next = turn = asyncio.get_running_loop().create_future()
        try:
            async with queue.busy:
                await self._clock.sleep(max(0.0, queue.began + apart - self._clock.monotonic()))
                while awaits and self._clock.monotonic() < queue.began + PATIENCE_SECONDS:
                    await self._clock.sleep(_LOOK_EVERY)
                async with reads.reading() if reads is not None else nullcontext():
                    queue.next = None  # whoever comes from here on has changed something that this turn may not see
                    queue.began = self._clock.monotonic()
                    result = await act()
        except BaseException as error:
            queue.next = None if queue.next is turn else queue.next
            _fail(turn, error)
            raise
        turn.set_result(result)
        return result


def _fail(turn: asyncio.Future[Any], error: BaseException) -> None:
    """Trouble is shared; that its leader goes away concerns nobody else."""
    if isinstance(error, Exception):
        turn.set_exception(error)
        turn.exception()  # there may be nobody to share it
    else:
        turn.cancel()


class _Queue:
    """Of one service."""

    def __init__(self) -> None:
        self.next: asyncio.Future[Any] | None = None
        self.busy = asyncio.Lock()
        self.began = float("-inf")
