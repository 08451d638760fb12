"""What only the whole fleet shows: silence, certificates that nobody renews, one cause behind many agents' findings.

Pure: the facts come in, findings go out. They carry no count of seconds, so that what has not changed stays the same.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime

import msgspec

from certagent.domain import catalogue
from certagent.domain.catalogue import Fact, Layer, Trait, has_trait, layer_of
from certagent.domain.claims import Claim, ClaimKind
from certagent.domain.findings import Culprit, Finding, Severity, Vantage
from certagent.domain.fleet_snapshot import (
    SILENT,
    FleetSnapshot,
    are_most,
    common_voices,
    lost_names,
    silent_among,
    suspect_before,
)
from certagent.domain.policy import CollectorPolicy
from certagent.domain.probe_errors import UNHEARD
from certagent.domain.rehearsals import Hop, RehearsalOutcome
from certagent.domain.sightings import KnownRehearsal, concerns_path

ASYMMETRIC = "net.asymmetric"
DISAGREED = "preflight.disagreed"
DISPUTED = "fleet.disputed"
_REPORTER = "collector"
_MOST_NAMED = 3


def seen_twice(found: Iterable[Finding], before: frozenset[str]) -> tuple[list[Finding], frozenset[str]]:
    """(what is said now, what is said if the next look finds it again). While the fleet is looked at, a rehearsal may
    pass that this look does not know of: `before` is what the last one found."""
    found = list(found)
    names = frozenset(finding.identifier or "" for finding in found if finding.code == ASYMMETRIC)
    return [one for one in found if one.code != ASYMMETRIC or (one.identifier or "") in before], names


def conclude(snapshot: FleetSnapshot, policy: CollectorPolicy, now: datetime) -> list[Finding]:
    """Everything that the collector itself finds."""
    silent = silent_among(snapshot.last_seen, policy, now)
    return [
        *_every_agent_is_heard(snapshot, silent, suspect_before(policy, now)),
        *_every_certificate_is_renewed(snapshot, silent, policy.expiring_below, now),
        *_names_of_a_zone_exist(snapshot),
        *_many_report_the_same(snapshot),
        *_both_ways_are_open(snapshot, silent),
        *_verdicts_agree_with_the_authority(snapshot),
        *_messages_are_accepted(snapshot, now - policy.channel_failing_after),
        *_nothing_is_disputed(snapshot),
    ]


def _every_agent_is_heard(
    snapshot: FleetSnapshot, silent: Mapping[str, datetime], suspect_since: datetime
) -> Iterator[Finding]:
    """agent.silent: of one node, or once for all if it is most of them."""
    suspects, total = sum(agent.last_seen < suspect_since for agent in snapshot.last_seen), snapshot.count_agents()
    if silent and are_most(suspects, total):
        since = _clock(max(silent.values()))
        yield _finding(SILENT, None, Culprit(), variant="most", count=suspects, total=total, since=since)
        return
    names: dict[str, set[str]] = {}
    for certificate in snapshot.certificates:
        names.setdefault(certificate.node, set()).update(certificate.identifiers)
    for node, last_seen in sorted(silent.items()):
        identifiers: list[str | None] = [*sorted(names.get(node, ()))]
        for identifier in identifiers or [None]:
            yield _finding(SILENT, identifier, Culprit(node=node), since=_clock(last_seen))


def _every_certificate_is_renewed(
    snapshot: FleetSnapshot, silent: Mapping[str, datetime], fraction: float, now: datetime
) -> Iterator[Finding]:
    """cert.expiring, cert.expired: where no agent is left to say so; one that says so itself knows more."""
    reported = {
        (sighting.agent, sighting.finding.identifier)
        for sighting in snapshot.sightings
        if has_trait(sighting.finding.code, Trait.LIFETIME)
    }
    for certificate in snapshot.certificates:
        if any((certificate.node, identifier) in reported for identifier in certificate.identifiers):
            continue
        if certificate.not_after - now >= (certificate.not_after - certificate.not_before) * fraction:
            continue
        code = "cert.expired" if certificate.not_after <= now else "cert.expiring"
        silent_since = _clock(silent[certificate.node]) if certificate.node in silent else None
        for identifier in certificate.identifiers:
            yield _finding(
                code,
                identifier,
                Culprit(node=certificate.node),
                variant="fleet",
                certificate=certificate.name,
                until=_clock(certificate.not_after),
                silent_since=silent_since,
            )


def _names_of_a_zone_exist(snapshot: FleetSnapshot) -> Iterator[Finding]:
    """dns.zone_gone: (nearly) every managed name of a zone vanished."""
    managed = snapshot.count_names()
    for zone, lost in sorted(lost_names(snapshot.sightings).items()):
        if len(lost) < 0.8 * managed.get(zone, 0):
            continue
        culprit = _commonest(finding.culprit for finding in lost.values())
        for identifier in lost:
            yield _finding("dns.zone_gone", identifier, culprit, detail={"zone": zone}, zone=zone, names=sorted(lost))


def _many_report_the_same(snapshot: FleetSnapshot) -> Iterator[Finding]:
    """ca.root_changed, ca.unreachable and their like, and what agents blame on the CA's own files or on a nameserver:
    what at least half of the agents say is no accusation.

    One of them alone may be wrong about its own way there (decision 11).
    """
    nodes, total = {certificate.node for certificate in snapshot.certificates}, snapshot.count_nodes()
    for _, said in sorted(common_voices(snapshot.sightings).items()):
        voices = {agent: found for agent, found in said.items() if agent in nodes}
        if len(voices) < 2 or 2 * len(voices) < total:
            continue
        first = voices[min(voices)][0]
        names = {one.identifier for found in voices.values() for one in found if concerns_path(one)}
        listed: list[str | None] = [*sorted(filter(None, names))]
        some = _some(voices)
        for name in listed or [None]:
            yield _finding(
                first.code,
                name,
                first.culprit or Culprit(),
                variant="fleet",
                detail={"agents": some},
                cause=first,
                count=len(voices),
                total=total,
            )


def _both_ways_are_open(snapshot: FleetSnapshot, silent: Mapping[str, datetime]) -> Iterator[Finding]:
    """net.asymmetric: a node reaches CA and collector, the CA reaches others, but not that node; unless the CA's own
    node keeps its packets back."""
    reached = sorted({node for known in snapshot.rehearsals for node in _nodes_met(snapshot, known, answered=True)})
    cut_off = {
        sighting.agent for sighting in snapshot.sightings if layer_of(sighting.finding.code) is Layer.CA
    } | silent.keys()
    for known in snapshot.rehearsals:
        rehearsal = known.rehearsal
        if rehearsal.outcome is not RehearsalOutcome.FAILED:
            continue
        for node, address in _nodes_met(snapshot, known, answered=False).items():
            others = [other for other in reached if other not in (node, rehearsal.node)]
            if node in cut_off or node in reached or not others:
                continue
            yield _finding(
                ASYMMETRIC,
                rehearsal.identifier,
                Culprit(node=node, address=address),
                variant="fleet",
                client=node,
                looker=rehearsal.node,
                others=others,
            )


def _verdicts_agree_with_the_authority(snapshot: FleetSnapshot) -> Iterator[Finding]:
    """preflight.disagreed: an order's fate was another than the verdict before it. The collector's policy may make it
    an incident; the agent's own does not stand in the way."""
    for sighting in snapshot.sightings:
        finding = sighting.finding
        if finding.code == DISAGREED:
            yield msgspec.structs.replace(
                finding,
                severity=Severity.ERROR,
                vantage=Vantage.PEER,
                reporter=_REPORTER,
                culprit=Culprit(node=sighting.agent),
            )


