"""The Host header, and the names that the collector answers to."""

import ipaddress
from urllib.parse import urlsplit

import msgspec
from aiohttp import web


class HostNames(msgspec.Struct):
    """The names that the collector answers to: by its configuration, and by the certificate that it serves now."""

    configured: frozenset[str]
    served: frozenset[str] = frozenset()

    def include(self, said: str, reached: str | None) -> bool:
        """Whether `said`, a Host header, is the collector; `reached` is the address that was connected to."""
        host = (_host_in(said) or "").rstrip(".")
        is_named = host in self.configured or host in self.served or host == "localhost"
        return is_named or (host != "" and host == reached) or _is_loopback(host)


def host_of(request: web.Request) -> str | None:
    """What the client says. (Where it says nothing, aiohttp would look up a name of this node.)"""
    return request.host if "Host" in request.headers else None


def _host_in(said: str) -> str | None:
    try:
        return urlsplit(f"//{said}").hostname
    except ValueError:
        return None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
