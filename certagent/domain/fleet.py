"""What only the whole fleet shows: silence, certificates that nobody renews, one cause behind many agents' findings.

Pure: the facts come in, findings go out. They carry no count of seconds, so that what has not changed stays the same.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

import msgspec

from certagent.domain.findings import Culprit, Finding, Vantage
from certagent.domain.incidents import LIFETIME, KnownRehearsal, Sighting
from certagent.domain.policy import OWN_INABILITY, CollectorPolicy
from certagent.domain.rehearsals import AddressOwner, Hop, RehearsalOutcome

VANISHED = frozenset({"dns.nxdomain", "dns.nodata"})
DISAGREED = "preflight.disagreed"
SILENT = "agent.silent"
NO_WAY = frozenset({"timeout", "no_route"})
_REPORTER = "collector"
_SUSPECT_AFTER = 0.7  # of the time after which an agent counts as silent
_MOST_NAMED = 3


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


class FleetSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The facts of one moment. `sightings`: grave ones of the agents that name no file, and orders that went otherwise
    than foreseen. `owners`: of addresses that the rehearsals met."""

    signs: tuple[LastSeen, ...] = ()
    held: tuple[FleetCertificate, ...] = ()
    sightings: tuple[Sighting, ...] = ()
    rehearsals: tuple[KnownRehearsal, ...] = ()  # if one failed, also some that passed
    owners: dict[str, AddressOwner] = {}


def conclude(look: FleetSnapshot, policy: CollectorPolicy, now: datetime) -> list[Finding]:
    """Everything that the collector itself finds."""
    silent = {sign.node: sign.last_seen for sign in look.signs if now - sign.last_seen > policy.silent_after}
    return [
        *_every_agent_is_heard(look, silent, now - policy.silent_after * _SUSPECT_AFTER),
        *_every_certificate_is_renewed(look, silent, policy.expiring_below, now),
        *_names_of_a_zone_exist(look),
        *_the_authority_can_be_used(look),
        *_both_ways_are_open(look, silent),
        *_verdicts_agree_with_the_authority(look),
    ]


def _every_agent_is_heard(
    look: FleetSnapshot, silent: dict[str, datetime], suspect_before: datetime
) -> Iterator[Finding]:
    """agent.silent: of one node, or once for all if it is most of them."""
    suspects = sum(sign.last_seen < suspect_before for sign in look.signs)
    if silent and suspects >= 3 and suspects * 2 >= len(look.signs):
        yield _finding(
            SILENT,
            None,
            f"{suspects} of {len(look.signs)} agents have not been heard since {_clock(max(silent.values()))}.",
            Culprit(),
            "See what they have in common: the network, the collector's address or certificate, their host.",
        )
        return
    names: dict[str, set[str]] = {}
    for held in look.held:
        names.setdefault(held.node, set()).update(held.identifiers)
    for node, last_seen in sorted(silent.items()):
        said = f"{node} has not been heard since {_clock(last_seen)}: nobody looks after its certificates."
        fix = f"On {node}: systemctl status certagent-agent; does the container run, and does it reach the collector?"
        identifiers: list[str | None] = [*sorted(names.get(node, ()))]
        for identifier in identifiers or [None]:
            yield _finding(SILENT, identifier, said, Culprit(node=node), fix)


def _every_certificate_is_renewed(
    look: FleetSnapshot, silent: dict[str, datetime], fraction: float, now: datetime
) -> Iterator[Finding]:
    """cert.expiring, cert.expired: where no agent is left to say so; one that says so itself knows more."""
    told = {(one.agent, one.finding.identifier) for one in look.sightings if one.finding.code in LIFETIME}
    for held in look.held:
        if any((held.node, identifier) in told for identifier in held.identifiers):
            continue
        if held.not_after - now >= (held.not_after - held.not_before) * fraction:
            continue
        is_over = held.not_after <= now
        verb = "expired" if is_over else "expires"
        dead = f"; its agent has not been heard since {_clock(silent[held.node])}" if held.node in silent else ""
        said = f"The certificate {held.name} on {held.node} {verb} at {_clock(held.not_after)} without a renewal{dead}."
        fix = f"On {held.node}: certagent status says what became of the last renewal; certagent renew {held.name}"
        for identifier in held.identifiers:
            code = "cert.expired" if is_over else "cert.expiring"
            yield _finding(code, identifier, said, Culprit(node=held.node), fix)


def _names_of_a_zone_exist(look: FleetSnapshot) -> Iterator[Finding]:
    """dns.zone_gone: (nearly) every managed name of a zone vanished."""
    gone: dict[str, dict[str, Finding]] = {}
    for one in look.sightings:
        if one.finding.code in VANISHED and one.finding.identifier is not None:
            gone.setdefault(_zone_of(one.finding.identifier), {})[one.finding.identifier] = one.finding
    managed = Counter(_zone_of(name) for name in {name for held in look.held for name in held.identifiers})
    for zone, lost in sorted(gone.items()):
        if len(lost) < 2 or len(lost) < 0.8 * managed[zone]:
            continue
        culprit = _commonest(finding.culprit for finding in lost.values())
        said = f"Every name below {zone} vanished at once: {_some(lost)}."
        fix = f"See the last change of the DNS server at {culprit.address or culprit.node}: the zone {zone} is gone."
        for identifier in lost:
            yield _finding("dns.zone_gone", identifier, said, culprit, fix, zone=zone)


