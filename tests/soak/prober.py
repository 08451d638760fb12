"""What a client of the fleet meets, by openssl and nothing of ours: `python -m tests.soak.prober OUT`.

A process of its own. Every ten seconds one handshake with each endpoint, from the client's container, by address;
chain, name and dates are verified by openssl. One JSON document a line.
"""

import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from deploy.lab import containers
from deploy.lab.fleet import find
from deploy.lab.processes import Failed

ENDPOINTS = (
    ("lxc101", "10.0.0.153:443", "nginx.internal.thinkheads.ai"),
    ("lxc101", "10.0.0.153:443", "portainer.phoenix.thinkheads.ai"),
    ("lxc102", "10.0.0.12:443", "traefik.internal.thinkheads.ai"),
    ("lxc104", "10.0.0.104:8843", "collector.internal.thinkheads.ai"),
)
EVERY = 10.0

_LOOK = """
export LC_ALL=C
out=$(timeout 6 openssl s_client -connect "$1" -servername "$2" -verify_hostname "$2" \
    -CAfile /etc/certagent/root_ca.crt </dev/null 2>/dev/null) || true  # its own lines would end up within others
printf '%s\\n' "$out" | grep -m1 '^ *Verify return code:' || true  # echo would read what is dumped as escapes
printf '%s\\n' "$out" | openssl x509 -noout -subject -fingerprint -sha256 -enddate 2>/dev/null || true
"""


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """One handshake. `verdict`: openssl's own ("0 (ok)"); null if there was none, that is if nobody answered."""

    at: float
    node: str
    name: str
    verdict: str | None
    fingerprint: str | None = None
    ends: str | None = None
    subject: str | None = None


def look(node: str, endpoint: str, name: str) -> Probe:
    """One handshake now."""
    at = time.time()
    try:
        told = containers.run_inside(find("client"), "sh", "-c", _LOOK, "sh", endpoint, name, timeout=15)
    except Failed as failed:
        return Probe(at=at, node=node, name=name, verdict=f"the probe failed: {failed}")
    fields = dict(line.strip().split(sep, 1) for line in told.splitlines() for sep in ("=", ": ") if sep in line)
    verdict, fingerprint = fields.get("Verify return code"), fields.get("sha256 Fingerprint")
    return Probe(
        at=at,
        node=node,
        name=name,
        verdict=verdict if fingerprint else None,  # without a certificate there is nothing that openssl has verified
        fingerprint=fingerprint,
        ends=fields.get("notAfter"),
        subject=fields.get("subject"),
    )


def main(out: Path) -> None:
    """Until a signal."""
    over = threading.Event()
    for one in (signal.SIGTERM, signal.SIGINT):
        signal.signal(one, lambda *_: over.set())
    with out.open("ab", buffering=0) as lines, ThreadPoolExecutor(len(ENDPOINTS)) as pool:
        following = time.monotonic()
        while not over.wait(max(0.0, following - time.monotonic())):
            following += EVERY
            jobs = [pool.submit(look, *one) for one in ENDPOINTS]
            for job in jobs:
                lines.write(msgspec.json.encode(job.result()) + b"\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
