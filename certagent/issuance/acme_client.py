"""The CA over ACME: the only importer of `acme` and `josepy`, and of the blocking HTTP client beneath them.

Import this module late: an agent's memory grows with it at the first order. Signing, nonces and message formats come
from the package; the flow, the polling and the retries are in `certagent.issuance.order`. All requests of one account
go through one thread: step-ca answers 500 to an account that orders in parallel. Where the CA's name does not resolve
or resolves to the wrong host, its configured addresses are tried; SNI, Host and trust remain those of the name, because
the directory is built from the Host header and accounts are bound to their URL.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Self, TypeVar

import acme.errors
import acme.messages
import josepy.errors
import msgspec
import requests
from acme.challenges import HTTP01Response
from acme.client import ClientNetwork
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from josepy.interfaces import JSONDeSerializable
from josepy.jwa import ES256, ES384, RS256, JWASignature
from josepy.jwk import JWK, JWKEC, JWKRSA
from requests.adapters import HTTPAdapter
from urllib3 import HTTPSConnectionPool
from urllib3.connection import HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError
from urllib3.util.connection import create_connection

from certagent import __version__
from certagent.domain.orders import (
    Account,
    Authorization,
    Binding,
    Challenge,
    Identifier,
    Order,
    OrderOptions,
    Problem,
    Resource,
)
from certagent.domain.ports import Clock
from certagent.issuance.keys import AccountStore, ensure_account, thumbprint
from certagent.issuance.responses import (
    AuthorityUnreachableError,
    Directory,
    ProblemError,
    RetryPolicy,
    decode,
    location_of,
    read_authorization,
    read_order,
    read_problem,
    retry_after_of,
)
from certagent.system.tls import RootFiles, files_of, trust_only

ATTEMPTS = 5
CONNECT_SECONDS = 3.0
ANSWER_SECONDS = 20.0
CHALLENGE_SECONDS = 2.5  # a fetch that is silently dropped delays the CA's response by 30 s: do not wait

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
        self._root = root
        self._addresses = tuple(addresses)
        self._accounts = accounts
        self._clock = clock
        self._binding = binding
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="acme")
        self._account = Account(key_pem="")
        self._network: _Network | None = None
        self._resources: Directory | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self._executor.shutdown)
        if self._network is not None:
            self._network.session.close()

    async def new_order(self, identifiers: Sequence[Identifier], options: OrderOptions = _NO_TERMS) -> Order:
        """Place an order (RFC 8555 section 7.4), with those options that the directory offers (RFC 9773 section 5)."""

        def post(net: _Network, urls: Directory) -> Order:
            return read_order(net.send(urls.new_order, self._new_order(identifiers, options, urls)))

        return await self._call(Resource.ORDER, post)

    async def revoke(self, key_pem: bytes, chain_pem: bytes, reason: int) -> None:
        """Revoke a certificate (RFC 8555 section 7.6): signed with its own key if that is an EC or RSA key, whoever
        ordered it, and otherwise with the account's. Harmless when it is revoked already."""

        def post(net: _Network, urls: Directory) -> None:
            if urls.revoke_cert is None:
                raise ProblemError(Problem(detail="the CA's directory offers no revocation", status=404))
            message = acme.messages.Revocation(certificate=x509.load_pem_x509_certificate(chain_pem), reason=reason)
            net.send(urls.revoke_cert, message, signer=_signer(key_pem))

        try:
            await self._call(Resource.CERTIFICATE, post)
        except ProblemError as error:
            if error.problem.kind != "alreadyRevoked":
                raise

    async def order(self, url: str) -> Order:
        """Return the current state of the order."""
        return await self._call(Resource.ORDER, lambda net, _: read_order(net.send(url, None), url))

    async def authorization(self, url: str) -> Authorization:
        """Return the current state of the authorization (RFC 8555 section 7.5). This is the resource to poll."""
        return await self._call(Resource.AUTHORIZATION, lambda net, _: read_authorization(net.send(url, None), url))

    async def answer(self, challenge: Challenge) -> Challenge | None:
        """Ask the CA to validate the challenge now (RFC 8555 section 7.5.1). None: it has not confirmed in time."""

        def post(net: "_Network", _: Directory) -> Challenge | None:
            try:
                # an empty object for every challenge type (RFC 8555 section 7.5.1)
                response = net.send(challenge.url, HTTP01Response(), timeout=(CONNECT_SECONDS, CHALLENGE_SECONDS))
            except requests.exceptions.ReadTimeout:
                return None
            return decode(response.content, Challenge)

        return await self._call(Resource.CHALLENGE, post)

    async def finalize(self, order: Order, signing_request: x509.CertificateSigningRequest) -> Order:
        """Finalize the order (RFC 8555 section 7.4). Sent once: after a failure, check the order first."""
        message = acme.messages.CertificateRequest(csr=signing_request)
        return await self._call(
            Resource.FINALIZE, lambda net, _: read_order(net.send(order.finalize, message), order.url), is_once=True
        )

    async def certificate(self, url: str) -> bytes:
        """Return the chain as PEM, leaf first (RFC 8555 section 7.4.2)."""
        return await self._call(Resource.CERTIFICATE, lambda net, _: net.send(url, None).content)

    def key_authorization(self, token: str) -> str:
        """Return the token's key authorization (RFC 8555 section 8.1). Valid once the account exists."""
        return f"{token}.{thumbprint(self._account)}"

    def _new_order(self, identifiers: Sequence[Identifier], options: OrderOptions, urls: Directory) -> "_Document":
        """Return the message: the package's own class has neither a lifetime nor a predecessor."""
        document: dict[str, Any] = {"identifiers": [{"type": name.type, "value": name.value} for name in identifiers]}
        if options.lifetime is not None:
            document["notAfter"] = (self._clock.now() + options.lifetime).isoformat(timespec="seconds")
        if options.profile is not None and urls.meta.profiles:
            document["profile"] = options.profile
        if options.replaces is not None and urls.renewal_info is not None:
            document["replaces"] = options.replaces
        return _Document(document)

    async def _call(
        self, resource: Resource, ask: "Callable[[_Network, Directory], _Answer]", *, is_once: bool = False
    ) -> _Answer:
        retries = RetryPolicy(self._clock, ATTEMPTS, is_once=is_once)
        while True:
            try:
                return await asyncio.get_running_loop().run_in_executor(self._executor, self._ask, ask)
            except ProblemError as error:
                if error.problem.kind == "accountDoesNotExist" and retries.has_more:
                    self._account = msgspec.structs.replace(self._account, url=None)
                await retries.wait_or_raise(ProblemError(error.problem.about(resource), error.retry_after))

    def _ask(self, ask: "Callable[[_Network, Directory], _Answer]") -> _Answer:
        """Run the request in the account's thread."""
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
            self._account = ensure_account(self._accounts)
            self._network = _Network(self._account, PinnedAdapter(self._root, self._addresses), self._root)
            self._resources = decode(self._network.get(self.directory).content, Directory)
            self._network.new_nonce = self._resources.new_nonce
        return self._network, self._resources

    def _ensure_account(self, network: "_Network", resources: Directory) -> None:
        """Register the account (RFC 8555 section 7.3); the same key always yields the same account."""
        if self._account.url is None:
            network.use(None)
            bound = _bound(self._account, self._binding, resources) if self._binding else None
            message = acme.messages.NewRegistration(terms_of_service_agreed=True, external_account_binding=bound)
            url = location_of(network.send(resources.new_account, message))
            self._account = msgspec.structs.replace(self._account, url=url)
            self._accounts.save(self._account)
        network.use(self._account.url)


