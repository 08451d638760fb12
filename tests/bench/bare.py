"""The floor under the collector: a server of the same libraries that opens each channel and reads each post to its end,
looks at nothing, keeps nothing, and answers. What the collector takes longer than this is its own.

    python -m tests.bench.bare PORT CERTIFICATE KEY
"""

import ssl
import sys

import uvloop
from aiohttp import web

_BACKLOG = 4_096


async def _open(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse(heartbeat=30.0, compress=False)
    await socket.prepare(request)
    async for _ in socket:
        pass
    return socket


async def _take(request: web.Request) -> web.Response:
    await request.read()
    return web.json_response({"accepted": 1})


def main(port: int, certificate: str, key: str) -> None:
    """Serve until it is ended."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.options |= ssl.OP_NO_TICKET  # as the collector's
    context.load_cert_chain(certificate, key)
    application = web.Application()
    application.router.add_get("/v1/channel", _open)
    application.router.add_route("*", "/{any:.*}", _take)
    web.run_app(
        application,
        host="127.0.0.1",
        port=port,
        ssl_context=context,
        backlog=_BACKLOG,
        keepalive_timeout=1.0,
        access_log=None,
        print=None,
        loop=uvloop.new_event_loop(),
    )


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
