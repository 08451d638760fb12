"""nginx's TLS: who reads a key, and which port expects the PROXY protocol. Pure.

Facts: nginx's documentation of ssl_certificate ("variables can be used in the file name": then the worker loads the
certificate for each handshake), of listen, and of the core directive user.
"""

import re
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from certagent.domain.observations import Place
from certagent.domain.web_servers.nginx_syntax import Directive

_FILES = ("ssl_certificate", "ssl_certificate_key")
_VARIABLE = re.compile(r"\$\{?\w+\}?")


class WorkerReader(msgspec.Struct, frozen=True):
    """That nginx's workers read a file themselves, at each handshake: as whom, and because of which directive."""

    user: str | None
    place: Place


class NginxTls(msgspec.Struct, frozen=True):
    """Of a configuration what is asked for each pair that is deployed: the directives whose file's name has a variable
    in it, the workers' user, and each port whose servers of `http` expect the PROXY protocol, with its first `listen`.
    """

    variable_files: tuple[Directive, ...] = ()
    user: str | None = None
    proxied_ports: Mapping[int | None, Place] = {}

    def worker_reader(self, file: str, folder: str) -> WorkerReader | None:
        """Where the configuration (whose relative names belong to `folder`) has a name that can be that file's; None
        where the master reads it."""
        found = (one for one in self.variable_files if _may_name(one.args[0], file, folder))
        return next((WorkerReader(self.user, one.place) for one in found), None)


def read_tls(configuration: Sequence[Directive]) -> NginxTls:
    """In one walk, for it may be large."""
    variable_files, ports = [], dict[int | None, Place]()
    for directive in _all(configuration):
        if directive.name in _FILES and directive.args and _has_variable(directive.args[0]):
            variable_files.append(directive)
        elif directive.name == "listen" and "proxy_protocol" in directive.args[1:]:
            ports.setdefault(_port(directive.args[0]), directive.place)
    return NginxTls(tuple(variable_files), _user_in(configuration), ports)


def _all(directives: Sequence[Directive]) -> Iterator[Directive]:
    for directive in directives:
        if directive.name == "stream":
            continue
        yield directive
        yield from _all(directive.block)


def _has_variable(argument: str) -> bool:
    return not argument.startswith("data:") and _VARIABLE.search(argument) is not None


def _may_name(argument: str, file: str, folder: str) -> bool:
    parts = _VARIABLE.split(argument)
    if not argument.startswith(("/", "$")):
        parts[0] = f"{folder}/{parts[0]}"
    return re.fullmatch(".*".join(map(re.escape, parts)), file) is not None


def _user_in(configuration: Sequence[Directive]) -> str | None:
    return next((one.args[0] for one in configuration if one.name == "user" and one.args), None)


def _port(address: str) -> int | None:
    if address.startswith("unix:"):
        return None
    last = address.rpartition(":")[2]
    return int(last) if last.isdigit() else 80
