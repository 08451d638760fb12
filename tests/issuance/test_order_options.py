"""What an order may ask for beside its names: lifetime, profile, predecessor, key; and what binds an account."""

from collections.abc import AsyncIterator, Callable
from datetime import timedelta

import msgspec
import pytest
from cryptography import x509

from certagent.domain.certificates import CertificateFacts, read_facts, renewal_identifier
from certagent.domain.orders import Binding, Failed, Issued, OrderOptions, OrderOutcome
from certagent.issuance.acme_client import AcmeClient
from certagent.issuance.keys import is_of_type, make_key
from certagent.issuance.mtls import MtlsRenewal
from certagent.issuance.order import CertificateRequest, OrderProcedure
from certagent.issuance.renewal_info import RenewalInfoClient
from certagent.issuance.responses import ProblemError
from certagent.issuance.solvers.responders import Http01Responder
from certagent.system.clock import SystemClock
from tests.certificates import make_generation, self_signed
from tests.fakes.stores import MemoryAccounts, MemoryOrders
from tests.issuance.conftest import Pebble, StepCa

pytestmark = pytest.mark.slow

WANTED = CertificateRequest(identifiers=("localhost",), key_type="ecdsa-p256")
HMAC_KEY = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"


async def _obtain(authority: AcmeClient, listener: Http01Responder, **wanted: object) -> OrderOutcome:
    asked = msgspec.structs.replace(WANTED, **wanted)
    return await OrderProcedure(authority, listener, MemoryOrders(), SystemClock()).obtain(asked)


def _leaf(outcome: OrderOutcome) -> x509.Certificate:
    assert isinstance(outcome, Issued), outcome
    return x509.load_pem_x509_certificate(outcome.chain_pem)


def _facts(outcome: OrderOutcome) -> CertificateFacts:
    return read_facts(_leaf(outcome))


# --- the real step-ca ---------------------------------------------------------------------------------------------


async def test_a_lifetime_is_asked_for_and_given(authority: AcmeClient, listener: Http01Responder) -> None:
    """Ten minutes from now; the CA begins a minute ago."""
    issued = await _obtain(authority, listener, options=OrderOptions(lifetime=timedelta(minutes=10)))
    assert timedelta(minutes=10) <= _facts(issued).lifetime() <= timedelta(minutes=12)


async def test_a_lifetime_that_the_ca_does_not_allow_has_a_name(
    authority: AcmeClient, listener: Http01Responder, orders: MemoryOrders
) -> None:
    """step-ca fails inside over it, and would for ever: the order is given up, not kept."""
    wanted = msgspec.structs.replace(WANTED, options=OrderOptions(lifetime=timedelta(days=9)))
    failed = await OrderProcedure(authority, listener, orders, SystemClock()).obtain(wanted)
    assert isinstance(failed, Failed)
    assert (failed.code, failed.can_retry) == ("ca.lifetime_denied", False)
    assert orders.order is None
    assert "9 days" in failed.problems[0].detail


async def test_ed25519_is_issued(authority: AcmeClient, listener: Http01Responder) -> None:
    """The CA takes it; so does its renewal without a challenge."""
    issued = await _obtain(authority, listener, key_type="ed25519")
    assert isinstance(issued, Issued)
    assert is_of_type(issued.key_pem, "ed25519")


async def test_a_key_may_stay(authority: AcmeClient, listener: Http01Responder) -> None:
    """The next certificate is for the same one."""
    first = await _obtain(authority, listener)
    assert isinstance(first, Issued)
    second = await _obtain(authority, listener, key_pem=first.key_pem)
    assert isinstance(second, Issued)
    assert second.key_pem == first.key_pem
    assert _leaf(second).public_key() == _leaf(first).public_key()


@pytest.mark.parametrize("key_type", ["ecdsa-p256", "ecdsa-p384", "rsa-2048", "rsa-4096", "ed25519"])
def test_a_key_is_known_by_its_type(key_type: str) -> None:
    """What the configuration no longer wants is not kept."""
    key = make_key(key_type)
    assert is_of_type(key, key_type)
    assert not is_of_type(key, "ecdsa-p256" if key_type != "ecdsa-p256" else "rsa-2048")


