"""Keeping a certificate alive while the verdict blocks: renewed by mTLS, so often in a row as the policy allows.

Decides and counts; deploying and proving what comes of it is the renewal's, as with any other certificate.
"""

from collections.abc import Awaitable, Callable, Sequence

from certagent.config import CertificateSection
from certagent.domain.deployments import Generation
from certagent.domain.diagnosis.order_result import cannot_be_kept, is_pointless, kept, refused
from certagent.domain.findings import Finding
from certagent.domain.orders import Failed, OrderOutcome
from certagent.domain.policy import Judgement, RenewalPolicy
from certagent.domain.ports import Clock
from certagent.state import CertificateFolder

RenewUnchallenged = Callable[[CertificateSection, Generation], Awaitable[OrderOutcome]]
"""The pair, renewed by the CA without a challenge."""


class MtlsFallback:
    """Renews what is blocked and due, without a challenge."""

    def __init__(self, node: str, renew: RenewUnchallenged, policy: RenewalPolicy, clock: Clock) -> None:
        self._node = node
        self._renew = renew
        self._most = policy.unchallenged_in_a_row
        self._clock = clock

    async def keep(
        self, certificate: CertificateSection, folder: CertificateFolder, judgements: Sequence[Judgement]
    ) -> tuple[Generation | None, list[Finding]]:
        """(the new generation, or None when there is none to be had; what is to be said about it)."""
        current = folder.proven() or folder.newest()
        if self._most == 0 or current is None or folder.is_revoked(current):
            return None, []
        if is_pointless(certificate.identifiers, current.facts, judgements):
            return None, []
        made = known.count if (known := folder.unchallenged()) else 0
        hindered = cannot_be_kept(self._node, certificate.name, current.facts, made, self._most, self._clock.now())
        if hindered:
            return None, hindered
        outcome = await self._renew(certificate, current)
        if isinstance(outcome, Failed):
            return None, [refused(self._node, certificate.name, current.facts, outcome)]
        made = folder.count_unchallenged(self._clock.now()).count
        generation = folder.add_generation(outcome.key_pem, outcome.chain_pem)
        cause = next((one for judgement in judgements for one in judgement.findings if one.culprit), None)
        return generation, [kept(self._node, certificate.name, generation.facts, made, self._most, cause)]
