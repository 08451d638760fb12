"""Watches the many from outside: handshakes by `openssl s_client`, the state on disk, the agent's memory, the journals
of nginx and of the CA. Only looks."""

import json
import math
import re
import time
from collections import defaultdict
from datetime import UTC, datetime
from itertools import pairwise

import msgspec

from deploy.lab.containers import run_inside
from deploy.lab.fleet import find
from tests.e2e.many.gateway import STATE, ZONE, reloads, sh

PROBE_EVERY = 5.0
_RENEWED_WITHIN = 180  # seconds of being issued, of the 300 that a certificate lives
AT_ONCE = 20
"""Names a probe: each of two hundred once in 50 s, six times in its life."""

_HANDSHAKE = """
for n in $2; do
    openssl s_client -connect 10.0.0.153:443 -servername n$n.$1 -verify_hostname n$n.$1 -verify_return_error \\
        -CAfile /etc/certagent/root_ca.crt </dev/null 2>/dev/null | openssl x509 -noout -fingerprint -sha256 ||
        echo sha256 Fingerprint=nothing
done
"""
_ON_DISK = f"""
for n in $1; do
    cd {STATE}/n$n
    for chain in proven "generations/$(ls generations | sort -n | tail -n1)"; do
        openssl x509 -in $chain/fullchain.pem -noout -fingerprint -sha256
    done
done
"""


class Figures(msgspec.Struct):
    """What was seen. Instants are seconds since the epoch, memory is in KiB."""

    handshakes: int = 0
    wrong: list[str] = []
    memory: list[int] = []
    issued: dict[str, list[float]] = {}
    reloads: list[float] = []

    def soonest_again(self) -> float:
        """The shortest time between two certificates for one name; infinite where no name got a second one."""
        spans = (later - earlier for times in self.issued.values() for earlier, later in pairwise(times))
        return min(spans, default=math.inf)

    def growth(self) -> float:
        """The largest memory of the last third against that of the one before it: 0.01 is one percent more. Where a
        third is too short for a renewal of each, one may be at rest and the other at work: then of the halves."""
        third, half = len(self.memory) // 3, len(self.memory) // 2
        if third * PROBE_EVERY < _RENEWED_WITHIN:
            return max(self.memory[half:]) / max(self.memory[:half]) - 1
        return max(self.memory[-third:]) / max(self.memory[third:-third]) - 1

    def most_reloads(self, window: int = 10) -> int:
        """In any so many seconds."""
        return max((sum(1 for at in self.reloads if 0 <= at - start < window) for start in self.reloads), default=0)

    def summary(self) -> dict[str, float]:
        """For a person."""
        issued = [len(times) for times in self.issued.values()]
        return {
            "handshakes": self.handshakes,
            "wrong": len(self.wrong),
            "certificates_issued": sum(issued),
            "fewest_of_a_name": min(issued),
            "soonest_again_s": round(self.soonest_again(), 1),
            "memory_min_kib": min(self.memory),
            "memory_max_kib": max(self.memory),
            "memory_growth": round(self.growth(), 4),
            "reloads": len(self.reloads),
            "most_reloads_in_10_s": self.most_reloads(),
        }


def watch(count: int, minutes: float) -> Figures:
    """A probe every five seconds; then what the journals say about the whole time."""
    began = time.time()
    figures = Figures()
    names = [str(number + 1) for number in range(count)]
    probes = int(minutes * 60 / PROBE_EVERY)
    for number in range(probes):
        time.sleep(max(0.0, began + number * PROBE_EVERY - time.time()))
        first = number * AT_ONCE % count
        _probe(figures, (names + names)[first : first + AT_ONCE])
        figures.memory.append(_memory())
    figures.reloads = [at for at in reloads() if at >= began]
    figures.issued = _issued(began)
    return figures


def _probe(figures: Figures, names: list[str]) -> None:
    """Served is what was proven before, or what was the newest after: between the two nothing else may be seen."""
    before, seen, after = _on_disk(names), _served(names), _on_disk(names)
    for name, (proven, _), served, (_, newest) in zip(names, before, seen, after, strict=True):
        figures.handshakes += 1
        if served not in (proven, newest):
            figures.wrong.append(f"{datetime.now(UTC):%H:%M:%S} n{name}: {served}, not {proven} or {newest}")


def _served(names: list[str]) -> list[str]:
    return _fingerprints(run_inside(find("client"), "sh", "-c", _HANDSHAKE, "sh", ZONE, " ".join(names)))


def _on_disk(names: list[str]) -> list[tuple[str, str]]:
    found = _fingerprints(sh(_ON_DISK, " ".join(names)))
    return list(zip(found[::2], found[1::2], strict=True))


def _fingerprints(said: str) -> list[str]:
    return [line.partition("=")[2] for line in said.splitlines() if "=" in line]


def _memory() -> int:
    """The agent's resident memory."""
    status = sh("cat /proc/$(systemctl show -p MainPID --value certagent-agent)/status")
    return int(status.partition("VmRSS:")[2].split()[0])


def _issued(since: float) -> dict[str, list[float]]:
    """When the CA finalized an order for each name, by its own journal."""
    log = run_inside(find("lxc103"), "journalctl", "-u", "step-ca", "-o", "json", "--no-pager", f"--since=@{since:.0f}")
    found: dict[str, list[float]] = defaultdict(list)
    for line in log.splitlines():
        entry = json.loads(line)
        if " status=200 " in entry["MESSAGE"] and re.search(r" path=\S*/finalize ", entry["MESSAGE"]):
            name = re.search(rf"n\d+\.{re.escape(ZONE)}", entry["MESSAGE"])
            if name is not None:
                found[name[0]].append(int(entry["__REALTIME_TIMESTAMP"]) / 1e6)
    return dict(found)
