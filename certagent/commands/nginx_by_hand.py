"""What a person has to edit in nginx's files for challenges to get through: the snippet, and what answers before it."""

import re
from collections.abc import Iterator, Sequence

from certagent.commands.config_template import LISTEN
from certagent.domain.observations import Place
from certagent.domain.web_servers import ASKED
from certagent.domain.web_servers.nginx_syntax import Directive
from certagent.vantage.nginx_pairs import split_listen

_CHALLENGE = "acme-challenge"


def steps_for(
    configuration: Sequence[Directive], names: Sequence[str], snippet: str, renewed: Sequence[str] = ()
) -> list[str]:
    """One sentence per step, for the port-80 servers that answer for `names` (those that http-01 proves). `renewed`:
    likewise, but renewed by another client, whose challenges the snippet would take: it is for after the take-over.
    """
    servers = [server for server in _servers(configuration) if _listens_plainly(server)]
    lacking = [name for name in names if not _has_snippet(_server_of(servers, name))]
    chosen = {id(server): server for name in (*names, *renewed) if (server := _server_of(servers, name)) is not None}
    steps = []
    if names and not servers:
        steps.append(f"nginx does not listen on port 80: add a `server` there for {', '.join(names)}")
    for where, ours in _by_place(servers, lacking).items():
        steps.append(
            f"in nginx's port-80 `server` of {', '.join(ours)}{where}: include snippets/{snippet};"
            " then nginx -t && systemctl reload nginx"
        )
    for server in chosen.values():
        steps += _obstacles(server)
    later = [name for name in renewed if name not in names and not _has_snippet(_server_of(servers, name))]
    if later:
        steps.append(
            f"only after the other client's renewals of {', '.join(later)} have ended: include snippets/{snippet} in"
            " nginx's port-80 `server` of these names; until then, it would answer that client's challenges"
        )
    return steps


def _by_place(servers: Sequence[Directive], names: Sequence[str]) -> dict[str, list[str]]:
    """Where each server is that answers for those names: ` (FILE:LINE)`, or nothing where there is none."""
    found: dict[str, list[str]] = {}
    for name in names:
        server = _server_of(servers, name)
        found.setdefault(f" ({_at(server.place)})" if server is not None else "", []).append(name)
    return found


def _servers(configuration: Sequence[Directive]) -> Iterator[Directive]:
    for context in configuration:
        if context.name == "http":
            yield from (block for block in context.block if block.name == "server")


def _listens_plainly(server: Directive) -> bool:
    lines = [line for line in server.block if line.name == "listen" and line.args]
    return not lines or any(split_listen(line.args[0])[1] == 80 for line in lines)


def _server_of(servers: Sequence[Directive], name: str) -> Directive | None:
    """By exact name, by the longest wildcard, else the default."""
    fitting = [(_rank(pattern.lower(), name), server) for server in servers for pattern in _names(server)]
    best = max((rank for rank, _ in fitting), default=0)
    if best:
        return next(server for rank, server in fitting if rank == best)
    return next((server for server in servers if _is_default(server)), servers[0] if servers else None)


def _has_snippet(server: Directive | None) -> bool:
    """Whether it already hands challenges to the agent."""
    locations = [line for line in server.block if line.name == "location"] if server is not None else []
    passes = (
        inner.args[0]
        for line in locations
        if line.args and _CHALLENGE in line.args[-1]
        for inner in line.block
        if inner.name == "proxy_pass" and inner.args
    )
    return any(LISTEN in target for target in passes)


def _rank(pattern: str, name: str) -> int:
    if pattern == name or pattern == f".{name}":
        return 1000
    is_below = pattern.startswith(("*.", ".")) and name.endswith(pattern.lstrip("*"))
    return len(pattern) if is_below else 0


def _names(server: Directive) -> Iterator[str]:
    for line in server.block:
        if line.name == "server_name":
            yield from line.args


def _is_default(server: Directive) -> bool:
    return any(line.name == "listen" and "default_server" in line.args for line in server.block)


def _obstacles(server: Directive) -> Iterator[str]:
    """What nginx does at the level of the server, which comes before it looks for any location."""
    knows_challenge = any(_CHALLENGE in " ".join(line.args) for line in server.block if line.name == "if")
    for line in server.block:
        if line.name == "return":
            yield (
                f"{_shown(line)} answers before any location, so the snippet alone changes nothing: move that return"
                " into a `location / { ... }` of the same server"
            )
        elif line.name == "rewrite" and _takes_challenge(line):
            yield (
                f"{_shown(line)} is applied before any location, so the snippet alone changes nothing: move that"
                " rewrite into a `location / { ... }` of the same server"
            )
        elif line.name == "if" and not knows_challenge:
            inner = next((one for one in line.block if one.name in ("return", "rewrite")), None)
            if inner is not None:
                yield (
                    f"{_shown(line, inner)} answers before any location, so the snippet alone changes nothing: remove"
                    f" that `if`, or replace it by a {inner.name} in a `location / {{ ... }}` of the same server"
                )


def _takes_challenge(line: Directive) -> bool:
    try:
        return bool(line.args) and re.search(line.args[0], ASKED) is not None
    except re.error:
        return True


def _shown(line: Directive, inner: Directive | None = None) -> str:
    text = f"`{line.name} {' '.join(line.args)}`"
    if inner is not None:
        text = f"`{inner.name} {' '.join(inner.args)}` (line {inner.place.line}) in the `if`"
    return f"{_at(line.place)}: {text}"


def _at(place: Place) -> str:
    return place.file if place.line is None else f"{place.file}:{place.line}"
