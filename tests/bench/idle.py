"""An agent alone on the machine: its start, its memory, processor time when nothing is to be done."""

import json
import os
import re
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager

from deploy.lab import containers
from deploy.lab.fleet import FLEET, find
from deploy.story import witness
from tests.bench.daemons import Memory
from tests.bench.rows import Row, of
from tests.e2e import fleet

NODE = "lxc101"
STARTS = 5
SECONDS = 60.0
_REST = 15.0
"""Seconds after the others are back, for what that gave the agent to do."""
_AGENT = "systemctl show -p MainPID --value certagent-agent"
_ALL = f"main=$({_AGENT}); cat /proc/$main/task/*/children; echo $main"
_TICKS = f"cut -d' ' -f14,15 /proc/$({_AGENT})/stat; getconf CLK_TCK"
_LOOK_UP = (
    "end=$(($(date +%s) + {seconds:.0f})); n=0; while [ $(date +%s) -lt $end ]; do for i in 1 2 3 4 5 6 7 8 9 10; do"
    " getent hosts lxc101.internal.thinkheads.ai >/dev/null & sleep 0.015; wait; done; n=$((n + 10)); done; echo $n"
)
"""As many look-ups as fit, and their count."""


def measure() -> Iterator[Row]:
    """Its start with every other part of certagent stopped; the rest with them."""
    with alone():
        started = [_start() for _ in range(STARTS)]
    yield of("ready after its start", "s", started, "systemctl start, Type=notify", bar=0.8)
    fleet.wait_until_green(120)
    time.sleep(_REST)
    idle, _ = busy("true")
    yield of("agent's processor time, idle", "%", [idle], f"of one core, {SECONDS:.0f} s", bar=0.1)
    warm, woken = _woken()
    inside = f"a fixed piece of Python, {1e3 * warm:.2g} ms when it goes on and on: what this machine asks of who rests"
    yield of("the same work after a second's rest", "x", [woken / warm], inside)
    share, told = busy(_LOOK_UP.format(seconds=SECONDS))
    rate = int(told) / SECONDS
    assert rate >= 50, f"the node looked up only {rate:.0f} names a second"
    inside = f"of one core, {SECONDS:.0f} s, {rate:.0f} a second, the look-ups themselves not counted"
    yield of("agent's processor time, 50 look-ups a second", "%", [share], inside, bar=0.1)


@contextmanager
def alone() -> Iterator[None]:
    """Every other part of certagent is stopped: memory that is shared counts by halves."""
    _others("stop")
    try:
        yield
    finally:
        _others("start")


def _others(word: str) -> None:
    for node in FLEET:
        units = ["certagent-collector"] if node.collector else []
        units += ["certagent-agent"] if node.agent and node.name != NODE else []
        if units:
            witness.inside(node.name, "systemctl", word, *units)


def _start() -> float:
    sh("systemctl stop certagent-agent")
    began_at = time.perf_counter()
    sh("systemctl start certagent-agent")
    return time.perf_counter() - began_at


def memory_of_agent() -> Memory:
    """Of all its processes."""
    found = sh(f"for process in $({_ALL}); do cat /proc/$process/smaps_rollup; done")
    share, anonymous = (
        sum(map(int, re.findall(rf"^{name}: +(\d+) kB$", found, re.M))) / 1024 for name in ("Pss", "Anonymous")
    )
    return Memory(share, anonymous)


def _woken() -> tuple[float, float]:
    """Processor seconds of one and the same piece of work: begun right after itself, and after a second's rest."""
    return _work_after(0.0, 200), _work_after(1.0, 10)


def _work_after(rest: float, times: int) -> float:
    took = []
    for _ in range(times):
        time.sleep(rest)
        began_at = time.thread_time()
        for _ in range(20):
            json.loads(json.dumps({"numbers": list(range(60))}))
            os.stat("/etc")
        took.append(time.thread_time() - began_at)
    return statistics.median(took)


def busy(meanwhile: str) -> tuple[float, str]:
    """The agent's share of one core in per cent while that runs, and what that said."""
    began_at, before = time.monotonic(), seconds_of_agent()
    told = sh(meanwhile)
    time.sleep(max(0.0, SECONDS - (time.monotonic() - began_at)))
    return 100 * (seconds_of_agent() - before) / (time.monotonic() - began_at), told


def seconds_of_agent() -> float:
    """Seconds of processor time so far."""
    user, system, hertz = map(int, sh(_TICKS).split())
    return (user + system) / hertz


def sh(script: str, *words: str) -> str:
    """What a script on the node says."""
    return containers.run_inside(find(NODE), "sh", "-euc", script, "sh", *words, timeout=600)
