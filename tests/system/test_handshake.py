"""What a server shows is read whatever follows it, by the kind of key that is asked for, and as a client judges it."""

import asyncio
import re
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from certagent.system.handshake import PLAIN, Handshake, LookOptions, probe
from tests.certificates import Authority, Pair, to_pem
from tests.fakes.tls_servers import context_of

NAME = "nginx.internal"
Configure = Callable[[ssl.SSLContext], None]


@pytest.fixture
def private() -> Authority:
    """The pinned root."""
    return Authority()


@pytest.fixture
def root(private: Authority, tmp_path: Path) -> Path:
    """Its file."""
    return private.write_root(tmp_path / "root.crt")


@asynccontextmanager
async def _server(context: ssl.SSLContext) -> AsyncIterator[int]:
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0, ssl=context) as listening:
        yield listening.sockets[0].getsockname()[1]


async def _look(pair: Pair, root: Path, configure: Configure, options: LookOptions = PLAIN) -> Handshake:
    context = context_of(pair)
    configure(context)
    async with _server(context) as port:
        return await probe("127.0.0.1", port, NAME, root, 5, options)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("is_trusted", [True, False])
async def test_a_server_that_asks_for_a_client_s_certificate(
    private: Authority, root: Path, version: ssl.TLSVersion, is_trusted: bool
) -> None:
    """It ends the connection with an alert, after it has shown its own and proven its key."""
    pair = (private if is_trusted else Authority("Other")).issue(NAME)

    def require(context: ssl.SSLContext) -> None:
        context.minimum_version = context.maximum_version = version
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(root)

    seen = await _look(pair, root, require)
    assert (seen.fingerprint, seen.error) == (pair.fingerprint, None)
    assert seen.distrust == (None if is_trusted else "untrusted")


async def test_a_replayed_certificate_proves_nothing(private: Authority, root: Path) -> None:
    """Anybody can send somebody's certificate; the signature that follows it is over this very handshake."""
    recorded, is_over = _flight_of(private.issue(NAME)), asyncio.Event()

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(4096)
        writer.write(recorded)
        with suppress(OSError):
            await reader.read()
        writer.close()
        is_over.set()

    async with await asyncio.start_server(play, "127.0.0.1", 0) as listening:
        seen = await probe("127.0.0.1", listening.sockets[0].getsockname()[1], NAME, root, 5)
        await is_over.wait()
    assert (seen.leaf, seen.error) == (None, "tls")


def _flight_of(pair: Pair) -> bytes:
    """What a server of TLS 1.2 answers to somebody else's greeting."""
    anybody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
    anybody.maximum_version = ssl.TLSVersion.TLSv1_2
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = anybody.wrap_bio(to_client, to_server, server_hostname=NAME)
    server = context_of(pair).wrap_bio(to_server, to_client, server_side=True)
    for side in (client, server):
        with pytest.raises(ssl.SSLWantReadError):
            side.do_handshake()
    return to_client.read()


async def test_a_name_that_is_rejected_shows_nothing(private: Authority, root: Path) -> None:
    """As nginx does it with `ssl_reject_handshake`: for one name, and not for the other beside it."""
    pair, folder = private.issue(NAME), root.parent
    (folder / "chain").write_bytes(pair.chain_pem)
    (folder / "key").write_bytes(pair.key_pem)
    files = ("-cert2", str(folder / "chain"), "-key2", str(folder / "key"))
    with _openssl_server(pair, words=("-servername", NAME, "-servername_fatal", *files)) as port:
        assert (await probe("127.0.0.1", port, NAME, root, 5)).is_verified
        seen = await probe("127.0.0.1", port, "other.internal", root, 5)
    assert (seen.leaf, seen.error) == (None, "tls")
    assert "UNRECOGNIZED_NAME" in seen.detail


# --- kinds of key -----------------------------------------------------------------------------------------------------


@contextmanager
def _openssl_server(*pairs: Pair, words: tuple[str, ...] = ()) -> Iterator[int]:
    """`openssl s_server` with pairs beside each other, as nginx has them."""
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
        options = []
        for pair, prefix in zip(pairs, ("", "d"), strict=False):
            chain, key, above = (Path(folder, f"{prefix}{part}") for part in ("chain", "key", "above"))
            chain.write_bytes(pair.chain_pem)
            above.write_bytes(pair.chain_pem.partition(b"-----END CERTIFICATE-----\n")[2])
            key.write_bytes(pair.key_pem)
            options += [f"-{prefix}cert", str(chain), f"-{prefix}cert_chain", str(above), f"-{prefix}key", str(key)]
        reserved.close()
        command = ["openssl", "s_server", "-quiet", "-accept", f"127.0.0.1:{port}", *options, *words]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as it:
            try:
                _wait_for(port)
                yield port
            finally:
                it.kill()


def _wait_for(port: int) -> None:
    for _ in range(250):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise AssertionError("the server does not listen")


@pytest.mark.parametrize("words", [(), ("-tls1_2",), ("-tls1_3",)])
async def test_each_of_two_pairs_is_seen_by_its_own_kind_of_key(
    private: Authority, root: Path, words: tuple[str, ...]
) -> None:
    """In TLS 1.2 and where there is nothing but TLS 1.3."""
    ours = private.issue(NAME)
    beside = private.issue(NAME, key=rsa.generate_private_key(public_exponent=65537, key_size=2048))
    with _openssl_server(ours, beside, words=words) as port:
        for key, pair in (("ecdsa", ours), ("rsa", beside)):
            seen = await probe("127.0.0.1", port, NAME, root, 10, LookOptions(key=key))
            assert (seen.fingerprint, seen.distrust, seen.error) == (pair.fingerprint, None, None)


