"""Broken requests of strangers, byte by byte: each is answered or ended, none is a 500, all are a few lines of log."""

import asyncio
import logging
import re
import ssl
from pathlib import Path

import pytest
from aiohttp.http_exceptions import BadStatusLine

from certagent.collector.broken_requests import GONE, NO_TLS, NOT_HTTP, BrokenRequests
from certagent.collector.credentials import add_user
from certagent.collector.records import TokenRole
from tests.collector.cast import now
from tests.collector.postgresql import running_server
from tests.collector.process import Collector, eventually, running
from tests.fakes.clock import FakeClock

FORM = b"Sec-Fetch-Site: same-origin\r\nContent-Type: application/x-www-form-urlencoded\r\n"


def _head(line: bytes, *headers: bytes, host: bytes = b"localhost") -> bytes:
    return b"\r\n".join([line, b"Host: " + host, *headers, b"", b""])


def _get(target: bytes, *headers: bytes, host: bytes = b"localhost") -> bytes:
    return _head(b"GET " + target + b" HTTP/1.1", *headers, host=host)


def _form(body: bytes, *headers: bytes) -> bytes:
    return _head(b"POST /login HTTP/1.1", FORM + b"Content-Length: %d" % len(body), *headers) + body


NO_HTTP = [
    *(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"hello\r\n\r\n", b"GET\r\n\r\n", b"\x00" * 100, b"\xff" * 100),
    *(b"GET / HTTP/9.9\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"),
    *(_get(b"/" + b"a" * 9_000), _get(b"/", b"X: " + b"a" * 9_000), _get(b"/", *[b"X: y"] * 5_000)),
    *(_get(b"/", b"X\x00: y"), _get(b"/", b"X: a\x00b"), _get(b"/", b" X: folded"), b"G\x00T / HTTP/1.1\r\n\r\n"),
    *(_get(b"/", b"Host: localhost"), b"GET / HTTP/1.1\nHost: localhost\n\n"),
    *(_get(target) for target in (b"*", b"?x", b"login", b":", b"http:", b"http://", b"http://\xff/", b"/\xff")),
    *(_get(target) for target in (b"http://[::1/", b"http://localhost:99999/", b"http://localhost:abc/")),
    *(_head(b"CONNECT " + target + b" HTTP/1.1") for target in (b"localhost:443", b"localhost:99999", b"[", b"/")),
    *(_head(method + b" /pot HTTP/1.1") for method in (b"BREW", b"\xff\xfe", b"DELETE", b"OPTIONS")),
    _head(b"POST /login HTTP/1.1", b"Content-Length: -1"),
    _head(b"POST /login HTTP/1.1", b"Content-Length: 99999999999999999999999"),
    _head(b"POST /login HTTP/1.1", b"Transfer-Encoding: chunked", b"Content-Length: 5"),
    _head(b"POST /login HTTP/1.1", FORM + b"Transfer-Encoding: chunked") + b"ZZZ\r\n",
    _head(b"POST /login HTTP/1.1", FORM + b"Transfer-Encoding: chunked") + b"5\r\nname=ZZZZZZ\r\n",
]
HOSTS = [
    *(
        b"[",
        b"[::1",
        b"a]b",
        b"\xff\xfe",
        b"a@b",
        b"localhost:99999999",
        b"localhost:abc",
        b"localhost/../x",
        b"",
        b"]:[",
    ),
    *("\u2100.com".encode(), "x\uff0fy".encode(), b"xn--", b"a..b", b"." * 300, b"%zz", b"[::1%25\xff]", b"[v1.x]"),
]
STRANGE = [
    *(_get(b"/", host=host) for host in HOSTS),
    *(
        _get(b"http://" + host + b"/")
        for host in (b"xn--", b"a..b", b"%zz", b"a" * 70 + b".com", b"evil.test", b"xn--\xff")
    ),
    *(
        _get(b"/v1/agents", b"Authorization: " + value)
        for value in (b"Bearer \xff\xfe", b"\xff", b"Bearer", b"Bearer \xc3\xa9")
    ),
    *(
        _get(b"/v1/agents", b"Cookie: __Host-certagent=" + value)
        for value in (b"\xff\xfe", b'"\\377\\000"', b'"\\' * 2_000, b"=;=;;;[]")
    ),
    *(_get(b"/nodes", b"Accept: text/html", b"Cookie: __Host-certagent=" + value) for value in (b"\xff", b"x")),
    *(
        _head(b"POST /login HTTP/1.1", b"Origin: " + origin, b"Content-Length: 0")
        for origin in (b"http://[", b"http://]", "http://\u2100.com".encode(), b"\xff", b"null", b"http://a:b:c")
    ),
    *(
        _form(body)
        for body in (b"name=%00&password=%ed%a0%80", b"name=ada&password=%ff%fe", b"\xff\xfe", b"&" * 99, b"=")
    ),
    *(_form(b"name=ada", b"Content-Type: " + kind) for kind in (b"\xff/\xfe; charset=\xff", b'x; charset="')),
    *(_get(b"/login?next=" + path) for path in (b"%ff", b"%ed%a0%80", b"%00", b"%2f" * 2_000, b"/%0d%0aX:%20y")),
    *(
        _get(path)
        for path in (b"/%ff%fe", b"/%00", b"/assets/%00", b"/assets/..%2f..%2fx", b"//[", b"//evil.test/", b"/login#")
    ),
    *(_get(path, b"Accept: text/html") for path in (b"/%ff%fe", b"/%00", b"/nodes/%ff")),
    _get(b"/healthz", b"Expect: 200-nonsense"),
    _get(b"/healthz", b"Upgrade: h2c", b"Connection: upgrade"),
    _get(b"/assets/style.css", b"Range: bytes=9-1", b"If-None-Match: \xff", b"If-Modified-Since: x"),
    _get(b"/v1/channel", b"Upgrade: websocket", b"Connection: upgrade", b"Sec-WebSocket-Key: \xff"),
    b"GET /healthz HTTP/1.0\r\n\r\n",
]
_NINES = b"39" * 40
WITH_A_TOKEN = [
    *(b"GET /v1/incidents/%00", b"GET /v1/incidents/%ed%a0%80", b"GET /v1/paths/%00", b"GET /v1/paths/" + b"a" * 5_000),
    *(
        b"GET /v1/" + name + b"?cursor=5b" + _NINES + b"5d"
        for name in (b"reports", b"audit", b"agents", b"certificates")
    ),
    *(
        b"GET /v1/agents?cursor=" + cursor
        for cursor in (b"5b225c7530303030225d", b"%ff", b"5b" * 3_000, b"zz", b"5b5d")
    ),
    *(
        b"GET /" + page + b"?cursor=5b22323032362d30312d30315430303a30303a3030222c2261222c2262225d"
        for page in (b"nodes", b"certificates")
    ),
    *(b"GET /v1/agents?limit=" + limit for limit in (b"9" * 5_000, b"-1", b"1e3", b"%d9%a3", b"")),
    *(
        b"GET /v1/reports?agent=%00",
        b"GET /v1/reports?agent=%ed%a0%80",
        b"GET /v1/audit?who=%00",
        b"GET /v1/audit?action=x",
    ),
    *(
        b"GET /nodes/%00",
        b"GET /nodes/%ff/certificates/%00",
        b"GET /paths?identifier=%00%ed%a0%80",
        b"GET /incidents/%00",
    ),
    *(
        b"GET /paths/%0d%0a/mermaid",
        b"POST /v1/incidents/%00/ack",
        b"POST /v1/rehearsals?timeout=nan",
        b"GET /v1/channel",
    ),
    b"GET /v1/incidents?state=%00",
]


