"""`certagent` as processes that start at once: forked off one that has imported everything already.

`python -m tests.warm DESCRIPTOR` is that one: it forks whenever it is asked to by that socket. What runs in a fork is
the command, with its own words, environment, output and exit status. A test that is about importing, or about memory,
needs a fresh process.
"""

import asyncio
import atexit
import gc
import importlib
import os
import pickle
import pkgutil
import select
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NoReturn

import msgspec

from certagent import cli, commands

_LARGEST_REQUEST = 1024 * 1024
_MOST_DESCRIPTORS = 1024  # that the process that forks may have open


class Request(msgspec.Struct, frozen=True):
    """What a command is started with. Three descriptors come along: for its output, its errors and its exit status."""

    module: str
    words: tuple[str, ...]
    environment: dict[str, str]
    folder: str


class WarmProcess:
    """A running program; as `asyncio.subprocess.Process`, as far as tests need it."""

    def __init__(self, pid: int, status: int) -> None:
        self.pid = pid
        self._status = status
        self._returncode: int | None = None
        os.set_blocking(status, False)

    @property
    def returncode(self) -> int | None:
        """Its exit status, negative for a signal; None while it runs."""
        if self._returncode is None:
            try:
                told = os.read(self._status, 16)
            except BlockingIOError:
                return None
            os.close(self._status)
            self._returncode = int(told)
        return self._returncode

    def send_signal(self, number: int) -> None:
        """To the program."""
        os.kill(self.pid, number)

    async def wait(self) -> int:
        """Its exit status, once it has ended."""
        while (status := self.returncode) is None:
            await self._has_told()
        return status

    def wait_at_most(self, seconds: float) -> int:
        """The same, without a loop. Raises TimeoutError, and ends it, when it takes longer."""
        if not select.select([self._status], [], [], seconds)[0]:
            self.send_signal(signal.SIGKILL)
            raise TimeoutError
        status = self.returncode
        assert status is not None
        return status

    async def _has_told(self) -> None:
        loop, has_told = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._status, has_told.set)
        try:
            await has_told.wait()
        finally:
            loop.remove_reader(self._status)


class WarmCertagent:
    """The process that forks, and what is asked of it."""

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [sys.executable, "-m", "tests.warm", str(theirs.fileno())]
            root = Path(__file__).parents[1]
            self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, cwd=root)

    def start(
        self,
        *words: str,
        output: int,
        errors: int,
        environment: Mapping[str, str] = os.environ,
        module: str = cli.__name__,
    ) -> WarmProcess:
        """`certagent` with these words, or the `main` of another module; it writes to those descriptors."""
        request = Request(module, words, dict(environment), os.getcwd())
        status, theirs = os.pipe()
        try:
            socket.send_fds(self._control, [pickle.dumps(request)], [output, errors, theirs])
        finally:
            os.close(theirs)
        return WarmProcess(int(self._control.recv(16)), status)

    def run(self, *words: str, within: float = 30.0, module: str = cli.__name__) -> "subprocess.CompletedProcess[str]":
        """The same, until it has ended. Raises TimeoutError."""
        with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
            process = self.start(*words, output=output.fileno(), errors=errors.fileno(), module=module)
            status = process.wait_at_most(within)
            for file in (output, errors):
                file.seek(0)
            return subprocess.CompletedProcess(words, status, output.read(), errors.read())

    def stop(self) -> None:
        """The process that forks ends; its forks are their callers' matter."""
        self._control.close()
        self._process.wait()


@cache
def warm_certagent() -> WarmCertagent:
    """The one of this worker, until it ends."""
    forking = WarmCertagent()
    atexit.register(forking.stop)
    return forking


def main(control: socket.socket) -> None:
    """Fork on request, answer the process id, tell each fork's exit status; until the other side is gone."""
    for module in pkgutil.walk_packages(commands.__path__, f"{commands.__name__}."):
        importlib.import_module(module.name)
    gc.freeze()
    with selectors.DefaultSelector() as selector:
        selector.register(control, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.data is not None:
                    selector.unregister(key.fd)
                    os.close(key.fd)
                    _tell_status(*key.data)
                elif (forked := _fork(control)) is not None:
                    selector.register(os.pidfd_open(forked[0]), selectors.EVENT_READ, forked)
                else:
                    return


def _fork(control: socket.socket) -> tuple[int, int] | None:
    """A new process, and the pipe that takes its exit status; None once nobody asks any more."""
    message, descriptors, _, _ = socket.recv_fds(control, _LARGEST_REQUEST, 3)
    if not message:
        return None
    output, errors, status = descriptors
    child = os.fork()
    if child == 0:
        _run(pickle.loads(message), output, errors)  # noqa: S301 -- from this file's other half
    os.close(output)
    os.close(errors)
    control.send(str(child).encode())
    return child, status


def _run(request: Request, output: int, errors: int) -> NoReturn:
    """In a fork: the command, and nothing of whoever forked it but what it has imported."""
    status = 1
    try:
        os.dup2(output, 1)
        os.dup2(errors, 2)
        os.closerange(3, _MOST_DESCRIPTORS)
        os.chdir(request.folder)
        os.environ.clear()
        os.environ.update(request.environment)
        sys.argv = ["certagent", *request.words]
        importlib.import_module(request.module).main()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _tell_status(child: int, status: int) -> None:
    os.write(status, str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])).encode())
    os.close(status)


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])))
