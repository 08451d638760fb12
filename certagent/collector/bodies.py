"""Bodies of requests: each is bounded in size, time and number before it is read, whoever sends it.

The server leaves them packed (`auto_decompress=False`): a body is unpacked here, no further than it may be large.
"""

import asyncio
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from urllib.parse import parse_qsl

import msgspec
from aiohttp import web

from certagent.collector.access import HttpProblem

LARGEST_BODY = 8 * 1024 * 1024  # bytes, once unpacked
LARGEST_DOCUMENT = 64 * 1024  # of what is one question, not many reports
_LARGEST_FORM = 8_192
_MOST_POSTS = 8  # of one caller at once
_MOST_FORMS = 32  # of all browsers and strangers at once
_MOST_FIELDS = 16
_PIECE = 512 * 1024  # bytes that are unpacked at a time
_PACKED = frozenset({"gzip", "deflate"})
_GZIP_OR_ZLIB = 47  # zlib's wbits: tell them apart by the header


class BodyBounds(msgspec.Struct, frozen=True, kw_only=True):
    """`bytes`: of all bodies together that are read or wait to be written. `seconds`, `form_seconds`: to arrive."""

    bytes: int = 256 * 1024 * 1024
    seconds: float = 30.0
    form_seconds: float = 5.0


class Bodies:
    """Room for bodies: of all callers together by size, of one caller by number; for forms, which need no credential,
    by number. Without room, try again later."""

    def __init__(self, bounds: BodyBounds | None = None) -> None:
        self._bounds = bounds or BodyBounds()
        self._taken = 0
        self._posts: Counter[str] = Counter()
        self._forms = 0

    @asynccontextmanager
    async def body_of(self, request: web.Request, caller: str, largest: int = LARGEST_BODY) -> AsyncIterator[bytes]:
        """The body, unpacked; its room is free again after the block. Raises `HttpProblem` 400, 408, 413, 415, 429."""
        size = _expected_size(request, largest)
        if self._posts[caller] >= _MOST_POSTS:
            raise try_later(f"{caller} has {_MOST_POSTS} posts in progress already")
        self._posts[caller] += 1
        try:
            with self._room() as take:
                take(size)
                packed = await _read(request, largest, self._bounds.seconds)
                yield unpack(packed, _encoding(request), largest, take)
        finally:
            self._posts[caller] -= 1
            if not self._posts[caller]:
                del self._posts[caller]

    @contextmanager
    def _room(self) -> Iterator[Callable[[int], None]]:
        """Room for one body; what is given out takes more of it. Raises `HttpProblem` 429 where there is no more."""
        own = 0

        def take(size: int) -> None:
            nonlocal own
            if self._taken + size > self._bounds.bytes:
                raise try_later("too many request bodies are being read")
            own += size
            self._taken += size

        try:
            yield take
        finally:
            self._taken -= own

    async def form_of(self, request: web.Request) -> Mapping[str, str]:
        """The fields of a form that one of our own pages sends. Raises `HttpProblem` 400, 408, 413, 415, 429."""
        if _encoding(request) != "identity" or request.content_type != "application/x-www-form-urlencoded":
            raise HttpProblem(
                415, "Unsupported Media Type", "a form must be URL-encoded and not compressed", headers=_CLOSE
            )
        _expected_size(request, _LARGEST_FORM)
        with self._place_for_a_form():
            body = await _read(request, _LARGEST_FORM, self._bounds.form_seconds)
        try:
            fields = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_MOST_FIELDS)
        except (ValueError, UnicodeDecodeError) as error:
            raise HttpProblem(400, "Bad Request", "not a form of this site") from error
        if any("\0" in value for _, value in fields):  # which no database takes
            raise HttpProblem(400, "Bad Request", "not a form of this site")
        return dict(fields)

    @contextmanager
    def _place_for_a_form(self) -> Iterator[None]:
        if self._forms >= _MOST_FORMS:
            raise try_later("too many forms are being read")
        self._forms += 1
        try:
            yield
        finally:
            self._forms -= 1


def unpack(body: bytes, encoding: str, largest: int, take: Callable[[int], None]) -> bytes:
    """The body as it was before it was packed. Its room is taken as it grows, since a packed body may come to a
    thousand times its size. Raises `HttpProblem` 400, 413, and whatever `take` raises."""
    if encoding == "identity":
        return body
    unpacker = zlib.decompressobj(_GZIP_OR_ZLIB)
    pieces: list[bytes] = []
    left = largest
    try:
        while piece := unpacker.decompress(body, _PIECE):
            left -= len(piece)
            if left < 0:
                raise _too_large(largest)
            take(len(piece))
            pieces.append(piece)
            body = unpacker.unconsumed_tail
    except zlib.error as error:
        raise HttpProblem(400, "Bad Request", f"the body cannot be decompressed: {error}") from error
    if not unpacker.eof or unpacker.unused_data:
        raise HttpProblem(400, "Bad Request", "the body cannot be decompressed: it is cut off, or data follows its end")
    return b"".join(pieces)


def try_later(reason: str, seconds: int = 1) -> HttpProblem:
    """There is no room now."""
    return HttpProblem(429, "Too Many Requests", reason, headers={"Retry-After": str(seconds), **_CLOSE})


_CLOSE = {"Connection": "close"}
"""What is not read of a refused body is not worth reading."""


async def _read(request: web.Request, largest: int, seconds: float) -> bytes:
    """As it was sent. What is raised keeps nothing of the request alive: an error that aiohttp stores in the stream
    would, by its traceback, until garbage is looked for."""
    pieces: list[bytes] = []
    left = largest
    try:
        async with asyncio.timeout(seconds):
            async for piece in request.content.iter_any():
                pieces.append(piece)
                left -= len(piece)
                if left < 0:
                    break
    except TimeoutError:
        detail = f"the body did not arrive within {seconds:g} s"
        raise HttpProblem(408, "Request Timeout", detail, headers=_CLOSE) from None
    except web.RequestPayloadError as error:
        error.__traceback__ = None
        raise HttpProblem(400, "Bad Request", f"the body cannot be read: {error}", headers=_CLOSE) from None
    except ConnectionError as error:
        error.__traceback__ = None
        raise ConnectionResetError("the client disconnected") from None
    if left < 0:
        raise _too_large(largest)
    return b"".join(pieces)


def _encoding(request: web.Request) -> str:
    return request.headers.get("Content-Encoding", "identity").lower()


def _expected_size(request: web.Request, largest: int) -> int:
    """What is read at most, as it is sent: what was announced, if anything."""
    encoding = _encoding(request)
    if encoding != "identity" and encoding not in _PACKED:
        detail = f"a body may be compressed with gzip, not with {encoding[:40]!r}"
        raise HttpProblem(415, "Unsupported Media Type", detail, headers=_CLOSE)
    announced = request.content_length
    if announced is not None and announced > largest:
        raise _too_large(largest)
    return largest if announced is None else announced


def _too_large(largest: int) -> HttpProblem:
    return HttpProblem(413, "Content Too Large", f"more than {largest} bytes", headers=_CLOSE)