async def _send(collector: Collector, data: bytes, tls: bool = True) -> bytes:
    """The head of what comes back; empty if the connection is ended."""
    context = collector.trust() if tls else None
    reader, writer = await asyncio.open_connection("127.0.0.1", collector.port, ssl=context)
    try:
        writer.write(data)
        async with asyncio.timeout(5):
            try:
                return await reader.readuntil(b"\r\n\r\n")
            except (ConnectionError, ssl.SSLError, asyncio.IncompleteReadError):
                return b""
    finally:
        writer.transport.abort()


async def _answers(collector: Collector, requests: list[bytes]) -> None:
    for request in requests:
        head = await _send(collector, request)
        assert re.match(rb"HTTP/1\.[01] [1234]\d\d ", head) or head == b"", (request[:200], head)
        kept = b"public, max-age=31536000, immutable" if b"/assets/" in request and b" 200 " in head else b"no-store"
        for header in (b"X-Content-Type-Options: nosniff", b"Cache-Control: " + kept):
            assert header in head or head == b"", (request[:200], head)


async def _are_answered(folder: Path, store: str | None = None) -> None:
    async with running(folder, store=store, is_warm=True) as collector:
        add_user(collector.store, "ada", TokenRole.OPERATOR, "correct horse battery", now())
        before = len(collector.log().splitlines())
        await _answers(collector, [*NO_HTTP, *STRANGE])
        token = b"Authorization: Bearer " + collector.tokens["ops"].encode()
        await _answers(collector, [_head(line + b" HTTP/1.1", token, b"Content-Length: 0") for line in WITH_A_TOKEN])
        for name, document in (
            ("lxc102", b'{"identifier": "a\\u0000b", "token": "t", "digest": "d"}'),
            ("ops", b"[" * 9_000),
        ):
            status, _ = await collector.post("/v1/rehearsals", document, name)
            assert status < 500
        assert (await collector.get("/v1/agents"))[0] == 200
        lines = collector.log().splitlines()[before:]
        assert len(lines) <= 3, lines
        assert "Traceback" not in collector.log()


