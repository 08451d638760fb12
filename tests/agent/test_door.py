"""The agent's own socket: garbage is refused in a sentence, half a request keeps nobody waiting."""

import asyncio
import io
import json
import logging
import stat
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from certagent.agent.door import open_door
from certagent.domain.findings import Finding
from certagent.domain.policy import Judgement


class _Inside:
    """Knows one identifier and one certificate."""

    def unknown(self, *, identifiers: Sequence[str] = (), names: Sequence[str] = ()) -> str | None:
        return next((f"{one} is unknown" for one in (*identifiers, *names) if one != "known"), None)

    async def check(self, identifiers: Sequence[str]) -> list[Judgement]:
        return []

    async def renew_named(self, names: Sequence[str], *, force: bool) -> list[dict[str, Any]]:
        return [{"name": name, "force": force} for name in names]

    async def revoke(self, name: str, reason: int) -> dict[str, Any]:
        return {"name": name, "reason": reason}

    async def account(self) -> dict[str, Any]:
        return {"url": None}

    async def findings(self) -> Sequence[Finding]:
        return ()

    async def status(self) -> dict[str, Any]:
        return {"agent": "lxc102"}


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Path]:
    """An open one."""
    path = tmp_path / "agent.sock"
    async with open_door(path, _Inside()):
        yield path


async def _ask(path: Path, method: str, target: str, body: bytes | io.BytesIO = b"") -> tuple[int, bytes]:
    connector = aiohttp.UnixConnector(str(path))
    async with (
        asyncio.timeout(10),
        aiohttp.ClientSession("http://agent", connector=connector) as session,
        session.request(method, target, data=body) as response,
    ):
        return response.status, await response.read()


async def test_it_is_its_owners_alone(door: Path) -> None:
    """Nobody else may even connect."""
    assert stat.S_IMODE(door.stat().st_mode) == 0o600


@pytest.mark.parametrize("target", ["/check", "/renew", "/revoke"])
@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b'{"identifiers": 7, "names": 7, "force": 7}', b"{}",
     b'{"identifiers": [{}], "names": ["known"], "force": "yes"}'],
)  # fmt: skip
async def test_garbage_is_refused(door: Path, target: str, body: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """With a sentence, and without a traceback."""
    with caplog.at_level(logging.ERROR):
        status, answer = await _ask(door, "POST", target, body)
    assert status == 400
    assert json.loads(answer)["error"]
    assert not caplog.records


async def test_what_is_unknown_or_too_large_is_refused(door: Path) -> None:
    """A name of somebody else, a megabyte and more, another method, another path."""
    assert (await _ask(door, "POST", "/check", b'{"identifiers": ["other"]}'))[0] == 404
    assert (await _ask(door, "POST", "/renew", b'{"names": ["other"], "force": true}'))[0] == 404
    assert (await _ask(door, "POST", "/revoke", b'{"name": "other", "reason": 0}'))[0] == 404
    assert (await _ask(door, "POST", "/check", io.BytesIO(b" " * 2_000_000)))[0] == 413
    assert (await _ask(door, "GET", "/check"))[0] == 405
    assert (await _ask(door, "GET", "/../status"))[0] in (200, 404)


async def test_half_a_request_keeps_nobody_waiting(door: Path) -> None:
    """200 of them, and 64 KiB of headers that never end."""
    halves = [await asyncio.open_unix_connection(str(door)) for _ in range(200)]
    for number, (_, writer) in enumerate(halves):
        writer.write(b"POST /check HTTP/1.1\r\nContent-Length: 100\r\n\r\n{" if number % 2 else b"GET /sta")
    reader, writer = await asyncio.open_unix_connection(str(door))
    writer.write(b"GET /status HTTP/1.1\r\nX: " + b"x" * 65536)
    assert (await reader.read(64)).startswith(b"HTTP/1.0 400")
    writer.close()
    assert (await _ask(door, "GET", "/status"))[0] == 200
    for _, writer in halves:
        writer.transport.abort()
