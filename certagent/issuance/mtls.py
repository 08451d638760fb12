"""Renewal without a challenge, and revocation, by Step-CA's own API, where the certificate authenticates itself as the
TLS client certificate.

`/1.0/rekey` gives a new key; `/1.0/renew` keeps the old one, if the CA does not know `rekey` or the key is to stay. The
CA issues the same names with the same lifetime; it refuses once the certificate has expired, and where the provisioner
sets `disableRenewal`.
"""

import asyncio
import ssl
from collections.abc import Sequence
from datetime import timedelta
from urllib.parse import urlsplit

import aiohttp
import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from certagent.domain.certificates import fingerprint_of
from certagent.domain.deployments import Generation
from certagent.domain.orders import Failed, Issued, OrderOutcome, Problem, Resource, code_of
from certagent.domain.ports import Clock
from certagent.issuance.keys import certificate_request, make_key
from certagent.issuance.responses import ProblemError, RetryPolicy, decode
from certagent.system.pinned_http import PinnedClient
from certagent.system.tls import RootFiles, presenting

ANSWER_SECONDS = 20.0
ATTEMPTS = 3

_FORBIDDEN = (401, 403, 404)


class _Signed(msgspec.Struct, frozen=True, rename="camel"):
    """The part of the CA's response that is used: leaf first, without the root."""

    cert_chain: tuple[str, ...]


class _Said(msgspec.Struct, frozen=True):
    """How the CA words a refusal."""

    message: str = ""


class MtlsRenewal:
    """Renews at the CA of one ACME directory, which is contacted by name, or else at its configured addresses."""

    def __init__(self, directory: str, root: RootFiles, addresses: Sequence[str], clock: Clock) -> None:
        parts = urlsplit(directory)
        self._url = f"{parts.scheme}://{parts.netloc}"
        self._root = root
        self._addresses = tuple(addresses)
        self._clock = clock

    async def renew(self, current: Generation, key_type: str, *, keep_key: bool = False) -> OrderOutcome:
        """Return a certificate for the same names, with a new key of that type unless the old key is to stay.

        A `Failed` has the code `renewal.forbidden` when the CA refuses, and `ca.unreachable` when it does not answer.
        """
        started = self._clock.monotonic()
        try:
            outcome = await self._renew(current, key_type, keep_key=keep_key)
        except ProblemError as error:
            code = "renewal.forbidden" if error.problem.status in _FORBIDDEN else code_of(error.problem)
            outcome = Failed(code=code, problems=(error.problem,))
        except (aiohttp.ClientError, TimeoutError, ssl.SSLError, msgspec.MsgspecError) as error:
            problem = Problem(detail=f"{self._url}: {error or 'no answer in time'}", resource=Resource.DIRECTORY)
            outcome = Failed(code="ca.unreachable", problems=(problem,))
        return msgspec.structs.replace(outcome, took=timedelta(seconds=self._clock.monotonic() - started))

    async def revoke(self, current: Generation, reason: int) -> Problem | None:
        """Ask the CA to revoke the certificate that authenticates the request (passively, as Step-CA does), and
        return its refusal, if any."""
        serial = str(int(current.facts.serial, 16))
        body = msgspec.json.encode({"serial": serial, "reasonCode": reason, "reason": "", "passive": True})
        context = presenting(self._root, current.chain_pem, current.key_pem)
        try:
            async with PinnedClient(self._url, self._root, self._addresses, {}, context=context) as client:
                status, answer = await client.request("POST", "/1.0/revoke", timeout=ANSWER_SECONDS, data=body)
        except (aiohttp.ClientError, TimeoutError, ssl.SSLError) as error:
            return Problem(detail=f"{self._url}: {error or 'no answer in time'}", resource=Resource.DIRECTORY)
        return None if status == 200 else _problem(status, answer)

    async def _renew(self, current: Generation, key_type: str, *, keep_key: bool) -> OrderOutcome:
        context = presenting(self._root, current.chain_pem, current.key_pem)
        async with PinnedClient(self._url, self._root, self._addresses, {}, context=context) as client:
            if not keep_key:
                key_pem = await asyncio.to_thread(make_key, key_type)
                request = certificate_request(key_pem.decode(), current.facts.identifiers)
                chain = await self._post(client, "/1.0/rekey", {"csr": _pem(request)}, may_be_unknown=True)
                if chain is not None:
                    return self._issued("/1.0/rekey", key_pem, chain)
            chain = await self._post(client, "/1.0/renew", None)
            return self._issued("/1.0/renew", current.key_pem, chain or b"")

    async def _post(
        self, client: PinnedClient, path: str, document: object, *, may_be_unknown: bool = False
    ) -> bytes | None:
        """Return the chain as PEM; None if the CA does not know the path and that is permitted. Raises
        `ProblemError`."""
        retries = RetryPolicy(self._clock, ATTEMPTS)
        body = b"" if document is None else msgspec.json.encode(document)
        while True:
            status, answer = await client.request("POST", path, timeout=ANSWER_SECONDS, data=body)
            if status in (200, 201):
                return _chain(answer)
            if status == 404 and may_be_unknown:
                return None
            await retries.wait_or_raise(ProblemError(_problem(status, answer)))

    def _issued(self, path: str, key_pem: bytes, chain_pem: bytes) -> Issued:
        return Issued(order_url=self._url + path, key_pem=key_pem, chain_pem=chain_pem, took=timedelta())


def _chain(answer: bytes) -> bytes:
    """Return the chain as PEM, leaf first. Raises `msgspec.DecodeError` for a response that contains no certificate."""
    chain = "".join(decode(answer, _Signed).cert_chain).encode()
    try:
        fingerprint_of(chain)
    except ValueError as error:
        raise msgspec.DecodeError(f"it did not return a valid certificate: {error}") from error
    return chain


def _problem(status: int, answer: bytes) -> Problem:
    try:
        said = decode(answer, _Said).message
    except msgspec.MsgspecError:
        said = ""
    return Problem(detail=f"HTTP {status}: {said or 'without a reason'}", status=status, resource=Resource.CERTIFICATE)


def _pem(request: x509.CertificateSigningRequest) -> str:
    return request.public_bytes(serialization.Encoding.PEM).decode()
