"""What befell certagent's own processes, as each node's systemd and they themselves have it in the journal."""

import json
from collections.abc import Iterator

import msgspec

from deploy.story import witness
from tests.soak.ways import AGENTS

_KILL, _TERM = 9, 15
_READ = """
units='certagent-agent.service certagent-collector.service'
for unit in $units; do
    journalctl -q -o json --since @{since:.0f} --case-sensitive=yes --grep '^Traceback|: Main process exited' \\
        UNIT=$unit + _SYSTEMD_UNIT=$unit || [ $? = 1 ]  # nothing found
done
"""


class Mishap(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a node's journal: a process that did not end well (`killed`: by SIGKILL, which needs somebody who
    sent it), or that told of an exception nobody had thought of."""

    at: float
    node: str
    unit: str
    said: str
    killed: bool


def read(since: float) -> list[Mishap]:
    """Every one since then."""
    return [
        one
        for node in AGENTS
        for one in parse(node, witness.inside(node, "sh", "-c", _READ.format(since=since)).stdout)
    ]


def parse(node: str, lines: str) -> Iterator[Mishap]:
    """From journalctl's JSON, a document a line. systemd tells a number for the signal, too."""
    for line in lines.splitlines():
        entry = json.loads(line)
        code, status = entry.get("EXIT_CODE"), int(entry.get("EXIT_STATUS", -1))
        if (code, status) == ("exited", 0) or (code, status) == ("killed", _TERM):
            continue
        yield Mishap(
            at=int(entry["__REALTIME_TIMESTAMP"]) / 1e6,
            node=node,
            unit=(entry.get("UNIT") or entry["_SYSTEMD_UNIT"]).removesuffix(".service"),
            said=entry["MESSAGE"],
            killed=(code, status) == ("killed", _KILL),
        )
