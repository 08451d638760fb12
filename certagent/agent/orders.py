"""Orders for the renewal: one account at the CA, made when it is first needed (importing `acme` costs 10 MiB)."""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from cryptography import x509

from certagent.config import AuthoritySection, CertificateSection
from certagent.domain.certificates import renewal_identifier
from certagent.domain.deployments import Generation
from certagent.domain.orders import Binding, Failed, OrderOptions, OrderOutcome, Problem, Resource
from certagent.domain.ports import Clock
from certagent.issuance.keys import ensure_account, is_of_type, thumbprint
from certagent.issuance.mtls import MtlsRenewal
from certagent.issuance.order import AuthorityUnreachableError, CertificateRequest, OrderProcedure, Solver
from certagent.issuance.solvers.stateless import snippet
from certagent.state import CertificateFolder, State

if TYPE_CHECKING:
    from certagent.issuance.acme_client import AcmeClient


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
        self._authority: AcmeClient | None = None
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> "OrderPlacer":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def place(self, certificate: CertificateSection, folder: CertificateFolder) -> OrderOutcome:
        """Take up or place the certificate's order, to its end. A CA that cannot be talked to is a failure, too."""
        authority = await self._connected()
        orderer = OrderProcedure(authority, self._solvers[certificate.name], folder, self._clock)
        try:
            return await orderer.obtain(_wanted(certificate, folder))
        except AuthorityUnreachableError as error:
            problem = Problem(detail=str(error), resource=Resource.DIRECTORY)
            return Failed(code="ca.unreachable", problems=(problem,), can_retry=True)

    async def renew(self, certificate: CertificateSection, current: Generation) -> OrderOutcome:
        """Renew the pair without a challenge, by mTLS."""
        return await self._by_mtls().renew(current, certificate.key, keep_key=_may_keep(certificate, current))

    async def revoke(self, generation: Generation, reason: int) -> Problem | None:
        """Have the CA revoke it (RFC 5280 section 5.3.1 for the reason); or the CA's no.

        Step-CA knows over ACME only what ACME issued: a certificate renewed by mTLS is revoked by mTLS.
        """
        from certagent.issuance.responses import ProblemError

        try:
            authority = await self._connected()
            await authority.revoke(generation.key_pem, generation.chain_pem, reason)
        except ProblemError as error:
            refused = await self._by_mtls().revoke(generation, reason)
            return error.problem if refused is not None else None
        except AuthorityUnreachableError as error:
            return Problem(detail=str(error), resource=Resource.DIRECTORY)
        return None

    async def account(self) -> dict[str, Any]:
        """The document of `certagent account`."""
        account = await asyncio.to_thread(ensure_account, self._state.account(self._section.directory))
        mark = thumbprint(account)
        return {
            "directory": self._section.directory,
            "url": account.url,
            "thumbprint": mark,
            "snippet": snippet(mark),
        }

    def _by_mtls(self) -> MtlsRenewal:
        section = self._section
        return MtlsRenewal(section.directory, section.root, section.addresses, self._clock)

    async def _connected(self) -> "AcmeClient":
        if self._authority is None:
            from certagent.issuance.acme_client import AcmeClient

            section = self._section
            accounts = self._state.account(section.directory)
            authority = AcmeClient(
                section.directory, section.root, section.addresses, accounts, self._clock, self._binding
            )
            self._authority = await self._stack.enter_async_context(authority)
        return self._authority


def _wanted(certificate: CertificateSection, folder: CertificateFolder) -> CertificateRequest:
    """What to order: by the configuration, with the key of before where that is to stay."""
    current = folder.proven() or folder.newest()
    leaf = x509.load_pem_x509_certificate(current.chain_pem) if current is not None else None
    keeps = current is not None and _may_keep(certificate, current) and not folder.is_revoked(current)
    return CertificateRequest(
        identifiers=certificate.identifiers,
        key_type=certificate.key,
        key_pem=current.key_pem if current is not None and keeps else None,
        options=OrderOptions(
            lifetime=certificate.lifetime,
            profile=certificate.profile,
            replaces=renewal_identifier(leaf) if leaf is not None else None,
        ),
    )


def _may_keep(certificate: CertificateSection, current: Generation) -> bool:
    return certificate.reuse_key and is_of_type(current.key_pem, certificate.key)
