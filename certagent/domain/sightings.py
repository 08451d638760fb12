"""Sightings: findings as they stand, whose word they are, what bears them out, what outlives them, and by which key
they belong together. Pure.

One node's word clears, hides or degrades nothing of another's (decisions 11 and 18). A passed rehearsal outlives a
sighting only if the node asked for it whose identifier it is, or if the authority looked by itself; a failed one shows
that the identifier of who asked fails, and not whose fault that is.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from certagent.domain.catalogue import Layer, Trait, has_trait, layer_of
from certagent.domain.findings import Culprit, Finding, Severity
from certagent.domain.probe_errors import NOBODY_THERE, ProbeError
from certagent.domain.rehearsals import AddressOwner, ChallengeType, Rehearsal, RehearsalOutcome

COLLECTOR = "@collector"
"""Who speaks where the collector itself concludes something from what all agents said. No token has such a name."""

_NEVER = datetime.max.replace(tzinfo=UTC)

_CHALLENGES = {
    Layer.HTTP01: ChallengeType.HTTP01,
    Layer.ALPN: ChallengeType.TLS_ALPN01,
    Layer.DNS01: ChallengeType.DNS01,
}
"""What is said of one challenge, no rehearsal of another answers."""


class Victim(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate that cannot be renewed because of the culprit. `expires_at` is null if none is on disk."""

    identifier: str
    node: str
    certificate: str
    expires_at: datetime | None = None


class Sighting(msgspec.Struct, frozen=True, kw_only=True):
    """An active finding as it is held: whose token reported it, for which scope, when."""

    agent: str
    scope: str
    at: datetime
    finding: Finding


class KnownRehearsal(msgspec.Struct, frozen=True, kw_only=True):
    """The latest rehearsal of an identifier and challenge that `asker` asked for.

    `brokered`: it went through the collector itself, nobody's word for it. The asker is empty where an older version
    did not note it, and `@NAME` for an operator: it then counts for nobody.
    """

    at: datetime
    brokered: bool
    rehearsal: Rehearsal
    asker: str = ""

    @property
    def has_passed(self) -> bool:
        """Whether the token came back."""
        return self.rehearsal.outcome is RehearsalOutcome.PASSED

    @property
    def has_failed(self) -> bool:
        """Whether it did not."""
        return self.rehearsal.outcome is RehearsalOutcome.FAILED


class Fleet(msgspec.Struct, frozen=True, kw_only=True):
    """What is known beside the findings: address -> owner, identifier -> certificates, node -> role, rehearsals.

    `victims` are the certificates of the nodes whose identifier it is by right; `certificates`: the same by node and
    certificate, of those that findings are about as a whole. `disputed`: identifiers that other nodes claim as well.
    """

    authorities: frozenset[str] = frozenset()
    owners: Mapping[str, AddressOwner] = {}
    roles: Mapping[str, str | None] = {}
    victims: Mapping[str, tuple[Victim, ...]] = {}
    certificates: Mapping[tuple[str, str], tuple[Victim, ...]] = {}
    rehearsals: Mapping[str, tuple[KnownRehearsal, ...]] = {}
    disputed: frozenset[str] = frozenset()

    def holders_of(self, identifier: str | None) -> frozenset[str]:
        """The nodes whose identifier it is."""
        return frozenset(victim.node for victim in self.victims.get(identifier or "", ()))


# --- what belongs together --------------------------------------------------------------------------------------------

EXPIRING = "cert.expiring"
"""Under which the end of a certificate is kept, before and after it."""
KINDS = ("file", "port", "nameserver", "target", "code")
"""What keys begin with, the most precise first; then comes the node."""
_LONGEST_PART = 300  # of a key
Target = tuple[str, str, str]
"""Node, certificate, and the target's name."""


