"""nginx: which server takes a request, which location in it, and what that does. Pure.

Facts: nginx's documentation of server_name ("Server names"), location, and the order of phases (rewrite, access,
content). Conditions (`if`) depend on what only a request shows: then nothing is claimed.
"""

import re
from collections.abc import Iterator, Sequence

from certagent.domain.observations import Misconfiguration, Place, ServerAction, WebServerObservation
from certagent.domain.web_servers import ASKED
from certagent.domain.web_servers.nginx_syntax import Directive

_DEFAULT_FOLDER = "html"
_PASSING = ("proxy_pass", "fastcgi_pass", "uwsgi_pass", "scgi_pass", "grpc_pass")


def judge(configuration: Sequence[Directive], name: str, port: int = 80) -> WebServerObservation | None:
    """What becomes of the challenge of `name` on that port; None when no server listens there."""
    servers = [one for one in _servers(configuration) if _listens(one, port)]
    if not servers:
        return None
    server = _chosen(servers, name, port)
    tls = next((listen for one in servers for listen in _listens(one, port) if "ssl" in listen.args[1:]), None)
    if tls is not None:
        cause = Misconfiguration(code="http01.tls_on_80", place=tls.place, variant="configured", facts={"port": port})
        return WebServerObservation(
            server="nginx", action=ServerAction.ANSWERS, place=tls.place, target="400", causes=(cause,)
        )
    return _decide([server.block, *_locations(server.block)], name)


def _servers(directives: Sequence[Directive]) -> Iterator[Directive]:
    for directive in directives:
        if directive.name == "http":
            yield from (inner for inner in directive.block if inner.name == "server")


def _listens(server: Directive, port: int) -> list[Directive]:
    """Its `listen` lines for that port; without any, nginx listens on 80."""
    lines = [one for one in server.block if one.name == "listen" and one.args]
    if not lines and port == 80:
        return [Directive("listen", ("80",), server.place)]
    return [one for one in lines if _port(one.args[0]) == port]


def _port(address: str) -> int | None:
    if address.startswith("unix:"):
        return None
    last = address.rpartition(":")[2] if not address.endswith("]") else ""
    if last.isdigit():
        return int(last)
    return 80 if ":" not in address or address.endswith("]") else None


def _chosen(servers: Sequence[Directive], name: str, port: int) -> Directive:
    """Exact name, longest `*.` name, longest `.*` name, first regular expression, default server: in that order."""
    named = [(pattern, one) for one in servers for pattern in _names(one)]
    exact = [one for pattern, one in named if pattern.lower() == name or pattern.lower() == f".{name}"]
    ahead = [(len(pattern), -at) for at, (pattern, _) in enumerate(named) if _ends_with(pattern.lower(), name)]
    behind = [(len(pattern), -at) for at, (pattern, _) in enumerate(named) if _begins_with(pattern.lower(), name)]
    matching = [one for pattern, one in named if pattern.startswith("~") and _matches(pattern[1:], name)]
    for found in (exact, [named[-at][1] for _, at in sorted(ahead, reverse=True)]):
        if found:
            return found[0]
    for found in ([named[-at][1] for _, at in sorted(behind, reverse=True)], matching):
        if found:
            return found[0]
    default = (one for one in servers if any("default_server" in line.args for line in _listens(one, port)))
    return next(default, servers[0])


def _names(server: Directive) -> Iterator[str]:
    for directive in server.block:
        if directive.name == "server_name":
            yield from directive.args


def _ends_with(pattern: str, name: str) -> bool:
    return pattern.startswith(("*.", ".")) and name.endswith(pattern.lstrip("*"))


def _begins_with(pattern: str, name: str) -> bool:
    return pattern.endswith(".*") and name.startswith(pattern[:-1])


def _matches(pattern: str, text: str, flags: int = 0) -> bool:
    try:
        return re.search(pattern, text, flags) is not None
    except re.error:
        return False


def _locations(block: Sequence[Directive]) -> list[tuple[Directive, ...]]:
    """The blocks from the outermost location to the innermost that takes the path."""
    found = _location(block)
    return [found.block, *_locations(found.block)] if found is not None else []


