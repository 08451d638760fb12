"""What a running Traefik made of its file provider's templates, by its API on loopback. Asks this node alone.

Facts: Traefik's documentation: `api.insecure` serves the API on the entry point `traefik`, by default at port 8080.
"""

import asyncio
from collections.abc import Iterator
from typing import Any

import msgspec

from certagent.domain.observations import Place
from certagent.domain.web_servers.traefik import Configuration, bare
from certagent.system.http import FetchError, connect, fetch
from certagent.vantage.config_nodes import ConfigNode, ConfigSource
from certagent.vantage.foreign_files import Notes
from certagent.vantage.traefik_sections import read_middleware, read_router, read_service

_LOOPBACK = "127.0.0.1"
_ANSWER_SECONDS = 3.0
_PAGE = 50
_MOST_PAGES = 40
_PROVIDER = "@file"


def render(configuration: Configuration) -> Configuration:
    """The configuration with what Traefik loaded in place of what its files do not say; as it was, where no API
    answers. What came of a template stands at the template's line. Blocks for seconds at most."""
    has_models = any(one.middlewares or one.has_tls for one in configuration.entry_points)
    if configuration.api_port is None or has_models:  # of those the API's routers have their part already
        return configuration
    try:
        loaded = asyncio.run(_load(configuration.api_port))
    except (OSError, FetchError, TimeoutError, ValueError, msgspec.MsgspecError):
        return configuration
    return _with(configuration, loaded)


async def _load(port: int) -> dict[str, list[dict[str, Any]]]:
    async with asyncio.timeout(_ANSWER_SECONDS):
        return {kind: await _list(port, kind) for kind in ("routers", "middlewares", "services")}


async def _list(port: int, kind: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    page = 1
    while 0 < page <= _MOST_PAGES:
        connection = await connect(_LOOPBACK, port)
        target = f"/api/http/{kind}?page={page}&per_page={_PAGE}"
        reply = await fetch(connection, f"{_LOOPBACK}:{port}", target, "certagent")
        if reply.status != 200 or not reply.is_whole:
            raise ValueError(f"status {reply.status}")
        found += msgspec.json.decode(reply.body, type=list[dict[str, Any]])
        following = int(reply.headers.get("x-next-page", "1"))
        page = following if following > page else 0
    if page:
        raise ValueError("more than anybody has")
    return found


def _with(configuration: Configuration, loaded: dict[str, list[dict[str, Any]]]) -> Configuration:
    places = {router.name: router.place for router in configuration.routers}
    otherwise = configuration.hidden or next(iter(places.values()), Place(file=""))
    nodes = {
        kind: {name: _node(places.get(name, otherwise), found) for name, found in _of_files(entries)}
        for kind, entries in loaded.items()
    }
    return msgspec.structs.replace(
        configuration,
        routers=tuple(read_router(name, node) for name, node in nodes["routers"].items()),
        middlewares={name: read_middleware(node) for name, node in nodes["middlewares"].items()},
        services={name: read_service(node) for name, node in nodes["services"].items()},
        hidden=None,
    )


def _of_files(entries: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(name, the settings alone) of what the file provider gave and Traefik uses."""
    said = ("name", "provider", "status", "error", "using", "usedBy", "serverStatus", "type")
    for entry in entries:
        name = str(entry.get("name", ""))
        if name.endswith(_PROVIDER) and entry.get("status") != "disabled":
            yield bare(name), {key: value for key, value in entry.items() if key not in said}


def _node(place: Place, value: Any) -> ConfigNode:
    """The settings at that place, every value of them."""
    return _node_of(ConfigSource(place.file, "", Notes()), place.line or 0, value)


def _node_of(source: ConfigSource, line: int, value: Any) -> ConfigNode:
    if isinstance(value, dict):
        return ConfigNode(source, line, {str(key): _node_of(source, line, child) for key, child in value.items()})
    if isinstance(value, list):
        return ConfigNode(source, line, [_node_of(source, line, item) for item in value])
    text = None if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return ConfigNode(source, line, text)
