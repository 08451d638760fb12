"""Orders at a real step-ca: issued, refused, interrupted."""

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from certagent.domain.certificates import read_facts
from certagent.domain.orders import Authorization, Challenge, Failed, Identifier, Issued, Order, OrderOptions, Problem
from certagent.issuance.acme_client import AcmeClient
from certagent.issuance.order import CertificateRequest, OrderProcedure
from certagent.issuance.responses import ProblemError
from certagent.issuance.solvers.responders import Http01Responder
from certagent.system.clock import SystemClock
from tests.fakes.clock import ShiftedClock
from tests.fakes.stores import MemoryAccounts, MemoryOrders
from tests.issuance.conftest import StepCa

WANTED = CertificateRequest(identifiers=("localhost",), key_type="ecdsa-p256")


class WrongBody(Http01Responder):
    """Answers every challenge with what nobody asked for."""

    async def present(self, identifier: str, challenge: Challenge, key_authorization: str) -> None:
        """Plant something else."""
        await super().present(identifier, challenge, "not " + key_authorization)


async def test_a_certificate_is_issued_for_a_name_and_an_address(
    authority: AcmeClient, listener: Http01Responder, orders: MemoryOrders
) -> None:
    """The chain is leaf first and for exactly what was wanted; the order is still known until it is stored."""
    wanted = CertificateRequest(identifiers=("localhost", "127.0.0.1"), key_type="ecdsa-p256")
    issued = await OrderProcedure(authority, listener, orders, SystemClock()).obtain(wanted)
    assert isinstance(issued, Issued)
    leaf = x509.load_pem_x509_certificates(issued.chain_pem)[0]
    assert set(read_facts(leaf).identifiers) == {"localhost", "127.0.0.1"}
    assert b"PRIVATE KEY" in issued.key_pem
    assert "PRIVATE" not in repr(issued) + repr(orders.order)


@pytest.mark.parametrize("key_type", ["ecdsa-p256", "ecdsa-p384", "rsa-2048"])
async def test_every_configured_kind_of_key_is_issued(
    authority: AcmeClient, listener: Http01Responder, orders: MemoryOrders, key_type: str
) -> None:
    """Those of the configuration (RSA 4096 only takes longer)."""
    wanted = CertificateRequest(identifiers=("localhost",), key_type=key_type)
    assert isinstance(await OrderProcedure(authority, listener, orders, SystemClock()).obtain(wanted), Issued)


@pytest.mark.slow
async def test_a_warm_account_is_fast(authority: AcmeClient, listener: Http01Responder) -> None:
    """Prints what a certificate takes; the bar itself is in tests/bench."""
    took = []
    for _ in range(21):
        started = time.perf_counter()
        assert isinstance(
            await OrderProcedure(authority, listener, MemoryOrders(), SystemClock()).obtain(WANTED), Issued
        )
        took.append((time.perf_counter() - started) * 1000)
    warm = sorted(took[1:])
    print(f"\ncold {took[0]:.0f} ms, warm median {warm[10]:.0f} ms, best {warm[0]:.0f}, worst {warm[-1]:.0f}")
    assert warm[10] < took[0] * 5


async def test_a_wrong_body_is_final(authority: AcmeClient, orders: MemoryOrders, step_ca: StepCa) -> None:
    """A 200 with the wrong content loses the order: the next attempt needs a new one."""
    async with WrongBody(f"127.0.0.1:{step_ca.challenge_port}", SystemClock()) as solver:
        failed = await OrderProcedure(authority, solver, orders, SystemClock()).obtain(WANTED)
    assert isinstance(failed, Failed)
    assert failed.code == "acme.mismatch_final"
    assert not failed.can_retry
    assert failed.problems[0].kind == "rejectedIdentifier"
    assert failed.problems[0].identifier is not None
    assert failed.problems[0].identifier.value == "localhost"
    assert orders.order is None