@pytest.mark.parametrize("key_type", ["ecdsa-p256", "ecdsa-p384", "rsa-2048", "ed25519"])
async def test_what_is_revoked_cannot_be_renewed(
    authority: AcmeClient, listener: Http01Responder, step_ca: StepCa, key_type: str
) -> None:
    """Signed with the certificate's own key, or by the account where that cannot be; twice is no mistake."""
    issued = await _obtain(authority, listener, key_type=key_type)
    assert isinstance(issued, Issued)
    for _ in range(2):
        await authority.revoke(issued.key_pem, issued.chain_pem, 1)
    current = make_generation(issued.key_pem, issued.chain_pem)
    renewed = await MtlsRenewal(step_ca.directory, step_ca.root, (), SystemClock()).renew(current, key_type)
    assert isinstance(renewed, Failed)
    assert renewed.code == "renewal.forbidden"


async def test_what_mtls_renewed_can_be_revoked(
    authority: AcmeClient, listener: Http01Responder, step_ca: StepCa
) -> None:
    """No order led to it, so the CA refuses that over ACME; the certificate speaks for itself."""
    issued = await _obtain(authority, listener)
    assert isinstance(issued, Issued)
    current = make_generation(issued.key_pem, issued.chain_pem)
    renewed = await MtlsRenewal(step_ca.directory, step_ca.root, (), SystemClock()).renew(current, "ecdsa-p256")
    assert isinstance(renewed, Issued)
    with pytest.raises(ProblemError):
        await authority.revoke(renewed.key_pem, renewed.chain_pem, 0)
    after = make_generation(renewed.key_pem, renewed.chain_pem, 2)
    by_mtls = MtlsRenewal(step_ca.directory, step_ca.root, (), SystemClock())
    assert await by_mtls.revoke(after, 4) is None
    assert isinstance(await by_mtls.renew(after, "ecdsa-p256"), Failed)


async def test_somebody_elses_certificate_is_not_revoked(authority: AcmeClient, listener: Http01Responder) -> None:
    """The key does not fit: the CA says no."""
    issued = await _obtain(authority, listener)
    assert isinstance(issued, Issued)
    with pytest.raises(ProblemError):
        await authority.revoke(make_key("ecdsa-p256"), issued.chain_pem, 0)


async def test_an_account_that_has_to_be_bound_is_named(
    start_step_ca: Callable[..., StepCa], accounts: MemoryAccounts
) -> None:
    """Before anything is ordered."""
    ca = start_step_ca(options={"requireEAB": True})
    async with (
        AcmeClient(ca.directory, ca.root, (), accounts, SystemClock()) as authority,
        Http01Responder(f"127.0.0.1:{ca.challenge_port}", SystemClock()) as listener,
    ):
        failed = await _obtain(authority, listener)
    assert isinstance(failed, Failed)
    assert failed.code == "ca.eab_required"


async def test_step_ca_advises_nothing(authority: AcmeClient, listener: Http01Responder, step_ca: StepCa) -> None:
    """Its directory offers no ARI: asked once a day whether it does by now."""
    issued = await _obtain(authority, listener)
    assert isinstance(issued, Issued)
    (advice,) = await RenewalInfoClient(step_ca.directory, step_ca.root, ()).ask([issued.chain_pem])
    assert advice.window is None
    assert advice.again_in == timedelta(days=1)


# --- a current Pebble ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def pebble(start_pebble: Callable[..., Pebble]) -> Pebble:
    """The one that most tests share."""
    return start_pebble()


@pytest.fixture
async def elsewhere(pebble: Pebble) -> AsyncIterator[AcmeClient]:
    """An account at it."""
    async with AcmeClient(pebble.directory, pebble.root, (), MemoryAccounts(), SystemClock()) as authority:
        yield authority


@pytest.fixture
async def answering(pebble: Pebble) -> AsyncIterator[Http01Responder]:
    """The responder that it asks."""
    async with Http01Responder(f"127.0.0.1:{pebble.challenge_port}", SystemClock()) as listener:
        yield listener


async def test_a_ca_of_another_make_issues_as_well(elsewhere: AcmeClient, answering: Http01Responder) -> None:
    """It refuses nonces at random, validates when it likes, and says when to ask again."""
    for _ in range(3):
        assert isinstance(await _obtain(elsewhere, answering), Issued)


