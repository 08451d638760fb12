"""The URL of the collector's database: which one it names, and how PostgreSQL is connected to. Opens nothing.

A URL that names one server is read as SQLAlchemy reads it; one that names several (`HOST:PORT,HOST:PORT`) is libpq's
own form, and libpq reads it. No error repeats a URL: it may hold a password.
"""

import re
from pathlib import Path
from typing import Any

_NO_URL = (
    "is not a URL that libpq can read (postgresql://USER@HOST:PORT,HOST:PORT/NAME?target_session_attrs=read-write)"
)
_WANTED_SERVERS = frozenset({"any", "read-write", "read-only", "primary", "standby", "prefer-standby"})


def is_postgresql(url: str) -> bool:
    """Whether the database is a PostgreSQL's, which several collectors may share."""
    return re.match(r"postgresql(\+\w+)?:", url) is not None


def file_of(url: str) -> Path | None:
    """The file of an SQLite database; None for any other."""
    if is_postgresql(url):
        return None
    from sqlalchemy import make_url

    database = make_url(url).database
    return Path(database) if database is not None else None


def database_name(url: str) -> str:
    """The file, or the name on the server."""
    file = file_of(url)
    return str(file) if file is not None else str(server_options(url).get("dbname", "")) if is_postgresql(url) else ""


def server_options(url: str) -> dict[str, Any]:
    """What psycopg connects with. Raises ValueError."""
    import psycopg
    from psycopg.conninfo import conninfo_to_dict
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        if _names_several_servers(url):
            return conninfo_to_dict(re.sub(r"^postgresql\+\w+:", "postgresql:", url))
        parsed = make_url(url).set(drivername="postgresql+psycopg")
        return dict(parsed.get_dialect()().create_connect_args(parsed)[1])
    except (psycopg.Error, ArgumentError, ValueError) as error:
        raise ValueError(_NO_URL) from error


def flaw_of_store_url(url: str) -> str | None:
    """Why no database can be opened by that URL, as a clause about it; None if one may be."""
    return _flaw_of_postgresql(url) if is_postgresql(url) else _flaw_of_sqlite(url)


def _names_several_servers(url: str) -> bool:
    servers = re.split(r"[/?]", url.partition("://")[2], maxsplit=1)[0].rpartition("@")[2]
    return "," in servers


def _flaw_of_sqlite(url: str) -> str | None:
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        return "is not a URL of a file (sqlite:////PATH)"
    return "names a host, not a file (write sqlite:////PATH)" if parsed.host else None


def _flaw_of_postgresql(url: str) -> str | None:
    from psycopg import pq

    try:
        options = server_options(url)
    except ValueError as error:
        return str(error)
    unknown = sorted(options.keys() - {option.keyword.decode() for option in pq.Conninfo.get_defaults()})
    if unknown:
        return f"libpq has no option {unknown[0]!r}"
    wanted = options.get("target_session_attrs", "any")
    if wanted not in _WANTED_SERVERS:
        return f"target_session_attrs: {wanted!r} is not one of {', '.join(sorted(_WANTED_SERVERS))}"
    return _flaw_of_ports(str(options.get("host", "")).split(","), str(options.get("port", "")).split(","))


def _flaw_of_ports(hosts: list[str], ports: list[str]) -> str | None:
    for port in filter(None, ports):
        if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
            return f"{port!r} is not a port"
    if len(ports) not in (1, len(hosts)):
        return f"names {len(hosts)} hosts and {len(ports)} ports"
    return None
