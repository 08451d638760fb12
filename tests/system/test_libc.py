"""Which libc this is, and what it says of a name: asked, not guessed."""

import asyncio
import os
import socket
import threading
import time
from pathlib import Path

import pytest

from certagent.system.libc import UNKNOWN, addresses_of, name_libc


def test_the_running_libc_names_itself() -> None:
    """Here it is glibc, with the version that it says."""
    assert name_libc() == os.confstr("CS_GNU_LIBC_VERSION")


def test_musl_is_named_by_its_loader(tmp_path: Path) -> None:
    """musl's loader is its libc; without arguments it prints its version and fails."""
    loader = tmp_path / "ld-musl-x86_64.so.1"
    loader.write_text(
        "#!/bin/sh\nprintf 'musl libc (x86_64)\\nVersion 1.2.5\\nDynamic Program Loader\\n' >&2\nexit 1\n"
    )
    loader.chmod(0o755)
    maps = tmp_path / "maps"
    maps.write_text(f"7f00-7f01 r-xp 00000000 08:01 12 {loader}\n")
    assert name_libc(maps) == "musl 1.2.5"
    loader.unlink()
    assert name_libc(maps) == "musl"


def test_no_maps_are_no_trouble(tmp_path: Path) -> None:
    """Where /proc is not to be read, glibc is still asked."""
    assert name_libc(tmp_path / "maps") in (os.confstr("CS_GNU_LIBC_VERSION"), UNKNOWN)


async def test_it_resolves_as_libc_does() -> None:
    """And raises what libc raises."""
    assert "127.0.0.1" in await addresses_of("localhost")
    with pytest.raises(socket.gaierror):
        await addresses_of("no-such-name.invalid.")
    with pytest.raises(UnicodeError):
        await addresses_of("x" * 70)


async def test_a_libc_that_waits_delays_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """More look-ups than the event loop has threads wait for silent nameservers; a file is read meanwhile. When all
    places are taken, the next one waits for one."""
    goes_on = threading.Event()

    def wait(*_: object, **__: object) -> list[object]:
        goes_on.wait(20)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", wait)
    asking = [asyncio.create_task(addresses_of(f"name{number}"), name="ask") for number in range(40)]
    await asyncio.sleep(0.2)
    began = time.monotonic()
    assert await asyncio.to_thread(Path("/etc/hostname").exists)
    assert time.monotonic() - began < 2
    assert sum(thread.name == "libc" for thread in threading.enumerate()) == 32
    for task in asking[:10]:
        task.cancel()
    goes_on.set()
    assert await asyncio.wait_for(asyncio.gather(*asking[10:]), 5) == [[]] * 30
