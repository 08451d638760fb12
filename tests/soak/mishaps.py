"""What befell certagent's own processes, as each node's systemd and they themselves have it in the journal."""

import json
import re
from collections.abc import Iterator

import msgspec

from deploy.story import witness
from tests.soak.ways import AGENTS, SECOND

_KILL, _TERM = 9, 15
_JOURNAL = ("journalctl", "-q", "-o", "json", "--all")
_FIELDS = "--output-fields=MESSAGE,UNIT,_SYSTEMD_UNIT,EXIT_CODE,EXIT_STATUS"
_UNITS = ("certagent-agent.service", "certagent-collector.service", f"{SECOND}.service")


class Mishap(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a node's journal: a process that did not end well (`killed`: by SIGKILL, which needs somebody who
    sent it), or that told of an exception nobody had thought of."""

    at: float
    node: str
    unit: str
    said: str
    killed: bool


def read(since: float) -> list[Mishap]:
    """Every one since then. Raises `Unseen` when a journal cannot be read."""
    either = " + ".join(f"UNIT={unit} + _SYSTEMD_UNIT={unit}" for unit in _UNITS).split()
    words = (*_JOURNAL, _FIELDS, f"--since=@{since:.0f}", *either)
    return [one for node in AGENTS for one in parse(node, witness.inside(node, *words).stdout)]


def read_interrupted(since: float) -> dict[str, list[str]]:
    """By agent, the runs that it said to have been interrupted, by their id."""
    words = ("journalctl", "-q", "-o", "cat", f"--since=@{since:.0f}", "-u", "certagent-agent.service")
    return {node: parse_interrupted(witness.inside(node, *words).stdout) for node in AGENTS}


def parse_interrupted(lines: str) -> list[str]:
    """The ids."""
    return re.findall(r": interrupted, run ([0-9a-f]{32})$", lines, re.MULTILINE)


def parse(node: str, lines: str) -> Iterator[Mishap]:
    """From journalctl's JSON, a document a line. systemd tells a number for the signal, too."""
    for line in lines.splitlines():
        entry = json.loads(line)
        said, code, status = str(entry["MESSAGE"]), entry.get("EXIT_CODE"), int(entry.get("EXIT_STATUS", -1))
        ended_well = (code, status) in (("exited", 0), ("killed", _TERM))
        if ended_well or (code is None and not said.startswith("Traceback")):
            continue
        yield Mishap(
            at=int(entry["__REALTIME_TIMESTAMP"]) / 1e6,
            node=node,
            unit=(entry.get("UNIT") or entry["_SYSTEMD_UNIT"]).removesuffix(".service"),
            said=said,
            killed=(code, status) == ("killed", _KILL),
        )
