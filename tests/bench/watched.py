"""An agent with a thousand and with five thousand watched certificates, and one whose watched folder is written to."""

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.bench.idle import NODE, SECONDS, busy, memory_of_agent, seconds_of_agent, sh
from tests.bench.rows import Row, of
from tests.e2e.fleet import until

MANY, MOST = 1_000, 5_000
RUNS = 3
SETTLES_WITHIN = 600.0
_LOOK = 10.0
_QUIET = 2.0  # per cent of a core
_ZONE = "watched.internal.thinkheads.ai"
_THREADS = "ls /proc/$(systemctl show -p MainPID --value certagent-agent)/task | wc -l"
_PREPARE = """
cp -a /etc/certagent/agent.toml /root/agent.toml
mkdir /etc/nginx/watched
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 90 -subj / \\
    -addext "subjectAltName=DNS:*.$1" -keyout /etc/nginx/watched/all.key -out /etc/nginx/watched/all.crt 2>&1
cat >/etc/nginx/conf.d/watched.conf <<END
server { listen 80; server_name *.$1; include snippets/certagent-challenge.conf; }
END
for n in $(seq $2); do
    cp /etc/nginx/watched/all.crt /etc/nginx/watched/$n.crt
    cp /etc/nginx/watched/all.key /etc/nginx/watched/$n.key
    cat >>/etc/nginx/conf.d/watched.conf <<END
server {
    listen 443 ssl; server_name n$n.$1;
    ssl_certificate /etc/nginx/watched/$n.crt; ssl_certificate_key /etc/nginx/watched/$n.key;
}
END
    cat >>/etc/certagent/agent.toml <<END
[[certificate]]
name = "n$n"
identifiers = ["n$n.$1"]
manage = false
root = "/etc/nginx/watched/all.crt"
[[certificate.deploy]]
kind = "nginx"
certificate = "/etc/nginx/watched/$n.crt"
key = "/etc/nginx/watched/$n.key"
prove = ["10.0.0.153:443"]
END
done
echo "address=/$1/10.0.0.153" >/etc/dnsmasq.d/watched.conf
systemctl restart dnsmasq nginx
systemctl restart certagent-agent
"""
_CLEAN = """
systemctl stop certagent-agent
cp -a /root/agent.toml /etc/certagent/agent.toml
rm -rf /etc/nginx/watched /etc/nginx/conf.d/watched.conf /etc/dnsmasq.d/watched.conf
systemctl restart dnsmasq nginx certagent-agent
"""
_WRITE = """
end=$(($(date +%s) + $1)); n=0
while [ $(date +%s) -lt $end ]; do
    for i in 1 2 3 4 5 6 7 8 9 10; do echo $n >/etc/certagent-bench; n=$((n + 1)); done
    sleep 0.15
done
rm /etc/certagent-bench; echo $n
"""


def measure() -> Iterator[Row]:
    """The few, the many, the most."""
    sh("systemctl restart certagent-agent")
    _settle()
    one_threads, one = int(sh(_THREADS)), memory_of_agent().share
    yield from _written_to()
    with _watching(MANY):
        settled = _settle()
        threads, memory = int(sh(_THREADS)), memory_of_agent().share
    inside = f"{MANY} certificates of nginx, each with its own files, watched and proven, to one"
    yield of(f"threads with {MANY} certificates, to one", "x", [threads / one_threads], f"{threads}; {inside}", bar=2)
    inside = f"PSS, {memory:.1f} MiB to {one:.1f} with every agent of the lab running; {inside}"
    yield of(f"memory with {MANY} certificates, to one", "x", [memory / one], inside, bar=1.4)
    yield of(f"settled with {MANY} certificates", "s", [settled], _settled_inside())
    with _watching(MOST):
        settled = _settle()
        idle = [busy("true")[0] for _ in range(RUNS)]
    yield of(f"settled with {MOST} certificates", "s", [settled], _settled_inside(), bar=SETTLES_WITHIN)
    yield of(f"agent's processor time, {MOST} certificates, idle", "%", idle, f"of one core, {SECONDS:.0f} s", bar=1)


def _settled_inside() -> str:
    return f"from its start until it takes less than {_QUIET:.0f} % of a core for {3 * _LOOK:.0f} s"


def _written_to() -> Iterator[Row]:
    shares, rates = [], []
    for _ in range(RUNS):
        began_at, before = time.monotonic(), seconds_of_agent()
        written = int(sh(_WRITE, f"{SECONDS:.0f}"))
        took = time.monotonic() - began_at
        shares.append(100 * (seconds_of_agent() - before) / took)
        rates.append(written / took)
    assert min(rates) >= 50, f"the node wrote only {min(rates):.0f} times a second"
    inside = f"of one core, {statistics.median(rates):.0f} a second to a file beside /etc/hosts that nobody watches"
    yield of("agent's processor time, unrelated writes in /etc", "%", shares, inside, bar=0.5)


@contextmanager
def _watching(count: int) -> Iterator[None]:
    try:
        sh(_PREPARE, _ZONE, str(count))
        yield
    finally:
        sh(_CLEAN)


def _settle() -> float:
    """Seconds until it rests."""
    began_at, quiet = time.monotonic(), 0

    def rests() -> bool:
        nonlocal quiet
        before = seconds_of_agent()
        time.sleep(_LOOK)
        quiet = quiet + 1 if 100 * (seconds_of_agent() - before) / _LOOK < _QUIET else 0
        return quiet >= 3

    until(f"the agent of {NODE} rests", SETTLES_WITHIN, rests)
    return time.monotonic() - began_at - 3 * _LOOK