def key_of(agent: str, finding: Finding) -> str:
    """What makes two findings one incident: the culprit's file; else the port at which nobody answers, whoever should
    be reached there; else the certificate at its target; else node, code and identifier. Never a line."""
    node, target = accused_by(agent, finding), finding.target
    if finding.culprit is not None and finding.culprit.file is not None and not _is_staged(finding):
        return f"file:{node}:{finding.culprit.file}"
    if has_trait(finding.code, Trait.LIFETIME):  # it goes on when the certificate dies
        return f"code:{node}:{EXPIRING}"
    if has_trait(finding.code, Trait.NODE_WIDE):
        return f"code:{node}:{finding.code}"
    if (port := dead_port(finding)) is not None:
        kind = "nameserver" if layer_of(finding.code) is Layer.DNS else "port"
        return f"{kind}:{node}:{port[:_LONGEST_PART]}"
    if target is not None:
        return f"target:{node}:{target.certificate[:_LONGEST_PART]}:{target.name[:_LONGEST_PART]}"
    return f"code:{node}:{finding.code}:{finding.identifier or ''}"


def own_key_of(agent: str, finding: Finding) -> str | None:
    """What makes an accusation of another node an incident of the accuser's own; None if it accuses nobody else."""
    if accused_by(agent, finding) == agent:
        return None
    return key_of(agent, msgspec.structs.replace(finding, culprit=None))


def keys_of(agent: str, finding: Finding) -> set[str]:
    """The incidents that a finding may belong to."""
    return {key_of(agent, finding), own_key_of(agent, finding)} - {None}  # type: ignore[return-value]


def is_shared(key: str) -> bool:
    """Whether what has that key is said for several identifiers at once: of a node as a whole, of a port."""
    return key.startswith(("port:", "nameserver:")) or (key.startswith("code:") and key.count(":") == 2)


def is_at_address(key: str) -> bool:
    """Whether what has that key is met at an address: nobody answers at a port, or somebody gives a wrong answer for a
    name. At the same address, and for the same certificate, that is one thing."""
    return key.startswith("port:") or (key.startswith("code:") and key.split(":")[2].startswith(("http01.", "alpn.")))


def dead_port(finding: Finding) -> str | None:
    """The address and the port at which nobody answers; `-` where the node that asks keeps its own packets back."""
    address = finding.culprit.address if finding.culprit is not None else None
    facts, variant = _as_first_told(finding)
    if address is None or not has_trait(finding.code, Trait.DEAD_PORT):
        return None
    if str(facts.get("trouble", facts.get("error", ProbeError.REFUSED))) not in NOBODY_THERE:
        return None
    if variant == "local":
        return "-"
    port, endpoint = str(facts.get("port", "")), facts.get("endpoint")
    if isinstance(endpoint, str):
        return endpoint
    return address if not port or address.endswith(f":{port}") else f"{address}:{port}"


def _as_first_told(finding: Finding) -> tuple[Mapping[str, Any], str]:
    """Facts and variant: of what many say, those of the first who said it."""
    cause = finding.facts.get("because") if finding.variant == "fleet" else None
    if not isinstance(cause, Mapping) or not isinstance(cause.get("facts"), Mapping):
        return finding.facts, finding.variant
    return cause["facts"], str(cause.get("variant", ""))


def _is_staged(finding: Finding) -> bool:
    """Whether the file is of one generation alone: the next one has another."""
    return finding.target is not None and "staged" in finding.facts


def own_target(sighting: Sighting) -> Target | None:
    """Node, certificate and name of the target that it is about, where a node speaks of its own."""
    target = sighting.finding.target
    if target is None or accused_by(sighting.agent, sighting.finding) != sighting.agent:
        return None
    return sighting.agent, target.certificate, target.name


# --- whose word it is -------------------------------------------------------------------------------------------------


def accused_by(agent: str, finding: Finding) -> str:
    """The node of the culprit; without one the agent speaks of its own."""
    return finding.culprit.node if finding.culprit is not None and finding.culprit.node else agent


def concerns_path(finding: Finding) -> bool:
    """Whether it is about the challenge's path."""
    return has_trait(finding.code, Trait.PATH) or has_trait(finding.code, Trait.SEEN_BY_CA)


