"""What agent A cannot do, tokens and certificates, and that no secret is ever told: on a real server over TLS."""

import asyncio
import ssl
import string
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path

import aiohttp
import msgspec
import pytest
from cryptography.hazmat.primitives import hashes

from certagent.collector.credentials import (
    add_certificate,
    add_token,
    bind_fingerprints,
    certificate_digest_of,
    digest_of,
    fingerprint_digest_of,
    list_tokens,
    revoke_tokens,
    session_digest_of,
    unbind_fingerprints,
)
from certagent.collector.records import TokenRole
from certagent.domain.findings import Culprit
from certagent.system.pinned_http import PinnedClient
from tests.certificates import Authority
from tests.collector.cast import Agent, now
from tests.collector.process import Collector, eventually, running
from tests.evidence import TRAEFIK, shadow
from tests.fakes.receivers import Receiver

pytestmark = pytest.mark.slow

CERTIFICATE = "web.lxc102.test"


async def test_agent_a_cannot_read_the_fleet(collector: Collector) -> None:
    """No list, no page, no metrics, no events; of incidents and paths only its own."""
    await collector.introduce()
    await collector.report(collector.cast.authority.watch(shadow()))
    identity = (await collector.incidents())[0]["id"]
    lists = ("/v1/agents", "/v1/certificates", "/v1/reports", "/v1/events", "/metrics", "/", "/incidents", "/nodes")
    pages = ("/certificates", "/nodes/lxc102", "/nodes/lxc102/certificates/traefik", f"/paths/{TRAEFIK}")
    for path in (*lists, *pages, f"/paths/{TRAEFIK}/mermaid", f"/incidents/{identity}"):
        assert (await collector.get(path, "lxc101"))[0] == 403, path
    assert (await collector.get("/v1/incidents", "lxc101"))[1]["items"] == []
    assert (await collector.get(f"/v1/incidents/{identity}", "lxc101"))[0] == 404
    assert (await collector.get(f"/v1/paths/{TRAEFIK}", "lxc101"))[0] == 404


async def test_agent_a_cannot_acknowledge(collector: Collector) -> None:
    """Not even its own incident, neither by the API nor by the page's form."""
    await collector.report(collector.cast.authority.watch(shadow()))
    identity = (await collector.incidents())[0]["id"]
    for path in (f"/v1/incidents/{identity}/ack", f"/incidents/{identity}/acknowledge"):
        assert (await collector.post(path, b"", "lxc103"))[0] == 403
    assert (await collector.incidents())[0]["state"] == "open"


async def test_agent_a_cannot_speak_as_b(collector: Collector) -> None:
    """Neither in the report nor in the inventory, whatever stands in them."""
    foreign = collector.cast.traefik.inventory("10.0.0.66", "traefik")
    disguised = msgspec.structs.replace(foreign, agent="lxc101")
    for report in (foreign, disguised):
        status, document = await collector.post("/v1/reports", [report], "lxc101")
        assert (status, document["accepted"]) == (422, 0)
    _, agents = await collector.get("/v1/agents")
    assert [agent for agent in agents["items"] if agent["name"] == "lxc102"] == []


async def test_agent_a_cannot_preempt_bs_report_ids(collector: Collector) -> None:
    """Identity is (agent, id): what A used up is still new when B says it."""
    own = collector.cast.traefik.inventory("10.0.0.12", "traefik")
    squatted = msgspec.structs.replace(Agent("lxc101").preflight(), id=own.id)
    assert await collector.report(squatted) == {"accepted": 1, "duplicates": 0}
    assert await collector.report(own) == {"accepted": 1, "duplicates": 0}
    _, agents = await collector.get("/v1/agents")
    assert ["10.0.0.12"] in [agent["addresses"] for agent in agents["items"]]


