"""What an upstream of nginx is asked, and which one: path, Host, server. Pure.

Facts: nginx's documentation of proxy_pass, proxy_set_header and upstream.
"""

from collections.abc import Sequence

import msgspec

from certagent.domain.observations import Place
from certagent.domain.web_servers.nginx_locations import inherited, split_match
from certagent.domain.web_servers.nginx_patterns import UndecidedError
from certagent.domain.web_servers.nginx_syntax import Directive
from certagent.domain.web_servers.nginx_variables import Variables


class AskedPath(msgspec.Struct):
    """The path as it was asked for, and whether it still is that. `is_located`: the location's prefix is part of it."""

    asked: str
    is_raw: bool = True
    is_located: bool = True


class Passing(msgspec.Struct, frozen=True):
    """What an upstream gets. `server` is the one that is asked, `target` the URL."""

    server: str
    target: str
    path: str
    host: str


def pass_on(
    line: Directive, location: Directive, blocks: Sequence[Directive], variables: Variables, path: AskedPath
) -> Passing:
    """By that line of a block (the blocks from `http` inwards). Raises `UndecidedError`."""
    url = variables.evaluate(line.args[0])
    scheme, separator, rest = url.partition("://")
    current = path.asked if path.is_raw else variables.uri
    if line.name != "proxy_pass" or not separator:
        server = _first_server(blocks[0], url)
        return Passing(server, server, current, "")
    uri = _uri_of(url)
    address = rest.partition("/")[0]
    server = _first_server(blocks[0], address)
    host = _host(blocks, variables, address.removesuffix(":80" if scheme == "http" else ":443"))
    target = f"{scheme}://{server}{uri}"
    if uri and "$" in line.args[0]:
        return Passing(server, target, uri, host)
    if uri:
        kind, prefix = split_match(location) if location.name == "location" else ("", "")
        cut = len(prefix) if path.is_located and kind in ("", "=", "^~") else 0
        current = uri + variables.uri[cut:]
    return Passing(server, target, current, host)


def find_other_host(blocks: Sequence[Directive], passing: Directive, name: str) -> Place | None:
    """The line by which the Host becomes another: when none sets it, proxy_pass makes it where it leads."""
    if passing.name != "proxy_pass":
        return None
    line = _host_line(blocks)
    if line is None:
        return passing.place
    return None if "$" in line.args[1] or line.args[1].lower() == name else line.place


def _host(blocks: Sequence[Directive], variables: Variables, default: str) -> str:
    line = _host_line(blocks)
    if line is None:
        return default
    try:
        return variables.evaluate(line.args[1].replace("$proxy_host", default))
    except UndecidedError:
        return "$"


def _host_line(blocks: Sequence[Directive]) -> Directive | None:
    headers = (line for line in inherited(blocks, "proxy_set_header") if len(line.args) > 1)
    return next((line for line in headers if line.args[0].lower() == "host"), None)


def _first_server(http: Directive, address: str) -> str:
    """The first server of an upstream block of that name, or the address itself."""
    for block in http.block:
        if block.name == "upstream" and block.args[:1] == (address,):
            servers = [line.args for line in block.block if line.name == "server" and line.args]
            return next((args[0] for args in servers if not {"down", "backup"} & set(args)), address)
    return address


def _uri_of(url: str) -> str:
    rest = url.partition("://")[2]
    return rest[rest.index("/") :] if "/" in rest else ""