def _location(block: Sequence[Directive]) -> Directive | None:
    """`=`, then the longest prefix if it says `^~`, then the first regular expression, then the longest prefix."""
    locations = [one for one in block if one.name == "location" and one.args and not one.args[-1].startswith("@")]
    exact = next((one for one in locations if _kind(one) == "=" and one.args[-1] == ASKED), None)
    if exact is not None:
        return exact
    prefixes = [one for one in locations if _kind(one) in ("", "^~") and ASKED.startswith(one.args[-1])]
    longest = max(prefixes, key=lambda one: len(one.args[-1]), default=None)
    if longest is not None and _kind(longest) == "^~":
        return longest
    patterns = [one for one in locations if _kind(one) in ("~", "~*")]
    flags = {"~": 0, "~*": re.IGNORECASE}
    return next((one for one in patterns if _matches(one.args[-1], ASKED, flags[_kind(one)])), longest)


def _kind(location: Directive) -> str:
    return location.args[0] if len(location.args) > 1 else ""


def _decide(blocks: Sequence[Sequence[Directive]], name: str) -> WebServerObservation:
    """By phase: whatever rewrites, then who may, then where the content comes from."""
    outer, inner = blocks[0], blocks[-1]
    for block in (outer, inner):
        look = _rewriting(block)
        if look is not None:
            return look
    return _refusing(blocks) or _serving(blocks, name)


def _rewriting(block: Sequence[Directive]) -> WebServerObservation | None:
    for one in block:
        if one.name == "if" and any(inner.name in ("return", "rewrite") for inner in one.block):
            return WebServerObservation(server="nginx")
        if one.name == "return" and one.args:
            return _returning(one)
        if one.name == "rewrite" and len(one.args) > 1 and _matches(one.args[0], ASKED):
            is_redirect = one.args[-1] in ("redirect", "permanent") or one.args[1].startswith("http")
            action = ServerAction.REDIRECTS if is_redirect else ServerAction.REWRITES
            return WebServerObservation(server="nginx", action=action, place=one.place, target=one.args[1])
    return None


def _returning(directive: Directive) -> WebServerObservation:
    status = directive.args[0]
    if not status.isdigit() or status.startswith("3"):
        return WebServerObservation(
            server="nginx", action=ServerAction.REDIRECTS, place=directive.place, target=directive.args[-1]
        )
    action = ServerAction.DENIES if status in ("401", "403") else ServerAction.ANSWERS
    return WebServerObservation(server="nginx", action=action, place=directive.place, target=status)


def _refusing(blocks: Sequence[Sequence[Directive]]) -> WebServerObservation | None:
    """Access rules of the innermost block that has any; who else is let in is not known here."""
    for names in (("allow", "deny"), ("auth_basic",), ("auth_request",)):
        for block in reversed(blocks):
            rules = [one for one in block if one.name in names and one.args[:1] != ("off",)]
            off = any(one.name in names and one.args[:1] == ("off",) for one in block)
            denying = next((one for one in rules if one.name != "allow"), None)
            if denying is not None:
                return WebServerObservation(server="nginx", action=ServerAction.DENIES, place=denying.place)
            if rules or off:
                break
    return None


def _serving(blocks: Sequence[Sequence[Directive]], name: str) -> WebServerObservation:
    passing = next((one for one in blocks[-1] if one.name in _PASSING and one.args), None)
    if passing is not None:
        host = _other_host(blocks, passing, name)
        return WebServerObservation(
            server="nginx", action=ServerAction.PASSES, place=passing.place, target=passing.args[0], host=host
        )
    for block in reversed(blocks):
        folder = next((one for one in block if one.name in ("root", "alias") and one.args), None)
        if folder is not None:
            return WebServerObservation(
                server="nginx", action=ServerAction.SERVES, place=folder.place, target=folder.args[0]
            )
    return WebServerObservation(server="nginx", action=ServerAction.SERVES, target=_DEFAULT_FOLDER)


def _other_host(blocks: Sequence[Sequence[Directive]], passing: Directive, name: str) -> Place | None:
    """The line by which the Host becomes another: headers are those of the innermost block that sets any; when none
    sets it, proxy_pass makes it the name of where it leads. What else a variable may hold, is not known here."""
    if passing.name != "proxy_pass":
        return None
    for block in reversed(blocks):
        headers = [one for one in block if one.name == "proxy_set_header" and len(one.args) > 1]
        host = next((one for one in headers if one.args[0].lower() == "host"), None)
        if host is not None:
            return None if "$" in host.args[1] or host.args[1].lower() == name else host.place
        if headers:
            break
    return passing.place
