"""A real HAProxy with deploy/haproxy/haproxy.cfg, before two real collectors on one PostgreSQL."""

import asyncio
import copy
import hashlib
import signal
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path

import aiohttp
import msgspec
import psycopg
import pytest

from certagent.collector.credentials import add_certificate, add_token
from certagent.collector.records import TokenRole
from certagent.system.pinned_http import PinnedClient
from deploy.lab.parts import proxies
from tests.certificates import Authority
from tests.collector.cast import Agent, now
from tests.collector.postgresql import Server
from tests.collector.process import Collector, eventually, running
from tests.collector.test_proxy_protocol import fail_login
from tests.ports import free_port

pytestmark = [pytest.mark.slow, pytest.mark.servers]
CONFIGURATION = Path(__file__).parents[2] / "deploy" / "haproxy" / "haproxy.cfg"
NAME = "collector.internal.thinkheads.ai"
BALANCER, CLIENT = "127.0.0.2", "127.0.0.3"
LINKS = "SELECT count(*) FROM links JOIN collectors ON collectors.id = links.collector WHERE collectors.name = %s"
CUT = {aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR}
SERVERS = ("10.0.0.104:8843", "10.0.0.105:8843")


class Fleet:
    """Two collectors, and the way to them by the balancer."""

    def __init__(self, one: Collector, other: Collector, port: int) -> None:
        self.one, self.other = one, other
        self.through = copy.copy(one)  # with the tokens, which are good at both
        self.through.port = port

    async def links(self) -> tuple[int, int]:
        """How many agents are connected to each of them."""
        return await asyncio.to_thread(links_of, self.one, "one"), await asyncio.to_thread(links_of, self.one, "other")


def links_of(collector: Collector, name: str) -> int:
    """How many agents the collector of that name has, as they all know."""
    with psycopg.connect(collector.store, autocommit=True) as connection:
        row = connection.execute(LINKS, [name]).fetchone()
    return int(row[0]) if row is not None else 0


@asynccontextmanager
async def balancing(folder: Path, port: int, root: Path, *collectors: Collector) -> AsyncIterator[None]:
    """The configuration as it is delivered; names, addresses and files are the test's, and it runs as whoever tests."""
    text = CONFIGURATION.read_text()
    replaced = {
        NAME: "collector.test",
        "/etc/certagent/root_ca.crt": str(root),
        "bind :8843": f"bind 127.0.0.1:{port}",
        "    user haproxy\n    group haproxy\n": "",
        "default-server send-proxy-v2": f"default-server source {BALANCER} send-proxy-v2",
        "maxconn 100000": "maxconn 1000",
        "log /dev/log local0": "log stdout format raw local0",
    }
    replaced |= {server: f"127.0.0.1:{one.port}" for server, one in zip(SERVERS, collectors, strict=True)}
    for old, new in replaced.items():
        assert old in text, old
        text = text.replace(old, new)
    (folder / "haproxy.cfg").write_text(text)
    program = await asyncio.to_thread(proxies.ensure, "haproxy") / "haproxy"
    with (folder / "haproxy.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            str(program), "-db", "-f", str(folder / "haproxy.cfg"), stdout=log, stderr=log
        )
    try:
        yield
    finally:
        process.kill()
        await process.wait()


@pytest.fixture
async def fleet(tmp_path: Path, postgresql: Server) -> AsyncIterator[Fleet]:
    """Both collectors are up behind the balancer, and it has seen that."""
    url, authority, port, root = postgresql.new_database(), Authority(), free_port(), tmp_path / "root.crt"
    root.write_bytes(authority.root_pem)
    async with AsyncExitStack() as stack:
        collectors = []
        for name in ("one", "other"):
            (tmp_path / name).mkdir()
            trusting = f'proxy_protocol_from = ["{BALANCER}"]\nclient_root = "{root}"\n'
            made = running(tmp_path / name, store=url, is_warm=True, name=name, server=trusting, authority=authority)
            collectors.append(await stack.enter_async_context(made))
        await stack.enter_async_context(balancing(tmp_path, port, root, *collectors))
        one, other = collectors
        fleet = Fleet(one, other, port)
        await eventually(fleet.through.is_up)
        await fleet.one.introduce()
        yield fleet


@asynccontextmanager
async def agents(fleet: Fleet) -> AsyncIterator[list[aiohttp.ClientWebSocketResponse]]:
    """Six, connected by the balancer."""
    async with AsyncExitStack() as stack:
        links = []
        for number in range(6):
            name = f"lxc{200 + number}"
            fleet.through.tokens[name] = await asyncio.to_thread(
                add_token, fleet.one.store, name, TokenRole.AGENT, now()
            )
            session = await stack.enter_async_context(fleet.through.session(name))
            links.append(await stack.enter_async_context(session.ws_connect("/v1/channel")))
        await eventually(lambda: are_connected(fleet, 6))
        yield links


async def are_connected(fleet: Fleet, count: int) -> bool:
    """To both together."""
    return sum(await fleet.links()) == count


def fingerprint_at(collector: Collector) -> str:
    """Of the certificate that a handshake shows."""
    context = collector.trust()
    with (
        socket.create_connection(("127.0.0.1", collector.port), timeout=5) as raw,
        context.wrap_socket(raw, server_hostname="collector.test") as tls,
    ):
        return hashlib.sha256(tls.getpeercert(binary_form=True) or b"").hexdigest()