async def test_a_profile_is_asked_for_where_there_are_profiles(
    elsewhere: AcmeClient, answering: Http01Responder
) -> None:
    """And one that the CA does not have is its no, by value."""
    issued = await _obtain(elsewhere, answering, options=OrderOptions(profile="shortlived"))
    assert _facts(issued).lifetime() < timedelta(days=7)
    failed = await _obtain(elsewhere, answering, options=OrderOptions(profile="nonsense"))
    assert isinstance(failed, Failed)
    assert failed.code == "ca.policy_denies"


async def test_the_ca_says_when_to_renew(elsewhere: AcmeClient, answering: Http01Responder, pebble: Pebble) -> None:
    """RFC 9773: a window inside the certificate's life, and when to ask again."""
    issued = await _obtain(elsewhere, answering)
    assert isinstance(issued, Issued)
    (advice,) = await RenewalInfoClient(pebble.directory, pebble.root, ()).ask([issued.chain_pem])
    assert advice.window is not None
    facts = _facts(issued)
    assert facts.not_before < advice.window.start < advice.window.end < facts.not_after
    assert timedelta(minutes=1) <= advice.again_in <= timedelta(days=1)


async def test_a_renewal_names_its_predecessor_once(elsewhere: AcmeClient, answering: Http01Responder) -> None:
    """RFC 9773 section 5: a second successor is refused, and ordered without."""
    first = _leaf(await _obtain(elsewhere, answering))
    terms = OrderOptions(replaces=renewal_identifier(first))
    assert terms.replaces is not None
    for _ in range(2):
        assert isinstance(await _obtain(elsewhere, answering, options=terms), Issued)


async def test_a_predecessor_that_the_ca_does_not_know_is_no_hindrance(
    elsewhere: AcmeClient, answering: Http01Responder, authority: AcmeClient, listener: Http01Responder
) -> None:
    """The node has moved from one CA to another."""
    stranger = _leaf(await _obtain(authority, listener))
    assert isinstance(
        await _obtain(elsewhere, answering, options=OrderOptions(replaces=renewal_identifier(stranger))), Issued
    )


@pytest.mark.parametrize("key_type", ["ecdsa-p256", "rsa-2048"])
async def test_it_revokes_as_well(elsewhere: AcmeClient, answering: Http01Responder, key_type: str) -> None:
    """By the certificate's key; once more is no mistake."""
    issued = await _obtain(elsewhere, answering, key_type=key_type)
    assert isinstance(issued, Issued)
    for _ in range(2):
        await elsewhere.revoke(issued.key_pem, issued.chain_pem, 4)


async def test_an_account_is_bound_to_another_one(
    start_pebble: Callable[..., Pebble], accounts: MemoryAccounts
) -> None:
    """With the key it works, without or with a wrong one it does not; the key is shown to nobody."""
    ca = start_pebble(externalAccountBindingRequired=True, externalAccountMACKeys={"kid-1": HMAC_KEY})
    binding = Binding(key_id="kid-1", hmac_key=HMAC_KEY)
    assert HMAC_KEY not in repr(binding)
    wrong = Binding(key_id="kid-1", hmac_key=HMAC_KEY[::-1])
    async with Http01Responder(f"127.0.0.1:{ca.challenge_port}", SystemClock()) as listener:
        for bound in (None, wrong):
            async with AcmeClient(ca.directory, ca.root, (), MemoryAccounts(), SystemClock(), bound) as authority:
                failed = await _obtain(authority, listener)
            assert isinstance(failed, Failed)
        async with AcmeClient(ca.directory, ca.root, (), accounts, SystemClock(), binding) as authority:
            assert isinstance(await _obtain(authority, listener), Issued)


def test_the_identifier_of_a_certificate_is_the_rfcs() -> None:
    """The example of RFC 9773 section 4.1: serial 0x87654321, with its leading zero."""
    key_identifier = bytes.fromhex("69885b6b87464041e1b37b847ba0ae2cde01c8d4")
    pair = self_signed((x509.AuthorityKeyIdentifier(key_identifier, None, None), False), serial=0x87654321)
    assert renewal_identifier(pair.certificate) == "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"
