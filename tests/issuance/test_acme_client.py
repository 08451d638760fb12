"""The CA over ACME: accounts, nonces, ways to reach it."""

import asyncio
import signal
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
import pytest

from certagent.domain.orders import Identifier, Order, Problem, Status
from certagent.issuance.acme_client import AcmeClient
from certagent.issuance.acme_messages import Authority, PlaceOrder
from certagent.issuance.acme_session import AcmeSession
from certagent.issuance.keys import ensure_account
from certagent.issuance.responses import AuthorityUnreachableError, ProblemError, RetryPolicy, is_passing, seconds_of
from certagent.system.clock import SystemClock
from tests.certificates import Authority as PrivateAuthority
from tests.fakes.clock import FakeClock
from tests.fakes.stores import MemoryAccounts
from tests.fakes.tls_servers import tls_server
from tests.issuance.conftest import StepCa
from tests.ports import free_port

NAMES = [Identifier("dns", "localhost")]


async def test_an_account_is_registered_once(accounts: MemoryAccounts, step_ca: StepCa) -> None:
    """The next process goes on with the same account."""
    before = step_ca.count("new-account")
    for _ in range(2):
        async with AcmeClient(step_ca.directory, step_ca.root, (), accounts, SystemClock()) as authority:
            assert (await authority.new_order(NAMES)).status is Status.PENDING
    assert step_ca.count("new-account") - before == 1
    assert accounts.account is not None
    assert "PRIVATE" not in repr(accounts.account)


async def test_a_key_that_was_kept_before_the_crash_finds_its_account(
    accounts: MemoryAccounts, step_ca: StepCa
) -> None:
    """Killed between the registration and its record: the same key is the same account."""
    async with AcmeClient(step_ca.directory, step_ca.root, (), accounts, SystemClock()) as authority:
        await authority.new_order(NAMES)
    assert accounts.account is not None
    url, accounts.account = accounts.account.url, type(accounts.account)(key_pem=accounts.account.key_pem)
    async with AcmeClient(step_ca.directory, step_ca.root, (), accounts, SystemClock()) as authority:
        await authority.new_order(NAMES)
    assert accounts.account.url == url


async def test_an_account_that_the_ca_forgot_is_registered_again(
    start_step_ca: Callable[..., StepCa], accounts: MemoryAccounts
) -> None:
    """The CA's database was lost while this agent ran, connection and nonces and all."""
    ca = start_step_ca()
    async with AcmeClient(ca.directory, ca.root, (), accounts, SystemClock()) as authority:
        await authority.new_order(NAMES)
        assert accounts.account is not None
        before = accounts.account
        ca.stop()
        ca.forget()
        ca.start()
        assert (await authority.new_order(NAMES)).status is Status.PENDING
    assert accounts.account.key_pem == before.key_pem
    assert accounts.account.url != before.url


def test_a_refused_nonce_is_replaced_by_the_refusals(accounts: MemoryAccounts, step_ca: StepCa) -> None:
    """The CA sends a fresh one with its refusal, which is one that is asked again."""
    authority = Authority(directory=step_ca.directory, roots=(str(step_ca.root),), addresses=())
    session, place = AcmeSession(authority, ensure_account(accounts)), PlaceOrder(identifiers=tuple(NAMES))
    first = session.reply(None, place)
    assert session._network is not None
    session._network._nonces = {b"nonsense"}  # type: ignore[arg-type]  # bytes, whatever is annotated
    refused = session.reply(first.account_url, place)
    assert refused.problem is not None
    assert refused.problem.kind == "badNonce"
    assert is_passing(refused.problem)
    assert session._network._nonces
    again = session.reply(first.account_url, place)
    assert isinstance(msgspec.msgpack.decode(again.answer, type=Order), Order)


async def test_a_request_whose_process_is_killed_is_no_answer_and_the_next_has_another(
    authority: AcmeClient, accounts: MemoryAccounts, step_ca: StepCa
) -> None:
    """The account is the same: it was kept before the answer was passed on."""
    await authority.new_order(NAMES)
    before, process = accounts.account, authority._process._process
    assert process is not None
    process.send_signal(signal.SIGSTOP)
    asked = asyncio.create_task(authority.new_order(NAMES), name="asked")
    await asyncio.sleep(0.1)
    process.kill()
    with pytest.raises(AuthorityUnreachableError, match="acme_session ended"):
        await asked
    registered = step_ca.count("new-account")
    assert (await authority.new_order(NAMES)).status is Status.PENDING
    assert (accounts.account, step_ca.count("new-account")) == (before, registered)


async def test_a_root_that_cannot_be_read_is_this_nodes_matter(accounts: MemoryAccounts, step_ca: StepCa) -> None:
    """Not the CA's: it is raised as it was."""
    async with AcmeClient(step_ca.directory, Path("/none"), (), accounts, SystemClock()) as authority:
        with pytest.raises(FileNotFoundError):
            await authority.new_order(NAMES)


