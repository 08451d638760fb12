"""Proof by handshake, with real servers."""

import asyncio
import socket
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from certagent.config import Endpoint, ProofEndpoint
from certagent.domain.deployments import ServedAs
from certagent.proof import MANAGED, MOST_AT_ONCE, Prover, Trust
from certagent.system.clock import SystemClock
from certagent.system.handshake import PLAIN, Handshake, LookOptions, probe
from tests.certificates import Authority, Pair, to_pem
from tests.fakes.tls_servers import TlsServer, tls_server

NAMES = ("nginx.internal", "portainer.phoenix")
SOON = timedelta(seconds=10)


@pytest.fixture
def private() -> Authority:
    """The pinned root."""
    return Authority()


@pytest.fixture
def root(private: Authority, tmp_path: Path) -> Path:
    """Its file."""
    return private.write_root(tmp_path / "root.crt")


@pytest.fixture
def prover(root: Path) -> Prover:
    """The real one."""
    return Prover(root, SystemClock())


@pytest.fixture
def old(private: Authority) -> Pair:
    """What is served at first."""
    return private.issue(*NAMES)


@pytest.fixture
def new(private: Authority) -> Pair:
    """What is to be served."""
    return private.issue(*NAMES)


@pytest.fixture
async def server(old: Pair) -> AsyncIterator[TlsServer]:
    """Serves the old one."""
    async with tls_server(old) as opened:
        yield opened


async def test_every_endpoint_is_looked_at_under_every_name(
    prover: Prover, server: TlsServer, old: Pair, new: Pair
) -> None:
    """One name that is served otherwise is one proof that is missing."""
    server.serve(new, "portainer.phoenix")
    proof = await prover.prove(new.fingerprint, [server.endpoint], NAMES, timedelta(milliseconds=50))
    assert not proof.is_proven
    (missing,) = proof.missing
    assert (missing.server_name, missing.served_as) == ("nginx.internal", ServedAs.OTHER)
    assert missing.fingerprint == old.fingerprint
    server.serve(new, "nginx.internal")
    assert (await prover.prove(new.fingerprint, [server.endpoint], NAMES, SOON)).is_proven


async def test_it_waits_until_the_new_one_is_served(root: Path, server: TlsServer, new: Pair) -> None:
    """A reload takes its time: looked at again and again, and proven as soon as it is there."""
    looks = 0

    async def look(address: str, port: int, name: str, trusted: Path, timeout: float) -> Handshake:
        nonlocal looks
        looks += 1
        if looks == 4:
            server.serve(new)
        return await probe(address, port, name, trusted, timeout)

    proof = await Prover(root, SystemClock(), look).prove(new.fingerprint, [server.endpoint], NAMES[:1], SOON)
    assert proof.is_proven
    assert proof.endpoints[0].looks > 4


async def test_one_good_look_is_no_proof(root: Path, server: TlsServer, old: Pair, new: Pair) -> None:
    """Old workers accept for a moment beside the new ones: the new one is shown, then the old one once more."""
    looks = 0

    async def look(address: str, port: int, name: str, trusted: Path, timeout: float) -> Handshake:
        nonlocal looks
        looks += 1
        server.serve(old if looks == 2 else new)
        return await probe(address, port, name, trusted, timeout)

    proof = await Prover(root, SystemClock(), look).prove(new.fingerprint, [server.endpoint], NAMES[:1], SOON)
    assert proof.is_proven
    assert proof.endpoints[0].looks >= 4
    assert proof.endpoints[0].took >= timedelta(seconds=0.15)
    assert proof.endpoints[0].took < SOON


async def test_many_are_looked_at_a_few_at_a_time(root: Path, old: Pair) -> None:
    """All of them, though; and a proof does not wait until they are through."""
    at_work: set[str] = set()
    most = 0
    answer = asyncio.Event()

    async def look(address: str, port: int, name: str, trusted: Path, timeout: float) -> Handshake:
        nonlocal most
        at_work.add(name)
        if name.startswith("n"):
            most = max(most, len(at_work))
            await answer.wait()
        at_work.remove(name)
        return Handshake(address=address, port=port, server_name=name, leaf=old.facts)

    prover, wanted, endpoint = Prover(root, SystemClock(), look), old.fingerprint, ["127.0.0.1:443"]
    async with asyncio.TaskGroup() as group:
        looks = [
            group.create_task(prover.served_now(wanted, endpoint, [f"n{number}.internal"]), name=f"look {number}")
            for number in range(100)
        ]
        assert (await prover.prove(wanted, endpoint, ["deployed.internal"], SOON)).is_proven
        assert not any(one.done() for one in looks)
        answer.set()
    assert [one.result()[0].served_as for one in looks] == [ServedAs.PROVEN] * len(looks)
    assert most == MOST_AT_ONCE


async def test_a_bound_is_kept_when_nobody_answers(prover: Prover) -> None:
    """Refused and silent endpoints are said so, apart."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        quiet = f"127.0.0.1:{silent.getsockname()[1]}"
        async with asyncio.timeout(30):  # without a bound it would look for ever
            proof = await prover.prove("f", [quiet, "127.0.0.1:1"], NAMES[:1], timedelta(milliseconds=200))
    assert [(one.served_as, one.error) for one in proof.endpoints] == [
        (ServedAs.NOTHING, "timeout"),
        (ServedAs.NOTHING, "refused"),
    ]


async def test_a_default_certificate_is_known_for_what_it_is(prover: Prover, new: Pair) -> None:
    """Traefik's own stop-gap has a name of its own."""
    stop_gap = Authority().issue("0123456789abcdef.traefik.default")
    async with tls_server(stop_gap) as server:
        (seen,) = await prover.served_now(new.fingerprint, [server.endpoint], NAMES[:1])
    assert (seen.served_as, seen.distrust) == (ServedAs.DEFAULT, "untrusted")


