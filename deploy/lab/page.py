"""The forwarder to the collector's page: the only thing of the lab in the machine's own network, on loopback.

It listens outside and speaks inside: `start` opens the socket in the machine's network and hands it to a process in the
fleet's, which verifies the collector by the lab's root, adds the operator's token, and passes everything through.
"""

import json
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from aiohttp import ClientSession, ClientTimeout, TCPConnector, web
from aiohttp.abc import AbstractResolver, ResolveResult

from deploy.lab import network, places
from deploy.lab.agents import OPERATOR
from deploy.lab.fleet import find
from deploy.lab.processes import marked
from deploy.lab.progress import say

COLLECTOR = "collector.internal.thinkheads.ai"
PORT = 8843
_RECORD = places.RUNTIME / "page.json"
_OF_ONE_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "upgrade", "host", "authorization"}


def start() -> None:
    """Start the forwarder; harmless when it runs."""
    if url() is not None:
        return
    listener = _listen()
    port = listener.getsockname()[1]
    with (places.RUNTIME / "page.log").open("ab") as log:
        process = subprocess.Popen(
            [*network.INSIDE, sys.executable, "-P", "-m", "deploy.lab.page", str(listener.fileno())],
            env={**os.environ, **marked(), "PYTHONPATH": str(places.TREE)},
            pass_fds=(listener.fileno(),),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            start_new_session=True,
        )
    listener.close()
    _RECORD.write_text(json.dumps({"pid": process.pid, "port": port}))


def url() -> str | None:
    """The page's address on this machine; None when no forwarder runs."""
    try:
        record = json.loads(_RECORD.read_text())
        command = Path(f"/proc/{record['pid']}/cmdline").read_bytes()
    except (OSError, ValueError):
        return None
    return f"http://127.0.0.1:{record['port']}/" if b"deploy.lab.page" in command else None


def _listen() -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", PORT))
    except OSError:
        listener.bind(("127.0.0.1", 0))
        say(f"port {PORT} is taken on this machine; the page is on {listener.getsockname()[1]}")
    listener.listen(64)
    return listener


class _Pinned(AbstractResolver):
    """The collector has its configured address; this machine's resolver knows nothing of the fleet."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        if host != COLLECTOR:
            raise OSError(f"{host} is not forwarded to")
        address = find("lxc104").address
        return [
            {
                "hostname": host,
                "host": address,
                "port": port,
                "family": socket.AF_INET,
                "proto": 0,
                "flags": socket.AI_NUMERICHOST,
            }
        ]

    async def close(self) -> None:
        """Nothing is held."""


async def _forward(request: web.Request) -> web.StreamResponse:
    if not _is_ours(request):
        raise web.HTTPForbidden(text="this forwarder speaks for pages of its own address only\n")
    headers = [*_end_to_end(request.headers), ("Authorization", f"Bearer {OPERATOR.read_text().strip()}")]
    body = await request.read()
    target = f"https://{COLLECTOR}:{PORT}{request.raw_path}"
    session = request.app[_SESSION]
    async with session.request(request.method, target, headers=headers, data=body, allow_redirects=False) as answer:
        passed = web.StreamResponse(status=answer.status, reason=answer.reason)
        passed.headers.extend(
            (name, value) for name, value in answer.headers.items() if name.lower() not in _OF_ONE_HOP
        )
        await passed.prepare(request)
        async for piece in answer.content.iter_any():  # as it comes: server-sent events stay events
            await passed.write(piece)
        await passed.write_eof()
        return passed


def _end_to_end(headers: Mapping[str, str]) -> list[tuple[str, str]]:
    return [(name, value) for name, value in headers.items() if name.lower() not in _OF_ONE_HOP]


def _is_ours(request: web.Request) -> bool:
    """The operator's token is added to every request, so a page from elsewhere must not be able to send one."""
    here = {"127.0.0.1", "localhost"}
    origin = request.headers.get("Origin")
    return urlsplit(f"//{request.host}").hostname in here and (
        origin is None or urlsplit(origin).netloc == request.host
    )


_SESSION: web.AppKey[ClientSession] = web.AppKey("session", ClientSession)


def main() -> None:
    """Serve on the socket whose descriptor is the only argument."""
    listener = socket.socket(fileno=int(sys.argv[1]))

    async def make() -> web.Application:
        trusted = ssl.create_default_context(cafile=str(places.ROOT))
        application = web.Application()
        application[_SESSION] = ClientSession(
            connector=TCPConnector(resolver=_Pinned(), ssl=trusted, limit=0),
            timeout=ClientTimeout(total=None, connect=5),
            auto_decompress=False,
        )
        application.router.add_route("*", "/{path:.*}", _forward)
        return application

    web.run_app(make(), sock=listener, print=None, access_log=None)


if __name__ == "__main__":
    main()