class _Document:
    """A message in the form that the package signs."""

    def __init__(self, content: dict[str, Any]) -> None:
        self._content = content

    def json_dumps(self, **_: object) -> str:
        """Return the message as JSON."""
        return msgspec.json.encode(self._content).decode()


class _Network(ClientNetwork):
    """The package's signing and nonces over a session that trusts the pinned root and uses no proxy."""

    def __init__(self, account: Account, adapter: "PinnedAdapter", root: RootFiles) -> None:
        super().__init__(key=_key(account), alg=ES256, user_agent=f"certagent/{__version__}")
        self.verify_ssl = str(files_of(root)[0])  # type: ignore[assignment]  # for requests; the adapter trusts all
        self.session.trust_env = False
        self.session.mount("https://", adapter)
        self.new_nonce: str | None = None
        self._default_timeout = (CONNECT_SECONDS, ANSWER_SECONDS)  # type: ignore[assignment]  # likewise

    def use(self, account_url: str | None) -> None:
        """Sign with that account URL from now on; without a URL, with the key itself."""
        registration = acme.messages.Registration()
        self.account = acme.messages.RegistrationResource(body=registration, uri=account_url) if account_url else None

    def send(
        self,
        url: str,
        message: JSONDeSerializable | _Document | None,
        *,
        signer: "tuple[JWK, JWASignature] | None" = None,
        **options: Any,
    ) -> requests.Response:
        """Send one POST, signed by the account or by another key; without a message it is a POST-as-GET."""
        if signer is None:
            return self._post_once(url, message, new_nonce_url=self.new_nonce, **options)
        ours = self.key, self.alg, self.account
        self.key, self.alg = signer
        self.account = None
        try:
            return self._post_once(url, message, new_nonce_url=self.new_nonce, **options)
        finally:
            self.key, self.alg, self.account = ours

    def _send_request(self, method: str, url: str, *args: Any, **kwargs: Any) -> requests.Response:
        """Also keep the nonce that an error response carries (RFC 8555 section 6.5)."""
        response = super()._send_request(method, url, *args, **kwargs)
        if self.REPLAY_NONCE_HEADER in response.headers:
            self._add_nonce(response)
        return response

    @classmethod
    def _check_response(cls, response: requests.Response, content_type: str | None = None) -> requests.Response:
        """Raise `ProblemError` with the CA's own document instead of the package's various exceptions."""
        if response.ok:
            return response
        raise ProblemError(read_problem(response), retry_after_of(response))


