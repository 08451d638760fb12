"""The CA over ACME: the only importer of `acme` and `josepy`, and of the blocking HTTP client beneath them.

Import this module late: it is what makes an agent grow with its first order. Signing, nonces and message forms are
the package's; the flow, the waiting and the patience are ours (`certagent.issuance.order`). All requests of one
account go through one thread: step-ca answers 500 to an account that orders in parallel.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

import acme.errors
import acme.messages
import josepy.errors
import msgspec
import requests
from acme.challenges import HTTP01Response
from acme.client import ClientNetwork
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from josepy.b64 import b64encode
from josepy.interfaces import JSONDeSerializable
from josepy.jwa import ES256
from josepy.jwk import JWKEC

from certagent import __version__
from certagent.domain.orders import Account, Authorization, Challenge, Identifier, Order, Problem, Resource
from certagent.domain.ports import Clock
from certagent.issuance.patience import AuthorityUnreachableError, ProblemError, Retries, seconds_of
from certagent.issuance.transport import PinnedAdapter

CONNECT_SECONDS = 3.0
ANSWER_SECONDS = 20.0
CHALLENGE_SECONDS = 2.5  # a silently dropped fetch blocks the CA's answer for 30 s: do not wait for it

_Answer = TypeVar("_Answer")


class AccountStore(Protocol):
    """Where the account outlives the process."""

    def load(self) -> Account | None:
        """The account, if there is one."""
        ...

    def save(self, account: Account) -> None:
        """Keep it."""
        ...


class Directory(msgspec.Struct, frozen=True, rename="camel"):
    """RFC 8555 section 7.1.1, as much of it as is used."""

    new_nonce: str
    new_account: str
    new_order: str


class Authority:
    """One account at one ACME directory. Use as an async context manager.

    Every method raises `ProblemError` when the CA says no (the problem inside is the value), and
    `AuthorityUnreachableError` when there is no answer. Refused nonces, server errors and rate limits of a few
    seconds are retried; an account that the CA has forgotten is registered again under the same key.
    """

    def __init__(
        self, directory: str, root: Path, addresses: Sequence[str], accounts: AccountStore, clock: Clock
    ) -> None:
        self.directory = directory
        self._root = root
        self._addresses = tuple(addresses)
        self._accounts = accounts
        self._clock = clock
        self._lane = ThreadPoolExecutor(max_workers=1, thread_name_prefix="acme")
        self._account = Account(key_pem="")
        self._network: _Network | None = None
        self._resources: Directory | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self._lane.shutdown)
        if self._network is not None:
            self._network.session.close()

    async def new_order(self, identifiers: Sequence[Identifier]) -> Order:
        """RFC 8555 section 7.4."""
        listed = [acme.messages.Identifier(typ=_TYPES[one.type], value=one.value) for one in identifiers]
        message = acme.messages.NewOrder(identifiers=listed)
        return await self._call(Resource.ORDER, lambda net, urls: _order(net.send(urls.new_order, message)))

    async def order(self, url: str) -> Order:
        """The order as it is now."""
        return await self._call(Resource.ORDER, lambda net, _: _order(net.send(url, None), url))

    async def authorization(self, url: str) -> Authorization:
        """The authorization as it is now (RFC 8555 section 7.5). This is what may be polled."""
        return await self._call(Resource.AUTHORIZATION, lambda net, _: _authorization(net.send(url, None), url))

    async def answer(self, challenge: Challenge) -> Challenge | None:
        """Have the CA try the challenge now (RFC 8555 section 7.5.1); None when it takes its time to say."""

        def post(net: "_Network", _: Directory) -> Challenge | None:
            try:
                # an empty object whatever the challenge is (RFC 8555 section 7.5.1)
                response = net.send(challenge.url, HTTP01Response(), timeout=(CONNECT_SECONDS, CHALLENGE_SECONDS))
            except requests.exceptions.ReadTimeout:
                return None
            return msgspec.json.decode(response.content, type=Challenge)

        return await self._call(Resource.CHALLENGE, post)

    async def finalize(self, order: Order, request: x509.CertificateSigningRequest) -> Order:
        """RFC 8555 section 7.4. Tried once: after a failure look at the order before trying again."""
        message = acme.messages.CertificateRequest(csr=request)
        return await self._call(
            Resource.FINALIZE, lambda net, _: _order(net.send(order.finalize, message), order.url), attempts=1
        )

    async def certificate(self, url: str) -> bytes:
        """The chain, PEM, leaf first (RFC 8555 section 7.4.2)."""
        return await self._call(Resource.CERTIFICATE, lambda net, _: net.send(url, None).content)

    def key_authorization(self, token: str) -> str:
        """RFC 8555 section 8.1. Only of use after a request was made, when there is an account."""
        thumbprint = b64encode(_key(self._account).thumbprint()).decode()
        return f"{token}.{thumbprint}"

    async def _call(
        self,
        resource: Resource,
        ask: "Callable[[_Network, Directory], _Answer]",
        *,
        attempts: int = 4,
    ) -> _Answer:
        retries = Retries(self._clock, attempts)
        while True:
            try:
                return await asyncio.get_running_loop().run_in_executor(self._lane, self._ask, ask)
            except ProblemError as error:
                if error.problem.kind == "accountDoesNotExist" and retries.has_more:
                    self._account = msgspec.structs.replace(self._account, url=None)
                await retries.wait_or_raise(ProblemError(error.problem.about(resource), error.retry_after))

    def _ask(self, ask: "Callable[[_Network, Directory], _Answer]") -> _Answer:
        """In the account's thread."""
        try:
            network, resources = self._connect()
            self._ensure_account(network, resources)
            return ask(network, resources)
        except requests.RequestException as error:
            raise AuthorityUnreachableError(f"{self.directory}: {error}") from error
        except (acme.errors.Error, josepy.errors.Error, msgspec.MsgspecError) as error:
            raise AuthorityUnreachableError(f"{self.directory} does not speak ACME: {error!r}") from error

    def _connect(self) -> "tuple[_Network, Directory]":
        if self._network is None or self._resources is None:
            self._account = self._accounts.load() or _new_account()
            self._network = _Network(self._account, PinnedAdapter(self._root, self._addresses), self._root)
            response = self._network.get(self.directory)
            self._resources = msgspec.json.decode(response.content, type=Directory)
            self._network.new_nonce = self._resources.new_nonce
        return self._network, self._resources

    def _ensure_account(self, network: "_Network", resources: Directory) -> None:
        """RFC 8555 section 7.3; the same key twice is the same account."""
        if self._account.url is None:
            self._accounts.save(self._account)
            network.use(None)
            message = acme.messages.NewRegistration(terms_of_service_agreed=True)
            url = network.send(resources.new_account, message).headers["Location"]
            self._account = msgspec.structs.replace(self._account, url=url)
            self._accounts.save(self._account)
        network.use(self._account.url)


