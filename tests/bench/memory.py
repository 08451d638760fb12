"""The agent's memory at rest, alone on the machine, beside `step ca renew --daemon` and Caddy in the same run; and a
minute after a renewal."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench import daemons
from tests.bench.daemons import Memory, memory_of
from tests.bench.idle import NODE, alone, memory_of_agent, sh
from tests.bench.rows import Row, against, of

RUNS = 3
PAIR = ("/etc/nginx/ssl/gateway.crt", "/etc/nginx/ssl/gateway.key")
SETTLED = 45.0
"""Seconds after its start: what starting took is given back twice a minute."""
MINUTE = 60.0
_NAME = "caddy.internal.thinkheads.ai"
_WITH_CADDY = """
systemctl stop certagent-agent
echo "server { listen 80; server_name $1; include snippets/certagent-challenge.conf; }" >/etc/nginx/conf.d/caddy.conf
echo "address=/$1/10.0.0.153" >/etc/dnsmasq.d/caddy.conf
systemctl restart dnsmasq nginx
"""
_WITHOUT_CADDY = """
rm /etc/nginx/conf.d/caddy.conf /etc/dnsmasq.d/caddy.conf
systemctl restart dnsmasq nginx certagent-agent
"""


def measure() -> Iterator[Row]:
    """Every other part of certagent is stopped: what is shared with another Python counts by halves."""
    with alone():
        before, after = zip(*[_one_run() for _ in range(RUNS)], strict=True)
        step, caddy = [_step() for _ in range(RUNS)], _caddy()
    inside = f"PSS of all its processes, alone on the machine, {SETTLED:.0f} s after its start"
    shares, step_shares = [one.share for one in before], [one.share for one in step]
    name = f"step {daemons.STEP}"
    peer = "`step ca renew --daemon` with one certificate, after its first renewal; a Go program shares nothing"
    row = of("agent's memory, idle", "MiB", shares, inside)
    yield against(row, name, step_shares, peer, 1.0)
    yield against(row, f"Caddy {daemons.version_of_caddy()}", [one.share for one in caddy], "one site, one certificate")
    anonymous = of("agent's anonymous memory, idle", "MiB", [one.anonymous for one in before], "backed by no file")
    yield against(anonymous, name, [one.anonymous for one in step], peer, 2.5)
    growth = [later.share / earlier.share for earlier, later in zip(before, after, strict=True)]
    yield of("agent's memory a minute after a renewal, to before", "x", growth, "PSS of all its processes", bar=1.05)


def _one_run() -> tuple[Memory, Memory]:
    sh("systemctl restart certagent-agent")
    time.sleep(SETTLED)
    before = memory_of_agent()
    sh("certagent renew --force >/dev/null || [ $? = 3 ]")
    time.sleep(MINUTE)
    return before, memory_of_agent()


def _step() -> Memory:
    with _home() as home, daemons.step(NODE, PAIR, home) as pid:
        time.sleep(5)
        return memory_of(pid)


def _caddy() -> list[Memory]:
    sh(_WITH_CADDY, _NAME)
    try:
        with _home() as home, daemons.caddy(NODE, _NAME, home) as pid:
            time.sleep(SETTLED)
            return [memory_of(pid)]
    finally:
        sh(_WITHOUT_CADDY)


@contextmanager
def _home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)