async def test_agent_a_pages_nobody_by_accusing_b(tmp_path: Path) -> None:
    """Told apart from the culprit, shown, and sent to nobody; B's own word is sent. The first message is B's."""
    receiver = Receiver()
    async with receiver.listening(), running(tmp_path, receiver.url, is_warm=True) as collector:
        await collector.introduce()
        lie = shadow(reporter="lxc101")
        forged = msgspec.structs.replace(lie, culprit=Culprit(node="lxc102", file="/etc/hosts", line=1, text="x"))
        await collector.report(collector.cast.gateway.watch(lie, forged))
        assert {one["confirmed"] for one in await collector.incidents()} == {False}
        await collector.report(collector.cast.authority.watch(shadow()))

        async def told() -> bool:
            return bool(receiver.taken)

        await eventually(told)
        assert "lxc103:/etc/hosts" in receiver.taken[0][1]
        assert "lxc102:/etc/hosts" not in str(receiver.taken)


async def test_two_tokens_are_valid_during_a_rotation_and_no_more(collector: Collector) -> None:
    """The new one is given out while the old one works; then the old one ends, and only it."""
    old = collector.tokens["lxc102"]
    new = add_token(collector.store, "lxc102", TokenRole.AGENT, now())
    assert len(new) >= 43  # 256 bits in base64
    with pytest.raises(ValueError, match="2 valid tokens"):
        add_token(collector.store, "lxc102", TokenRole.AGENT, now())
    assert [await _status_of(collector, token) for token in (old, new)] == [200, 200]
    assert revoke_tokens(collector.store, "lxc102", now(), older=True) == 1

    async def ended() -> bool:
        return await _status_of(collector, old) == 401

    assert await eventually(ended)
    assert await _status_of(collector, new) == 200
    assert revoke_tokens(collector.store, "lxc102", now(), older=True) == 0


def test_what_is_kept_of_each_kind_begins_with_its_own_letter() -> None:
    """Which no token's digest does: that is hexadecimal."""
    identity = certificate_digest_of(CERTIFICATE)
    letters = [kept[0] for kept in (identity, fingerprint_digest_of(identity, "ab" * 32), session_digest_of("a"))]
    assert len({*letters, *string.hexdigits}) == len(letters) + len(string.hexdigits)
    assert {len(identity), len(fingerprint_digest_of(identity, "ab")), len(session_digest_of("a"))} == {64}


async def test_a_name_has_one_role_of_an_agent_at_a_time(collector: Collector) -> None:
    """With two it would flip with whoever speaks; once the other is revoked, it may be changed."""
    for role in (TokenRole.AUTHORITY, TokenRole.AGENT):
        name = "lxc102" if role is TokenRole.AUTHORITY else "lxc103"
        with pytest.raises(ValueError, match="revoke that first"):
            add_token(collector.store, name, role, now())
        with pytest.raises(ValueError, match="revoke that first"):
            add_certificate(collector.store, name, role, CERTIFICATE, now())
        revoke_tokens(collector.store, name, now())
        assert add_token(collector.store, name, role, now())


async def test_what_is_kept_of_a_secret_opens_nothing(collector: Collector) -> None:
    """Not the digest of a token, nor a certificate's identifier as a token, nor a token as a session."""
    add_certificate(collector.store, "lxc102", TokenRole.AGENT, CERTIFICATE, now())
    kept = (digest_of(collector.tokens["ops"]), certificate_digest_of(CERTIFICATE), CERTIFICATE, f"\t{CERTIFICATE}")
    for pretended in kept:
        assert await _status_of(collector, pretended.strip()) == 401
    async with collector.session(None) as session:
        cookie = {"Cookie": f"__Host-certagent={collector.tokens['ops']}"}
        async with session.get("/v1/agents", headers=cookie) as response:
            assert response.status == 401


async def test_a_viewer_reads_all_and_changes_nothing(collector: Collector) -> None:
    """For a wall screen, or for Prometheus."""
    await collector.report(collector.cast.authority.watch(shadow()))
    identity = (await collector.incidents())[0]["id"]
    collector.tokens["wall"] = add_token(collector.store, "wall", TokenRole.VIEWER, now())
    for path in ("/", "/v1/agents", "/v1/certificates", "/v1/reports", "/metrics", f"/incidents/{identity}"):
        async with collector.session("wall") as session, session.get(path) as response:
            assert response.status == 200, path
            assert "Acknowledge" not in await response.text()
    for path in (f"/v1/incidents/{identity}/ack", "/v1/reports", "/v1/rehearsals"):
        assert (await collector.post(path, b"{}", "wall"))[0] == 403, path