async def test_a_kind_of_key_that_is_not_there_is_not_seen(private: Authority, root: Path) -> None:
    """Nothing else is shown in its place."""
    with _openssl_server(private.issue(NAME)) as port:
        seen = await probe("127.0.0.1", port, NAME, root, 10, LookOptions(key="rsa"))
    assert (seen.leaf, seen.error) == (None, "tls")


async def test_what_is_wrong_is_told_of_the_other_kind_as_well(private: Authority, root: Path) -> None:
    """By OpenSSL's own client, too."""
    ours = private.issue(NAME)
    beside = Authority("Other").issue(NAME, key=rsa.generate_private_key(public_exponent=65537, key_size=2048))
    for words in ((), ("-tls1_3",)):
        with _openssl_server(ours, beside, words=words) as port:
            seen = await probe("127.0.0.1", port, NAME, root, 10, LookOptions(key="rsa"))
        assert (seen.fingerprint, seen.distrust) == (beside.fingerprint, "untrusted")


# --- the PROXY protocol -----------------------------------------------------------------------------------------------


async def test_the_proxy_protocol_is_spoken_where_it_is_expected(private: Authority, root: Path) -> None:
    """Its header comes first, with our own addresses; without it there is no handshake."""
    pair = private.issue(NAME)
    headers: list[bytes] = []

    def serve(listening: socket.socket) -> None:
        for _ in range(2):
            connection, _ = listening.accept()
            with connection, connection.makefile("rb", buffering=0) as file:
                headers.append(file.readline(108))
                with suppress(OSError):  # whoever looks has gone once it has seen enough
                    if not headers[-1].startswith(b"PROXY "):
                        continue
                    context_of(pair).wrap_socket(connection, server_side=True).close()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        serving = asyncio.get_running_loop().run_in_executor(None, serve, listening)
        seen = await probe("127.0.0.1", port, NAME, root, 5, LookOptions(proxy_protocol=True))
        assert seen.is_verified
        assert re.fullmatch(rb"PROXY TCP4 127\.0\.0\.1 127\.0\.0\.1 \d+ %d\r\n" % port, headers[0])
        assert (await probe("127.0.0.1", port, NAME, root, 1)).leaf is None
        await serving


# --- chains -----------------------------------------------------------------------------------------------------------


def _with_chain(pair: Pair, *above: x509.Certificate) -> Pair:
    return msgspec.structs.replace(pair, chain_pem=to_pem(pair.certificate, *above))


async def test_a_chain_is_as_old_as_its_first_certificate_to_end(private: Authority, root: Path) -> None:
    """And that is named; a longer one says nothing of itself."""
    short = private.intermediate("Short", timedelta(minutes=10)).issue(NAME)
    seen = await _look(short, root, _as_it_is)
    assert seen.is_verified
    assert seen.leaf is not None
    assert seen.leaf.chain_ends_with == "CN=Short"
    assert seen.leaf.ends_at < seen.leaf.not_after
    seen = await _look(private.intermediate().issue(NAME), root, _as_it_is)
    assert seen.leaf is not None
    assert (seen.leaf.chain_ends_at, seen.above[0].name) == (None, "CN=Test Intermediate")


def _as_it_is(_: ssl.SSLContext) -> None:
    """Nothing of the server's context is changed."""


async def test_what_a_client_makes_of_a_chain(private: Authority, root: Path) -> None:
    """Missing, surplus, crossed, dead or out of order: as OpenSSL judges it with the pinned root."""
    other, key = Authority("Other"), private.intermediate().key
    ours, crossed = private.intermediate("Both", key=key), other.intermediate("Both", key=key)
    pair, (above,) = ours.issue(NAME), ours.above
    dead = private.intermediate("Dead", timedelta(seconds=30)).issue(NAME)
    stray = private.intermediate("Stray").above
    cases = {
        "as it was issued": (pair, None),
        "with the root": (_with_chain(pair, above, private.root), None),
        "a cross-signed one behind it": (_with_chain(pair, above, *crossed.above), None),
        "an intermediate of another's behind it": (_with_chain(pair, above, *stray), None),
        "missing": (_with_chain(pair), "untrusted"),
        "only the cross-signed one": (_with_chain(pair, *crossed.above), "untrusted"),
        "dead": (dead, "expired"),
        "in the wrong order": (_with_chain(pair, private.root, above), "out_of_order"),
        "something between": (_with_chain(pair, *stray, above), "out_of_order"),
        "the leaf twice": (_with_chain(pair, pair.certificate, above), None),
    }
    for case, (chain, distrust) in cases.items():
        seen = await _look(chain, root, _as_it_is)
        assert (seen.distrust, seen.fingerprint) == (distrust, chain.fingerprint), case
    assert "CN=Dead" in (await _look(dead, root, _as_it_is)).detail
    assert "CN=Both" in (await _look(_with_chain(pair), root, _as_it_is)).detail


async def test_a_watched_one_may_be_trusted_by_the_system(
    private: Authority, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the folder that this system's trust is in, beside the root that is named."""
    theirs = Authority("Public")
    folder = tmp_path / "certs"
    folder.mkdir()
    theirs.write_root(folder / "public.pem")
    await asyncio.to_thread(subprocess.run, ["openssl", "rehash", str(folder)], check=True)
    paths = ssl.get_default_verify_paths()._replace(openssl_capath=str(folder))
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: paths)
    pair = theirs.issue(NAME)
    assert (await _look(pair, root, _as_it_is)).distrust == "untrusted"
    assert (await _look(pair, root, _as_it_is, LookOptions(and_systems=True))).is_verified