def _messages_are_accepted(snapshot: FleetSnapshot, before: datetime) -> Iterator[Finding]:
    """collector.channel_failing: once for all channels, as what they have in common may be the cause."""
    failing = [channel for channel in snapshot.channels if channel.gave_up or channel.since <= before]
    if failing:
        first = min(failing, key=lambda channel: channel.since)
        yield _finding(
            "collector.channel_failing",
            None,
            Culprit(node=snapshot.collector, role="collector"),
            channels=sorted(channel.name for channel in failing),
            since=_clock(first.since),
            said=first.failure,
        )


def _nothing_is_disputed(snapshot: FleetSnapshot) -> Iterator[Finding]:
    """fleet.disputed: one of each claim that counts for nothing."""
    for dispute in snapshot.disputes:
        is_address = dispute.kind is ClaimKind.ADDRESS
        claims = {claim.node: _since(claim) for claim in dispute.claims}
        for claim in dispute.pretenders():
            yield _finding(
                DISPUTED,
                None if is_address else dispute.subject,
                Culprit(node=claim.node, address=dispute.subject if is_address else None),
                variant="address" if is_address else "",
                detail={"claims": ", ".join(f"{node} since {since}" for node, since in sorted(claims.items()))},
                since=_since(claim),
                others=list(dispute.holders),
            )


def _since(claim: Claim) -> str:
    return _clock(claim.since) if claim.since is not None else "before claims had a date"


def _nodes_met(snapshot: FleetSnapshot, known: KnownRehearsal, *, answered: bool) -> dict[str, str]:
    """Node -> address of those where the CA was answered, or not let through, at the node's own address."""
    met = {}
    for attempt in known.rehearsal.attempts:
        hop = attempt.hops[0] if attempt.hops else None
        owner = snapshot.owners.get(hop.address or "") if hop is not None else None
        if hop is not None and owner is not None and _was(hop, answered):
            met[owner.node] = hop.address or ""
    return met


def _was(hop: Hop, answered: bool) -> bool:
    return hop.is_answered if answered else hop.error in UNHEARD and not hop.is_local


def _finding(
    code: str,
    identifier: str | None,
    culprit: Culprit,
    *,
    variant: str = "",
    detail: Mapping[str, str] | None = None,
    cause: Finding | None = None,
    **facts: Fact,
) -> Finding:
    return catalogue.finding(
        code,
        vantage=Vantage.PEER,
        reporter=_REPORTER,
        identifier=identifier,
        culprit=culprit,
        detail=detail,
        variant=variant,
        cause=cause,
        **facts,
    )


def _commonest(culprits: Iterable[Culprit | None]) -> Culprit:
    counted = Counter(
        Culprit(node=culprit.node, address=culprit.address) for culprit in culprits if culprit is not None
    )
    return counted.most_common(1)[0][0] if counted else Culprit()


def _some(names: Iterable[str]) -> str:
    """`a, b, c and 4 more`."""
    listed: Sequence[str] = sorted(names)
    more = len(listed) - _MOST_NAMED
    return ", ".join(listed[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _clock(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M UTC")