@asynccontextmanager
async def _asking_for_certificates(folder: Path, root: Authority) -> AsyncIterator[Collector]:
    """A collector that takes certificates of that root instead of tokens."""
    collector = Collector(folder, is_warm=True)
    root.write_root(folder / "clients.crt")
    settings = folder / "collector.toml"
    taking = f'client_root = "{folder / "clients.crt"}"\n[store]'
    settings.write_text(settings.read_text().replace("[store]", taking))
    collector.promote()
    collector.authority.write_root(folder / "root.crt")
    await collector.start()
    try:
        await eventually(collector.is_up)
        yield collector
    finally:
        await collector.stop(9)


async def test_a_certificate_speaks_as_the_agent_it_was_given_to(tmp_path: Path) -> None:
    """Without any token; a new pair is shown by itself; a stranger's opens nothing, nor does one that was revoked."""
    root = Authority("Clients")
    async with _asking_for_certificates(tmp_path, root) as collector:
        add_certificate(collector.store, "lxc102", TokenRole.AGENT, CERTIFICATE, now())
        pair = (tmp_path / "client.crt", tmp_path / "client.key")
        url = f"https://127.0.0.1:{collector.port}"
        report = msgspec.json.encode([collector.cast.traefik.inventory("10.0.0.12", "traefik")])
        async with PinnedClient(url, tmp_path / "root.crt", (), {"Connection": "close"}, pair) as client:
            for names, expected in (((), 401), (("stranger.test",), 401), (("z.test", CERTIFICATE), 200)):
                _write_pair(pair, root, names)
                status, body = await client.request("POST", "/v1/reports", timeout=10, data=report)
                assert status == expected, body
            foreign = msgspec.json.encode([collector.cast.gateway.preflight()])
            assert (await client.request("POST", "/v1/reports", timeout=10, data=foreign))[0] == 422
            assert (await client.request("GET", "/v1/agents", timeout=10))[0] == 403
            assert revoke_tokens(collector.store, "lxc102", now()) == 2  # the token and the certificate

            async def ended() -> bool:
                return (await client.request("POST", "/v1/reports", timeout=10, data=report))[0] == 401

            assert await eventually(ended)


async def test_another_sites_page_changes_nothing_by_an_operators_certificate(tmp_path: Path) -> None:
    """A browser shows it to the collector whoever asks; a program says nothing of any page, and may."""
    root = Authority("Clients")
    async with _asking_for_certificates(tmp_path, root) as collector:
        add_certificate(collector.store, "lxc102", TokenRole.OPERATOR, CERTIFICATE, now())
        await collector.report(collector.cast.authority.watch(shadow()))
        (incident,) = await collector.incidents()
        pair = (tmp_path / "client.crt", tmp_path / "client.key")
        _write_pair(pair, root, (CERTIFICATE,))
        context, url = collector.trust(), f"https://127.0.0.1:{collector.port}"
        context.load_cert_chain(*pair)
        own = {"Origin": url, "Sec-Fetch-Site": "same-origin"}
        foreign = ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.test"})
        async with aiohttp.ClientSession(url, connector=aiohttp.TCPConnector(ssl=context)) as session:
            for headers, expected in ((foreign[0], 403), (foreign[1], 403), (own, 200), ({}, 200)):
                async with session.post(f"/v1/incidents/{incident['id']}/ack", headers=headers) as answer:
                    assert answer.status == expected, headers


