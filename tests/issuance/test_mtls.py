"""Renewal without a challenge at a real step-ca: the current certificate speaks for itself."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from certagent.domain.deployments import Generation
from certagent.domain.orders import Failed, Issued
from certagent.issuance.acme_client import AcmeClient
from certagent.issuance.mtls import MtlsRenewal
from certagent.issuance.order import CertificateRequest, OrderProcedure
from certagent.issuance.solvers.responders import Http01Responder
from certagent.system.clock import SystemClock
from tests.certificates import Authority as PrivateAuthority
from tests.certificates import make_generation
from tests.fakes.stores import MemoryAccounts, MemoryOrders
from tests.issuance.conftest import StepCa
from tests.ports import free_port

NAMES = ("localhost", "127.0.0.1")


async def _first(ca: StepCa, key_type: str = "ecdsa-p256") -> Generation:
    """A certificate by a challenge."""
    clock = SystemClock()
    async with (
        Http01Responder(f"127.0.0.1:{ca.challenge_port}", clock) as listener,
        AcmeClient(ca.directory, ca.root, (), MemoryAccounts(), clock) as authority,
    ):
        wanted = CertificateRequest(identifiers=NAMES, key_type=key_type)
        issued = await OrderProcedure(authority, listener, MemoryOrders(), clock).obtain(wanted)
    assert isinstance(issued, Issued)
    return make_generation(issued.key_pem, issued.chain_pem)


def _renewal(ca: StepCa) -> MtlsRenewal:
    return MtlsRenewal(ca.directory, ca.root, (), SystemClock())


def _public_key(generation: Generation) -> bytes:
    key = serialization.load_pem_private_key(generation.key_pem, password=None).public_key()
    form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    assert key.public_bytes(*form) == x509.load_pem_x509_certificate(generation.chain_pem).public_key().public_bytes(
        *form
    )
    return key.public_bytes(*form)


@pytest.mark.parametrize("key_type", ["ecdsa-p256", "rsa-2048"])
async def test_it_gives_the_same_names_under_a_new_key(step_ca: StepCa, key_type: str) -> None:
    """Nobody answers a challenge meanwhile; the new one can be renewed again."""
    current = await _first(step_ca, key_type)
    orders = step_ca.count("new-order")
    for _ in range(2):
        renewed = await _renewal(step_ca).renew(current, key_type)
        assert isinstance(renewed, Issued)
        after = make_generation(renewed.key_pem, renewed.chain_pem)
        assert set(after.facts.identifiers) == set(NAMES)
        assert after.facts.fingerprint != current.facts.fingerprint
        assert after.facts.lifetime() == current.facts.lifetime()
        assert _public_key(after) != _public_key(current)
        current = after
    assert step_ca.count("new-order") == orders


async def test_the_key_may_stay(step_ca: StepCa) -> None:
    """`/1.0/renew`, for whoever pins a key."""
    current = await _first(step_ca)
    renewed = await _renewal(step_ca).renew(current, "ecdsa-p256", keep_key=True)
    assert isinstance(renewed, Issued)
    assert renewed.order_url.endswith("/1.0/renew")
    assert _public_key(make_generation(renewed.key_pem, renewed.chain_pem)) == _public_key(current)


async def test_it_works_after_the_cas_database_was_lost(start_step_ca: Callable[..., StepCa]) -> None:
    """The certificate's signature is all that is asked for."""
    ca = start_step_ca()
    current = await _first(ca)
    ca.stop()
    ca.forget()
    ca.start()
    assert isinstance(await _renewal(ca).renew(current, "ecdsa-p256"), Issued)


async def test_a_provisioner_may_forbid_it(start_step_ca: Callable[..., StepCa]) -> None:
    """The CA says no, and the finding has a name."""
    ca = start_step_ca(claims={"disableRenewal": True})
    refused = await _renewal(ca).renew(await _first(ca), "ecdsa-p256")
    assert isinstance(refused, Failed)
    assert refused.code == "renewal.forbidden"
    assert refused.problems[0].detail.startswith("HTTP 401: ")


async def test_a_certificate_of_another_ca_is_refused(step_ca: StepCa) -> None:
    """The handshake ends it, or the CA does."""
    pair = PrivateAuthority("Another Root").issue(*NAMES)
    refused = await _renewal(step_ca).renew(pair.generation(), "ecdsa-p256")
    assert isinstance(refused, Failed)
    assert refused.code in ("renewal.forbidden", "ca.unreachable")


async def test_an_expired_certificate_is_refused(step_ca: StepCa) -> None:
    """By the CA as well: signed by its own key, a day too old."""
    key = serialization.load_pem_private_key((step_ca.root.parent / "ca.key").read_bytes(), password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    signer = PrivateAuthority("Step Test Root", key)
    pair = signer.issue(*NAMES, not_before=datetime.now(UTC) - timedelta(days=2), lifetime=timedelta(days=1))
    assert isinstance(await _renewal(step_ca).renew(pair.generation(), "ecdsa-p256"), Failed)


async def test_nobody_there_is_said_as_such(step_ca: StepCa) -> None:
    """Nothing was refused."""
    nowhere = MtlsRenewal(f"https://localhost:{free_port()}/acme/acme/directory", step_ca.root, (), SystemClock())
    pair = PrivateAuthority().issue(*NAMES)
    failed = await nowhere.renew(pair.generation(), "ecdsa-p256")
    assert isinstance(failed, Failed)
    assert failed.code == "ca.unreachable"
