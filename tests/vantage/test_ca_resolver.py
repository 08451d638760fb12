"""The session: every question once, both sides of a disagreement, and a silent nameserver costs its bound once."""

import asyncio
from datetime import timedelta

import msgspec
import pytest

from certagent.domain.dns01_record import TxtAnswer
from certagent.domain.rehearsals import DnsAnswer
from certagent.domain.resolution.files import parse_files
from certagent.vantage import ca_resolver, dns01_probe
from certagent.vantage.ca_resolver import ResolverSession

NAME = "traefik.internal.thinkheads.ai"
CA, BESIDE, SILENT = "10.0.0.153", "10.0.0.53", "10.0.0.99"


class Wire:
    """Nameservers: one good, one that says no, one that never answers. Counts the questions."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str]] = []

    async def ask(
        self, nameserver: str, name: str, record: str, timeout: timedelta, port: int = 53, use_tcp: bool = False
    ) -> DnsAnswer:
        """As `certagent.system.dns.ask`."""
        self.asked.append((nameserver, name, record))
        if nameserver == SILENT:
            await asyncio.sleep(timeout.total_seconds())
            return DnsAnswer(nameserver=nameserver, name=name, record=record, status="timeout")
        if nameserver == CA and record == "A" and name == NAME + ".":
            return DnsAnswer(nameserver=nameserver, name=name, record=record, status="ok", addresses=("10.0.0.12",))
        return DnsAnswer(nameserver=nameserver, name=name, record=record, status="nxdomain")


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Wire:
    """Fast bounds."""
    monkeypatch.setattr(ca_resolver, "ASKING_FOR", timedelta(seconds=0.2))
    monkeypatch.setattr(ca_resolver, "GRACE", timedelta(seconds=0.05))
    return Wire()


async def test_both_sides_are_known_although_the_hosts_file_decides(wire: Wire) -> None:
    """And every nameserver is heard, the CA's and the configured one."""
    files = parse_files(f"10.0.0.153 {NAME}\n".encode(), f"nameserver {CA}\n".encode(), None)
    async with ResolverSession(files, (BESIDE,), wire.ask) as session:
        found = await session.resolve(NAME)
    assert [one.address for one in found.addresses] == ["10.0.0.153"]
    said = {(answer.nameserver, answer.record): answer.status for answer in found.dns}
    assert said == {(CA, "A"): "ok", (CA, "AAAA"): "nxdomain", (BESIDE, "A"): "nxdomain", (BESIDE, "AAAA"): "nxdomain"}


async def test_every_question_goes_out_once(wire: Wire) -> None:
    """Whoever asks it, and however often."""
    files = parse_files(None, f"nameserver {CA}\n".encode(), None)
    async with ResolverSession(files, (CA,), wire.ask) as session:
        await asyncio.gather(*(session.resolve(NAME) for _ in range(5)))
    assert len(wire.asked) == len(set(wire.asked)) == 2


async def test_a_silent_nameserver_beside_does_not_hold_us_up(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its answers are left out; the deciding ones are there."""
    monkeypatch.setattr(ca_resolver, "ASKING_FOR", timedelta(minutes=1))
    files = parse_files(None, f"nameserver {CA}\n".encode(), None)
    began_at = asyncio.get_running_loop().time()
    async with ResolverSession(files, (SILENT,), wire.ask) as session:
        found = await session.resolve(NAME)
    assert asyncio.get_running_loop().time() - began_at < 30
    assert {answer.nameserver for answer in found.dns} == {CA}


async def test_a_silent_nameserver_costs_its_bound_once(wire: Wire) -> None:
    """For a hundred names as for one."""
    files = parse_files(None, f"nameserver {SILENT}\n".encode(), None)
    async with ResolverSession(files, (), wire.ask) as session:
        found = await asyncio.gather(*(session.resolve(f"n{number}.example") for number in range(100)))
    assert len(wire.asked) <= ca_resolver.MOST_AT_ONCE, "those that were on their way together, and no others"
    assert {one.error for one in found} == {"timeout"}


@pytest.mark.parametrize(("timeout", "needs", "error"), [(5, 0.15, None), (0.1, 0.15, "timeout"), (0.1, 0.05, None)])
async def test_a_slow_nameserver_has_as_long_as_the_ca_gives_it(
    wire: Wire, timeout: float, needs: float, error: str | None
) -> None:
    """`options timeout:1` is less than our own bound; who needs longer is mute to the CA, which asks it twice."""
    asked = []

    async def ask(
        nameserver: str, name: str, record: str, timeout: timedelta, port: int = 53, use_tcp: bool = False
    ) -> DnsAnswer:
        asked.append(record)
        await asyncio.sleep(min(needs, timeout.total_seconds()))
        if needs > timeout.total_seconds():
            return DnsAnswer(nameserver=nameserver, name=name, record=record, status="timeout")
        return await wire.ask(nameserver, name, record, timeout, port, use_tcp)

    files = parse_files(None, f"nameserver {CA}\n".encode(), None)
    slow = msgspec.structs.replace(files.resolv_conf, timeout_for=timedelta(seconds=timeout))
    async with ResolverSession(msgspec.structs.replace(files, resolv_conf=slow), (), ask) as session:
        found = await session.resolve(NAME)
    assert found.error == error
    assert asked.count("A") == (1 if error is None else 2)


@pytest.mark.parametrize(("options", "waited"), [("ndots:1", [2]), ("timeout:1", [1, 1])])
async def test_a_record_is_waited_for_as_long_as_the_ca_waits(
    options: str, waited: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """dns-01: each time, and all in all within our bound."""
    seen = []

    async def ask(nameserver: str, name: str, _digest: str, timeout: timedelta, **_: object) -> TxtAnswer:
        seen.append(timeout.total_seconds())
        return TxtAnswer(nameserver=nameserver, name=name, status="timeout")

    monkeypatch.setattr(dns01_probe, "ask_txt", ask)
    files = parse_files(None, f"nameserver {SILENT}\noptions {options}\n".encode(), None)
    found = await dns01_probe.look_up_record(NAME, b"", files, strict_fqdn=True)
    assert (found.error, seen) == ("timeout", waited)


async def test_a_refusal_is_every_question_s(wire: Wire) -> None:
    """The kernel tells it to one of them only; the others must not wait for their bound."""

    async def ask(
        nameserver: str, name: str, record: str, timeout: timedelta, port: int = 53, use_tcp: bool = False
    ) -> DnsAnswer:
        if record == "A":
            return DnsAnswer(nameserver=nameserver, name=name, record=record, status="unreachable")
        await asyncio.Event().wait()
        raise AssertionError

    files = parse_files(None, f"nameserver {CA}\nsearch a.test b.test\n".encode(), None)
    async with asyncio.timeout(5), ResolverSession(files, (), ask) as session:
        found = await session.resolve(NAME)
    assert found.error == "unreachable"
    assert {answer.status for answer in found.dns} == {"unreachable"}


async def test_addresses_come_in_the_order_of_trial(wire: Wire) -> None:
    """A route counts more than the order of the file."""
    files = parse_files(b"2001:db8::1 a.b\n10.0.0.1 a.b\n", f"nameserver {CA}\n".encode(), None)
    async with ResolverSession(files, (), wire.ask, lambda address: None if ":" in address else "10.0.0.9") as session:
        found = await session.resolve("a.b")
    assert [one.address for one in found.addresses] == ["10.0.0.1", "2001:db8::1"]
