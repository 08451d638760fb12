"""Certificates: the ACME part beside the peers, a hundred at once, from due to served, from mended to renewed."""

import json
import sys
import tempfile
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import msgspec

from deploy.lab import faults, places
from deploy.lab.processes import run
from deploy.story import witness
from tests.bench import peers, waves
from tests.bench.idle import memory_of_agent
from tests.bench.rows import Row, against, of
from tests.e2e.fleet import SEED, TRAEFIK, until
from tests.e2e.many.gateway import ZONE, reloads, sh, wait_until_proven, with_many
from tests.e2e.policies import start, with_policy

NODE = "lxc101"
NGINX = "nginx.internal.thinkheads.ai"
COUNT = 100
ROUNDS = 5
_REST = 45.0  # seconds until what renewals took is given back
_OF_CERTBOT = 3
_OF_HUNDRED = 9  # the machine is full meanwhile: single runs lie up to a second apart
_ALWAYS_DUE = "[renewal]\ndue_after = 0.0001\njitter = 0.0\nunchallenged_in_a_row = 0\n"
_ALL_AGAIN = "certagent renew --force >/dev/null || [ $? = 3 ]"
_OURS = (
    "order to certificate inside a running agent: directory and account are warm, key, order, challenge answered,"
    " issued, state on disk with fsync; no process start, no rehearsal, no deployment"
)


def measure() -> Iterator[Row]:
    """All of it; the hundred names are there only meanwhile, and each time they are new."""
    with _stopped_with_many(COUNT):
        lego, ours = yield from _acme_part()
    yield from _a_hundred(lego, ours["all"])
    yield from waves.measure(ours["cpu"])
    yield from _due_to_served()
    yield from _mended_to_renewed()


def _acme_part() -> Generator[Row, None, tuple[float, dict[str, Any]]]:
    """Answers lego's seconds for a hundred, and what was measured of ours."""
    ours = _measure_ours()
    warm = of("one renewal, ACME part, agent warm", "s", ours["warm"], _OURS)
    cold = of("the first renewal of an agent, ACME part", "s", [ours["first"]], _OURS + "; and the import of acme, TLS,"
              " the directory, a new account")  # fmt: skip
    known = peers.ensure()
    took = {name: _measure_peer(peer, _OF_CERTBOT if name == "certbot" else ROUNDS) for name, peer in known.items()}
    for name, peer in known.items():
        yield against(warm, peer.name, took[name], peer.inside, 0.5 if name == "lego" else None)
    yield against(cold, known["lego"].name, took["lego"], known["lego"].inside)
    count = ours["count"]
    lego = _measure_peer(known["lego"], count)
    row = of(f"{count} at once, ACME part", "s", [ours["all"]], f"{count} orders, four at a time, as in an agent")
    yield against(row, known["lego"].name, [sum(lego)], f"{count} processes, one after the other", 0.25)
    return sum(lego), ours


def _measure_ours() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        text = witness.inside(NODE, "cat", "/etc/certagent/agent.toml").stdout
        head, *rest = text.split("[[certificate]]")
        only_many = [part for part in rest if ZONE in part]
        head = head.replace("/var/lib/certagent", f"{folder}/state").replace(
            "/etc/certagent/root_ca.crt", str(places.ROOT)
        )
        head = head[: head.index("[collector]")] + head[head.index("[dns]") :]
        path = Path(folder) / "agent.toml"
        path.write_text("[[certificate]]".join([head, *only_many]))
        told = run(peers.as_node(NODE, [sys.executable, "-m", "tests.bench.acme_part", str(path)]), timeout=300)
    return dict(json.loads(told.splitlines()[-1]))


def _measure_peer(peer: peers.Peer, rounds: int) -> list[float]:
    """Seconds of so many certificates, one after the other, its account made before."""
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        server = peers.serve(NODE, home) if peer.needs_server else None
        try:
            peers.register(peer, NODE, home)
            peers.obtain(peer, NODE, home, _name(COUNT))
            return [peers.obtain(peer, NODE, home, _name(1 + turn % COUNT)) for turn in range(rounds)]
        finally:
            if server is not None:
                server.terminate()
                server.wait()


def _name(number: int) -> str:
    return f"n{number}.{ZONE}"


@contextmanager
def _stopped_with_many(count: int) -> Iterator[None]:
    sh("systemctl stop certagent-agent")
    with with_many(count):
        yield


