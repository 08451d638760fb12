"""The ways to trouble the fleet: those of the lab's library, and what only a soak does. One table, no time in it.

A fault has to be reported if it says so, with one of its culprits; a disturbance is over in a moment, and what it
breaks has to come back by itself.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import msgspec

from deploy.lab import containers, faults
from deploy.lab.fleet import find
from deploy.story import witness
from tests.e2e.fleet import IDENTIFIERS

AGENTS = ("lxc101", "lxc102", "lxc103", "lxc104")
COLLECTOR_NODE = "lxc104"
SECOND = "certagent-collector-second"
"""The service of the second collector, where there are two."""
_NODE_OF = {name: node for node, names in IDENTIFIERS.items() for name in names}

SILENT_AFTER = 15
_SILENCE = 85.0
"""Seconds until it is known that an agent is gone: a question every 30 s, 15 for the answer, what counts as silence,
and the collector's rounds."""


@dataclass(frozen=True)
class Expected:
    """What has to be among what was reported: a finding with such a code (the beginning of one will do) and culprit."""

    codes: tuple[str, ...]
    culprits: tuple[dict[str, Any], ...] = ({},)
    by_collector: bool = False
    """The collector concludes it: it is in no agent's report, and in an incident."""


@dataclass(frozen=True)
class Way:
    """One way to trouble the fleet. `nodes`: whose services may be away meanwhile, the first is where it is done.
    `asks`: what is run, again and again, so that somebody looks: (node, certagent's words)."""

    name: str
    nodes: tuple[str, ...]
    begin: Callable[[], object]
    end: Callable[[], object]
    lasts: tuple[float, float]
    expected: Expected | None = None
    asks: tuple[tuple[str, ...], ...] = ()
    shift: float = 0.0
    """Seconds by which the clock of the node's agent is wrong meanwhile: its reports are dated by it."""


@cache
def big() -> dict[str, Way]:
    """One of them at a time."""
    made = [*_of_library(), *_partitions(), *_stopped(), *_frozen(), *_full_disks(), *_clock_steps()]
    return {way.name: way for way in made}


@cache
def small() -> dict[str, Way]:
    """At any time, on a node that nothing big befalls just then."""
    made = [*_killed(), *_restarted(), *_starved()]
    return {way.name: way for way in made}


def names(table: Mapping[str, Way], collectors: int = 1) -> list[str]:
    """The ways that there are with so many collectors, sorted. Of two, none is frozen: the agents that are connected to
    it need longer to connect to the other than it takes here until they count as silent."""
    return sorted(name for name in table if (name not in _FROZEN if collectors > 1 else not name.endswith(SECOND)))


def kinds(ways: Sequence[str]) -> dict[str, list[str]]:
    """The ways by what kind they are of: the part of the name before the first colon."""
    return {kind: list(names) for kind, names in itertools.groupby(sorted(ways), lambda name: name.split(":")[0])}


def shell(node: str, script: str) -> str:
    """What the script prints that root runs in the node."""
    return witness.inside(node, "sh", "-euc", script, timeout=90).stdout


_LEFT_OUT = {
    "ca-short-lifetimes",  # they are shorter already
    "ca-clock-skew",  # clocks are stepped by `_clock_steps`, while the agent runs
}


def _of_library() -> list[Way]:
    return [_from_library(name, faults.load(name)) for name in faults.names() if name not in _LEFT_OUT]


def _from_library(name: str, fault: faults.Fault) -> Way:
    nodes = sorted({_NODE_OF[identifier] for identifier in fault.identifiers if identifier in _NODE_OF})
    expected = None
    if fault.verdict == "block" and fault.culprit is not None:
        culprit = msgspec.to_builtins(fault.culprit)
        named = {key: culprit[key] for key in ("node", "file", "address") if culprit.get(key) is not None}
        expected = Expected(fault.expected, (named,))
    return Way(
        f"fault:{name}",
        (fault.node,),
        partial(faults.put_in, name),
        partial(faults.take_out, name),
        (15, 40),
        expected,
        tuple((node, "check") for node in nodes),
    )


def _partitions() -> list[Way]:
    return [_partition(one, other) for one, other in itertools.combinations(AGENTS, 2)]


_PARTITION = """
nft -f - <<'RULES'
table inet soak_partition {{
    chain input {{
        type filter hook input priority 0;
        ip saddr {address} drop;
    }}
    chain output {{
        type filter hook output priority 0;
        ip daddr {address} drop;
    }}
}}
RULES
"""


def _partition(one: str, other: str) -> Way:
    rules = _PARTITION.format(address=find(other).address)
    if other == "lxc104":  # it hears nothing of the one
        expected, lasts = Expected(("agent.silent",), ({"node": one},), by_collector=True), (_SILENCE, _SILENCE + 5)
    else:
        either = tuple(one for node in (one, other) for one in ({"node": node}, {"address": find(node).address}))
        without_names = ("ca.name_leads_elsewhere",) if "lxc101" in (one, other) else ()  # it is the nameserver
        expected, lasts = Expected(("ca.unreachable", "net.", "dns.", *without_names), either), (20.0, 40.0)
    return Way(
        f"partition:{one}:{other}",
        (one, other),
        partial(shell, one, rules),
        partial(shell, one, "nft delete table inet soak_partition 2>/dev/null || true"),
        lasts,
        expected,
        tuple((node, "check") for node in (one, other) if node in IDENTIFIERS),
    )


