"""What every check of a configuration needs: the error that a person is shown, and how an endpoint is written."""

from pathlib import Path


class ConfigurationError(Exception):
    """A configuration that cannot be used: one clear message."""

    def __init__(self, path: Path, message: str) -> None:
        super().__init__(f"{path}: {message}")


def split_endpoint(endpoint: str) -> tuple[str, int]:
    """`"10.0.0.12:443"` or `"[::1]:443"` as (host, port). Raises ValueError."""
    host, separator, port = endpoint.rpartition(":")
    if not separator or not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"{endpoint!r} is not address:port")
    return host.strip("[]"), int(port)
