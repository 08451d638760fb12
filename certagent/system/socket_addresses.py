"""IP addresses as the kernel takes them. Looks no name up, connects to nothing."""

import socket

SocketAddress = tuple[str, int] | tuple[str, int, int, int]


def socket_address(address: str, port: int) -> tuple[socket.AddressFamily, SocketAddress]:
    """(family, address) of "10.0.0.12", "::1" or "fe80::1%eth0". Raises OSError for a scope that does not exist."""
    host, _, scope = address.partition("%")
    if ":" not in host:
        return socket.AF_INET, (host, port)
    return socket.AF_INET6, (host, port, 0, _scope_id(scope))


def _scope_id(scope: str) -> int:
    if not scope:
        return 0
    return int(scope) if scope.isdigit() else socket.if_nametoindex(scope)


def reachable_form(host: str) -> str:
    """Where to connect for what listens on `host`: loopback for the unspecified address."""
    return _UNSPECIFIED.get(host, host)


_UNSPECIFIED = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 # what a person may have configured