async def test_a_channel_ends_with_the_certificate_that_opened_it(tmp_path: Path) -> None:
    """And a connection that was kept open serves nobody any more; the new certificate opens another one."""
    root = Authority("Clients")
    async with _asking_for_certificates(tmp_path, root) as collector:
        add_certificate(collector.store, "lxc102", TokenRole.AGENT, CERTIFICATE, now())
        pair = (tmp_path / "client.crt", tmp_path / "client.key")
        context, url = collector.trust(), f"https://127.0.0.1:{collector.port}"
        _write_pair(pair, root, (CERTIFICATE,), timedelta(minutes=1, seconds=8))  # of which a minute is over
        context.load_cert_chain(*pair)
        async with aiohttp.ClientSession(url, connector=aiohttp.TCPConnector(ssl=context)) as session:
            assert (await session.get("/v1/incidents")).status == 200
            async with asyncio.timeout(30), session.ws_connect("/v1/channel") as socket:
                message = await socket.receive()
            assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, aiohttp.WSCloseCode.POLICY_VIOLATION)
            with suppress(aiohttp.ClientError):  # if that connection has ended: the handshake of another one fails
                assert (await session.get("/v1/incidents")).status == 401
        _write_pair(pair, root, (CERTIFICATE,))
        async with PinnedClient(url, tmp_path / "root.crt", (), {}, pair) as client:
            socket = await client.open_channel("/v1/channel", heartbeat=20)
            await socket.close()


async def test_a_bound_fingerprint_is_the_only_certificate_and_unbinding_ends_its_channel(tmp_path: Path) -> None:
    """Another certificate of the identifier opens nothing; two may be bound for a renewal; without any, none does until
    the identifier is given again."""
    root = Authority("Clients")
    async with _asking_for_certificates(tmp_path, root) as collector:
        add_certificate(collector.store, "lxc102", TokenRole.AGENT, CERTIFICATE, now())
        pair = (tmp_path / "client.crt", tmp_path / "client.key")
        url = f"https://127.0.0.1:{collector.port}"
        prints = [_write_pair(pair, root, (CERTIFICATE, "z.test")) for _ in range(2)]  # the second is shown
        with pytest.raises(ValueError, match="lxc101 has no certificate"):
            bind_fingerprints(collector.store, "lxc101", prints, now())
        async with PinnedClient(url, tmp_path / "root.crt", (), {"Connection": "close"}, pair) as client:

            async def is_let_in() -> bool:
                return (await client.request("GET", "/v1/incidents", timeout=10))[0] == 200

            async def is_kept_out() -> bool:
                return not await is_let_in()

            assert await is_let_in()
            bind_fingerprints(collector.store, "lxc102", prints[:1], now())
            assert await eventually(is_kept_out)
            bind_fingerprints(collector.store, "lxc102", prints, now())
            assert await eventually(is_let_in)
            socket = await client.open_channel("/v1/channel", heartbeat=20)
            unbind_fingerprints(collector.store, prints[1:], now())
            async with asyncio.timeout(15):
                message = await socket.receive()
            assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, aiohttp.WSCloseCode.POLICY_VIOLATION)
            assert await is_kept_out()
            with pytest.raises(ValueError, match="no such fingerprint is bound"):
                unbind_fingerprints(collector.store, prints[1:], now())
            unbind_fingerprints(collector.store, prints[:1], now())
            assert await is_kept_out()
            bind_fingerprints(collector.store, "lxc102", prints[1:], now())
            assert await eventually(is_let_in)
            assert revoke_tokens(collector.store, "lxc102", now()) == 2  # the token and the certificate
            assert await eventually(is_kept_out)
            add_certificate(collector.store, "lxc102", TokenRole.AGENT, CERTIFICATE, now())
            assert await eventually(is_let_in)


async def test_a_certificate_of_another_root_ends_the_handshake(tmp_path: Path) -> None:
    """It is not even asked what it is for."""
    async with _asking_for_certificates(tmp_path, Authority("Clients")) as collector:
        add_certificate(collector.store, "lxc102", TokenRole.AGENT, CERTIFICATE, now())
        context = collector.trust()
        pair = (tmp_path / "client.crt", tmp_path / "client.key")
        _write_pair(pair, Authority("Another"), (CERTIFICATE,))
        context.load_cert_chain(*pair)
        connector = aiohttp.TCPConnector(ssl=context)
        async with aiohttp.ClientSession(f"https://127.0.0.1:{collector.port}", connector=connector) as session:
            with pytest.raises((aiohttp.ClientError, ssl.SSLError)):
                await session.get("/v1/incidents")
        assert (await collector.get("/v1/incidents", "lxc102"))[0] == 200  # a token still does


