"""What certagent's own processes take, read beside them every so often: memory and descriptors, by process."""

import time

import msgspec

from deploy.lab import containers
from deploy.lab.fleet import find
from deploy.lab.processes import Failed
from tests.soak.ways import AGENTS, SECOND

_READ = f"""
for unit in certagent-agent certagent-collector {SECOND}; do
    pid=$(systemctl show -p MainPID --value $unit)
    [ "${{pid:-0}}" != 0 ] || continue
    pss=$(sed -n 's/^Pss: *\\([0-9]*\\) kB/\\1/p' /proc/$pid/smaps_rollup) || continue
    [ -z "$pss" ] || echo "$unit $pid $pss $(ls /proc/$pid/fd | wc -l)"
done
"""


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """One process at one moment."""

    at: float
    node: str
    unit: str
    pid: int
    kibibytes: int
    descriptors: int


def read() -> list[Sample]:
    """Every process of ours that runs now; a node that is down has none."""
    samples: list[Sample] = []
    for node in AGENTS:
        try:
            told = containers.run_inside(find(node), "sh", "-c", _READ, timeout=20)
        except Failed:
            continue
        for line in told.splitlines():
            unit, pid, kibibytes, descriptors = line.split()
            samples.append(
                Sample(
                    at=time.time(),
                    node=node,
                    unit=unit,
                    pid=int(pid),
                    kibibytes=int(kibibytes),
                    descriptors=int(descriptors),
                )
            )
    return samples
