"""What a person asks about the account and its certificates beside renewing them: revocation, and who we are."""

import logging
from typing import Any

from certagent.agent.orders import OrderPlacer
from certagent.state import State

log = logging.getLogger(__name__)


class Revoker:
    """Revokes; whoever calls sees to it that nobody works on the certificate meanwhile."""

    def __init__(self, state: State, ordering: OrderPlacer) -> None:
        self._state = state
        self._ordering = ordering

    async def revoke(self, name: str, reason: int) -> tuple[str | None, str | None]:
        """(the fingerprint of what is revoked, None when it is not; the CA's no in words).

        That it is revoked is noted: from then on it is due, whatever its validity says, and its key is not used again.
        """
        folder = self._state.certificate(name)
        current = folder.proven() or folder.newest()
        if current is None:
            return None, "there is no certificate"
        problem = await self._ordering.revoke(current, reason)
        if problem is not None:
            return None, f"{problem.kind}: {problem.detail}"
        folder.note_revoked(current)
        log.info("%s: %s is revoked", name, current.facts.fingerprint)
        return current.facts.fingerprint, None

    async def account(self) -> dict[str, Any]:
        """The document of `certagent account`."""
        return await self._ordering.account()