def _the_authority_can_be_used(look: FleetSnapshot) -> Iterator[Finding]:
    """ca.root_changed, ca.unreachable and their like: what at least half of the agents say of the CA is no accusation.

    One of them alone may be wrong about its own way there (DESIGN, rule 11).
    """
    nodes = {held.node for held in look.held}
    said: dict[tuple[str, Culprit], dict[str, Finding]] = {}
    for one in look.sightings:
        code, culprit = one.finding.code, one.finding.culprit
        if code.startswith("ca.") and code in OWN_INABILITY and culprit is not None and one.agent in nodes:
            said.setdefault((code, culprit), {})[one.agent] = one.finding
    for (code, culprit), voices in sorted(said.items(), key=lambda item: str(item[0])):
        if len(voices) >= 2 and 2 * len(voices) >= len(nodes):
            first = voices[min(voices)]
            words = f"{len(voices)} of {len(nodes)} agents say the same. {first.explanation}"
            yield _finding(code, None, words, culprit, first.fix, agents=_some(voices))


def _both_ways_are_open(look: FleetSnapshot, silent: dict[str, datetime]) -> Iterator[Finding]:
    """net.asymmetric: a node reaches CA and collector, the CA reaches others, but not that node."""
    reached = sorted({node for known in look.rehearsals for node in _nodes_met(look, known, answered=True)})
    cut_off = {one.agent for one in look.sightings if one.finding.code.startswith("ca.")} | silent.keys()
    for known in look.rehearsals:
        rehearsal = known.rehearsal
        if rehearsal.outcome is not RehearsalOutcome.FAILED:
            continue
        for node, address in _nodes_met(look, known, answered=False).items():
            others = [one for one in reached if one not in (node, rehearsal.node)]
            if node in cut_off or node in reached or not others:
                continue
            said = (
                f"{node} reaches the CA, and the CA on {rehearsal.node} reaches {_some(others)}, but not {node} at"
                f" {address}: something between the two lets one direction pass only."
            )
            fix = f"See the packet filters of {node} and of {rehearsal.node}, and the routes of both."
            yield _finding("net.asymmetric", rehearsal.identifier, said, Culprit(node=node, address=address), fix)


def _verdicts_agree_with_the_authority(look: FleetSnapshot) -> Iterator[Finding]:
    """preflight.disagreed: an order's fate was another than the verdict before it. The collector's policy may make it
    an incident; the agent's own does not stand in the way."""
    for one in look.sightings:
        if one.finding.code == DISAGREED:
            yield _finding(DISAGREED, one.finding.identifier, one.finding.explanation, Culprit(node=one.agent), None)


def _nodes_met(look: FleetSnapshot, known: KnownRehearsal, *, answered: bool) -> dict[str, str]:
    """Node -> address of those where the CA was answered, or not let through, at the node's own address."""
    met = {}
    for attempt in known.rehearsal.attempts:
        hop = attempt.hops[0] if attempt.hops else None
        owner = look.owners.get(hop.address or "") if hop is not None else None
        if hop is not None and owner is not None and _was(hop, answered):
            met[owner.node] = hop.address or ""
    return met


def _was(hop: Hop, answered: bool) -> bool:
    return hop.is_answered if answered else hop.error in NO_WAY


def _finding(code: str, identifier: str | None, said: str, culprit: Culprit, fix: str | None, **detail: str) -> Finding:
    return Finding(
        code=code,
        identifier=identifier,
        vantage=Vantage.PEER,
        reporter=_REPORTER,
        explanation=said,
        culprit=culprit,
        fix=fix,
        detail=detail,
    )


def _zone_of(name: str) -> str:
    return name.partition(".")[2]


def _commonest(culprits: Iterable[Culprit | None]) -> Culprit:
    counted = Counter(Culprit(node=one.node, address=one.address) for one in culprits if one is not None)
    return counted.most_common(1)[0][0] if counted else Culprit()


def _some(names: Iterable[str]) -> str:
    """`a, b, c and 4 more`."""
    listed: Sequence[str] = sorted(names)
    more = len(listed) - _MOST_NAMED
    return ", ".join(listed[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _clock(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M UTC")


def heard_since(signs: Iterable[LastSeen], started_at: datetime, found: Iterable[Finding] = ()) -> tuple[LastSeen, ...]:
    """The signs as a collector may count them that was not there before `started_at` to hear any.

    What is `found` silent by now was so for somebody who was there: it stays silent until it is heard.
    """
    silent = {one.culprit.node for one in found if one.code == SILENT and one.culprit is not None}
    return tuple(
        sign if sign.node in silent or None in silent else LastSeen(sign.node, max(sign.last_seen, started_at))
        for sign in signs
    )
