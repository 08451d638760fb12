"""The CA over ACME, as a program: the only importer of `acme` and `josepy`, and of the blocking HTTP client beneath.

`acme_client` runs it, in a process of its own: 6 MiB that an agent at rest does without, and the CA's answers are read
where no key of a certificate lies. Signing, nonces and message formats come from the package; the flow, the polling and
the retries are in `certagent.issuance.order`. All requests of one account go one after the other: step-ca answers 500
to an account that orders in parallel. Where the CA's name does not resolve or resolves to the wrong host, its
configured addresses are tried; SNI, Host and trust remain those of the name, because the directory is built from the
Host header and accounts are bound to their URL.
"""

import socket
import ssl
from contextlib import suppress
from pathlib import Path
from typing import Any

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
from certagent.domain.orders import Account, Binding, Challenge, Problem
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
from certagent.issuance.responses import (
    AuthorityUnreachableError,
    Directory,
    ProblemError,
    decode,
    location_of,
    read_authorization,
    read_order,
    read_problem,
    retry_after_of,
)
from certagent.system.python_process import answer_all
from certagent.system.tls import RootFiles, files_of, trust_only

CONNECT_SECONDS = 3.0
ANSWER_SECONDS = 20.0


def main() -> None:
    """Answer until there are no more questions; the connection and the nonces stay from one to the next."""
    sessions: dict[tuple[Authority, str], AcmeSession] = {}

    def answer(content: bytes) -> bytes:
        question = msgspec.msgpack.decode(content, type=AcmeQuestion)
        key = question.authority, question.account.key_pem
        if key not in sessions:
            sessions.clear()
            sessions[key] = AcmeSession(question.authority, question.account)
        return msgspec.msgpack.encode(sessions[key].reply(question.account.url, question.ask))

    answer_all(answer)


class AcmeSession:
    """One account at one ACME directory, and its connection. Blocks."""

    def __init__(self, authority: Authority, account: Account) -> None:
        self._authority = authority
        self._account = account
        self._network: _Network | None = None
        self._resources: Directory | None = None

    def reply(self, account_url: str | None, ask: Ask) -> AcmeReply:
        """What became of it. `account_url`: where the account is, as far as is known; None registers it."""
        self._account = msgspec.structs.replace(self._account, url=account_url)
        answer, directory = msgspec.Raw(msgspec.msgpack.encode(None)), self._authority.directory
        problem, retry_after, unreachable, broken = None, None, None, None
        try:
            answer = msgspec.Raw(msgspec.msgpack.encode(self._do(ask)))
        except ProblemError as error:
            problem, retry_after = error.problem, error.retry_after
        except AuthorityUnreachableError as error:
            unreachable = str(error)
        except requests.RequestException as error:
            unreachable = f"{directory}: {error}"
        except (acme.errors.Error, josepy.errors.Error, msgspec.MsgspecError) as error:
            unreachable = f"{directory} does not speak ACME: {error!r}"
        except OSError as error:
            broken = error.errno, error.strerror
        return AcmeReply(
            account_url=self._account.url,
            answer=answer,
            problem=problem,
            retry_after=retry_after,
            unreachable=unreachable,
            broken=broken,
        )

    def _do(self, ask: Ask) -> object:
        network, resources = self._connect()
        self._ensure_account(network, resources)
        match ask:
            case PlaceOrder():
                return read_order(network.send(resources.new_order, _new_order(ask, resources)))
            case LookAtOrder(url=url):
                return read_order(network.send(url, None), url)
            case LookAtAuthorization(url=url):
                return read_authorization(network.send(url, None), url)
            case Validate():
                return _validate(network, ask)
            case Finalize():
                request = x509.load_der_x509_csr(ask.signing_request)
                return read_order(network.send(ask.url, acme.messages.CertificateRequest(csr=request)), ask.order_url)
            case Download(url=url):
                return network.send(url, None).content
            case Revoke():
                _revoke(network, resources, ask)
        return None

    def _connect(self) -> "tuple[_Network, Directory]":
        if self._network is None or self._resources is None:
            roots, addresses = tuple(map(Path, self._authority.roots)), self._authority.addresses
            self._network = _Network(self._account, PinnedAdapter(roots, addresses), roots)
            self._resources = decode(self._network.get(self._authority.directory).content, Directory)
            self._network.new_nonce = self._resources.new_nonce
        return self._network, self._resources

    def _ensure_account(self, network: "_Network", resources: Directory) -> None:
        """Register the account (RFC 8555 section 7.3); the same key always yields the same account."""
        if self._account.url is None:
            network.use(None)
            binding = self._authority.binding
            bound = _bound(self._account, binding, resources) if binding else None
            message = acme.messages.NewRegistration(terms_of_service_agreed=True, external_account_binding=bound)
            url = location_of(network.send(resources.new_account, message))
            self._account = msgspec.structs.replace(self._account, url=url)
        network.use(self._account.url)


def _new_order(ask: PlaceOrder, urls: Directory) -> "_Document":
    """Return the message: the package's own class has neither a lifetime nor a predecessor (RFC 9773 section 5)."""
    document: dict[str, Any] = {"identifiers": [{"type": name.type, "value": name.value} for name in ask.identifiers]}
    if ask.not_after is not None:
        document["notAfter"] = ask.not_after.isoformat(timespec="seconds")
    if ask.profile is not None and urls.meta.profiles:
        document["profile"] = ask.profile
    if ask.replaces is not None and urls.renewal_info is not None:
        document["replaces"] = ask.replaces
    return _Document(document)


def _validate(network: "_Network", ask: Validate) -> Validated:
    try:
        # an empty object for every challenge type (RFC 8555 section 7.5.1)
        response = network.send(ask.challenge.url, HTTP01Response(), timeout=(CONNECT_SECONDS, ask.within))
    except requests.exceptions.ReadTimeout:
        return Validated(challenge=None)
    return Validated(challenge=decode(response.content, Challenge))


def _revoke(network: "_Network", urls: Directory, ask: Revoke) -> None:
    if urls.revoke_cert is None:
        raise ProblemError(Problem(detail="the CA's directory offers no revocation", status=404))
    certificate = x509.load_pem_x509_certificate(ask.chain_pem)
    message = acme.messages.Revocation(certificate=certificate, reason=ask.reason)
    network.send(urls.revoke_cert, message, signer=_signer(ask.key_pem))


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
