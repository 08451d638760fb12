"""One certificate by the RFC 8555 flow, in numbered steps. Returns a refusal as a value; raises only when the CA cannot
be reached.

An interrupted order is resumed where it was: its URL and the certificate's key are stored as soon as it is placed,
before anything is finalized, and nothing is finalized twice. An order that was interrupted while it was being placed is
placed anew, and so is one whose certificate would be old by now; the CA's copy of it expires. The account's list of
orders (RFC 8555 section 7.1.2.1) is never requested: a step-ca that finds no pending order stores a list that it cannot
read, and then answers 500 to every order of that account.
"""

import asyncio
import ipaddress
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Protocol

import msgspec
from cryptography import x509

from certagent.domain.backoff import Backoff
from certagent.domain.certificates import fingerprint_of
from certagent.domain.orders import (
    Authorization,
    Challenge,
    Failed,
    Identifier,
    Issued,
    Order,
    OrderOptions,
    OrderOutcome,
    PendingOrder,
    Problem,
    Resource,
    Status,
    code_of,
)
from certagent.domain.ports import Clock
from certagent.issuance.acme_client import AcmeClient
from certagent.issuance.failures import failed_by, lost, no_certificate, not_offered
from certagent.issuance.keys import certificate_request, make_key
from certagent.issuance.responses import LONGEST_RETRY_AFTER, AuthorityUnreachableError, ProblemError, is_passing

__all__ = ["AuthorityUnreachableError", "NotPresentedError", "OrderProcedure", "Solver", "CertificateRequest"]

VALIDATION_SECONDS = 40.0  # the CA itself gives up after 30 s
ISSUANCE_SECONDS = 60.0
FIRST_PAUSE = timedelta(milliseconds=50)
LONGEST_PAUSE = timedelta(seconds=2)


class Solver(Protocol):
    """Makes a challenge's answer visible to the CA."""

    challenge_type: str

    async def present(self, identifier: str, challenge: Challenge, key_authorization: str) -> None:
        """Make the answer visible, and return when it is. MUST be harmless when called twice.

        `identifier` is the authorization's: for a wildcard, the part after the star (RFC 8555 section 7.1.4). Raises
        `NotPresentedError` when the answer cannot become visible.
        """
        ...

    async def clean_up(self, identifier: str, challenge: Challenge) -> None:
        """Remove the answer. MUST be harmless when there is none."""
        ...


class NotPresentedError(Exception):
    """The answer to a challenge cannot be made visible. `code` is that of the finding."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class OrderStore(Protocol):
    """Where the pending order is stored beyond the life of the process."""

    def pending_order(self) -> PendingOrder | None:
        """Return the pending order, if there is one."""
        ...

    def save_order(self, order: PendingOrder) -> None:
        """Store the order."""
        ...

    def forget_order(self) -> None:
        """Delete the order, which has ended."""
        ...


class CertificateRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The names that the certificate is for, and its key: either the type that the configuration asks for, or the
    key itself."""

    identifiers: tuple[str, ...]
    key_type: str
    key_pem: bytes | None = None
    options: OrderOptions = OrderOptions()

    def __repr__(self) -> str:
        shown = f"identifiers={self.identifiers!r}, key_type={self.key_type!r}, options={self.options!r}"
        return f"CertificateRequest({shown})"


