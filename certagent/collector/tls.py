"""The collector's own certificate: waited for, loaded, loaded again when it changes. Never written here."""

import logging
import ssl
from pathlib import Path

from certagent.domain.certificates import read_leaf
from certagent.domain.ports import Clock

log = logging.getLogger(__name__)

WAIT_SECONDS = 0.2
LOOK_SECONDS = 1.0

_Stamp = tuple[int, ...]


class ServerCertificate:
    """A certificate chain and its key on disk. `context` always serves the newest good pair.

    A client may show a certificate; one that `client_root` does not vouch for ends the handshake.
    """

    def __init__(self, certificate: Path, key: Path, clock: Clock, client_root: Path | None = None) -> None:
        self._certificate = certificate
        self._key = key
        self._clock = clock
        self._stamp: _Stamp | None = None
        self._current: ssl.SSLContext | None = None
        self._names: frozenset[str] = frozenset()
        self._client_root = client_root
        self.context = self._new_context()
        self.context.sni_callback = self._switch

    @property
    def names(self) -> frozenset[str]:
        """The identifiers of the certificate that is served."""
        return self._names

    async def wait(self) -> None:
        """Return once there is a usable pair, saying once what is missing."""
        said = None
        while (complaint := self.load()) is not None:
            if complaint != said:
                log.warning("nothing is served yet: %s", complaint)
                said = complaint
            await self._clock.sleep(WAIT_SECONDS)

    async def follow(self) -> None:
        """Load the pair again whenever its files change, for ever. A bad pair changes nothing."""
        while True:
            await self._clock.sleep(LOOK_SECONDS)
            self.reload()

    def reload(self, *, always: bool = False) -> None:
        """Load the pair again if its files changed."""
        stamp = self._stamp_now()
        if stamp is None or (stamp == self._stamp and not always):
            return
        complaint = self.load()
        if complaint is None:
            log.info("serving the certificate of %s", ", ".join(sorted(self._names)))
        else:
            self._stamp = stamp
            log.warning("still serving the earlier certificate: %s", complaint)

    def load(self) -> str | None:
        """Take the pair on disk; why not, if it is not usable."""
        stamp = self._stamp_now()
        if stamp is None:
            return f"{self._certificate} or {self._key} is not there"
        try:
            context = self._new_context()
            context.load_cert_chain(self._certificate, self._key, password="")  # never ask on a terminal
            names = frozenset(read_leaf(self._certificate.read_bytes()).identifiers)
        except (OSError, ValueError) as error:
            return f"{self._certificate} and {self._key}: {error}"
        if self._current is None:
            self.context.load_cert_chain(self._certificate, self._key, password="")  # never ask on a terminal
        self._names, self._current, self._stamp = names, context, stamp
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
            context.verify_mode = ssl.CERT_OPTIONAL  # who shows no certificate has a token
            context.load_verify_locations(self._client_root)
        return context

    def _stamp_now(self) -> _Stamp | None:
        try:
            stats = [path.stat() for path in (self._certificate, self._key)]
        except OSError:
            return None
        return tuple(value for one in stats for value in (one.st_ino, one.st_size, one.st_mtime_ns))
