"""The libc of this process: which one it is, and what it says of a name, asked with getaddrinfo, never modelled."""

import asyncio
import os
import re
import socket
import subprocess
import threading
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path

UNKNOWN = "unknown libc"

_MAPS = Path("/proc/self/maps")
_MUSL = re.compile(r"(/\S*/(?:ld-musl-[^/\s]+|libc\.musl-[^/\s]+)\.so\.1)$", re.MULTILINE)
_VERSION = re.compile(r"^Version (\S+)", re.MULTILINE)


_MOST_AT_ONCE = 32
_SLOTS = threading.BoundedSemaphore(_MOST_AT_ONCE)
_SLOT_SECONDS = 0.05


async def addresses_of(name: str) -> list[str]:
    """Return the addresses that libc has for a name, each once, in its order. Raises OSError, UnicodeError.

    Limit it in time: libc waits up to twenty seconds for silent nameservers, and nothing can end that. Therefore it has
    threads of its own. In the event loop's few threads it would delay everything else that is done there.
    """
    while not _SLOTS.acquire(blocking=False):  # noqa: ASYNC110 -- a thread frees a place, not this event loop
        await asyncio.sleep(_SLOT_SECONDS)
    found: Future[list[str]] = Future()
    found.set_running_or_notify_cancel()
    threading.Thread(target=_ask, args=(name, found), name="libc", daemon=True).start()
    return await asyncio.wrap_future(found)


def _ask(name: str, found: Future[list[str]]) -> None:
    try:
        entries = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
        found.set_result(list(dict.fromkeys(str(entry[4][0]) for entry in entries)))
    except (OSError, UnicodeError) as error:
        found.set_exception(error)
    finally:
        _SLOTS.release()


def name_libc(maps: Path = _MAPS) -> str:
    """`glibc 2.36`, `musl 1.2.5`, or `unknown libc`. glibc says it itself; musl's loader, which is its libc, does
    when it is run without arguments."""
    loader = _MUSL.search(_read(maps))
    if loader is not None:
        version = _VERSION.search(_said_by(loader[1]))
        return f"musl {version[1]}" if version else "musl"
    with suppress(ValueError, OSError):
        return os.confstr("CS_GNU_LIBC_VERSION") or UNKNOWN
    return UNKNOWN


def _said_by(loader: str) -> str:
    try:
        return subprocess.run([loader], capture_output=True, text=True, timeout=2, check=False).stderr
    except (OSError, subprocess.TimeoutExpired):
        return ""


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
