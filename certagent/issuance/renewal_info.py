"""When the CA suggests to renew a certificate (RFC 9773, ARI), if its directory offers that. No account is needed,
so this module does without the ACME package."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from urllib.parse import urlsplit

import aiohttp
import msgspec
from cryptography import x509

from certagent.domain.certificates import Window, renewal_identifier
from certagent.issuance.responses import decode, seconds_of
from certagent.system.pinned_http import PinnedClient
from certagent.system.tls import RootFiles

ANSWER_SECONDS = 10.0
SHORTEST = timedelta(minutes=1)
LONGEST = timedelta(days=1)
USUAL = timedelta(hours=6)


class RenewalInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What the CA suggests, and after which time it may be asked again. `window` is None if the CA makes no
    suggestion."""

    window: Window | None
    again_in: timedelta


class _Directory(msgspec.Struct, frozen=True, rename="camel"):
    renewal_info: str | None = None


class _Window(msgspec.Struct, frozen=True):
    start: datetime
    end: datetime


class _RenewalInfo(msgspec.Struct, frozen=True, rename="camel"):
    suggested_window: _Window


class _NoAnswerError(aiohttp.ClientError):
    """The CA's response is not a renewal info."""


class RenewalInfoClient:
    """Asks the CA of one directory, which is contacted by name, or else at its configured addresses."""

    def __init__(self, directory: str, root: RootFiles, addresses: Sequence[str]) -> None:
        self._directory = directory
        self._root = root
        self._addresses = tuple(addresses)

    async def ask(self, chains: Sequence[bytes]) -> list[RenewalInfo]:
        """Ask about each of those certificates. A CA that cannot be reached, or whose response is invalid, makes no
        suggestion for now."""
        parts = urlsplit(self._directory)
        try:
            async with PinnedClient(f"{parts.scheme}://{parts.netloc}", self._root, self._addresses, {}) as client:
                directory = decode((await _get(client, parts.path))[0], _Directory)
                if directory.renewal_info is None:
                    return [RenewalInfo(window=None, again_in=LONGEST) for _ in chains]
                path = urlsplit(directory.renewal_info).path
                return [await _about(client, path, chain) for chain in chains]
        except (aiohttp.ClientError, TimeoutError, OSError, msgspec.MsgspecError):
            return [RenewalInfo(window=None, again_in=USUAL) for _ in chains]


async def _about(client: PinnedClient, path: str, chain_pem: bytes) -> RenewalInfo:
    mark = renewal_identifier(x509.load_pem_x509_certificate(chain_pem))
    if mark is None:
        return RenewalInfo(window=None, again_in=LONGEST)
    try:
        return _advice(*await _get(client, f"{path.rstrip('/')}/{mark}"))
    except _NoAnswerError:
        return RenewalInfo(window=None, again_in=USUAL)


def _advice(answer: bytes, pause: float | None) -> RenewalInfo:
    again_in = USUAL if pause is None else min(max(timedelta(seconds=pause), SHORTEST), LONGEST)
    try:
        seen = decode(answer, _RenewalInfo).suggested_window
        is_window = seen.start.tzinfo is not None and seen.end.tzinfo is not None and seen.start < seen.end
    except msgspec.MsgspecError:
        return RenewalInfo(window=None, again_in=USUAL)
    return RenewalInfo(window=Window(start=seen.start, end=seen.end) if is_window else None, again_in=again_in)


async def _get(client: PinnedClient, path: str) -> tuple[bytes, float | None]:
    status, headers, body = await client.get(path, timeout=ANSWER_SECONDS)
    if status != 200:
        raise _NoAnswerError(f"{path} answered {status}")
    return body, seconds_of(headers.get("Retry-After"))