def _a_hundred(lego: float, ours: float) -> Iterator[Row]:
    began_at = datetime.now(UTC).timestamp()
    few, *runs = [_all_due_at_once(count) for count in (COUNT // 10, *[COUNT] * _OF_HUNDRED)]
    inside = (
        "start of the agent, rehearsals, orders, deployment to nginx, reloads, proof by handshake of every one; the"
        f" whole fleet on this one machine, {median(one.busy for one in runs):.0f} % of its processor time in use"
    )
    row = of(f"{COUNT} due at once, deployed and proven", "s", [one.seconds for one in runs], inside, bar=8)
    in_sequence = f"{COUNT} processes, one after the other: the ACME part alone"
    yield against(row, peers.ensure()["lego"].name, [lego], in_sequence, 0.4)
    alone = msgspec.structs.replace(row, what=f"{row.what}, against the orders alone", bar=None)
    yield against(alone, "our own ACME part", [ours], f"{COUNT} orders in a warm agent, four at a time", 2.5)
    apart = [later - earlier for one in runs for earlier, later in pairwise(one.reloads)]
    inside = f"the shortest of {len(apart)}, by systemd's journal"
    yield of("from one reload to the next meanwhile", "s", [min(apart)], inside, bar=1, at_least=True)
    journal = sh(f"journalctl -u certagent-agent -o cat --no-pager --since @{began_at:.0f}")
    yield of("failed renewals meanwhile", "", [journal.count("(timer): failed")], "by the agent's journal", bar=0)
    growth = median(one.seconds for one in runs) / few.seconds
    yield of("growth with certificates: all due at once", "x", [growth], "10 and 100; 10 is linear", bar=10)
    yield from _a_thousand()


class _Due(msgspec.Struct, frozen=True):
    """Seconds until all are proven, moments of nginx's reloads, per cent of all processors' time in use meanwhile."""

    seconds: float
    reloads: list[float]
    busy: float


def _all_due_at_once(count: int) -> _Due:
    waves.forget_freed_inodes()
    with _stopped_with_many(count):
        before = len(reloads())
        began_at, rest, whole = time.perf_counter(), *_processors()
        sh("systemctl restart certagent-agent")
        wait_until_proven(count, 200)
        seconds, rest_now, whole_now = time.perf_counter() - began_at, *_processors()
        busy = 100 * (1 - (rest_now - rest) / (whole_now - whole))
        return _Due(seconds, reloads()[before:], busy)


def _processors() -> tuple[int, int]:
    """(ticks at rest, all ticks) of this machine's processors."""
    ticks = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
    return ticks[3] + ticks[4], sum(ticks[:8])


def _a_thousand() -> Iterator[Row]:
    """What they leave in memory, and what the thousand before left: by then what is kept of a name is there, and the
    heap is as large as it gets. An agent that gave nothing back had reached that after the second hundred."""
    with _stopped_with_many(COUNT):
        sh("systemctl restart certagent-agent")
        wait_until_proven(COUNT, 200)
        sh(_ALL_AGAIN)
        first, second, third = _at_rest(), _after_a_thousand(), _after_a_thousand()
    inside = f"PSS, {COUNT} names renewed, deployed and proven {1_000 // COUNT} times, after"
    yield of("agent's memory, the thousand renewals before", "MiB", [second - first], f"{inside} the second time")
    row = "agent's memory, growth by 1,000 renewals"
    yield of(row, "MiB", [third - second], f"{inside} the twelfth time", bar=1)


def _after_a_thousand() -> float:
    for _ in range(1_000 // COUNT):
        sh(_ALL_AGAIN)
    return _at_rest()


def _at_rest() -> float:
    """MiB (PSS) of the agent, once what renewals took is given back."""
    time.sleep(_REST)
    return memory_of_agent().share


def _due_to_served() -> Iterator[Row]:
    for node, name, address, kind, bar in (
        (NODE, NGINX, "10.0.0.153", "nginx", 0.5),
        ("lxc102", TRAEFIK, "10.0.0.12", "Traefik", 2.5),
    ):
        inside = f"rehearsal, order, deployment to {kind}, its reload, proof by handshake: by the run's own report"
        yield of(
            f"due to proven served, {kind}", "s", [_renew(node, name, address) for _ in range(ROUNDS)], inside, bar=bar
        )


def _renew(node: str, name: str, address: str) -> float:
    before = witness.served(address, name)
    _, document = witness.certagent(node, "renew", "--force")
    (one,) = document["certificates"]
    assert one["outcome"] in ("done", "found"), document
    assert witness.served(address, name) == one["fingerprint"] != before
    report = next(one for one in witness.items("/v1/reports") if one["agent"] == node and one["kind"] == "renewal")
    begun, ended = (_instant(report[key]) for key in ("started_at", "finished_at"))
    time.sleep(3)  # Traefik takes changes at most every two seconds; what is measured does not begin inside of that
    return ended - begun


def _mended_to_renewed() -> Iterator[Row]:
    """A renewal that is due and blocked goes on by itself once its path is mended."""
    inside = "the CA keeps hosts for 5 s, the agent waits for that, renews, Traefik's throttle; seen by the client"
    yield of("mended to renewed and served", "s", [_mended() for _ in range(3)], inside)


def _mended() -> float:
    with with_policy("lxc102", _ALWAYS_DUE):
        before = witness.served("10.0.0.12", TRAEFIK)
        faults.put_in(SEED)
        try:
            began_at = datetime.now(UTC)
            start("lxc102")
            until("the renewal is blocked", 60, lambda: _is_blocked(began_at))
        finally:
            faults.take_out(SEED)
        mended_at = time.perf_counter()
        until("another one is served", 180, lambda: witness.served("10.0.0.12", TRAEFIK) != before)
        return time.perf_counter() - mended_at


def _is_blocked(since: datetime) -> bool:
    renewals = (one for one in witness.items("/v1/reports") if one["agent"] == "lxc102" and one["kind"] == "renewal")
    return any(one["outcome"] == "blocked" and datetime.fromisoformat(one["started_at"]) > since for one in renewals)


def _instant(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