def _bound(account: Account, binding: Binding, urls: Directory) -> dict[str, Any]:
    """Return the account object with its external account binding (RFC 8555 section 7.3.4)."""
    where = acme.messages.Directory({"newAccount": urls.new_account})
    public = _key(account).public_key()
    return acme.messages.ExternalAccountBinding.from_data(public, binding.key_id, binding.hmac_key, where)


def _signer(key_pem: bytes) -> tuple[JWK, JWASignature] | None:
    """Return the certificate's key as a signer; None for a key type that the package cannot sign with."""
    key = serialization.load_pem_private_key(key_pem, password=None)
    if isinstance(key, rsa.RSAPrivateKey):
        return JWKRSA(key=key), RS256
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return JWKEC(key=key), ES384 if key.curve.name == "secp384r1" else ES256
    return None


def _key(account: Account) -> JWKEC:
    return JWKEC(key=serialization.load_pem_private_key(account.key_pem.encode(), password=None))


class PinnedAdapter(HTTPAdapter):
    """A `requests` adapter that trusts only the root file and knows the CA's addresses."""

    def __init__(self, root: RootFiles, addresses: tuple[str, ...]) -> None:
        self._context = trust_only(root)
        self._addresses = addresses
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make the pools use connections that try the configured addresses."""
        super().init_poolmanager(*args, **kwargs, ssl_context=self._context)
        pool = type("_Pool", (HTTPSConnectionPool,), {"ConnectionCls": _connection_to(self._addresses)})
        self.poolmanager.pool_classes_by_scheme = {"https": pool}


def _connection_to(addresses: tuple[str, ...]) -> type[HTTPSConnection]:
    """Return a connection class that tries those addresses after the name itself."""

    class Connection(HTTPSConnection):
        _address: str | None = None

        def connect(self) -> None:
            """By name, then by each address; raises what happened by name when none of them works."""
            self._address = None
            try:
                super().connect()
            except (HTTPError, ssl.SSLError, OSError) as failure:
                for self._address in addresses:
                    with suppress(HTTPError, ssl.SSLError, OSError):
                        self.close()
                        return super().connect()
                raise failure from None

        def _new_conn(self) -> socket.socket:
            if self._address is None:
                return super()._new_conn()
            try:
                return create_connection((self._address, self.port), self.timeout, socket_options=self.socket_options)
            except OSError as error:
                kind = ConnectTimeoutError if isinstance(error, TimeoutError) else NewConnectionError
                raise kind(self, f"{self._address}: {error}") from error

    return Connection
