"""The collector asked with this node's own credential, for commands that show more than one node's view. Reads only."""

import asyncio
from typing import Any
from urllib.parse import quote

import msgspec

from certagent.commands import UnableError
from certagent.config import AgentSettings, CollectorSection, read_credential
from certagent.system.tls import RootFiles

ASKING_SECONDS = 5.0


def ask_collector(settings: AgentSettings | None, *path: str) -> dict[str, Any]:
    """`GET /v1/<path>`: the document. Raises `UnableError`: no collector, none reached, or not for this node."""
    section = settings.collector if settings is not None else None
    if settings is None or section is None:
        raise UnableError("no collector is configured: there is no section [collector] in agent.toml")
    target = "/v1/" + "/".join(quote(part, safe="") for part in path)
    status, body = asyncio.run(_get(section, section.root or settings.authority.root, target))
    document = _decode(body)
    if status != 200:
        reason = document.get("detail") or f"status {status}"
        raise UnableError(f"the collector at {section.url} does not answer {target}: {reason}")
    return document


async def _get(section: CollectorSection, root: RootFiles, target: str) -> tuple[int, bytes]:
    import aiohttp

    from certagent.system.pinned_http import PinnedClient, failure_words

    url = section.url
    headers, pair = read_credential(section)
    try:
        async with PinnedClient(url, root, section.addresses, headers, pair) as client:
            return await client.request("GET", target, timeout=ASKING_SECONDS)
    except TimeoutError:
        raise UnableError(f"the collector at {url} did not answer in {ASKING_SECONDS:g} s") from None
    except (aiohttp.ClientError, OSError) as error:
        raise UnableError(f"the collector at {url} cannot be reached: {failure_words(error)}") from error


def _decode(body: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.DecodeError:
        return {}
