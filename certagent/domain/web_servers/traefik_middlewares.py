"""What Traefik's middlewares make of a challenge on its way to a service. Pure.

Facts: Traefik's documentation (v3), "HTTP middlewares", and its source.
"""

from collections.abc import Iterator, Sequence

import msgspec

from certagent.domain.observations import Place, ServerAction
from certagent.domain.web_servers import ASKED
from certagent.domain.web_servers.traefik import Configuration, Middleware, Named, bare, is_ours
from certagent.domain.web_servers.traefik_rules import replace, search

_DENYING = ("basicauth", "digestauth", "forwardauth")
_RANGES = ("ipallowlist", "ipwhitelist")
_MOST_MIDDLEWARES = 1000
_ANYBODY = {"0.0.0.0/0", "::/0"}
_PASSING = frozenset(
    (
        *("buffering", "circuitbreaker", "compress", "contenttype", "encodedcharacters", "errors", "grpcweb"),
        *("headers", "inflightreq", "passtlsclientcert", "ratelimit", "retry"),
    )
)


class Passage(msgspec.Struct, kw_only=True):
    """Where a challenge is on its way. `action`: what became of it, where it does not get to the service as it was;
    `host`: the line that changes its Host."""

    name: str
    path: str = ASKED
    action: ServerAction | None = None
    place: Place | None = None
    target: str | None = None
    host: Place | None = None

    def stop(self, action: ServerAction, place: Place | None, target: str | None = None) -> None:
        """It goes no further."""
        self.action, self.place, self.target = action, place, target

    def rewrite(self, path: str | None, place: Place) -> None:
        """It goes on under another path (None: nobody knows which); that is known at the service only."""
        if path is None:
            self.stop(ServerAction.UNKNOWN, None)
        elif path != self.path:
            self.path, self.place = path, self.place or place


def pass_through(configuration: Configuration, names: Sequence[Named], name: str) -> Passage:
    """What the middlewares of those names make of the challenge of `name`."""
    passage = Passage(name=name)
    for middleware in _flatten(configuration, names):
        if middleware is None:
            passage.stop(ServerAction.UNKNOWN, None)
        else:
            _apply(middleware, passage)
        if passage.action is not None:
            return passage
    if passage.path != ASKED:
        passage.action = ServerAction.REWRITES
    return passage


def are_usable(configuration: Configuration, names: Sequence[Named]) -> bool:
    """Whether Traefik can build all of them; every router with one that it cannot is left out."""
    waiting, seen = list(names), set()
    while waiting:
        name = waiting.pop().name
        if is_ours(name) and name not in seen:
            seen.add(name)
            middleware = configuration.middlewares.get(bare(name))
            if middleware is None or not middleware.is_usable:
                return False
            waiting += middleware.chain
    return True


def _flatten(configuration: Configuration, names: Sequence[Named]) -> Iterator[Middleware | None]:
    """The middlewares, chains dissolved; None for what the files do not show, and for more than anybody has."""
    waiting = list(names)
    for _ in range(_MOST_MIDDLEWARES):
        if not waiting:
            return
        name = waiting.pop(0).name
        middleware = configuration.middlewares.get(bare(name)) if is_ours(name) else None
        if middleware is not None and middleware.kind == "chain":
            waiting = [*middleware.chain, *waiting]
        else:
            yield middleware
    yield None


def _apply(middleware: Middleware, passage: Passage) -> None:
    kind, place = middleware.kind, middleware.place
    if kind in _DENYING or (kind in _RANGES and not _ANYBODY & set(middleware.values)):
        passage.stop(ServerAction.DENIES, place)
    elif kind == "redirectscheme":
        _redirect_scheme(middleware, passage)
    elif kind == "redirectregex":
        _redirect_regex(middleware, passage)
    elif kind == "stripprefix":
        prefix = next((value for value in middleware.values if passage.path.startswith(value)), "")
        passage.rewrite("/" + passage.path.removeprefix(prefix).lstrip("/") if prefix else passage.path, place)
    elif kind == "stripprefixregex":
        _strip_patterns(middleware, passage)
    elif kind == "replacepath":
        passage.rewrite(middleware.text, place)
    elif kind == "replacepathregex":
        passage.rewrite(replace(middleware.values[0], middleware.text, passage.path), place)
    elif kind == "addprefix":
        passage.rewrite(middleware.text + passage.path, place)
    elif kind in _PASSING or kind in _RANGES:
        passage.host = passage.host or middleware.host
    else:
        passage.stop(ServerAction.UNKNOWN, None)


def _redirect_scheme(middleware: Middleware, passage: Passage) -> None:
    port = (
        f":{middleware.port}"
        if middleware.port not in ("", {"http": "80", "https": "443"}.get(middleware.text))
        else ""
    )
    if middleware.text != "http" or port:
        target = f"{middleware.text}://{passage.name}{port}{passage.path}"
        passage.stop(ServerAction.REDIRECTS, middleware.place, target)


def _redirect_regex(middleware: Middleware, passage: Passage) -> None:
    asked = f"http://{passage.name}{passage.path}"
    target = replace(middleware.values[0], middleware.text, asked)
    if target is None:
        passage.stop(ServerAction.UNKNOWN, None)
    elif target != asked:
        passage.stop(ServerAction.REDIRECTS, middleware.place, target)


def _strip_patterns(middleware: Middleware, passage: Passage) -> None:
    for pattern in middleware.values:
        if search(f"^(?:{pattern})", passage.path) is not False:
            stripped = replace(f"^(?:{pattern})", "", passage.path)
            passage.rewrite(None if stripped is None else "/" + stripped.lstrip("/"), middleware.place)
            return
