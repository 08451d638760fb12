"""Other programs: an argument list, a clean environment, a bound in time, and what they said. Never a shell."""

import asyncio
import os
import pwd
import signal
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import IO, Any

import msgspec

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
