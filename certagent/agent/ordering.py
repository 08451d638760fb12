"""Orders for the renewal: one account at the CA, made when it is first needed (importing `acme` costs 10 MiB)."""

from collections.abc import Mapping
from contextlib import AsyncExitStack

from certagent.config import AuthoritySection, CertificateSection
from certagent.domain.orders import Failed, OrderOutcome, Problem, Resource
from certagent.domain.ports import Clock
from certagent.issuance.order import AuthorityPort, AuthorityUnreachableError, Orderer, Solver, Wanted
from certagent.state import CertificateFolder, State


class Ordering:
    """Places orders at the configured CA. Use as an async context manager. `solvers` are by certificate."""

    def __init__(self, section: AuthoritySection, solvers: Mapping[str, Solver], state: State, clock: Clock) -> None:
        self._section = section
        self._solvers = solvers
        self._state = state
        self._clock = clock
        self._authority: AuthorityPort | None = None
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> "Ordering":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def place(self, certificate: CertificateSection, folder: CertificateFolder) -> OrderOutcome:
        """Take up or place the certificate's order, to its end. A CA that cannot be talked to is a failure, too."""
        authority = await self._connected()
        orderer = Orderer(authority, self._solvers[certificate.name], folder, self._clock)
        wanted = Wanted(identifiers=certificate.identifiers, key_type=certificate.key)
        try:
            return await orderer.obtain(wanted)
        except AuthorityUnreachableError as error:
            problem = Problem(detail=str(error), resource=Resource.DIRECTORY)
            return Failed(code="ca.unreachable", problems=(problem,), can_retry=True)

    async def _connected(self) -> AuthorityPort:
        if self._authority is None:
            from certagent.issuance.authority import Authority

            section = self._section
            accounts = self._state.account(section.directory)
            authority = Authority(section.directory, section.root, section.addresses, accounts, self._clock)
            self._authority = await self._stack.enter_async_context(authority)
        return self._authority
