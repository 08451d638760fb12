"""Breaks the fleet on purpose, and mends it: one declarative file a fault, beside this one.

The scripts run inside the node, as root, by `sh -eu`, so that a file's change is seen as a person's edit would be.
`is_in` says whether the fault is in; by it both ways are harmless to repeat, and nothing has to be remembered.
"""

import shlex
import tomllib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Literal

import msgspec

from deploy.lab.containers import inside, run_inside
from deploy.lab.fleet import find
from deploy.lab.processes import Failed, run

_PRELUDE = """
wait_until() {
    tries=0
    until "$@"; do
        tries=$((tries + 1))
        [ "$tries" -lt 200 ] || { echo "not within ten seconds: $*" >&2; exit 1; }
        sleep 0.05
    done
}
"""


class Culprit(msgspec.Struct, forbid_unknown_fields=True, frozen=True, omit_defaults=True):
    """What certagent has to name first; what is left out is not asked for."""

    node: str
    file: str | None = None
    line: int | None = None
    text: str | None = None
    address: str | None = None


class Fault(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """One way to break the fleet, and what is expected of certagent then."""

    summary: str
    layer: Literal["resolver files", "DNS server", "reachability", "challenge path", "CA", "gateway configuration"]
    node: str
    """Where the scripts run."""
    identifiers: tuple[str, ...]
    """What `check` is asked for."""
    verdict: Literal["block", "warn", "proceed"]
    expected: tuple[str, ...]
    """Codes that have to be among the findings; when it blocks, the first of them leads."""
    forbidden: tuple[str, ...]
    """Codes that must not be among them."""
    green: tuple[str, ...]
    """Nodes on which nothing may be wrong meanwhile."""
    observable: str
    """What can be seen from outside, in a few words: no two faults have the same leading code and the same of it."""
    culprit: Culprit | None = None
    conflicts: tuple[str, ...] = ()
    """Faults that cannot be in at the same time."""
    is_in: str
    break_: str = msgspec.field(name="break")
    heal: str


def names() -> list[str]:
    """All faults there are."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.toml"))


@cache
def load(name: str) -> Fault:
    """Read a fault's file, once a process.

    Raises:
        LookupError: there is no such fault.
        Failed: the file is not right; the message says where.
    """
    path = Path(__file__).parent / f"{name}.toml"
    if name not in names():
        raise LookupError(f"there is no fault {name!r}; there are {', '.join(names())}")
    try:
        return msgspec.convert(tomllib.loads(path.read_text()), Fault)
    except (msgspec.ValidationError, tomllib.TOMLDecodeError) as wrong:
        raise Failed(f"{path}: {wrong}") from wrong


def put_in(name: str) -> str:
    """Break the fleet in that way; tells in one line what was done."""
    fault = load(name)
    if is_in(fault):
        return f"{name}: is in already"
    _perform(fault, fault.break_)
    if not is_in(fault):
        raise Failed(f"{name}: the script ran on {fault.node}, and the fault is not in")
    return f"{name}: is in now, on {fault.node}: {fault.summary}"


def take_out(name: str) -> str:
    """Mend it again; tells in one line what was done."""
    fault = load(name)
    if not is_in(fault):
        return f"{name}: is not in"
    _perform(fault, fault.heal)
    if is_in(fault):
        raise Failed(f"{name}: the script ran on {fault.node}, and the fault is still in")
    return f"{name}: is out again, on {fault.node}"


def is_in(fault: Fault) -> bool:
    """Whether the fleet is broken in that way now; false when the node does not run."""
    try:
        run(inside(find(fault.node), "sh", "-c", fault.is_in))
    except Failed:
        return False
    return True


def find_in() -> list[str]:
    """Every fault that is in now: asked with one entry into each node, not with one for each fault."""
    by_node: dict[str, list[str]] = {}
    for name in names():
        by_node.setdefault(load(name).node, []).append(name)
    with ThreadPoolExecutor(len(by_node)) as pool:
        found = [name for told in pool.map(_find_in, by_node, by_node.values()) for name in told]
    return sorted(found)


def _find_in(node: str, candidates: Sequence[str]) -> list[str]:
    asked = (
        f"if sh -c {shlex.quote(load(name).is_in)} >/dev/null 2>&1 </dev/null; then echo {name}; fi"
        for name in candidates
    )
    try:
        return run_inside(find(node), "sh", "-s", text="\n".join(asked)).split()
    except Failed:
        return []  # the node does not run


def _perform(fault: Fault, script: str) -> None:
    run_inside(find(fault.node), "sh", "-eu", "-s", text=_PRELUDE + script)
