"""The facts of the whole fleet at one moment; and of a large one, which facts can matter, so that nobody reads the
rest. Pure.

A whole snapshot counts by itself. One that holds only what can matter brings its `Totals`, and the same is concluded
from it: what is left out makes no finding, and no total is wrong before it decides.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

import msgspec

from certagent.domain.catalogue import Layer, Trait, has_trait, layer_of
from certagent.domain.claims import Dispute
from certagent.domain.findings import Finding
from certagent.domain.policy import CollectorPolicy
from certagent.domain.rehearsals import AddressOwner
from certagent.domain.sightings import KnownRehearsal, Sighting, accused_by, concerns_path, key_of

SILENT = "agent.silent"
LONGEST_CLASS = 17
"""Of a certificate's life: 2**17 hours, fifteen years; what lives longer is in the class after it."""
_SUSPECT_AFTER = 0.7  # of the time after which an agent counts as silent
_HOUR = timedelta(hours=1)
_MICROSECOND = timedelta(microseconds=1)


class LastSeen(msgspec.Struct, frozen=True):
    """An agent, and when it was heard last."""

    node: str
    last_seen: datetime


class FleetCertificate(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate as its node's inventory knows it on disk."""

    node: str
    name: str
    identifiers: tuple[str, ...]
    not_before: datetime
    not_after: datetime


class FailingChannel(msgspec.Struct, frozen=True, kw_only=True):
    """A channel that accepts no messages: none since `since`, and why not the last one. `gave_up`: on at least one."""

    name: str
    since: datetime
    failure: str
    gave_up: bool


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """How many agents there are, how many nodes with certificates, and how many names of each zone: each as far as
    `Wanted` asks; what is more is as good as that."""

    agents: int = 0
    nodes: int = 0
    names: dict[str, int] = {}


class FleetSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The facts of one moment. `sightings`: grave ones of the agents that name no file of their own, and orders that
    went otherwise than foreseen. `owners`: of addresses that the rehearsals met. `collector`: the node that it runs on,
    if an agent there says so. `totals`: null if all agents and certificates are in it."""

    last_seen: tuple[LastSeen, ...] = ()
    certificates: tuple[FleetCertificate, ...] = ()
    sightings: tuple[Sighting, ...] = ()
    rehearsals: tuple[KnownRehearsal, ...] = ()  # if one failed, also some that passed
    owners: dict[str, AddressOwner] = {}
    channels: tuple[FailingChannel, ...] = ()
    collector: str | None = None
    disputes: tuple[Dispute, ...] = ()
    totals: Totals | None = None

    def count_agents(self) -> int:
        """All of them."""
        return len(self.last_seen) if self.totals is None else self.totals.agents

    def count_nodes(self) -> int:
        """Those with certificates."""
        return len({one.node for one in self.certificates}) if self.totals is None else self.totals.nodes

    def count_names(self) -> Mapping[str, int]:
        """Of each zone."""
        if self.totals is not None:
            return self.totals.names
        return Counter(map(zone_behind, {name for one in self.certificates for name in one.identifiers}))


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What can matter beside the certificates that are about to expire: those of `nodes`, and how far to count the
    nodes with certificates, and the names of each zone."""

    nodes: frozenset[str]
    most_nodes: int
    most_names: dict[str, int]


def suspect_before(policy: CollectorPolicy, now: datetime) -> datetime:
    """An agent that was heard at that time or later is neither silent nor about to be: it makes no finding."""
    return now - policy.silent_after * _SUSPECT_AFTER


def silent_among(last_seen: Iterable[LastSeen], policy: CollectorPolicy, now: datetime) -> dict[str, datetime]:
    """Those that are, and since when."""
    return {one.node: one.last_seen for one in last_seen if now - one.last_seen > policy.silent_after}


def are_most(suspects: int, total: int) -> bool:
    """Whether that many agents are silent, or about to be, that it is one thing."""
    return suspects >= 3 and suspects * 2 >= total


def most_agents(last_seen: Iterable[LastSeen], policy: CollectorPolicy, now: datetime) -> int:
    """How far agents have to be counted: with one more than twice the suspects, those are not most of them."""
    listed, before = list(last_seen), suspect_before(policy, now)
    suspects = sum(one.last_seen < before for one in listed)
    return 2 * suspects + 1 if suspects >= 3 and silent_among(listed, policy, now) else 0


def want(snapshot: FleetSnapshot, policy: CollectorPolicy, now: datetime) -> Wanted:
    """What can matter, by all the rest of a snapshot, in which the agents have been counted."""
    silent = silent_among(snapshot.last_seen, policy, now).keys()
    suspects = sum(one.last_seen < suspect_before(policy, now) for one in snapshot.last_seen)
    several = [said.keys() for said in common_voices(snapshot.sightings).values() if len(said) >= 2]
    voices = {agent for said in several for agent in said}
    return Wanted(
        nodes=frozenset(voices if are_most(suspects, snapshot.count_agents()) else voices | silent),
        most_nodes=max((2 * len(said) + 1 for said in several), default=0),
        most_names={zone: int(len(lost) / 0.8) + 2 for zone, lost in lost_names(snapshot.sightings).items()},
    )


def class_of_life(issued_at: datetime, expires_at: datetime) -> int:
    """The least n so that the certificate lives for no more than 2**n hours; at most one more than `LONGEST_CLASS`."""
    hours = (expires_at - issued_at - _MICROSECOND) // _HOUR
    return min(max(hours, 0).bit_length(), LONGEST_CLASS + 1)


def expiring_before(number: int, fraction: float, now: datetime) -> datetime:
    """No certificate of that class is about to expire that expires then, or later."""
    return now + _HOUR * (fraction * float(2**number)) + _MICROSECOND


def lost_names(sightings: Iterable[Sighting]) -> dict[str, dict[str, Finding]]:
    """Zone -> identifier -> what says that it vanished; where it is more than one."""
    gone: dict[str, dict[str, Finding]] = {}
    for finding in (sighting.finding for sighting in sightings):
        if has_trait(finding.code, Trait.NAME_VANISHED) and finding.identifier is not None:
            gone.setdefault(zone_behind(finding.identifier), {})[finding.identifier] = finding
    return {zone: lost for zone, lost in gone.items() if len(lost) >= 2}


def common_voices(sightings: Iterable[Sighting]) -> dict[str, dict[str, list[Finding]]]:
    """Key -> agent -> what it says that may be more than its own trouble."""
    said: dict[str, dict[str, list[Finding]]] = {}
    for sighting in sightings:
        if _may_be_common(sighting):
            key = key_of(sighting.agent, sighting.finding)
            said.setdefault(key, {}).setdefault(sighting.agent, []).append(sighting.finding)
    return said


def zone_behind(name: str) -> str:
    """What is behind the first label."""
    return name.partition(".")[2]


def heard_since(
    agents: Iterable[LastSeen], started_at: datetime, found: Iterable[Finding] = ()
) -> tuple[LastSeen, ...]:
    """When each agent was last heard, as a collector may count it that has run only since `started_at`.

    What is `found` silent by now was so for somebody who was there: it stays silent until it is heard.
    """
    silent = {finding.culprit.node for finding in found if finding.code == SILENT and finding.culprit is not None}
    return tuple(
        agent if agent.node in silent or None in silent else LastSeen(agent.node, max(agent.last_seen, started_at))
        for agent in agents
    )


def _may_be_common(sighting: Sighting) -> bool:
    """Whether it is said of the CA, or of a file or a port of another node that many names go through."""
    finding = sighting.finding
    if finding.culprit is None:
        return False
    if layer_of(finding.code) is Layer.CA and finding.culprit.file is None:
        return has_trait(finding.code, Trait.CA_UNUSABLE)
    return concerns_path(finding) and accused_by(sighting.agent, finding) != sighting.agent
