"""The collector's own certificate: read from files that somebody else writes, and served to every new connection."""

import logging
import ssl
from pathlib import Path

from certagent.collector.host_names import HostNames
from certagent.domain.certificates import read_leaf
from certagent.domain.ports import Clock

log = logging.getLogger(__name__)

_WAIT_SECONDS = 0.2
_CHECK_SECONDS = 1.0

_Stamp = tuple[int, ...]


class ServerCertificate:
    """A certificate chain and its key on disk: waited for, loaded, loaded again when they change; never written.

    `context` always serves the newest good pair. A client may show a certificate; one that `client_root` does not
    vouch for ends the handshake.
    """

    def __init__(self, pair: tuple[Path, Path], clock: Clock, names: HostNames, client_root: Path | None) -> None:
        self._certificate, self._key = pair
        self._clock = clock
        self._names = names
        self._client_root = client_root
        self._stamp: _Stamp | None = None
        self._current: ssl.SSLContext | None = None
        self.context = self._new_context()
        self.context.sni_callback = self._switch

    async def wait(self) -> None:
        """Return once there is a usable pair, logging once what is missing."""
        logged = None
        while (complaint := self._load()) is not None:
            if complaint != logged:
                log.warning("nothing is served yet: %s", complaint)
                logged = complaint
            await self._clock.sleep(_WAIT_SECONDS)

    async def follow(self) -> None:
        """Load the pair again whenever its files change, for ever. A bad pair changes nothing."""
        while True:
            await self._clock.sleep(_CHECK_SECONDS)
            self.reload()

    def reload(self, *, always: bool = False) -> None:
        """Load the pair again if its files changed."""
        stamp = self._stamp_now()
        if stamp is None or (stamp == self._stamp and not always):
            return
        complaint = self._load()
        if complaint is None:
            log.info("serving the certificate of %s", ", ".join(sorted(self._names.served)))
        else:
            self._stamp = stamp
            log.warning("still serving the earlier certificate: %s", complaint)

    def _load(self) -> str | None:
        """Take the pair on disk; why not, if it is not usable."""
        stamp = self._stamp_now()
        if stamp is None:
            return f"{self._certificate} or {self._key} does not exist"
        try:
            context = self._new_context()
            context.load_cert_chain(self._certificate, self._key, password="")  # never ask on a terminal
            names = frozenset(read_leaf(self._certificate.read_bytes()).identifiers)
        except (OSError, ValueError) as error:
            return f"{self._certificate} and {self._key}: {error}"
        if self._current is None:
            self.context.load_cert_chain(self._certificate, self._key, password="")  # never ask on a terminal
        self._names.served, self._current, self._stamp = names, context, stamp
        return None

    def _switch(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        if self._current is not None:
            connection.context = self._current

    def _new_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.num_tickets = 0  # a resumed session would go on with the certificate of then
        context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION
        if self._client_root is not None:
            context.verify_mode = ssl.CERT_OPTIONAL  # a client without a certificate has a token
            context.load_verify_locations(self._client_root)
        return context

    def _stamp_now(self) -> _Stamp | None:
        try:
            stats = [path.stat() for path in (self._certificate, self._key)]
        except OSError:
            return None
        return tuple(value for stat in stats for value in (stat.st_ino, stat.st_size, stat.st_mtime_ns))
