"""The pairs that nginx serves, with their names and where it listens for them: from the directives that nginx reads."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from certagent.domain.identifiers import flaw_of, is_address
from certagent.domain.observations import Place
from certagent.domain.web_servers.nginx_syntax import Directive
from certagent.system.regular_files import is_there
from certagent.vantage.foreign_files import Reading
from certagent.vantage.nginx_config import NGINX, read_nginx

_NO_NAME = ("", "_", "*", "--", "!")
_SCHEMES = {
    "data:": "the pair is in a variable, not in a file",
    "engine:": "the key is in a hardware module, not in a file",
    "store:": "the key is in a key store, not in a file",
}
ANY_IPV4, ANY_IPV6 = "*", "[::]"


class NginxPair(msgspec.Struct, frozen=True, kw_only=True):
    """One pair of files that nginx serves, and the names it serves it for.

    `endpoints`: `address:port`, where the address may be any of this node's (`*:443`, `[::]:443`); empty where it is
    proven nowhere. `remarks`: what is not in the other fields, and why.
    """

    certificate: Path
    key: Path
    names: tuple[str, ...]
    endpoints: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


class NginxPairs(msgspec.Struct, frozen=True):
    """All pairs, and why what looks like another one is none."""

    pairs: tuple[NginxPair, ...] = ()
    left_out: tuple[str, ...] = ()


class _Server(msgspec.Struct, frozen=True, kw_only=True):
    """One `server` with TLS, as it is after inheriting."""

    place: Place
    names: tuple[str, ...]
    pairs: tuple[tuple[Directive, Directive], ...]
    endpoints: tuple[str, ...]
    remarks: tuple[str, ...]


def find_nginx(configuration: Path = NGINX) -> Reading[NginxPairs]:
    """The pairs in use, names merged by pair, in the order of the configuration; none without nginx."""
    if not is_there(configuration):
        return Reading(NginxPairs())
    reading = read_nginx(configuration)
    return Reading(pairs_in(reading.value, configuration.parent), reading.unreadable)


def pairs_in(configuration: Sequence[Directive], folder: Path) -> NginxPairs:
    """Likewise, of directives that were read; relative paths belong to `folder`."""
    found: dict[tuple[Path, Path], NginxPair] = {}
    left_out: dict[str, None] = {}
    for server in _tls_servers(configuration):
        for certificate, key in server.pairs:
            reason = _no_path(certificate.args[0]) or _no_path(key.args[0])
            if reason is not None:
                names = " ".join(server.names) or "no name"
                left_out[f"{certificate.args[0]} for {names} ({_shown(certificate.place)}): {reason}"] = None
                continue
            files = folder / certificate.args[0], folder / key.args[0]
            found[files] = _merged(found.get(files), server, files)
    return NginxPairs(tuple(found.values()), tuple(left_out))


def _merged(before: NginxPair | None, server: _Server, files: tuple[Path, Path]) -> NginxPair:
    known = before or NginxPair(certificate=files[0], key=files[1], names=())
    names, remarks = _usable(server.names)
    return msgspec.structs.replace(
        known,
        names=tuple(dict.fromkeys((*known.names, *names))),
        endpoints=tuple(dict.fromkeys((*known.endpoints, *server.endpoints))),
        remarks=tuple(dict.fromkeys((*known.remarks, *remarks, *server.remarks))),
    )


# --- servers ----------------------------------------------------------------------------------------------------------


def _tls_servers(configuration: Sequence[Directive]) -> Iterator[_Server]:
    """Those of `http`, `stream` and `mail` that have a pair, their own or their block's, and speak TLS."""
    for context in configuration:
        if context.name not in ("http", "stream", "mail"):
            continue
        servers = [directive for directive in context.block if directive.name == "server"]
        tls_sockets = {line.args[0] for server in servers for line in _listens(server) if _speaks_tls(line)}
        for server in servers:
            found = _tls_server(context, server, tls_sockets)
            if found is not None:
                yield found


def _tls_server(context: Directive, server: Directive, tls_sockets: set[str]) -> _Server | None:
    is_own = any(directive.name == "ssl_certificate" for directive in server.block)
    is_on = _is_on(server) or (context.name != "http" and _is_on(context))
    lines = [line for line in _listens(server) if is_on or line.args[0] in tls_sockets]
    certificates, keys = (_lines(context, server, name) for name in ("ssl_certificate", "ssl_certificate_key"))
    pairs = tuple(zip(certificates, keys, strict=False))  # where they are not as many, nginx does not start
    if not pairs or not (is_own or lines):
        return None
    endpoints, remarks = _endpoints(lines)
    if not lines:
        remarks.append(f"nginx has no TLS listener for the server at {_shown(server.place)}")
    names = tuple(name for line in server.block if line.name == "server_name" for name in line.args)
    return _Server(place=server.place, names=names, pairs=pairs, endpoints=tuple(endpoints), remarks=tuple(remarks))