async def test_a_refused_port_leaves_the_order_to_be_tried_again(
    authority: AcmeClient, orders: MemoryOrders, step_ca: StepCa
) -> None:
    """The challenge stays pending with an error; once the path is mended, the same order ends well."""
    mute = Http01Responder("127.0.0.1:1", SystemClock())
    failed = await OrderProcedure(authority, mute, orders, SystemClock()).obtain(WANTED)
    assert isinstance(failed, Failed)
    assert (failed.code, failed.can_retry) == ("acme.pending_with_error", True)
    assert failed.problems[0].kind == "connection"
    placed = step_ca.count("new-order")
    async with Http01Responder(f"127.0.0.1:{step_ca.challenge_port}", SystemClock()) as mended:
        issued = await OrderProcedure(authority, mended, orders, SystemClock()).obtain(WANTED)
    assert isinstance(issued, Issued)
    assert issued.order_url == failed.order_url
    assert step_ca.count("new-order") == placed


class KilledError(BaseException):
    """What no code of ours catches, like the end of the process."""


class DiesPresenting(Http01Responder):
    """The process ends between the order and its challenge."""

    async def present(self, identifier: str, challenge: Challenge, key_authorization: str) -> None:
        """Die."""
        raise KilledError


class DiesDownloading(AcmeClient):
    """The process ends between finalizing and the download."""

    async def certificate(self, url: str) -> bytes:
        """Die."""
        raise KilledError


@pytest.mark.slow
async def test_an_order_killed_before_its_challenge_is_taken_up_again(
    authority: AcmeClient, listener: Http01Responder, orders: MemoryOrders, step_ca: StepCa
) -> None:
    """One order, one certificate."""
    placed, finalized = step_ca.count("new-order"), step_ca.count("finalize")
    with pytest.raises(KilledError):
        await OrderProcedure(authority, DiesPresenting("127.0.0.1:1", SystemClock()), orders, SystemClock()).obtain(
            WANTED
        )
    issued = await OrderProcedure(authority, listener, orders, SystemClock()).obtain(WANTED)
    assert isinstance(issued, Issued)
    assert (step_ca.count("new-order") - placed, step_ca.count("finalize") - finalized) == (1, 1)


@pytest.mark.slow
async def test_an_order_killed_after_finalizing_is_not_finalized_twice(
    listener: Http01Responder, accounts: MemoryAccounts, orders: MemoryOrders, step_ca: StepCa
) -> None:
    """The certificate that was issued is fetched, and fits the key that was kept."""
    placed, finalized = step_ca.count("new-order"), step_ca.count("finalize")
    where = (step_ca.directory, step_ca.root, (), accounts, SystemClock())
    async with DiesDownloading(*where) as dying:
        with pytest.raises(KilledError):
            await OrderProcedure(dying, listener, orders, SystemClock()).obtain(WANTED)
    async with AcmeClient(*where) as authority:
        issued = await OrderProcedure(authority, listener, orders, SystemClock()).obtain(WANTED)
    assert isinstance(issued, Issued)
    assert (step_ca.count("new-order") - placed, step_ca.count("finalize") - finalized) == (1, 1)
    key = serialization.load_pem_private_key(issued.key_pem, password=None)
    assert key.public_key() == x509.load_pem_x509_certificate(issued.chain_pem).public_key()


class DiesPlacing(AcmeClient):
    """The process ends when the CA has the order and the disk does not; `before`: when not even the CA has it."""

    before = False

    async def new_order(self, identifiers: Sequence[Identifier], terms: OrderOptions = OrderOptions()) -> Order:  # noqa: B008
        """Have it placed, or not, and die."""
        if not self.before:
            await super().new_order(identifiers, terms)
        raise KilledError


@pytest.mark.slow
@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
async def test_an_order_killed_while_it_was_placed_is_placed_anew(
    listener: Http01Responder, accounts: MemoryAccounts, orders: MemoryOrders, step_ca: StepCa, before: bool
) -> None:
    """And so are those after it: the account is as good as before, with nothing pending at the CA, too."""
    where = (step_ca.directory, step_ca.root, (), accounts, SystemClock())
    finalized = step_ca.count("finalize")
    async with AcmeClient(*where) as authority:
        assert isinstance(await OrderProcedure(authority, listener, orders, SystemClock()).obtain(WANTED), Issued)
        orders.forget_order()
    async with DiesPlacing(*where) as dying:
        dying.before = before
        with pytest.raises(KilledError):
            await OrderProcedure(dying, listener, orders, SystemClock()).obtain(WANTED)
    async with AcmeClient(*where) as authority:
        for _ in range(2):
            assert isinstance(await OrderProcedure(authority, listener, orders, SystemClock()).obtain(WANTED), Issued)
            orders.forget_order()
    assert step_ca.count("finalize") - finalized == 3


