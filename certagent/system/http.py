"""Sockets to IP addresses, and one raw HTTP/1.1 request over a socket that the caller connected. Looks no name up,
follows nothing, verifies nothing, keeps nothing.

Everything that a hostile server can stretch is bounded here in bytes, and by the caller in time.
"""

import asyncio
import re
import socket
import ssl
import zlib
from collections.abc import Mapping

import msgspec

from certagent.system.socket_addresses import socket_address

LARGEST_BODY = 64 * 1024

_LARGEST_HEAD = 64 * 1024
_MOST_INTERIM_RESPONSES = 5
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] (\d{3})(?: |\r?\n|$)")
_TLS_RECORDS = (b"\x15\x03", b"\x16\x03")
_BODILESS = (204, 304)


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What came back. `headers` in lower case, the first of each name; `certificate` in DER form, after TLS.

    `body` holds at most `LARGEST_BODY` bytes; `is_whole` says whether that was all.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    is_whole: bool
    certificate: bytes | None = None


class FetchError(Exception):
    """No HTTP answer. `kind`: "reset" (closed without a word), "tls" (one side speaks it, the other does not), or
    "protocol" (something else than HTTP, or a broken answer)."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


async def connect(address: str, port: int) -> socket.socket:
    """A connected, non-blocking TCP socket. Raises OSError as the kernel says; the caller bounds it in time."""
    family, where = socket_address(address, port)
    connection = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        await asyncio.get_running_loop().sock_connect(connection, where)
    except BaseException:
        connection.close()
        raise
    return connection


async def fetch(connection: socket.socket, host: str, target: str, agent: str, tls_name: str | None = None) -> Reply:
    """GET `target` with that Host and User-Agent. `tls_name`: speak TLS and ask for that name, whoever answers.

    Takes the socket over and closes it. Raises FetchError, or OSError.
    """
    context = _trusting_context() if tls_name is not None else None
    try:
        reader, writer = await asyncio.open_connection(
            sock=connection, ssl=context, server_hostname=tls_name, limit=_LARGEST_HEAD
        )
    except ssl.SSLError as error:
        raise FetchError("tls", error.reason or "handshake failed") from error
    try:
        request = f"GET {target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {agent}\r\n"
        writer.write(f"{request}Accept-Encoding: gzip\r\nConnection: close\r\n\r\n".encode())
        certificate = _certificate(writer)
        return await _read_reply(reader, certificate)
    except asyncio.IncompleteReadError as error:
        raise FetchError("protocol", "the answer ends too early") from error
    except ssl.SSLError as error:
        raise FetchError("tls", error.reason or "broken record") from error
    except ValueError as error:
        raise FetchError("protocol", "a line does not end") from error
    finally:
        writer.transport.abort()


async def _read_reply(reader: asyncio.StreamReader, certificate: bytes | None) -> Reply:
    for _ in range(_MOST_INTERIM_RESPONSES + 1):
        status = await _read_status(reader)
        headers = await _read_headers(reader)
        if status >= 200 or status == 101:
            break
    else:
        raise FetchError("protocol", "too many interim responses")
    body, is_whole = (b"", True) if status in _BODILESS else await _read_body(reader, headers)
    if headers.get("content-encoding", "").lower() == "gzip":
        body, is_whole = _unpack(body, is_whole)
    return Reply(status=status, headers=headers, body=body, is_whole=is_whole, certificate=certificate)


async def _read_status(reader: asyncio.StreamReader) -> int:
    start = await reader.read(2)
    if not start:
        raise FetchError("reset", "closed without an answer")
    if len(start) == 1:
        start += await reader.read(1)
    if start in _TLS_RECORDS:
        raise FetchError("tls", "answers plain HTTP with TLS")
    line = start + (await reader.readline() if start == b"HT" else b"")
    found = _STATUS_LINE.match(line)
    if found is None:
        raise FetchError("protocol", "the answer is not HTTP/1")
    return int(found[1])


async def _read_headers(reader: asyncio.StreamReader) -> dict[str, str]:
    headers: dict[str, str] = {}
    size = 0
    while line := (await _read_line(reader)).rstrip(b"\r\n"):
        size += len(line)
        if size > _LARGEST_HEAD:
            raise FetchError("protocol", "the header of the answer is too long")
        name, colon, value = line.partition(b":")
        if colon:
            headers.setdefault(name.decode("latin-1").lower(), value.strip().decode("latin-1"))
    return headers


async def _read_line(reader: asyncio.StreamReader) -> bytes:
    line = await reader.readline()
    if not line.endswith(b"\n"):
        raise asyncio.IncompleteReadError(line, None)
    return line


async def _read_body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> tuple[bytes, bool]:
    if headers.get("transfer-encoding", "").lower() == "chunked":
        return await _read_chunks(reader)
    length = headers.get("content-length")
    if length is None:
        return await _read_until_closed(reader)
    if not (length.isascii() and length.isdigit()):
        raise FetchError("protocol", "Content-Length is not a number")
    wanted = min(int(length[:18]), LARGEST_BODY)
    return await reader.readexactly(wanted), wanted == int(length[:18])


async def _read_until_closed(reader: asyncio.StreamReader) -> tuple[bytes, bool]:
    body = b""
    while len(body) <= LARGEST_BODY:
        piece = await reader.read(LARGEST_BODY)
        if not piece:
            return body, True
        body += piece
    return body[:LARGEST_BODY], False


async def _read_chunks(reader: asyncio.StreamReader) -> tuple[bytes, bool]:
    body = b""
    while len(body) <= LARGEST_BODY:
        size_line = (await reader.readline()).split(b";")[0].strip()
        if not re.fullmatch(rb"[0-9a-fA-F]{1,16}", size_line):
            raise FetchError("protocol", "a chunk has no size")
        size = int(size_line, 16)
        if size == 0:
            return body, True
        if size > LARGEST_BODY:
            return body, False
        body += await reader.readexactly(size)
        if (await reader.readline()).strip():
            raise FetchError("protocol", "a chunk does not end")
    return body[:LARGEST_BODY], False


def _unpack(body: bytes, is_whole: bool) -> tuple[bytes, bool]:
    """As Go does with what it asked for itself."""
    unpacker = zlib.decompressobj(wbits=31)
    try:
        plain = unpacker.decompress(body, LARGEST_BODY)
    except zlib.error as error:
        raise FetchError("protocol", "the compressed answer cannot be decompressed") from error
    return plain, is_whole and unpacker.eof


def _trusting_context() -> ssl.SSLContext:
    """The CA does not verify on a redirect, so neither does its rehearsal; the names met there are reported."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _certificate(writer: asyncio.StreamWriter) -> bytes | None:
    tls: ssl.SSLObject | None = writer.get_extra_info("ssl_object")
    return None if tls is None else tls.getpeercert(binary_form=True)
