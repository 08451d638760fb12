"""Any other service: two configured files, and a command that makes the service read them."""

from certagent.config import CommandTarget, Starttls, endpoint_of, split_endpoint
from certagent.deployers.generation_store import SymlinkedPair
from certagent.domain.catalogue import Fact
from certagent.domain.deployments import Fault, Generation, Proof, ServedAs
from certagent.system.files import UnknownOwnerError, find_user
from certagent.system.processes import ReloadCoordinator, attempt

_BEGUN_AT: dict[int, Starttls] = {
    21: "ftp", 24: "lmtp", 25: "smtp", 110: "pop3", 119: "nntp", 143: "imap", 389: "ldap", 587: "smtp", 3306: "mysql",
    4190: "sieve", 5222: "xmpp", 5269: "xmpp-server", 5432: "postgres",
}  # fmt: skip
"""Ports at which a connection begins without TLS, as a rule."""


class CommandService(SymlinkedPair):
    """A pair of files and an argument list; an empty one for a service that notices by itself. Implements `Target`."""

    kind = "command"

    def __init__(self, name: str, settings: CommandTarget, reloads: ReloadCoordinator) -> None:
        self.service = (settings.command, settings.user) if settings.command else None
        super().__init__(name, settings, reloads, self.service or settings.certificate)
        self.name = f"command {settings.certificate}"
        self._settings = settings

    async def validate(self) -> Fault | None:
        """Nobody to ask."""
        return None

    async def reload(self) -> Fault | None:
        """Run the command, if there is one."""
        return await self._run() if self._settings.command else None

    async def explain(self, generation: Generation, proof: Proof) -> list[Fault]:
        """What the service is, nobody knows here; but for ports where TLS begins by other words, if it has any."""
        plain = {one.address for one in map(endpoint_of, self._settings.prove) if one.starttls is None}
        shown = {one.endpoint: None for one in proof.missing if one.served_as is ServedAs.NOTHING}
        found = ((endpoint, _BEGUN_AT.get(split_endpoint(endpoint)[1])) for endpoint in shown if endpoint in plain)
        return [self._begun_by(endpoint, protocol) for endpoint, protocol in found if protocol is not None]

    def _begun_by(self, endpoint: str, protocol: Starttls) -> Fault:
        facts: dict[str, Fact] = {"target": self.name, "endpoint": endpoint, "option": protocol}
        return Fault(code="deploy.unproven", variant="starttls", facts=facts, address=split_endpoint(endpoint)[0])

    async def _run(self) -> Fault | None:
        settings = self._settings
        try:
            user = find_user(settings.user) if settings.user is not None else None
        except UnknownOwnerError as error:
            facts: dict[str, Fact] = {"target": self.name, "said": str(error)}
            return Fault(code="deploy.reload_failed", variant="unknown_user", facts=facts)
        return await attempt(settings.command, settings.timeout, "deploy.reload_failed", user=user)