async def test_an_unknown_order_is_a_problem_with_its_resource(authority: AcmeClient, step_ca: StepCa) -> None:
    """The CA's own document, as a value."""
    with pytest.raises(ProblemError) as raised:
        await authority.order(step_ca.directory.replace("directory", "order/nothing"))
    assert raised.value.problem.resource == "order"
    assert raised.value.problem.status in (400, 404, 500)


async def test_a_name_that_leads_nowhere_is_no_answer(accounts: MemoryAccounts, step_ca: StepCa) -> None:
    """Nobody refused anything: that is an exception, not a value."""
    nowhere = step_ca.directory.replace("localhost", "ca.invalid")
    async with AcmeClient(nowhere, step_ca.root, (), accounts, SystemClock()) as authority:
        with pytest.raises(AuthorityUnreachableError, match=r"ca\.invalid"):
            await authority.new_order(NAMES)


@pytest.mark.parametrize("by_name", ["nobody", "another box"])
async def test_configured_addresses_take_over_under_the_same_name(
    start_step_ca: Callable[..., StepCa], accounts: MemoryAccounts, by_name: str
) -> None:
    """By name nobody answers, or a box with another root; by address the CA does, still under its name."""
    ca = start_step_ca(address="127.0.0.2")
    async with AsyncExitStack() as stack:
        if by_name == "another box":
            pair = PrivateAuthority("Another Root").issue("localhost")
            await stack.enter_async_context(tls_server(pair, port=ca.port))
        addresses = ("127.0.0.3", "127.0.0.2")
        authority = AcmeClient(ca.directory, ca.root, addresses, accounts, SystemClock())
        order = await (await stack.enter_async_context(authority)).new_order(NAMES)
    assert order.url.startswith(f"https://localhost:{ca.port}/")


async def test_another_root_is_not_trusted(accounts: MemoryAccounts, step_ca: StepCa, tmp_path: Path) -> None:
    """Nor does any bundle of the machine help."""
    PrivateAuthority("Another Root").write_root(tmp_path / "root.crt")
    async with AcmeClient(
        step_ca.directory, tmp_path / "root.crt", ("127.0.0.1",), accounts, SystemClock()
    ) as authority:
        with pytest.raises(AuthorityUnreachableError, match="CERTIFICATE_VERIFY_FAILED"):
            await authority.new_order(NAMES)


async def test_proxies_of_the_environment_are_ignored(
    accounts: MemoryAccounts, step_ca: StepCa, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The CA is in the same house."""
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    async with AcmeClient(step_ca.directory, step_ca.root, (), accounts, SystemClock()) as authority:
        assert (await authority.new_order(NAMES)).status is Status.PENDING


async def test_patience_is_bounded_and_obeys_the_ca() -> None:
    """Server errors are tried four times with growing pauses; Retry-After is obeyed, up to a bound."""
    clock = FakeClock()
    retries = RetryPolicy(clock, attempts=4)
    broken = ProblemError(Problem(type="urn:ietf:params:acme:error:serverInternal", status=500))
    for _ in range(3):
        await retries.wait_or_raise(broken)
    with pytest.raises(ProblemError):
        await retries.wait_or_raise(broken)
    assert clock.slept == pytest.approx([0.1, 0.3, 0.9])
    limited = Problem(type="urn:ietf:params:acme:error:rateLimited", status=429)
    await RetryPolicy(clock, attempts=2).wait_or_raise(ProblemError(limited, retry_after=7))
    assert clock.slept[-1] == 7
    with pytest.raises(ProblemError):
        await RetryPolicy(clock, attempts=2).wait_or_raise(ProblemError(limited, retry_after=3600))
    with pytest.raises(ProblemError):
        await RetryPolicy(clock, attempts=2).wait_or_raise(ProblemError(Problem(type="malformed", status=400)))


@pytest.mark.parametrize(
    ("header", "date", "seconds"),
    [
        (None, None, None),
        ("3", None, 3.0),
        ("Wed, 21 Oct 2026 07:28:00 GMT", None, 1.0),
        ("Wed, 21 Oct 2026 07:28:00 GMT", "Wed, 21 Oct 2026 07:26:30 GMT", 90.0),
        ("Wed, 21 Oct 2026 07:28:00 GMT", "Wed, 21 Oct 2026 07:29:00 GMT", 0.0),
        ("soon", None, None),
        ("\xb2", None, None),
        ("9" * 40, None, 366 * 86400.0),
        ("Fri, 31 Dec 9999 23:59:00 -1200", None, None),
    ],
)
def test_retry_after_in_its_forms(header: str | None, date: str | None, seconds: float | None) -> None:
    """RFC 9110 section 10.2.3; a date by the CA's own clock, whatever ours says."""
    assert seconds_of(header, date) == seconds