def effective_severity(sighting: Sighting, fleet: Fleet) -> Severity:
    """The finding's severity, at most `warn` if a later rehearsal of its identifier passed all the same."""
    finding = sighting.finding
    outlived = concerns_path(finding) and _is_outlived(sighting, fleet)
    return finding.severity.capped_at(Severity.WARN) if outlived else finding.severity


def is_borne_out(sighting: Sighting, fleet: Fleet) -> bool:
    """Rule 11: whether it comes from the accused node itself, from the authority, or from the collector; or the
    authority shows by what it says of its own files that it is so; or the accused node says itself that it answers
    from the very line, and the CA met what that says."""
    if sighting.agent == COLLECTOR or sighting.agent in fleet.authorities:
        return True
    if accused_by(sighting.agent, sighting.finding) == sighting.agent or _is_owned_up_to(sighting, fleet):
        return True
    culprit, ends_at = sighting.finding.culprit or Culprit(), sighting.finding.detail.get("chain_ends_at")
    code, brokered = sighting.finding.code, fleet.rehearsals.get(sighting.finding.identifier or "", ())
    return any(
        known.rehearsal.shows_chain(culprit.node, culprit.file, ends_at)
        or known.rehearsal.shows_refusal(code, culprit.node, culprit.file)
        for known in brokered
        if known.brokered
    )


def is_suspicion(sighting: Sighting, fleet: Fleet) -> bool:
    """Whether a node accuses another one and its own identifier does fail, in a rehearsal that the node asked for."""
    return not is_borne_out(sighting, fleet) and any(_own_failures(sighting, fleet))


def is_affected(sighting: Sighting, fleet: Fleet) -> bool:
    """Whether the CA's side met the culprit when it failed to reach the identifier of the node that speaks."""
    return any(_meets_culprit(known.rehearsal, sighting.finding) for known in _own_failures(sighting, fleet))


def latest_rehearsal(identifier: str, fleet: Fleet) -> KnownRehearsal | None:
    """The latest that tells of the path: one that a node asked for whose identifier it is, if there is any."""
    known = fleet.rehearsals.get(identifier, ())
    trusted = fleet.holders_of(identifier) | fleet.authorities
    return max(known, key=lambda one: (one.asker in trusted, one.at), default=None)


def _own_failures(sighting: Sighting, fleet: Fleet) -> Iterator[KnownRehearsal]:
    """The failed rehearsals that the node asked for, of an identifier that is its own."""
    if sighting.agent in fleet.holders_of(sighting.finding.identifier):
        for known in _rehearsals_about(sighting, fleet):
            if known.brokered and known.has_failed and known.asker == sighting.agent:
                yield known


def _is_outlived(sighting: Sighting, fleet: Fleet) -> bool:
    """Whether somebody who may say so saw it pass later, and nobody who may say so saw it fail since."""
    holders = fleet.holders_of(sighting.finding.identifier)
    allowed = fleet.authorities | {sighting.agent}
    if sighting.agent not in holders:
        allowed |= holders
    known = [one for one in _rehearsals_about(sighting, fleet) if one.asker in allowed]
    failed = [
        one
        for one in known
        if one.has_failed and one.at >= sighting.at and not _is_answered_there(one.rehearsal, sighting.finding)
    ]
    return any(
        one.has_passed
        and one.at > sighting.at
        and not any(_outweighs(other, one) for other in failed)
        and not (sighting.finding.identifier in fleet.disputed and _meets_culprit(one.rehearsal, sighting.finding))
        for one in known
        if one.brokered or one.asker in fleet.authorities
    )


def _is_answered_there(rehearsal: Rehearsal, finding: Finding) -> bool:
    """Whether the CA was answered where it is said that nobody answers: it failed for another reason."""
    address = finding.culprit.address if finding.culprit is not None else None
    hops = [hop for attempt in rehearsal.attempts for hop in attempt.hops]
    return layer_of(finding.code) is Layer.NET and any(hop.is_answered for hop in hops if hop.address == address)


