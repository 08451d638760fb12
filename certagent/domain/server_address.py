"""Where a server is, as a configuration says it: an address with or without a port, or a host and its port."""

import ipaddress


def split_address(text: str) -> tuple[str, int | None]:
    """`10.0.0.104`, `10.0.0.104:8843`, `fd00::4` or `[fd00::4]:8843` as (address, port). Raises ValueError."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        host, separator, port = text.rpartition(":")
    else:
        return text, None
    is_port = port.isascii() and port.isdigit() and len(port) <= len("65535") and 0 < int(port) < 65536
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not separator or not is_port or (bare == host and ":" in host) or (bare != host and ":" not in bare):
        raise ValueError(f"{text!r} is neither an IP address nor address:port")
    try:
        ipaddress.ip_address(bare)
    except ValueError as error:
        raise ValueError(f"{text!r} is neither an IP address nor address:port") from error
    return bare, int(port)


def split_endpoint(endpoint: str) -> tuple[str, int]:
    """`"10.0.0.12:443"` or `"[::1]:443"` as (host, port). Raises ValueError."""
    host, separator, port = endpoint.rpartition(":")
    is_number = port.isascii() and port.isdigit() and len(port) <= len("65535")
    if not separator or not host or not is_number or not 0 < int(port) < 65536:
        raise ValueError(f"{endpoint!r} is not address:port")
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        hint = "" if "/" in host else " (an IPv6 address goes in brackets)"
        raise ValueError(f"{endpoint!r} is not address:port{hint}")
    return host.strip("[]"), int(port)