_TYPES = {"dns": acme.messages.IDENTIFIER_FQDN, "ip": acme.messages.IDENTIFIER_IP}


class _Network(ClientNetwork):
    """The package's signing and nonces over a session that trusts the pinned root and knows no proxy."""

    def __init__(self, account: Account, adapter: PinnedAdapter, root: Path) -> None:
        super().__init__(key=_key(account), alg=ES256, user_agent=f"certagent/{__version__}")
        self.verify_ssl = str(root)  # type: ignore[assignment]  # handed on to requests, which takes a path
        self.session.trust_env = False
        self.session.mount("https://", adapter)
        self.new_nonce: str | None = None
        self._default_timeout = (CONNECT_SECONDS, ANSWER_SECONDS)  # type: ignore[assignment]  # likewise

    def use(self, account_url: str | None) -> None:
        """Sign with that account's URL from now on (without one: with the key itself)."""
        registration = acme.messages.Registration()
        self.account = acme.messages.RegistrationResource(body=registration, uri=account_url) if account_url else None

    def send(self, url: str, message: JSONDeSerializable | None, **options: Any) -> requests.Response:
        """One signed POST; without a message a POST-as-GET."""
        return self._post_once(url, message, new_nonce_url=self.new_nonce, **options)

    def _send_request(self, method: str, url: str, *args: Any, **kwargs: Any) -> requests.Response:
        """Also keeps the nonce that an error document carries (RFC 8555 section 6.5)."""
        response = super()._send_request(method, url, *args, **kwargs)
        if self.REPLAY_NONCE_HEADER in response.headers:
            self._add_nonce(response)
        return response

    @classmethod
    def _check_response(cls, response: requests.Response, content_type: str | None = None) -> requests.Response:
        """Raise `ProblemError` with the CA's own document instead of the package's many kinds."""
        if response.ok:
            return response
        raise ProblemError(_problem(response), seconds_of(response.headers.get("Retry-After")))


def _problem(response: requests.Response) -> Problem:
    try:
        problem = msgspec.json.decode(response.content, type=Problem)
    except msgspec.MsgspecError:
        problem = Problem(detail=f"HTTP {response.status_code} without a problem document")
    return msgspec.structs.replace(problem, status=response.status_code)


def _order(response: requests.Response, url: str = "") -> Order:
    return msgspec.structs.replace(
        msgspec.json.decode(response.content, type=Order),
        url=url or response.headers["Location"],
        retry_after=seconds_of(response.headers.get("Retry-After")),
    )


def _authorization(response: requests.Response, url: str) -> Authorization:
    return msgspec.structs.replace(
        msgspec.json.decode(response.content, type=Authorization),
        url=url,
        retry_after=seconds_of(response.headers.get("Retry-After")),
    )


def _new_account() -> Account:
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return Account(key_pem=pem.decode())


def _key(account: Account) -> JWKEC:
    return JWKEC(key=serialization.load_pem_private_key(account.key_pem.encode(), password=None))