def _write_pair(
    pair: tuple[Path, Path], root: Authority, names: tuple[str, ...], lifetime: timedelta = timedelta(hours=24)
) -> str:
    """The fingerprint; without names nothing is written."""
    if not names:
        return ""
    issued = root.issue(*names, lifetime=lifetime)
    pair[1].write_bytes(issued.key_pem)
    pair[0].write_bytes(issued.chain_pem)
    return issued.certificate.fingerprint(hashes.SHA256()).hex()


async def test_no_secret_is_told(collector: Collector) -> None:
    """Tokens are in no log, no document and not in the database; what was kept is a hash."""
    await collector.introduce()
    await collector.report(collector.cast.authority.watch(shadow()))
    told = collector.log() + str(list_tokens(collector.store))
    for path in ("/v1/agents", "/v1/certificates", "/v1/incidents", "/v1/reports", "/metrics", "/", "/nodes/lxc102"):
        async with collector.session("ops") as session, session.get(path) as response:
            told += await response.text()
    files = b"".join(path.read_bytes() for path in (collector.folder / "state").iterdir())
    for token in collector.tokens.values():
        assert token not in told
        assert token.encode() not in files
    assert b"PRIVATE KEY" not in files


async def test_what_an_older_agent_lets_through_is_not_kept(collector: Collector) -> None:
    """The password of a line that a finding quotes: neither in the database nor on a page."""
    canary = "c4nary-Kx9"
    line = f"Environment=HTTP_PROXY=http://agent:{canary}@10.0.0.50:3128"
    culprit = Culprit(node="lxc103", file="/etc/systemd/system/step-ca.service", line=3, text=line)
    told = msgspec.structs.replace(
        shadow(), explanation=line, fix=f"Remove {line}", culprit=culprit, detail={"x": [line]}
    )
    await collector.introduce()
    await collector.report(collector.cast.authority.watch(told, scope="file:/etc/systemd/system/step-ca.service"))
    (incident,) = await collector.incidents()
    assert incident["culprit"]["text"] == "Environment=HTTP_PROXY=http://(withheld)@10.0.0.50:3128"
    shown = str(incident) + collector.log()
    for path in (
        "/",
        f"/incidents/{incident['id']}",
        "/v1/reports",
        f"/v1/incidents/{incident['id']}",
        "/nodes/lxc103",
    ):
        async with collector.session("ops") as session, session.get(path) as response:
            shown += await response.text()
    assert canary not in shown
    assert canary.encode() not in b"".join(path.read_bytes() for path in (collector.folder / "state").iterdir())


async def test_what_is_no_http_is_not_written_into_the_log(collector: Collector) -> None:
    """A header that is not one may hold a token."""
    secret = collector.tokens["lxc102"]
    reader, writer = await asyncio.open_connection("127.0.0.1", collector.port, ssl=collector.trust())
    writer.write(
        f"GET /v1/incidents HTTP/1.1\r\nHost: localhost\r\nAuthori\x00zation: Bearer {secret}\r\n\r\n".encode()
    )
    assert b" 400 " in await reader.readline()
    writer.close()

    async def said() -> bool:
        return "not HTTP" in collector.log()

    assert await eventually(said)
    assert secret not in collector.log()
    assert "Traceback" not in collector.log()


async def test_a_caller_that_goes_in_the_middle_of_a_post_is_one_line_of_the_log(collector: Collector) -> None:
    """An agent that is killed, or its node; again until one goes after its head was read."""
    head = f"POST /v1/reports HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {collector.tokens['lxc102']}\r\n"

    async def said() -> bool:
        _, writer = await asyncio.open_connection("127.0.0.1", collector.port, ssl=collector.trust())
        writer.write(f"{head}Content-Length: 1000\r\n\r\n[".encode())
        await writer.drain()
        await asyncio.sleep(0.1)
        writer.transport.abort()
        return "the client disconnected" in collector.log()

    assert await eventually(said)
    assert "Traceback" not in collector.log()


async def _status_of(collector: Collector, token: str) -> int:
    async with collector.session(None) as session:
        headers = {"Authorization": f"Bearer {token}"}
        async with session.get("/v1/incidents", headers=headers) as response:
            return response.status