async def test_served_now_is_one_look(prover: Prover, server: TlsServer, old: Pair) -> None:
    """Without a certificate of our own to measure it by, it still says what is served."""
    (seen,) = await prover.served_now("", [server.endpoint], NAMES[:1])
    assert (seen.served_as, seen.fingerprint, seen.looks) == (ServedAs.OTHER, old.fingerprint, 1)


async def test_a_wildcard_is_asked_for_as_a_client_would(private: Authority, prover: Prover) -> None:
    """By a name that it covers."""
    pair = private.issue("*.phoenix.internal")
    async with tls_server(pair) as server:
        proof = await prover.prove(pair.fingerprint, [server.endpoint], ["*.phoenix.internal"], SOON)
    assert proof.is_proven
    assert (proof.endpoints[0].server_name, proof.endpoints[0].distrust) == ("certagent-proof.phoenix.internal", None)


async def test_without_endpoints_nothing_is_proven(prover: Prover) -> None:
    """And nothing is missing either."""
    proof = await prover.prove("f", [], NAMES, SOON)
    assert not proof.is_proven
    assert not proof.missing


# --- as a client judges it --------------------------------------------------------------------------------------------


async def test_the_right_leaf_in_a_chain_that_a_client_refuses_is_not_proven(
    private: Authority, prover: Prover
) -> None:
    """The intermediate is missing, or over."""
    whole = private.intermediate().issue(*NAMES)
    cut = msgspec.structs.replace(whole, chain_pem=to_pem(whole.certificate))
    over = private.intermediate("Over", timedelta(seconds=30)).issue(*NAMES)
    for pair, distrust in ((whole, None), (cut, "untrusted"), (over, "expired")):
        async with tls_server(pair) as server:
            proof = await prover.prove(pair.fingerprint, [server.endpoint], NAMES[:1], timedelta(seconds=0.3))
        assert (proof.is_proven, proof.endpoints[0].distrust) == (distrust is None, distrust)
        assert proof.endpoints[0].served_as is (ServedAs.PROVEN if distrust is None else ServedAs.REFUSED)


async def test_what_others_renew_needs_no_trust_of_ours(private: Authority, prover: Prover, tmp_path: Path) -> None:
    """That nobody here trusts it is said, and is no failure; a wrong name is one. With the root that is named, it is
    trusted."""
    theirs = Authority("Theirs")
    pair, watched = theirs.issue(*NAMES), Trust(is_watched=True)
    named = Trust(root=theirs.write_root(tmp_path / "theirs.crt"), is_watched=True)
    async with tls_server(pair) as server:
        for trust, name, expected in (
            (watched, NAMES[0], (ServedAs.PROVEN, "untrusted")),
            (watched, "other.internal", (ServedAs.REFUSED, "untrusted")),
            (named, NAMES[0], (ServedAs.PROVEN, None)),
            (named, "other.internal", (ServedAs.REFUSED, "name_mismatch")),
            (MANAGED, NAMES[0], (ServedAs.REFUSED, "untrusted")),
            (Trust(is_needed=False), "other.internal", (ServedAs.PROVEN, "untrusted")),
        ):
            (seen,) = await prover.served_now(pair.fingerprint, [server.endpoint], [name], trust=trust)
            assert (seen.served_as, seen.distrust) == expected, (trust, name)


async def test_a_pair_beside_another_kind_is_proven_alone(private: Authority, root: Path) -> None:
    """The usual look shows one of the two; each is proven by clients that can use nothing else. Where the usual look
    shows it, no other is needed."""
    shown = private.issue(*NAMES)
    beside = private.issue(*NAMES, key=rsa.generate_private_key(public_exponent=65537, key_size=2048))
    asked: list[str | None] = []

    async def look(
        address: str, port: int, name: str, trusted: Path, timeout: float, options: LookOptions = PLAIN
    ) -> Handshake:
        asked.append(options.key)
        pair = beside if options.key == "rsa" else shown
        return Handshake(address=address, port=port, server_name=name, leaf=pair.facts)

    prover, endpoint = Prover(root, SystemClock(), look), ["127.0.0.1:443"]
    (seen,) = await prover.served_now(beside.fingerprint, endpoint, NAMES[:1], key="rsa")
    assert (seen.served_as, asked) == (ServedAs.PROVEN, [None, "rsa"])
    asked.clear()
    (seen,) = await prover.served_now(shown.fingerprint, endpoint, NAMES[:1], key="ecdsa")
    assert (seen.served_as, asked) == (ServedAs.PROVEN, [None])
    restored = Trust(is_needed=False)
    (seen,) = await prover.served_now(beside.fingerprint, endpoint, NAMES[:1], trust=restored)
    assert seen.served_as is ServedAs.PROVEN


async def test_an_endpoint_behind_the_proxy_protocol_is_looked_at_by_speaking_it(root: Path, old: Pair) -> None:
    """As it is configured, each for itself."""
    asked: list[tuple[int, bool]] = []

    async def look(
        address: str, port: int, name: str, trusted: Path, timeout: float, options: LookOptions = PLAIN
    ) -> Handshake:
        asked.append((port, options.proxy_protocol))
        return Handshake(address=address, port=port, server_name=name, leaf=old.facts)

    endpoints: list[Endpoint] = ["127.0.0.1:443", ProofEndpoint(address="127.0.0.1:8443", proxy_protocol=True)]
    proofs = await Prover(root, SystemClock(), look).served_now(old.fingerprint, endpoints, NAMES[:1])
    assert sorted(asked) == [(443, False), (8443, True)]
    assert [proof.endpoint for proof in proofs] == ["127.0.0.1:443", "127.0.0.1:8443"]
