"""What this node asks of the CA: an order, a renewal by mTLS where an order is withheld, a revocation.

One account, created when it is first needed.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from typing import Any

from cryptography import x509

from certagent.agent.context import AgentContext
from certagent.config import AuthoritySection, CertificateSection
from certagent.domain.certificates import renewal_identifier
from certagent.domain.deployments import Generation
from certagent.domain.diagnosis.order_result import cannot_be_kept, is_pointless, kept, refused
from certagent.domain.findings import Finding
from certagent.domain.orders import Binding, Failed, OrderOptions, OrderOutcome, Problem, Resource
from certagent.domain.policy import Judgement
from certagent.domain.ports import Clock
from certagent.issuance.acme_client import AcmeClient
from certagent.issuance.keys import ensure_account, is_of_type, thumbprint
from certagent.issuance.mtls import MtlsRenewal
from certagent.issuance.order import AuthorityUnreachableError, CertificateRequest, OrderProcedure, Solver
from certagent.issuance.responses import ProblemError
from certagent.issuance.solvers.stateless import snippet
from certagent.state import CertificateFolder, State

log = logging.getLogger(__name__)


class OrderPlacer:
    """Places orders at the configured CA. Use as an async context manager. `solvers` are by certificate."""

    def __init__(
        self,
        section: AuthoritySection,
        solvers: Mapping[str, Solver],
        state: State,
        clock: Clock,
        binding: Binding | None = None,
    ) -> None:
        self._section = section
        self._solvers = solvers
        self._state = state
        self._clock = clock
        self._binding = binding
        self._client: AcmeClient | None = None
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> "OrderPlacer":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def prepare(self) -> None:
        """An order is about to come, unless the verdict is against it."""
        with suppress(OSError):  # told by the order
            await (await self._connected()).prepare()

    async def place(self, certificate: CertificateSection, folder: CertificateFolder) -> OrderOutcome:
        """Resume or place the certificate's order, and see it through. A CA that does not answer is a failure, too."""
        client = await self._connected()
        procedure = OrderProcedure(client, self._solvers[certificate.name], folder, self._clock)
        try:
            return await procedure.obtain(_certificate_request(certificate, folder))
        except AuthorityUnreachableError as error:
            problem = Problem(detail=str(error), resource=Resource.DIRECTORY)
            return Failed(code="ca.unreachable", problems=(problem,), can_retry=True)

    async def renew_by_mtls(self, certificate: CertificateSection, current: Generation) -> OrderOutcome:
        """Renew the pair without a challenge, authenticated by the pair itself."""
        return await self._mtls().renew(current, certificate.key, keep_key=_may_keep_key(certificate, current))

    async def revoke(self, name: str, reason: int) -> tuple[str | None, str | None]:
        """(the fingerprint of what was revoked, None when it was not; the CA's refusal in words).

        That it is revoked is noted: from then on it is due, whatever its validity says, and its key is not used again.
        Whoever calls holds the certificate's lock.
        """
        folder = self._state.certificate(name)
        current = folder.proven() or folder.newest()
        if current is None:
            return None, "there is no certificate"
        problem = await self._revoke(current, reason)
        if problem is not None:
            return None, f"{problem.kind}: {problem.detail}"
        folder.note_revoked(current)
        log.info("%s: %s is revoked", name, current.facts.fingerprint)
        return current.facts.fingerprint, None

    async def account(self) -> dict[str, Any]:
        """The document of `certagent account`."""
        account = await asyncio.to_thread(ensure_account, self._state.account(self._section.directory))
        account_thumbprint = thumbprint(account)
        return {
            "directory": self._section.directory,
            "url": account.url,
            "thumbprint": account_thumbprint,
            "snippet": snippet(account_thumbprint),
        }

    async def _revoke(self, generation: Generation, reason: int) -> Problem | None:
        """Have the CA revoke it (RFC 5280 section 5.3.1 for the reason); its refusal, if it does not.

        Step-CA knows over ACME only what ACME issued: a certificate renewed by mTLS is revoked by mTLS.
        """
        try:
            client = await self._connected()
            await client.revoke(generation.key_pem, generation.chain_pem, reason)
        except ProblemError as error:
            refusal = await self._mtls().revoke(generation, reason)
            return error.problem if refusal is not None else None
        except AuthorityUnreachableError as error:
            return Problem(detail=str(error), resource=Resource.DIRECTORY)
        return None

    def _mtls(self) -> MtlsRenewal:
        section = self._section
        return MtlsRenewal(section.directory, section.root, section.addresses, self._clock)

    async def _connected(self) -> AcmeClient:
        if self._client is None:
            section = self._section
            accounts = self._state.account(section.directory)
            client = AcmeClient(
                section.directory, section.root, section.addresses, accounts, self._clock, self._binding
            )
            self._client = await self._stack.enter_async_context(client)
        return self._client


class MtlsFallback:
    """Keeps a certificate alive while the verdict blocks: renewed by mTLS, as often in a row as the policy allows.

    Decides and counts; deploying and proving the result is the renewal's, as with any other certificate.
    """

    def __init__(self, context: AgentContext, orders: OrderPlacer) -> None:
        self._node = context.node
        self._clock = context.clock
        self._most_in_a_row = context.policy.renewal.unchallenged_in_a_row
        self._orders = orders

    async def renew(
        self, certificate: CertificateSection, folder: CertificateFolder, judgements: Sequence[Judgement]
    ) -> tuple[Generation | None, list[Finding]]:
        """(the new generation, None when there is none; the findings about it)."""
        current = folder.proven() or folder.newest()
        most = self._most_in_a_row
        if most == 0 or current is None or folder.is_revoked(current):
            return None, []
        if is_pointless(certificate.identifiers, current.facts, judgements):
            return None, []
        count = counted.count if (counted := folder.unchallenged()) else 0
        obstacles = cannot_be_kept(self._node, certificate.name, current.facts, count, most, self._clock.now())
        if obstacles:
            return None, obstacles
        outcome = await self._orders.renew_by_mtls(certificate, current)
        if isinstance(outcome, Failed):
            return None, [refused(self._node, certificate.name, current.facts, outcome)]
        count = folder.count_unchallenged(self._clock.now()).count
        generation = folder.add_generation(outcome.key_pem, outcome.chain_pem)
        findings = (finding for judgement in judgements for finding in judgement.findings)
        cause = next((finding for finding in findings if finding.culprit), None)
        return generation, [kept(self._node, certificate.name, generation.facts, count, most, cause)]


def _certificate_request(certificate: CertificateSection, folder: CertificateFolder) -> CertificateRequest:
    """What to order: by the configuration, with the current key where that is to be reused."""
    current = folder.proven() or folder.newest()
    leaf = x509.load_pem_x509_certificate(current.chain_pem) if current is not None else None
    keeps_key = current is not None and _may_keep_key(certificate, current) and not folder.is_revoked(current)
    return CertificateRequest(
        identifiers=certificate.identifiers,
        key_type=certificate.key,
        key_pem=current.key_pem if current is not None and keeps_key else None,
        options=OrderOptions(
            lifetime=certificate.lifetime,
            profile=certificate.profile,
            replaces=renewal_identifier(leaf) if leaf is not None else None,
        ),
    )


def _may_keep_key(certificate: CertificateSection, current: Generation) -> bool:
    return certificate.reuse_key and is_of_type(current.key_pem, certificate.key)
