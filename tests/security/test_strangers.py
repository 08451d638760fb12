"""Who has no credential at all costs the collector little, however they behave and however many they are."""

import asyncio
import gzip
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import pytest

from tests.collector.process import Collector, eventually, running
from tests.collector.test_five_thousand import admit, connections, crowd_of
from tests.tiers import Tiers

pytestmark = pytest.mark.slow

BOMB = gzip.compress(bytes(8 * 1024 * 1024))
MEGABYTE = 1024.0
AGENTS = 5_000


def resident(collector: Collector) -> float:
    """MiB of memory that the collector's process has now."""
    assert collector.process is not None
    status = Path(f"/proc/{collector.process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / MEGABYTE


async def connect(collector: Collector) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection, its handshake done."""
    return await asyncio.open_connection("127.0.0.1", collector.port, ssl=collector.trust())


def head(path: str, *headers: str, token: str = "") -> bytes:
    """Of a POST by the collector's own page, or by an agent."""
    who = f"Authorization: Bearer {token}" if token else "Sec-Fetch-Site: same-origin"
    return "\r\n".join((f"POST {path} HTTP/1.1", "Host: localhost", who, *headers, "", "")).encode()


async def leave(writer: asyncio.StreamWriter) -> None:
    """Cut the connection."""
    writer.transport.abort()
    with suppress(ConnectionError):
        await writer.wait_closed()


async def answers(collector: Collector) -> bool:
    """Whether somebody else is served."""
    async with collector.session(None) as session, session.get("/healthz") as response:
        return response.status == 200


def chunk(data: bytes) -> bytes:
    """As chunked transfer encoding has it."""
    return b"%x\r\n%b\r\n" % (len(data), data)


async def test_forms_that_never_end_and_unpack_to_much_cost_little(collector: Collector) -> None:
    form = ("Content-Type: application/x-www-form-urlencoded", "Content-Encoding: gzip", "Transfer-Encoding: chunked")
    before = resident(collector)
    async with AsyncExitStack() as open_connections:
        for _ in range(40):
            _, writer = await connect(collector)
            open_connections.push_async_callback(leave, writer)
            with suppress(ConnectionError):
                writer.write(head("/login", *form) + chunk(BOMB))
                await writer.drain()
        await asyncio.sleep(1)
        assert resident(collector) - before < 48
        assert await answers(collector)


@pytest.mark.parametrize(
    "headers",
    [
        ("Content-Type: application/x-www-form-urlencoded", "Content-Encoding: gzip", "Content-Length: 100"),
        ("Content-Type: multipart/form-data; boundary=x", "Content-Length: 100"),
        ("Content-Type: application/x-www-form-urlencoded", "Content-Length: 8193"),
    ],
)
async def test_a_form_that_no_page_of_ours_sends_is_refused_before_it_is_read(
    collector: Collector, headers: tuple[str, ...]
) -> None:
    reader, writer = await connect(collector)
    writer.write(head("/login", *headers))
    status = (await asyncio.wait_for(reader.readline(), 5)).split()[1]
    assert status in (b"413", b"415")
    writer.close()


async def test_a_form_longer_than_it_said_or_without_length_is_refused(collector: Collector) -> None:
    reader, writer = await connect(collector)
    writer.write(head("/login", "Content-Type: application/x-www-form-urlencoded", "Transfer-Encoding: chunked"))
    writer.write(chunk(b"name=a&" * 2_000))
    assert (await asyncio.wait_for(reader.readline(), 5)).split()[1] == b"413"
    writer.close()


@pytest.mark.parametrize("path", ["/v1/reports", "/login"])
async def test_bodies_cut_off_leave_nothing_behind(collector: Collector, path: str) -> None:
    token = collector.tokens["lxc102"] if path.startswith("/v1") else ""
    kind = "Content-Type: application/x-www-form-urlencoded"
    start = head(path, kind, "Content-Encoding: gzip", "Transfer-Encoding: chunked", token=token) + chunk(BOMB[:-500])

    async def cut_off() -> None:
        _, writer = await connect(collector)
        with suppress(ConnectionError):
            writer.write(start)
            await writer.drain()
            await asyncio.sleep(0.1)
        writer.transport.abort()

    before = resident(collector)
    for _ in range(12):
        await asyncio.gather(*(cut_off() for _ in range(7)))
    await eventually(lambda: _grew_by_less_than(collector, before, 96), within=20)


async def _grew_by_less_than(collector: Collector, before: float, most: float) -> bool:
    return resident(collector) - before < most


async def abort(collector: Collector, times: int) -> None:
    """So many posts that break off half-way, by eight at a time."""
    start = head("/v1/reports", "Content-Length: 100000", token=collector.tokens["lxc102"]) + bytes(50_000)

    async def again_and_again() -> None:
        for _ in range(times // 8):
            _, writer = await connect(collector)
            writer.write(start)
            await writer.drain()
            writer.transport.abort()

    await asyncio.gather(*(again_and_again() for _ in range(8)))


async def test_aborted_requests_are_given_back_without_a_search_for_garbage(collector: Collector, tiers: Tiers) -> None:
    """A thousand at rest, then thousands more: memory stays within a twentieth."""
    await abort(collector, 1_000)
    before = resident(collector)
    await abort(collector, int(tiers.amount("tests/security/test_strangers.py")))
    await eventually(lambda: _grew_by_less_than(collector, before, before / 20), within=20)


@pytest.mark.timeout(600)
async def test_ten_thousand_aborted_requests_beside_five_thousand_agents(tmp_path: Path) -> None:
    """Memory stays within a twentieth of what the agents' channels take."""
    async with running(tmp_path) as collector, crowd_of(collector, admit(collector, AGENTS)) as crowd:
        await crowd.hear()
        pid = collector.process.pid if collector.process is not None else 0

        async def is_idle() -> bool:
            return connections(pid) <= AGENTS + 100

        await eventually(is_idle, within=60)
        await abort(collector, 1_000)
        before = resident(collector)
        await abort(collector, 10_000)
        await eventually(lambda: _grew_by_less_than(collector, before, before / 20), within=30)
        print(f"before {before:.0f} MiB, after {resident(collector):.0f} MiB")
        assert connections(pid) > AGENTS


async def test_who_says_nothing_or_never_ends_its_headers_is_sent_away(collector: Collector) -> None:
    silent, slow = await connect(collector), await connect(collector)
    slow[1].write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n")
    async with asyncio.timeout(20):
        assert await silent[0].read() == b""
        assert await slow[0].read() == b""
    assert await answers(collector)


async def test_a_handshake_that_never_ends_is_ended(collector: Collector) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", collector.port)
    writer.write(b"\x16\x03\x01\x02\x00")  # the head of a record that does not come
    async with asyncio.timeout(20):
        with suppress(ConnectionError):
            await reader.read()
    writer.close()


async def test_those_who_wait_in_silence_do_not_keep_others_out(collector: Collector) -> None:
    async with AsyncExitStack() as open_connections:
        for _ in range(1_200):
            _, writer = await connect(collector)
            open_connections.push_async_callback(leave, writer)
        assert await answers(collector)