def _stopped() -> list[Way]:
    """Whole containers. What hangs on them is found by those who are left; too short for the silence to be noticed."""
    unreachable = Expected(("ca.unreachable",), ({"node": "lxc103"}, {"address": "10.0.0.10"}))
    no_names = Expected(("dns.",), ({"node": "lxc101"}, {"address": "10.0.0.153"}))
    found = {
        "lxc103": (unreachable, (("lxc101", "check"), ("lxc102", "check"))),
        "lxc101": (no_names, (("lxc102", "check"),)),
    }
    return [
        Way(
            f"stopped:{node}",
            (node,),
            partial(containers.stop, find(node)),
            partial(_start, node),
            (10, 35),
            *found.get(node, (None, ())),
        )
        for node in AGENTS
    ]


def _start(node: str) -> None:
    """Until its systemd takes orders: the next trouble may follow at once."""
    containers.start(find(node))
    shell(node, "for _ in $(seq 100); do systemctl list-jobs >/dev/null 2>&1 && exit 0; sleep 0.1; done; exit 1")


_COLLECTORS = ((COLLECTOR_NODE, "certagent-collector"), (COLLECTOR_NODE, SECOND))


_FROZEN = frozenset(f"frozen:{node}:{unit}" for node, unit in _COLLECTORS)


def _frozen() -> list[Way]:
    """A process that lives and does nothing: SIGSTOP, shorter than two thirds of systemd's watchdog, after which it
    may strike."""
    silent = {node: Expected(("agent.silent",), ({"node": node},), by_collector=True) for node in AGENTS}
    units = [(node, "certagent-agent", silent[node], _SILENCE) for node in AGENTS]
    return [
        Way(
            f"frozen:{node}:{unit}",
            (node,),
            partial(shell, node, f"systemctl kill -s STOP {unit}"),
            partial(shell, node, f"systemctl kill -s CONT {unit}"),
            (lasts, lasts + 5),
            expected,
        )
        for node, unit, expected, lasts in [*units, *((*one, None, 30.0) for one in _COLLECTORS)]
    ]


_STATE = "/var/lib/certagent"
_FILL = f"dd if=/dev/zero of={_STATE}/filler bs=4k oflag=append conv=notrunc 2>/dev/null || true"
_SMALL_DISK = f"""
systemctl stop certagent-agent
cp -a {_STATE} /root/state
mount -t tmpfs -o size=4m,mode=0700 tmpfs {_STATE}
cp -a /root/state/. {_STATE}/
systemctl start certagent-agent
{_FILL}
certagent check >/dev/null || true
{_FILL}
"""
_LARGE_DISK = f"""
[ -d /root/state ] || exit 0
rm -f {_STATE}/filler
sleep 3  # what waits in memory is written
systemctl stop certagent-agent
rm -r /root/state
cp -a {_STATE} /root/state
umount {_STATE}
rm -rf {_STATE}/*
cp -a /root/state/. {_STATE}/
rm -r /root/state
systemctl start certagent-agent
"""


def _full_disks() -> list[Way]:
    """The agent's state on a file system that is full; twice, for the first report takes the room reserved for it."""
    return [
        Way(
            f"disk:{node}",
            (node,),
            partial(shell, node, _SMALL_DISK),
            partial(shell, node, _LARGE_DISK),
            (15, 30),
            Expected(("deploy.disk_full",)),
            ((node, "renew", "--force"),),
        )
        for node in ("lxc101", "lxc102")
    ]


CLOCK = "/etc/certagent/clock"
STEPPED = ("lxc101", "lxc104")
"""Where the agent's clock can be stepped while it runs: libfaketime reads that file again every second."""


def _clock_steps() -> list[Way]:
    return [
        Way(
            f"clock:{node}:{step:+}",
            (node,),
            partial(shell, node, f"echo '{step:+}' >{CLOCK}"),
            partial(shell, node, f"echo +0 >{CLOCK}"),
            (15, 40),
            Expected(("ca.clock_skew",), ({"node": node}, {"address": find(node).address}, {})),
            ((node, "check"),),
            shift=float(step),
        )
        for node in STEPPED
        for step in (-100, 100, 3600)
    ]


def _momentary(name: str, node: str, script: str, after: str = "true") -> Way:
    return Way(name, (node,), partial(shell, node, script), partial(shell, node, after), (1, 10))


_OURS = (*((node, "certagent-agent") for node in AGENTS), *_COLLECTORS)
_THEIRS = (("lxc101", "dnsmasq"), ("lxc101", "nginx"), ("lxc102", "traefik"), ("lxc103", "step-ca"))


def _killed() -> list[Way]:
    return [_momentary(f"killed:{node}:{unit}", node, f"systemctl kill -s KILL {unit}") for node, unit in _OURS]


def _restarted() -> list[Way]:
    return [
        _momentary(f"restarted:{node}:{unit}", node, f"systemctl reset-failed {unit}; systemctl restart {unit}")
        for node, unit in (*_THEIRS, *_OURS)
    ]


def _starved() -> list[Way]:
    """A limit that the next process runs into: the kernel kills it, and systemd tries again."""
    return [
        _momentary(
            f"starved:{node}:{unit}",
            node,
            f"systemctl set-property --runtime {unit} MemoryMax=30M; systemctl kill -s KILL {unit}",
            f"systemctl set-property --runtime {unit} MemoryMax=infinity",
        )
        for node, unit in _OURS
    ]