@contextmanager
def frozen(collector: Collector) -> Iterator[None]:
    """By SIGSTOP within the block."""
    assert collector.process is not None
    collector.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        collector.process.send_signal(signal.SIGCONT)


async def test_tls_passes_through_and_each_connection_is_the_clients_own(fleet: Fleet) -> None:
    """The certificate is the collectors' own; who fails to log in is named by its address, not the balancer's."""
    own = {await asyncio.to_thread(fingerprint_at, collector) for collector in (fleet.one, fleet.other)}
    shown = {await asyncio.to_thread(fingerprint_at, fleet.through) for _ in range(6)}
    assert shown <= own
    assert await fail_login(fleet.through, CLIENT) == b"HTTP/1.1 403 Forbidden"
    _, page = await fleet.one.get("/v1/audit", params={"action": "login.failed"})
    assert [entry["from"] for entry in page["items"]] == [CLIENT]


async def test_a_client_certificate_passes_through(fleet: Fleet, tmp_path: Path) -> None:
    """An agent without a token is known by it, at whichever of them."""
    pair, files = fleet.one.authority.issue("web.lxc300.test"), (tmp_path / "client.crt", tmp_path / "client.key")
    for file, content in zip(files, (pair.chain_pem, pair.key_pem), strict=True):
        file.write_bytes(content)
    add_certificate(fleet.one.store, "lxc300", TokenRole.AGENT, "web.lxc300.test", now())
    report = msgspec.json.encode([Agent("lxc300").inventory("10.0.0.30", "web")])
    url = f"https://127.0.0.1:{fleet.through.port}"
    async with PinnedClient(url, tmp_path / "root.crt", (), {"Connection": "close"}, files) as client:
        for _ in range(4):
            status, body = await client.request("POST", "/v1/reports", timeout=10, data=report)
            assert status == 200, body
    async with PinnedClient(url, tmp_path / "root.crt", (), {"Connection": "close"}) as stranger:
        assert (await stranger.request("POST", "/v1/reports", timeout=10, data=report))[0] == 401


async def test_agents_are_spread_by_the_fewest_links(fleet: Fleet) -> None:
    """Six agents, about as many at each."""
    async with agents(fleet):
        assert min(await fleet.links()) >= 2


async def test_one_that_drains_gets_nothing_new_and_keeps_what_it_has(fleet: Fleet) -> None:
    """SIGTERM: 404. No call fails meanwhile, and its links go on until the collector closes them."""
    async with agents(fleet) as links:
        (count, _), began = await fleet.links(), time.monotonic()
        assert fleet.one.process is not None
        fleet.one.process.send_signal(signal.SIGTERM)
        receiving = [asyncio.create_task(end_of(link), name="link") for link in links]
        statuses = set()
        while time.monotonic() - began < 11:
            status, _ = await fleet.through.get("/v1/agents")
            statuses.add(status)
            await asyncio.sleep(0.1)
        assert statuses == {200}
        ended = [task.result() for task in receiving if task.done()]
        assert len(ended) == count
        assert all(kind is aiohttp.WSMsgType.CLOSE for kind, _ in ended)  # the balancer cut none
        assert min(at for _, at in ended) - began > 4
        assert await fleet.one.stop() == 0
        for task in receiving:
            task.cancel()


async def test_the_links_of_one_that_is_down_end_and_the_other_takes_all(fleet: Fleet) -> None:
    """It is frozen: within seconds the balancer marks it down, and cuts what it has."""
    async with agents(fleet) as links:
        count, others = await fleet.links()
        with frozen(fleet.one):
            began = time.monotonic()
            receiving = [asyncio.create_task(end_of(link), name="link") for link in links]
            await eventually(lambda: have_ended(receiving, count), within=20)
            assert {task.result()[0] for task in receiving if task.done()} <= CUT
            assert max(task.result()[1] for task in receiving if task.done()) - began < 15
            for _ in range(4):
                assert (await fleet.through.get("/v1/agents"))[0] == 200
            assert await asyncio.to_thread(links_of, fleet.one, "other") == others
        for task in receiving:
            task.cancel()


async def end_of(link: aiohttp.ClientWebSocketResponse) -> tuple[aiohttp.WSMsgType, float]:
    """How the link ends, and when."""
    while True:
        message = await link.receive()
        if message.type is not aiohttp.WSMsgType.TEXT:
            return message.type, time.monotonic()


async def have_ended(tasks: list[asyncio.Task[tuple[aiohttp.WSMsgType, float]]], count: int) -> bool:
    """So many of them."""
    return sum(task.done() for task in tasks) == count


async def test_one_that_is_not_ready_gets_nothing_new(fleet: Fleet) -> None:
    """Its database is older than it needs, say: 503 is down; when it is ready again it gets its share."""
    with psycopg.connect(fleet.one.store, autocommit=True) as administrator:
        version = administrator.execute("SELECT version_num FROM alembic_version").fetchone()
        administrator.execute("UPDATE alembic_version SET version_num = '0008'")

        async def is_refused() -> bool:
            return not await fleet.through.is_up()

        await eventually(is_refused, within=30)
        administrator.execute("UPDATE alembic_version SET version_num = %s", version)
    await eventually(fleet.through.is_up, within=30)
