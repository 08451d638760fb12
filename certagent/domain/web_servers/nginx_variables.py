"""nginx's variables, as far as the request and the configuration decide them. Pure."""

import re
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_address, ip_network

import msgspec

from certagent.domain.web_servers import ASKED
from certagent.domain.web_servers.nginx_patterns import Match, UndecidedError, search
from certagent.domain.web_servers.nginx_syntax import Directive, walk

_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|([A-Za-z_0-9]+))")
_NOT_SENT = re.compile(
    r"(http|cookie|arg)_\w+|ssl_\w+|args|query_string|is_args|https|remote_user|content_length|content_type"
)
_SENT = ("http_host", "http_user_agent", "http_accept_encoding", "http_connection", "http_accept")


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A CA's request for a challenge. `address` is where it was connected to, `client` whence; None: not known.

    `exists`: the paths of the server's files that exist; None where nobody looked: then the challenge's own does not.
    `upstreams`: what answers with which status, by host and port; who is not in it, may answer anything.
    """

    name: str
    port: int = 80
    address: str | None = None
    client: str | None = None
    path: str = ASKED
    method: str = "GET"
    hostname: str | None = None
    exists: frozenset[str] | None = None
    upstreams: Mapping[str, int] = {}


class Variables:
    """Values for one request; `http` is the block with `map`, `geo` and `upstream`."""

    def __init__(self, request: Request, http: Sequence[Directive], server: Directive) -> None:
        self._request = request
        self._http = http
        self._server = server
        self._set: dict[str, str | None] = {}
        self._groups: tuple[str, ...] = ()
        self._asked: list[str] = []
        self.uri = request.path

    def set(self, name: str, value: str | None) -> None:
        """`set`; None: not known."""
        self._set[name] = value

    def remember(self, match: Match | None) -> None:
        """The groups of the last pattern that matched."""
        if match is not None:
            self._groups = match.groups
            self._set.update(match.named)

    def evaluate(self, text: str) -> str:
        """The text with its variables' values. Raises UndecidedError where one of them is not known."""
        return _VARIABLE.sub(lambda match: self.value(match.group(1) or match.group(2)), text) if "$" in text else text

    def value(self, name: str) -> str:
        """Raises UndecidedError where it is not known."""
        found = self._find(name)
        if found is None:
            raise UndecidedError(f"${name}")
        return found

    def _find(self, name: str) -> str | None:
        if name.isdigit():
            return self._groups[int(name)] if int(name) < len(self._groups) else ""
        if name in self._set:
            return self._set[name]
        simple = self._simple(name)
        if simple is not None:
            return simple
        if _NOT_SENT.fullmatch(name) and name not in _SENT:
            return ""
        if name in self._asked:
            return None
        self._asked.append(name)
        try:
            return self._defined(name)
        finally:
            self._asked.pop()

    def _simple(self, name: str) -> str | None:
        request = self._request
        return {
            "host": request.name,
            "http_host": request.name,
            "scheme": "http",
            "request_method": request.method,
            "request_uri": request.path,
            "uri": self.uri,
            "document_uri": self.uri,
            "server_port": str(request.port),
            "server_addr": request.address,
            "server_name": self._server_name(),
            "server_protocol": "HTTP/1.1",
            "remote_addr": request.client,
            "hostname": request.hostname,
        }.get(name)

    def _server_name(self) -> str:
        return next((one.args[0].lower() for one in self._server.block if one.name == "server_name" and one.args), "")

    def _defined(self, name: str) -> str | None:
        """By `map` or `geo`; empty where some `set` could give it a value, and none has."""
        for one in reversed(self._http):
            if one.name in ("map", "geo") and one.args and one.args[-1] == f"${name}":
                return self._mapped(one) if one.name == "map" else self._located(one)
        is_set = any(one.name == "set" and one.args[:1] == (f"${name}",) for one in walk(tuple(self._http)))
        return "" if is_set else None

    def _mapped(self, block: Directive) -> str | None:
        value = self.evaluate(block.args[0])
        lines = {one.name.lower(): one for one in reversed(block.block) if not one.name.startswith("~")}
        result = lines.get(value.lower())
        if result is None and "hostnames" in lines:
            result = next((lines[key] for key in _wildcards(value.lower()) if key in lines), None)
        if result is None:
            result = next((one for one in block.block if self._takes(one.name, value)), lines.get("default"))
        if result is None:
            return None if "include" in lines else ""
        return self.evaluate(result.args[0]) if result.args else ""

    def _takes(self, pattern: str, value: str) -> bool:
        if not pattern.startswith("~"):
            return False
        match = search(
            pattern.lstrip("~*") if pattern.startswith("~*") else pattern[1:],
            value,
            ignore_case=pattern.startswith("~*"),
        )
        self.remember(match)
        return match is not None

    def _located(self, block: Directive) -> str | None:
        lines = {one.name: one.args for one in block.block}
        value = self.evaluate(block.args[0]) if len(block.args) > 1 else self._request.client
        if value is None or {"ranges", "proxy", "include", "delete"} & set(lines):
            return None
        found = []
        for network, args in lines.items():
            try:
                if args and ip_address(value) in ip_network(network, strict=False):
                    found.append((ip_network(network, strict=False).prefixlen, args[0]))
            except ValueError:
                continue
        return max(found, default=(0, lines.get("default", ("",))[0]))[1]


def _wildcards(name: str) -> Iterator[str]:
    yield f".{name}"
    rest = name
    while "." in rest:
        rest = rest.partition(".")[2]
        yield from (f"*.{rest}", f".{rest}")
    rest = name
    while "." in rest:
        rest = rest.rpartition(".")[0]
        yield f"{rest}.*"
