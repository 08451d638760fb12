"""Traefik's own API: which certificates it has loaded (`GET /api/certificates`, since 3.7). Reads only."""

import asyncio
from urllib.parse import urlsplit

import msgspec

from certagent.system.http import FetchError, connect, fetch

ANSWER_SECONDS = 5.0
_PAGE = 50  # of about 600 bytes each: a page stays within what is read of an answer
_MOST_PAGES = 100


class Loaded(msgspec.Struct, frozen=True, rename="camel"):
    """One certificate that Traefik has loaded."""

    cert_fingerprint: str = ""
    sans: tuple[str, ...] = ()


async def loaded_certificates(api: str) -> tuple[Loaded, ...] | None:
    """All of them; None where the API does not answer, or is of a Traefik that does not have it."""
    found: list[Loaded] = []
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            for page in range(1, _MOST_PAGES + 1):
                certificates, following = await _page(api, page)
                found += certificates
                if following <= page:
                    break
    except (OSError, FetchError, TimeoutError, ValueError, msgspec.MsgspecError):
        return None
    return tuple(found)


async def _page(api: str, page: int) -> tuple[list[Loaded], int]:
    """(certificates, number of the next page); Traefik says 1 on the last one."""
    parts = urlsplit(api)
    connection = await connect(parts.hostname or "", parts.port or 80)
    target = f"{parts.path.rstrip('/')}/api/certificates?page={page}&per_page={_PAGE}"
    reply = await fetch(connection, parts.netloc, target, "certagent")
    if reply.status != 200 or not reply.is_whole:
        raise ValueError(f"status {reply.status}")
    return msgspec.json.decode(reply.body, type=list[Loaded]), int(reply.headers.get("x-next-page", "1"))