def _outweighs(failed: KnownRehearsal, passed: KnownRehearsal) -> bool:
    """A later failure does, and one of another challenge that the same node asked for: its certificate needs that."""
    is_other = failed.rehearsal.challenge != passed.rehearsal.challenge and failed.asker == passed.asker
    return is_other or failed.at > passed.at


def _rehearsals_about(sighting: Sighting, fleet: Fleet) -> Iterator[KnownRehearsal]:
    """Those that say something of what the finding says."""
    finding = sighting.finding
    layer = layer_of(finding.code)
    challenge = _CHALLENGES.get(layer) if layer is not None else None
    for known in fleet.rehearsals.get(finding.identifier or "", ()):
        if challenge is None or known.rehearsal.challenge == challenge:
            yield known


def _is_owned_up_to(sighting: Sighting, fleet: Fleet) -> bool:
    """Whether the accused node has named the line itself (`testimony`), and the CA met what it says."""
    culprit = sighting.finding.culprit
    if culprit is None or culprit.file is None:
        return False
    for known in _own_failures(sighting, fleet):
        words = (one for one in known.rehearsal.testimony if one.reporter == culprit.node)
        named = {(one.culprit.node, one.culprit.file, one.culprit.line) for one in words if one.culprit is not None}
        if (culprit.node, culprit.file, culprit.line) in named and _meets_culprit(known.rehearsal, sighting.finding):
            return True
    return False


def _meets_culprit(rehearsal: Rehearsal, finding: Finding) -> bool:
    """Whether it went through the very line or box that is accused."""
    culprit, resolution = finding.culprit, rehearsal.resolution
    if culprit is None:
        return False
    used = resolution.addresses if resolution is not None else ()
    met = {hop.address for attempt in rehearsal.attempts for hop in attempt.hops} | {item.address for item in used}
    files = {item.origin.file for item in used} - {None}
    return culprit.file in files or (culprit.address is not None and culprit.address in met)


# --- whom it concerns -------------------------------------------------------------------------------------------------


def victims_of(group: Sequence[Sighting], fleet: Fleet) -> tuple[Victim, ...]:
    """The certificates concerned, the one that dies first on top. Who merely joins an accusation is a victim only if
    the CA's side met the culprit on the way to its identifier, or the collector has concluded the very same from what
    several agents say, or the agent beside the CA says the very same of the CA itself."""
    found: dict[tuple[str, str, str], Victim] = {}
    is_proven = any(is_borne_out(sighting, fleet) for sighting in group)
    concluded = {sighting.finding.code for sighting in group if _is_for_everybody(sighting, fleet)}
    for sighting in group:
        has_say = is_borne_out(sighting, fleet)
        is_meant = has_say or sighting.finding.code in concluded or is_affected(sighting, fleet)
        if is_proven and not is_meant:
            continue
        for victim in _concerned(sighting, fleet):
            if has_say or victim.node == sighting.agent:
                found[victim.identifier, victim.node, victim.certificate] = victim
    return tuple(sorted(found.values(), key=_urgency))


def _is_for_everybody(sighting: Sighting, fleet: Fleet) -> bool:
    is_of_the_ca = sighting.agent in fleet.authorities and sighting.finding.identifier is None
    return sighting.agent == COLLECTOR or is_of_the_ca


def _concerned(sighting: Sighting, fleet: Fleet) -> tuple[Victim, ...]:
    """The whole certificate, where it is about one at a target; else whose identifier it is."""
    target, finding = own_target(sighting), sighting.finding
    whole = fleet.certificates.get(target[:2], ()) if target is not None else ()
    return whole or fleet.victims.get(finding.identifier or "", ())


def _urgency(victim: Victim) -> tuple[datetime, str, str]:
    return victim.expires_at or _NEVER, victim.node, victim.identifier
