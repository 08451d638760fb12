"""Single values of the settings: identifiers, endpoints, URLs and paths. Looks at no file."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from certagent.config.settings import ConfigurationError
from certagent.domain.identifiers import flaw_of, is_wildcard
from certagent.domain.server_address import split_endpoint

_IN_NO_PATH = ("{{", "}}", "${", "://")


def check_identifier(path: Path, where: str, identifier: str) -> None:
    """Raise `ConfigurationError` for what no certificate can be for."""
    flaw = flaw_of(identifier)
    if flaw is not None:
        raise ConfigurationError(path, f"{where}: {identifier!r} {flaw}")


def check_endpoints(path: Path, where: str, endpoints: Sequence[str]) -> None:
    """Raise `ConfigurationError` for one that is not address:port, or name:port."""
    for endpoint in endpoints:
        try:
            host, _ = split_endpoint(endpoint)
        except ValueError as error:
            raise ConfigurationError(path, f"{where}: {error}") from error
        flaw = _flaw_of_host(host)
        if flaw is not None:
            raise ConfigurationError(path, f"{where}: {endpoint!r}: {host!r} {flaw}")


def check_url(path: Path, where: str, url: str) -> None:
    """Raise `ConfigurationError` for a URL without a usable host, or with a port that is none."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError as error:
        raise ConfigurationError(path, f"{where}: {url!r} is not a URL: {error}") from error
    flaw = "contains a space" if any(character.isspace() for character in url) else _flaw_of_host(host)
    if flaw is not None:
        raise ConfigurationError(path, f"{where}: {url!r} is not a URL: its host {host!r} {flaw}")


def check_paths(path: Path, settings: msgspec.Struct) -> None:
    """Raise `ConfigurationError` for a path in any of the sections that is not absolute, or that is a template."""
    for where, value in _paths_in("", settings):
        text = str(value)
        if not value.is_absolute():
            raise ConfigurationError(path, f"{where}: {text!r} is not an absolute path")
        if any(mark in text for mark in _IN_NO_PATH) or not text.isprintable():
            raise ConfigurationError(path, f"{where}: {text!r} is not a file path: it is a template, or damaged")


def _flaw_of_host(host: str) -> str | None:
    """Of a host that is only connected to: hosts files and containers have underscores, addresses a zone."""
    bare = host.partition("%")[0] if ":" in host else host.replace("_", "-").removesuffix(".")
    return "is a wildcard" if is_wildcard(bare) else flaw_of(bare)


def _paths_in(where: str, value: Any) -> Iterator[tuple[str, Path]]:
    """Every path with its key path."""
    if isinstance(value, Path):
        yield where, value
    elif isinstance(value, tuple) and len(value) == 1 and isinstance(value[0], Path):
        yield where, value[0]
    elif isinstance(value, tuple):
        for index, item in enumerate(value):
            yield from _paths_in(f"{where}[{index}]", item)
    elif isinstance(value, msgspec.Struct):
        for field in value.__struct_fields__:
            yield from _paths_in(f"{where}.{field}" if where else field, getattr(value, field))