class OrderProcedure:
    """Places and follows orders for one certificate, one at a time."""

    def __init__(self, authority: AcmeClient, solver: Solver, store: OrderStore, clock: Clock) -> None:
        self._authority = authority
        self._solver = solver
        self._store = store
        self._clock = clock

    async def obtain(self, request: CertificateRequest) -> OrderOutcome:
        """Resume the pending order, or place a new one, and follow it to its end.

        After issuance the order is still stored: the caller that has the pair on disk calls `forget_order`. Raises
        `AuthorityUnreachableError`; the pending order is then kept for the next attempt. Raises OSError for the store.
        """
        started = self._clock.monotonic()
        try:
            outcome = await self._obtain(request)
        except ProblemError as error:
            outcome = self._refused(error, request)
        except NotPresentedError as error:
            problem = Problem(detail=str(error), resource=Resource.CHALLENGE)
            outcome = Failed(code=error.code, problems=(problem,), can_retry=True)
        if isinstance(outcome, Failed) and not outcome.can_retry:
            self._store.forget_order()
        return msgspec.structs.replace(outcome, took=timedelta(seconds=self._clock.monotonic() - started))

    def _refused(self, error: ProblemError, request: CertificateRequest) -> Failed:
        """Return the CA's refusal. step-ca fails internally, without details, for a lifetime that its claims do not
        allow."""
        problem, lifetime = error.problem, request.options.lifetime
        is_finalizing = problem.resource is Resource.FINALIZE and (problem.status or 0) >= 500
        if lifetime is not None and (is_finalizing or problem.kind == "malformed"):
            asked = f"it does not issue with the requested lifetime, {lifetime}: {problem.detail}"
            return Failed(code="ca.lifetime_denied", problems=(msgspec.structs.replace(problem, detail=asked),))
        can_retry = is_passing(problem) and self._store.pending_order() is not None
        retry_after = timedelta(seconds=error.retry_after) if error.retry_after is not None else None
        return Failed(code=code_of(problem), problems=(problem,), can_retry=can_retry, retry_after=retry_after)

    async def _obtain(self, request: CertificateRequest) -> OrderOutcome:
        # 1. the order, stored before anything else
        pending, order = await self._take_up(request) or await self._place(request)
        if order.status is Status.PENDING:
            failed = await self._authorize(order)  # 2. every authorization, by its challenge
            if failed is not None:
                return failed
        order = await self._finalize(order, pending)  # 3. exactly once
        if order.status is not Status.VALID or order.certificate is None:
            return lost(order)
        chain_pem = await self._authority.certificate(order.certificate)  # 4. the chain
        try:
            fingerprint_of(chain_pem)
        except ValueError as error:
            return no_certificate(order, error)
        return Issued(order_url=pending.url, key_pem=pending.key_pem.encode(), chain_pem=chain_pem, took=timedelta())

    async def _take_up(self, request: CertificateRequest) -> tuple[PendingOrder, Order] | None:
        """Return the order that an earlier attempt left, if it still matches the request."""
        pending = self._store.pending_order()
        if pending is None:
            return None
        is_ours = (pending.directory, set(pending.identifiers), pending.key_type) == (
            self._authority.directory,
            set(request.identifiers),
            request.key_type,
        )
        try:
            order = await self._authority.order(pending.url) if is_ours else None
        except ProblemError as error:
            if is_passing(error.problem):
                raise
            order = None
        age = self._clock.now() - pending.placed_at
        if order is None or order.status is Status.INVALID or not order.is_worth_taking_up(age):
            self._store.forget_order()
            return None
        return pending, order

    async def _place(self, request: CertificateRequest) -> tuple[PendingOrder, Order]:
        order = await self._new_order(request)
        return await asyncio.to_thread(self._keep, order, request), order

    def _keep(self, order: Order, request: CertificateRequest) -> PendingOrder:
        """With its key, which is new unless the request has one. Blocks."""
        key_pem = request.key_pem if request.key_pem is not None else make_key(request.key_type)
        pending = PendingOrder(
            url=order.url,
            directory=self._authority.directory,
            identifiers=request.identifiers,
            key_type=request.key_type,
            key_pem=key_pem.decode(),
            placed_at=self._clock.now(),
        )
        self._store.save_order(pending)
        return pending

    async def _new_order(self, request: CertificateRequest) -> Order:
        """Place an order, without the predecessor if the CA rejects it (RFC 9773 section 5)."""
        identifiers = [_identifier(name) for name in request.identifiers]
        try:
            return await self._authority.new_order(identifiers, request.options)
        except ProblemError as error:
            if request.options.replaces is None or is_passing(error.problem):
                raise
            return await self._authority.new_order(identifiers, msgspec.structs.replace(request.options, replaces=None))

    async def _authorize(self, order: Order) -> Failed | None:
        """Answer every challenge, then check the result of each; None when all are valid."""
        kind = self._solver.challenge_type
        async with AsyncExitStack() as presented:
            authorizations = [await self._authority.authorization(url) for url in order.authorizations]
            pending = [authorization for authorization in authorizations if authorization.state(kind) is Status.PENDING]
            for authorization in pending:
                challenge = authorization.challenge(kind)
                if challenge is None:
                    return not_offered(order, authorization, kind)
                name, answer = authorization.identifier.value, self._authority.key_authorization(challenge.token)
                presented.push_async_callback(self._solver.clean_up, name, challenge)
                await self._solver.present(name, challenge, answer)
            decided = [await self._validate(authorization) for authorization in pending]
        others = [authorization for authorization in authorizations if authorization not in pending]
        bad = [authorization for authorization in (*decided, *others) if authorization.status is not Status.VALID]
        return failed_by(order, bad, kind) if bad else None

    async def _validate(self, authorization: Authorization) -> Authorization:
        """Ask the CA to validate the challenge, and poll the authorization, never the challenge, until it is
        decided."""
        kind = self._solver.challenge_type
        challenge = authorization.challenge(kind)
        answered = await self._authority.answer(challenge) if challenge else None
        if answered is not None and answered.status is Status.VALID:
            return msgspec.structs.replace(authorization, status=Status.VALID)
        deadline = self._clock.monotonic() + VALIDATION_SECONDS
        backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE)
        while True:
            authorization = await self._authority.authorization(authorization.url)
            is_undecided = authorization.state(kind) is Status.PENDING and authorization.problem(kind) is None
            if not is_undecided or self._clock.monotonic() > deadline:
                return authorization
            await self._pause(authorization.retry_after, backoff)

    async def _finalize(self, order: Order, pending: PendingOrder) -> Order:
        """Finalize the order if that has not been done, and follow it until it is decided."""
        signing_request = certificate_request(pending.key_pem, pending.identifiers)
        deadline = self._clock.monotonic() + ISSUANCE_SECONDS
        backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE)
        while order.status not in (Status.VALID, Status.INVALID) and self._clock.monotonic() < deadline:
            if order.status is not Status.PROCESSING:
                order = await self._finalize_once(order, signing_request)
            else:
                await self._pause(order.retry_after, backoff)
                order = await self._authority.order(order.url)
        return order

    async def _pause(self, retry_after: float | None, backoff: Backoff) -> None:
        """Wait as long as the CA asks for, within limits, or a little longer each time."""
        pause = backoff.next_pause().total_seconds()
        await self._clock.sleep(min(retry_after or pause, LONGEST_RETRY_AFTER))

    async def _finalize_once(self, order: Order, signing_request: x509.CertificateSigningRequest) -> Order:
        """Finalize the order. A CA that failed internally may still have issued the certificate: the order's state
        decides."""
        try:
            return await self._authority.finalize(order, signing_request)
        except ProblemError as error:
            if error.problem.status is None or error.problem.status < 500:
                raise
            seen = await self._authority.order(order.url)
            if seen.status is Status.READY:
                raise
            return seen


def _identifier(name: str) -> Identifier:
    try:
        return Identifier(type="ip", value=str(ipaddress.ip_address(name)))
    except ValueError:
        return Identifier(type="dns", value=name)
