"""Proof by handshake, with real servers."""

import asyncio
import socket
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from certagent.domain.deployments import ServedAs
from certagent.proof import MOST_AT_ONCE, Prover
from certagent.system.clock import SystemClock
from certagent.system.tls import Handshake, probe
from tests.certificates import Authority, Pair
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
