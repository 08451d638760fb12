"""What preflight sees of this node itself, and what is at stake. Changes nothing."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from urllib.parse import urlsplit

from certagent.config import AgentSettings
from certagent.domain.certificates import CertificateFacts
from certagent.domain.findings import Impact
from certagent.domain.observations import NodeObservation, WebServerObservation
from certagent.state import State
from certagent.vantage.node_vantage import NodeVantage
from certagent.vantage.web_server_config import WebServerConfigs


class LocalObserver:
    """This node for preflight. `due_at` says when a certificate's renewal is due."""

    def __init__(
        self,
        settings: AgentSettings,
        node: NodeVantage,
        state: State,
        due_at: Callable[[str, CertificateFacts], datetime],
    ) -> None:
        self._node = node
        self._gateways = WebServerConfigs()
        self._state = state
        self._due_at = due_at
        self._authority = urlsplit(settings.authority.directory).hostname or ""
        self._certificates = {
            identifier: certificate.name
            for certificate in settings.certificate
            if certificate.manage
            for identifier in certificate.identifiers
        }

    async def look_here(self, identifier: str) -> NodeObservation:
        """This node's own view of the identifier and of the CA's name."""
        return await self._node.observe(identifier, self._authority)

    async def look_at_gateways(self, identifier: str) -> Sequence[WebServerObservation]:
        """What the web servers here do with the identifier's challenge."""
        return await asyncio.to_thread(self._gateways.observe, identifier)

    def impact_on(self, identifier: str) -> Impact | None:
        """What a trouble with the identifier will cost; None when it is in no certificate that is renewed here."""
        name = self._certificates.get(identifier)
        if name is None:
            return None
        facts = self._state.certificate(name).facts()
        if facts is None:
            return Impact(certificate=name)
        return Impact(certificate=name, due_at=self._due_at(name, facts), expires_at=facts.not_after)
