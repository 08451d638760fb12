"""From broken to named: `check` beside what peers say of the same path, and a write beside the CA to an incident."""

import contextlib
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

from deploy.lab import faults
from deploy.lab.processes import Failed
from deploy.story import witness
from tests.bench import peers
from tests.bench.rows import Row, against, of, quantile
from tests.e2e.fleet import SEED, TRAEFIK, until
from tests.e2e.test_watching import LINE, MEND, WAYS

ROUNDS = 5
PATIENCE = 120.0
"""Seconds that a peer is given to name the cause, or anything."""
_ANSWERING = (SEED, "challenge-router-gone", "dns-record-gateway")
_DROPPING = ("route-dropped", "reach-leaving-dropped")
_WRITES = 4
_SETTLES = 1.0  # seconds in which what the last way left behind is reported, too


def measure() -> Iterator[Row]:
    """Both."""
    yield from _named()
    yield from _written_to_open()


def _named() -> Iterator[Row]:
    inside = (
        "the whole process `certagent check` in the container: start, rehearsal beside the CA, culprit by file and line"
    )
    answering = [took for name in _ANSWERING for took in _checks(name)]
    row = of("broken path to culprit named, faults that answer", "s", answering, inside, bar=0.5)
    known = peers.ensure()
    for name, took in _peers_in_vain(known).items():
        yield against(row, known[name].name, [took], f"until it gave up, or {PATIENCE:.0f} s; it names no cause")
    dropping = [took for name in _DROPPING for took in _checks(name)]
    yield of("broken path to culprit named, silent drops", "s", dropping, inside, bar=4)


def _checks(fault: str) -> list[float]:
    took = []
    faults.put_in(fault)
    try:
        until("it is seen", 30, lambda: witness.certagent("lxc102", "check", TRAEFIK)[0] == 4)
        for _ in range(ROUNDS):
            began_at = time.perf_counter()
            status, document = witness.certagent("lxc102", "check", TRAEFIK)
            took.append(time.perf_counter() - began_at)
            assert status == 4, document
            assert document["identifiers"][0]["findings"][0]["culprit"]["node"], document
    finally:
        faults.take_out(fault)
    return took


def _peers_in_vain(known: dict[str, peers.Peer]) -> dict[str, float]:
    """Seconds until each ended without a certificate; all at the same time, for most of it is waiting."""
    witness.inside("lxc102", "systemctl", "stop", "certagent-agent")
    faults.put_in(SEED)
    orders = witness.orders()
    try:
        with ThreadPoolExecutor() as pool, tempfile.TemporaryDirectory() as name:
            ports = range(peers.PORT, peers.PORT + len(known))
            jobs = {
                kind: pool.submit(_in_vain, peer, Path(name) / kind, port)
                for port, (kind, peer) in zip(ports, known.items(), strict=True)
            }
            took = {kind: job.result() for kind, job in jobs.items()}
        assert witness.orders() >= orders + len(known), "not every one of them came so far as to ask the CA"
        return took
    finally:
        faults.take_out(SEED)
        witness.inside("lxc102", "systemctl", "start", "certagent-agent")


def _in_vain(peer: peers.Peer, home: Path, port: int) -> float:
    peers.register(peer, "lxc102", home)
    (home / "web" / ".well-known" / "acme-challenge").mkdir(parents=True, exist_ok=True)
    began_at = time.perf_counter()
    with contextlib.suppress(Failed, subprocess.TimeoutExpired):
        peers.obtain(peer, "lxc102", home, TRAEFIK, PATIENCE, port)
        raise AssertionError(f"{peer.name} got a certificate over a broken path")
    return time.perf_counter() - began_at


def _written_to_open() -> Iterator[Row]:
    witness.inside("lxc103", "sh", "-c", "cat /etc/hosts >/root/good")
    took = [_opened(begin, end) for _ in range(_WRITES) for begin, end in WAYS.values()]
    inside = f"{len(WAYS)} ways a file can change, {_WRITES} times each: agent beside the CA, TLS, database with fsync"
    yield of("write to the CA's hosts file to incident open, p50", "s", took, inside, bar=0.25)
    yield of("write to the CA's hosts file to incident open, p99", "s", [quantile(took, 0.99)], inside, bar=1)


def _opened(begin: str, end: str) -> float:
    """Seconds from just before the write to the incident's own opening time; all nodes share one clock."""
    time.sleep(_SETTLES)
    until("nothing is open", 60, lambda: not witness.open_incidents())
    written = float(witness.inside("lxc103", "sh", "-euc", f"date +%s.%N; {begin}").stdout.split()[0])
    incident = until("an incident is open", 30, _incident)
    witness.inside("lxc103", "sh", "-euc", end)
    witness.inside("lxc103", "sh", "-c", MEND)
    assert incident["culprit"]["file"] == "/etc/hosts", incident
    return datetime.fromisoformat(incident["opened_at"]).timestamp() - written


def _incident() -> dict[str, Any] | None:
    """The one that names the line: a file that is away for a moment, as some ways leave it, is one of its own."""
    return next((one for one in witness.open_incidents() if LINE in [line["text"] for line in one["lines"]]), None)