@pytest.mark.slow
async def test_no_request_of_a_stranger_is_a_500_or_a_traceback(tmp_path: Path) -> None:
    """Neither of one with a token: 400, 401, 403, 404, 421, or the end of the connection."""
    await _are_answered(tmp_path)


@pytest.mark.servers
async def test_nor_is_one_on_postgresql(tmp_path: Path) -> None:
    """Which takes no NUL in a text."""
    with running_server() as server:
        await _are_answered(tmp_path, server.new_database())


async def test_forty_broken_requests_are_counted_in_one_line(collector: Collector) -> None:
    """And handshakes that fail in another; the metrics have both."""
    before = len(collector.log().splitlines())
    for _ in range(40):
        assert b" 400 " in await _send(collector, b"GET / HTTP/9.9\r\n\r\n")
        await _send(collector, b"GET / HTTP/1.1\r\n\r\n", tls=False)

    async def counted() -> bool:
        async with collector.session("ops") as session, session.get("/metrics") as response:
            text = await response.text()
        return all(
            f'certagent_broken_requests_total{{reason="{reason}"}} 40.0' in text for reason in (NOT_HTTP, NO_TLS)
        )

    assert await eventually(counted)
    lines = collector.log().splitlines()[before:]
    assert lines == [
        f"INFO certagent.collector.broken_requests: a broken request: {reason}" for reason in (NOT_HTTP, NO_TLS)
    ]


def test_what_came_in_between_is_told_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    """The first at once; nothing where nothing came; other errors keep their traceback."""
    clock = FakeClock()
    broken = BrokenRequests(clock)
    record = logging.LogRecord(
        "aiohttp.server", logging.ERROR, "", 0, "Error", (), (BadStatusLine, BadStatusLine(), None)
    )
    with caplog.at_level(logging.INFO):
        for _ in range(40):
            assert not broken.take_record(record)
        broken.note(GONE)
        broken.tell()
        broken.tell()
        record.exc_info = (KeyError, KeyError(), None)
        assert broken.take_record(record)
    assert [entry.getMessage() for entry in caplog.records] == [
        "a broken request: not HTTP",
        "a broken request: the client disconnected",
        "more broken requests: not HTTP (39 more since the last line)",
    ]