@pytest.mark.parametrize(("hours", "anew"), [(11, False), (13, True), (25, True), (-13, True)])
async def test_an_order_whose_certificate_would_be_old_is_placed_anew(
    authority: AcmeClient, listener: Http01Responder, orders: MemoryOrders, hours: int, anew: bool
) -> None:
    """step-ca fixes the certificate's day when the order is placed, and fails inside once that is over."""
    with pytest.raises(KilledError):
        await OrderProcedure(authority, DiesPresenting("127.0.0.1:1", SystemClock()), orders, SystemClock()).obtain(
            WANTED
        )
    assert orders.order is not None
    placed = orders.order.url
    issued = await OrderProcedure(authority, listener, orders, ShiftedClock(timedelta(hours=hours))).obtain(WANTED)
    assert isinstance(issued, Issued)
    assert (issued.order_url != placed) is anew


@pytest.mark.slow
async def test_an_order_that_the_ca_forgot_is_placed_anew(
    start_step_ca: Callable[..., StepCa], accounts: MemoryAccounts, orders: MemoryOrders
) -> None:
    """It was initialised again, accounts and all, while ours was pending."""
    ca = start_step_ca()
    async with (
        AcmeClient(ca.directory, ca.root, (), accounts, SystemClock()) as authority,
        Http01Responder(f"127.0.0.1:{ca.challenge_port}", SystemClock()) as answering,
    ):
        nobody = DiesPresenting("127.0.0.1:1", SystemClock())
        with pytest.raises(KilledError):
            await OrderProcedure(authority, nobody, orders, SystemClock()).obtain(WANTED)
        ca.stop()
        ca.forget()
        ca.start()
        assert isinstance(await OrderProcedure(authority, answering, orders, SystemClock()).obtain(WANTED), Issued)


class FailsInside(AcmeClient):
    """A CA that answers 500 to the first finalize; `has_issued`: after it has issued all the same."""

    has_issued = True
    finalized = 0

    async def finalize(self, order: Order, signing_request: x509.CertificateSigningRequest) -> Order:
        """Count, and fail once."""
        self.finalized += 1
        if self.has_issued or self.finalized > 1:
            order = await super().finalize(order, signing_request)
        if self.finalized == 1:
            raise ProblemError(Problem(type="urn:ietf:params:acme:error:serverInternal", status=500))
        return order


async def test_a_ca_that_failed_after_issuing_is_not_asked_twice(
    listener: Http01Responder, accounts: MemoryAccounts, orders: MemoryOrders, step_ca: StepCa
) -> None:
    """The order says that it is valid."""
    async with FailsInside(step_ca.directory, step_ca.root, (), accounts, SystemClock()) as authority:
        assert isinstance(await OrderProcedure(authority, listener, orders, SystemClock()).obtain(WANTED), Issued)
    assert authority.finalized == 1


async def test_a_ca_that_failed_before_issuing_is_asked_again_for_the_same_order(
    listener: Http01Responder, accounts: MemoryAccounts, orders: MemoryOrders, step_ca: StepCa
) -> None:
    """The next time; nothing has to be validated again."""
    async with FailsInside(step_ca.directory, step_ca.root, (), accounts, SystemClock()) as authority:
        authority.has_issued = False
        failed = await OrderProcedure(authority, listener, orders, SystemClock()).obtain(WANTED)
        assert isinstance(failed, Failed)
        assert (failed.code, failed.can_retry) == ("acme.server_internal", True)
        assert orders.order is not None
        placed = orders.order.url
        issued = await OrderProcedure(authority, listener, orders, SystemClock()).obtain(WANTED)
    assert isinstance(issued, Issued)
    assert issued.order_url == placed