def _lines(context: Directive, server: Directive, name: str) -> list[Directive]:
    """Of the server, else of the block around it: one of its own keeps all of those away."""
    for block in (server.block, context.block):
        lines = [line for line in block if line.name == name and line.args]
        if lines:
            return lines
    return []


def _listens(server: Directive) -> list[Directive]:
    return [line for line in server.block if line.name == "listen" and line.args]


def _speaks_tls(line: Directive) -> bool:
    return "ssl" in line.args[1:] or "quic" in line.args[1:]


def _is_on(block: Directive) -> bool:
    return any(line.name == "ssl" and line.args == ("on",) for line in block.block)


def _endpoints(lines: Sequence[Directive]) -> tuple[list[str], list[str]]:
    """(where a handshake can be seen, why not elsewhere)."""
    endpoints, remarks = [], []
    for line in lines:
        address, port = split_listen(line.args[0])
        if port is None:
            remarks.append(
                f"listen {line.args[0]} ({_shown(line.place)}) is not an address and port, so it is not proven"
            )
        elif "quic" in line.args[1:] or "udp" in line.args[1:]:
            remarks.append(f"listen {line.args[0]} ({_shown(line.place)}) is UDP, so it is not proven")
        elif "proxy_protocol" in line.args[1:]:
            said = "uses the PROXY protocol, so it is not proven"
            remarks.append(f"listen {line.args[0]} ({_shown(line.place)}) {said}")
        else:
            endpoints.append(f"{address}:{port}")
            if address == ANY_IPV6 and "ipv6only=off" in line.args[1:]:
                endpoints.append(f"{ANY_IPV4}:{port}")
    return endpoints, remarks


def split_listen(listen: str) -> tuple[str, int | None]:
    """(address, port) of nginx's `listen`: 80 where no port is said, None where there is none to connect to."""
    if listen.startswith("unix:") or "$" in listen:
        return listen, None
    if listen.isdigit():
        return ANY_IPV4, _port(listen)
    if listen.startswith("["):
        address, _, rest = listen.partition("]")
        return f"{address}]".replace("[0:0:0:0:0:0:0:0]", ANY_IPV6), _port(rest.removeprefix(":") or "80")
    address, separator, port = listen.rpartition(":")
    if not separator:
        is_range = listen.replace("-", "").isdigit()
        return (ANY_IPV4, _port(listen)) if is_range else (_any(listen), 80)
    return _any(address), _port(port)


def _any(address: str) -> str:
    return ANY_IPV4 if address.strip("0.") in ("*", "") else address


def _port(text: str) -> int | None:
    first = text.partition("-")[0]  # of a range, which only `stream` has
    return int(first) if first.isascii() and first.isdigit() and 0 < int(first[:6]) < 65536 else None


# --- values -----------------------------------------------------------------------------------------------------------


def _usable(server_names: Sequence[str]) -> tuple[list[str], list[str]]:
    """(names that a certificate can be for, why the others are left out)."""
    names, remarks = [], []
    for written in server_names:
        if written in _NO_NAME:
            continue
        if written.startswith(".") and flaw_of(written[1:]) is None and not is_address(written[1:]):
            names += [written[1:].lower(), f"*{written.lower()}"]
            continue
        reason = _no_name(written)
        if reason is not None:
            remarks.append(f"server_name {written} {reason}")
        else:
            names.append(written.lower())
    return names, remarks


def _no_name(written: str) -> str | None:
    if written.startswith("~"):
        return "is a pattern, which no certificate can be for"
    if "$" in written:
        return "is a variable, whose value only nginx knows"
    if written.endswith(".*"):
        return "ends with a wildcard, which no certificate can be for"
    if is_address(written.removeprefix(".").strip("[]")):
        return "is an IP address, which is only taken from the certificate there"
    flaw = flaw_of(written)
    if flaw is None and "." not in written:
        return "has no domain, so the CA cannot look it up"
    return flaw


def _no_path(written: str) -> str | None:
    """Why it names no file; None when it does."""
    scheme = next((scheme for scheme in _SCHEMES if written.startswith(scheme)), None)
    if scheme is not None:
        return _SCHEMES[scheme]
    if "$" in written:
        return "it contains a variable, so only nginx knows which file it is; configure each pair by hand"
    return None if written else "it is empty"


def _shown(place: Place) -> str:
    return place.file if place.line is None else f"{place.file}:{place.line}"
