"""Which proxy the CA would use, by Go's reading of HTTP_PROXY, HTTPS_PROXY and NO_PROXY. Pure.

Source: golang.org/x/net/http/httpproxy. Credentials never leave this module.
"""

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

from certagent.domain.resolution.file_formats import parse_address, without_scope

VARIABLES = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy")


def proxy_for(environment: Mapping[str, str], name: str, port: int = 80, scheme: str = "http") -> str | None:
    """Return the proxy through which `scheme://name:port/` is fetched, without credentials; None for a direct
    connection."""
    variable = f"{scheme}_proxy"
    proxy = environment.get(variable.upper()) or environment.get(variable)
    exceptions = environment.get("NO_PROXY") or environment.get("no_proxy") or ""
    bare = name.lower().removesuffix(".")
    if not proxy or bare == "localhost" or _is_loopback(bare):
        return None
    if any(_excepts(entry.strip().lower(), bare, port) for entry in exceptions.split(",")):
        return None
    return strip_credentials(proxy)


def needs_password(environment: Mapping[str, str]) -> bool:
    """Return whether the proxy's URL contains credentials, which belong to the CA and stay there."""
    return "@" in (environment.get("HTTP_PROXY") or environment.get("http_proxy") or "")


def strip_credentials(proxy: str) -> str:
    """Return a proxy's URL (or its bare host and port) as scheme, host and port only."""
    try:
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
        return f"{parts.scheme}://{host}" + (f":{parts.port}" if parts.port is not None else "")
    except ValueError:
        return "(a proxy that is not a URL)"


def _excepts(entry: str, name: str, port: int) -> bool:
    if entry in ("", "*"):
        return entry == "*"
    if "/" in entry:
        return _is_in_network(entry, name)
    host, colon, wanted = entry.rpartition(":")
    if colon and wanted.isdigit() and parse_address(entry) is None:
        if int(wanted) != port:
            return False
        entry = host.strip("[]")
    if parse_address(entry) is not None or parse_address(name) is not None:
        return parse_address(entry) == parse_address(name)
    suffix = entry.removeprefix("*")
    return name.endswith(suffix) if suffix.startswith(".") else name == suffix or name.endswith("." + suffix)


def _is_in_network(entry: str, name: str) -> bool:
    try:
        return ipaddress.ip_address(name) in ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return False


def _is_loopback(name: str) -> bool:
    address = parse_address(name)
    return address is not None and without_scope(address).is_loopback
