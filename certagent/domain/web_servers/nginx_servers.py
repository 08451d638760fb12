"""Which server of nginx takes a request: by the socket that it came to, then by name. Pure.

Facts: nginx's documentation ("How nginx processes a request", "Server names"), and its source where that is silent.
"""

from collections.abc import Iterator, Sequence
from ipaddress import ip_address

import msgspec

from certagent.domain.web_servers.nginx_patterns import Match, UndecidedError, search
from certagent.domain.web_servers.nginx_syntax import Directive

ANY_IPV4, ANY_IPV6 = "0.0.0.0", "::"  # noqa: S104 -- read, not bound
_DEFAULT_PORT = 80


class Listener(msgspec.Struct, frozen=True):
    """One address that a server listens on, by its `listen` line."""

    address: str
    listen: Directive
    server: Directive

    def has(self, option: str) -> bool:
        """Whether the line has that option."""
        return option in self.listen.args[1:]


class Chosen(msgspec.Struct, frozen=True):
    """The server that takes a request, what its name captured, and everybody who listens on that socket."""

    server: Directive
    socket: tuple[Listener, ...]
    match: Match | None = None

    def listener_with(self, option: str) -> Directive | None:
        """The `listen` line that gives the socket that option; it belongs to the socket, whichever server has it."""
        return next((one.listen for one in self.socket if one.has(option)), None)


def find_listeners(servers: Sequence[Directive], port: int) -> list[Listener]:
    """Everybody who listens on that port; a server without `listen` does on 80."""
    found: list[Listener] = []
    for server in servers:
        lines = [one for one in server.block if one.name == "listen" and one.args]
        if not lines:
            lines = [Directive("listen", (str(_DEFAULT_PORT),), server.place)]
        found += [Listener(address, one, server) for one in lines for address in _addresses(one.args[0], port)]
    return found


def _addresses(text: str, port: int) -> tuple[str, ...]:
    """The addresses of a `listen` on that port."""
    if text.startswith("unix:"):
        return ()
    host, ports = _split(text)
    first, _, last = ports.partition("-")
    if not first.isdigit() or not (last or first).isdigit() or not int(first) <= port <= int(last or first):
        return ()
    if host == "*":
        return (ANY_IPV4,)
    if host == "localhost":
        return ("127.0.0.1", "::1")
    try:
        return (str(ip_address(host)),)
    except ValueError:
        return (host.lower(),)


def _split(text: str) -> tuple[str, str]:
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        return host, rest.removeprefix(":") or str(_DEFAULT_PORT)
    host, colon, ports = text.rpartition(":")
    if colon:
        return host, ports
    return ("*", text) if text.replace("-", "").isdigit() else (text, str(_DEFAULT_PORT))


def find_socket(listeners: Sequence[Listener], address: str) -> tuple[Listener, ...]:
    """Who listens on the socket that takes a connection to `address`: its own before every address; () when nobody."""
    address = str(ip_address(address))
    names = [one for one in listeners if not _is_address(one.address)]
    wanted = [address, ANY_IPV6 if ":" in address else ANY_IPV4]
    for candidate in wanted:
        if found := tuple(one for one in listeners if one.address == candidate):
            return found
        if names:
            raise UndecidedError(f"the address of {names[0].address}")
    both = tuple(one for one in listeners if one.address == ANY_IPV6)
    return both if any(one.has("ipv6only=off") for one in both) else ()


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def choose_server(socket: Sequence[Listener], name: str, hostname: str | None) -> Chosen:
    """Exact name, longest `*.` name, longest `.*` name, first regular expression, default server: in that order."""
    everybody = tuple(socket)
    names, patterns = _names(socket, hostname)
    for key in (name, *_heads(name), *_tails(name)):
        if key in names:
            return Chosen(names[key], everybody)
    for pattern, server in patterns:
        match = search(pattern, name, ignore_case=any("A" <= letter <= "Z" for letter in pattern))
        if match is not None:
            return Chosen(server, everybody, match)
    default = next((one for one in socket if one.has("default_server") or one.has("default")), socket[0])
    return Chosen(default.server, everybody)


def _heads(name: str) -> Iterator[str]:
    """`*.` and what follows each dot, the longest first; `.name` is the exact name as well."""
    yield f".{name}"
    rest = name
    while "." in rest:
        rest = rest.partition(".")[2]
        yield f"*.{rest}"


def _tails(name: str) -> Iterator[str]:
    rest = name
    while "." in rest:
        rest = rest.rpartition(".")[0]
        yield f"{rest}.*"


def _names(
    socket: Sequence[Listener], hostname: str | None
) -> tuple[dict[str, Directive], list[tuple[str, Directive]]]:
    """Names and wildcards to servers, the first of several; the regular expressions in their order."""
    names: dict[str, Directive] = {}
    taken: set[str] = set()  # what `.name` keeps from others, and others from it
    patterns: list[tuple[str, Directive]] = []
    for server in {id(one.server): one.server for one in socket}.values():
        for name in _server_names(server):
            if name.startswith("~"):
                patterns.append((name[1:], server))
                continue
            text = (hostname or name if name == "$hostname" else name).lower()
            _register(names, taken, text, server)
    return names, patterns


def _register(names: dict[str, Directive], taken: set[str], name: str, server: Directive) -> None:
    if name.startswith("."):
        if name[1:] in taken:
            return
        taken.add(name[1:])
        if f"*{name}" not in names:
            names[f"*{name}"] = names[name] = server
    elif name.startswith("*.") or name.endswith(".*"):
        names.setdefault(name, server)
    elif name not in taken:
        taken.add(name)
        names[name] = server


def _server_names(server: Directive) -> list[str]:
    lines = [one.args for one in server.block if one.name == "server_name"]
    return [name for args in lines for name in args] or [""]