async def test_an_order_for_something_else_is_not_taken_up(
    authority: AcmeClient, listener: Http01Responder, orders: MemoryOrders
) -> None:
    """The configuration changed while the order was pending."""
    nobody = DiesPresenting("127.0.0.1:1", SystemClock())
    with pytest.raises(KilledError):
        await OrderProcedure(authority, nobody, orders, SystemClock()).obtain(WANTED)
    wanted = CertificateRequest(identifiers=("127.0.0.1",), key_type="ecdsa-p256")
    assert orders.order is not None
    before = orders.order.url
    issued = await OrderProcedure(authority, listener, orders, SystemClock()).obtain(wanted)
    assert isinstance(issued, Issued)
    assert issued.order_url != before


class Watchful(AcmeClient):
    """The CA, seen to be asked for authorizations; after three looks in vain the silence ends."""

    looks = 0

    def break_silence(self) -> None:
        """What happens then."""

    async def authorization(self, url: str) -> Authorization:
        """Count."""
        self.looks += 1
        if self.looks == 4:
            self.break_silence()
        return await super().authorization(url)


async def test_a_silent_challenge_does_not_hold_the_order_up(
    accounts: MemoryAccounts, orders: MemoryOrders, step_ca: StepCa, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The CA waits for an answer that does not come; we stop waiting for the CA, and look at the authorization."""
    monkeypatch.setattr("certagent.issuance.acme_client.CHALLENGE_SECONDS", 0.2)
    over = asyncio.Event()

    async def say_nothing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await over.wait()
        writer.close()

    async with (
        await asyncio.start_server(say_nothing, "127.0.0.1", step_ca.challenge_port),
        Watchful(step_ca.directory, step_ca.root, (), accounts, SystemClock()) as authority,
    ):
        monkeypatch.setattr(authority, "break_silence", over.set)
        failed = await OrderProcedure(
            authority, Http01Responder("127.0.0.1:1", SystemClock()), orders, SystemClock()
        ).obtain(WANTED)
    assert isinstance(failed, Failed)
    assert (failed.code, failed.can_retry) == ("acme.pending_with_error", True)
    assert authority.looks >= 4


async def _fail_at(ca: StepCa, accounts: MemoryAccounts, orders: MemoryOrders) -> Failed:
    async with AcmeClient(ca.directory, ca.root, (), accounts, SystemClock()) as authority:
        responder = Http01Responder("127.0.0.1:1", SystemClock())
        failed = await OrderProcedure(authority, responder, orders, SystemClock()).obtain(WANTED)
    assert isinstance(failed, Failed)
    return failed


async def test_the_ca_may_say_no_to_the_order_itself(
    start_step_ca: Callable[..., StepCa], accounts: MemoryAccounts, orders: MemoryOrders
) -> None:
    """Its policy is a value: which identifier, and in its own words."""
    ca = start_step_ca(policy={"x509": {"allow": {"dns": ["*.internal"]}}})
    failed = await _fail_at(ca, accounts, orders)
    assert failed.code == "ca.policy_denies"
    assert failed.problems[0].detail == "The server will not issue certificates for the identifier"


async def test_a_challenge_that_is_not_offered_is_named(
    start_step_ca: Callable[..., StepCa], accounts: MemoryAccounts, orders: MemoryOrders
) -> None:
    """The provisioner may be limited to other challenges."""
    ca = start_step_ca(challenges=("tls-alpn-01",))
    failed = await _fail_at(ca, accounts, orders)
    assert failed.code == "ca.challenge_not_offered"
    assert failed.problems[0].detail == "the CA does not offer http-01 but tls-alpn-01"


@pytest.mark.slow
async def test_many_orders_at_once_share_one_account(
    authority: AcmeClient, listener: Http01Responder, step_ca: StepCa
) -> None:
    """step-ca answers 500 to an account that orders in parallel; through one lane it never comes to that."""
    before = len(step_ca.log.read_text())

    async def obtain() -> bool:
        return isinstance(
            await OrderProcedure(authority, listener, MemoryOrders(), SystemClock()).obtain(WANTED), Issued
        )

    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(obtain(), name=f"order {number}") for number in range(100)]
    print(f"\n100 at once: {(time.perf_counter() - started) * 1000:.0f} ms")
    assert all(task.result() for task in tasks)
    assert " status=500 " not in step_ca.log.read_text()[before:]
