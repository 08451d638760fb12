"""The CA over ACME, for the agent: one account, asked through the process that speaks it (`acme_session`).

That process is there while there are orders, and a few seconds longer.
"""

import asyncio
from collections.abc import Sequence
from typing import Self, TypeVar

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from certagent.domain.orders import (
    Account,
    Authorization,
    Binding,
    Challenge,
    Identifier,
    Order,
    OrderOptions,
    Resource,
)
from certagent.domain.ports import Clock
from certagent.issuance.acme_messages import (
    AcmeQuestion,
    AcmeReply,
    Ask,
    Authority,
    Download,
    Finalize,
    LookAtAuthorization,
    LookAtOrder,
    PlaceOrder,
    Revoke,
    Validate,
    Validated,
)
from certagent.issuance.keys import AccountStore, ensure_account, thumbprint
from certagent.issuance.responses import AuthorityUnreachableError, ProblemError, RetryPolicy
from certagent.system.python_process import ProcessGoneError, PythonProcess
from certagent.system.tls import RootFiles, files_of

ATTEMPTS = 5
CHALLENGE_SECONDS = 2.5  # a fetch that is silently dropped delays the CA's response by 30 s: do not wait
KEPT_SECONDS = 10.0
LONGEST_SECONDS = 180.0  # for one request, its connection to each of the CA's addresses included

_NO_TERMS = OrderOptions()

_Answer = TypeVar("_Answer")


class AcmeClient:
    """One account at one ACME directory. Use as an async context manager.

    Every method raises `ProblemError` when the CA refuses (with the problem document as its value), and
    `AuthorityUnreachableError` when there is no answer. Rejected nonces, server errors and rate limits of a few seconds
    are retried; an account that the CA has forgotten is registered again under the same key.
    """

    def __init__(
        self,
        directory: str,
        root: RootFiles,
        addresses: Sequence[str],
        accounts: AccountStore,
        clock: Clock,
        binding: Binding | None = None,
    ) -> None:
        self.directory = directory
        roots = tuple(map(str, files_of(root)))
        self._authority = Authority(directory=directory, roots=roots, addresses=tuple(addresses), binding=binding)
        self._accounts = accounts
        self._clock = clock
        self._account = Account(key_pem="")
        self._turn = asyncio.Lock()
        self._process = PythonProcess("certagent.issuance.acme_session", KEPT_SECONDS, LONGEST_SECONDS)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._process.close()

    async def prepare(self) -> None:
        """An order is about to come: have the process started meanwhile. Raises OSError."""
        await self._process.prepare()

    async def new_order(self, identifiers: Sequence[Identifier], options: OrderOptions = _NO_TERMS) -> Order:
        """Place an order (RFC 8555 section 7.4), with those options that the directory offers (RFC 9773 section 5)."""
        ask = PlaceOrder(
            identifiers=tuple(identifiers),
            not_after=None if options.lifetime is None else self._clock.now() + options.lifetime,
            profile=options.profile,
            replaces=options.replaces,
        )
        return await self._call(Resource.ORDER, ask, Order)

    async def revoke(self, key_pem: bytes, chain_pem: bytes, reason: int) -> None:
        """Revoke a certificate (RFC 8555 section 7.6): signed with its own key if that is an EC or RSA key, whoever
        ordered it, and otherwise with the account's. Harmless when it is revoked already."""
        ask = Revoke(key_pem=key_pem, chain_pem=chain_pem, reason=reason)
        try:
            await self._call(Resource.CERTIFICATE, ask, type(None))
        except ProblemError as error:
            if error.problem.kind != "alreadyRevoked":
                raise

    async def order(self, url: str) -> Order:
        """Return the current state of the order."""
        return await self._call(Resource.ORDER, LookAtOrder(url=url), Order)

    async def authorization(self, url: str) -> Authorization:
        """Return the current state of the authorization (RFC 8555 section 7.5). This is the resource to poll."""
        return await self._call(Resource.AUTHORIZATION, LookAtAuthorization(url=url), Authorization)

    async def answer(self, challenge: Challenge) -> Challenge | None:
        """Ask the CA to validate the challenge now (RFC 8555 section 7.5.1). None: it has not confirmed in time."""
        ask = Validate(challenge=challenge, within=CHALLENGE_SECONDS)
        return (await self._call(Resource.CHALLENGE, ask, Validated)).challenge

    async def finalize(self, order: Order, signing_request: x509.CertificateSigningRequest) -> Order:
        """Finalize the order (RFC 8555 section 7.4). Sent once: after a failure, check the order first."""
        request = signing_request.public_bytes(Encoding.DER)
        ask = Finalize(url=order.finalize, order_url=order.url, signing_request=request)
        return await self._call(Resource.FINALIZE, ask, Order, is_once=True)

    async def certificate(self, url: str) -> bytes:
        """Return the chain as PEM, leaf first (RFC 8555 section 7.4.2)."""
        return await self._call(Resource.CERTIFICATE, Download(url=url), bytes)

    def key_authorization(self, token: str) -> str:
        """Return the token's key authorization (RFC 8555 section 8.1). Valid once the account exists."""
        return f"{token}.{thumbprint(self._account)}"

    async def _call(self, resource: Resource, ask: Ask, kind: type[_Answer], *, is_once: bool = False) -> _Answer:
        retries = RetryPolicy(self._clock, ATTEMPTS, is_once=is_once)
        while True:
            try:
                return msgspec.msgpack.decode(await self._ask(ask), type=kind)
            except ProblemError as error:
                if error.problem.kind == "accountDoesNotExist" and retries.has_more:
                    self._account = msgspec.structs.replace(self._account, url=None)
                await retries.wait_or_raise(ProblemError(error.problem.about(resource), error.retry_after))

    async def _ask(self, ask: Ask) -> msgspec.Raw:
        async with self._turn:  # the next request knows what this one has come to know of the account
            if not self._account.key_pem:
                self._account = await asyncio.to_thread(ensure_account, self._accounts)
            question = AcmeQuestion(authority=self._authority, account=self._account, ask=ask)
            try:
                told = await self._process.ask(msgspec.msgpack.encode(question))
            except ProcessGoneError as error:
                raise AuthorityUnreachableError(f"{self.directory}: {error}") from error
            reply = msgspec.msgpack.decode(told, type=AcmeReply)
            if reply.account_url != self._account.url:
                self._account = msgspec.structs.replace(self._account, url=reply.account_url)
                await asyncio.to_thread(self._accounts.save, self._account)
        return _answer_of(reply)


def _answer_of(reply: AcmeReply) -> msgspec.Raw:
    if reply.problem is not None:
        raise ProblemError(reply.problem, reply.retry_after)
    if reply.unreachable is not None:
        raise AuthorityUnreachableError(reply.unreachable)
    if reply.broken is not None:
        raise OSError(*reply.broken)
    return reply.answer
