"""How requests reach the CA: its name first, its configured addresses when the name leads nowhere or to a wrong box.

Whichever way, SNI, Host and trust stay those of the name: the directory is built from the Host header and accounts
are bound to their URL, so no URL is ever rewritten.
"""

import socket
import ssl
from contextlib import suppress
from pathlib import Path
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3 import HTTPSConnectionPool
from urllib3.connection import HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError
from urllib3.util.connection import create_connection

from certagent.system.tls import trust_only


class PinnedAdapter(HTTPAdapter):
    """A `requests` adapter that trusts the root file alone and knows the CA's addresses."""

    def __init__(self, root: Path, addresses: tuple[str, ...]) -> None:
        self._context = trust_only(root)
        self._addresses = addresses
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Give the pools our kind of connection."""
        super().init_poolmanager(*args, **kwargs, ssl_context=self._context)
        pool = type("_Pool", (HTTPSConnectionPool,), {"ConnectionCls": _connection_to(self._addresses)})
        self.poolmanager.pool_classes_by_scheme = {"https": pool}


def _connection_to(addresses: tuple[str, ...]) -> type[HTTPSConnection]:
    """A connection class that tries those addresses after the name itself."""

    class Connection(HTTPSConnection):
        _address: str | None = None

        def connect(self) -> None:
            """By name, then by each address; raises what happened by name when none of them works."""
            self._address = None
            try:
                super().connect()
            except (HTTPError, ssl.SSLError, OSError) as failure:
                for self._address in addresses:
                    with suppress(HTTPError, ssl.SSLError, OSError):
                        self.close()
                        return super().connect()
                raise failure from None

        def _new_conn(self) -> socket.socket:
            if self._address is None:
                return super()._new_conn()
            try:
                return create_connection((self._address, self.port), self.timeout, socket_options=self.socket_options)
            except TimeoutError as error:
                raise ConnectTimeoutError(self, f"{self._address} timed out") from error
            except OSError as error:
                raise NewConnectionError(self, f"{self._address}: {error}") from error

    return Connection
