"""A path as one node sees it by itself: looked up and asked there, with no token planted. Pure.

It shows less than a rehearsal: that the way ends at a wrong box or nowhere is seen, not that a token would come back.
"""

import msgspec

from certagent.domain.diagnosis import conclude
from certagent.domain.diagnosis.evidence import Evidence
from certagent.domain.findings import Vantage
from certagent.domain.path_trace import (
    HopState,
    Path,
    PathFacts,
    PathHop,
    address_used,
    authority_hop,
    record_hop,
    resolution_hop,
    responder_hop,
    server_hop,
    trace,
)
from certagent.domain.policy import Policy, judged
from certagent.domain.probe_errors import HOP_LABELS, DnsStatus, ProbeError
from certagent.domain.rehearsals import AddressOwner, ChallengeType, Hop, Rehearsal, RehearsalOutcome, deciding
from certagent.domain.resolver_agreement import stray_lines

RESPONDER = "certagent"
"""What certagent's own responder calls itself in the header Server."""

_NO_RECORD_TO_BE_HAD = (
    DnsStatus.TIMEOUT,
    DnsStatus.UNREACHABLE,
    DnsStatus.SERVFAIL,
    DnsStatus.REFUSED,
    DnsStatus.NO_NAMESERVER,
)

_NOT_ASKED = frozenset({ProbeError.FORBIDDEN, ProbeError.REDIRECT_OFFSITE, ProbeError.REDIRECT_PROXIED})


class LocalObservation(msgspec.Struct, frozen=True, kw_only=True):
    """What one node saw. `seen` holds the look-up and the fetch of a token that nobody planted, `addresses` are the
    node's own; `responder` is the node that has the certificate, where that is known here."""

    node: str
    vantage: Vantage
    role: str | None = None
    addresses: tuple[str, ...] = ()
    responder: str | None = None
    seen: Rehearsal


def trace_locally(observation: LocalObservation, policy: Policy) -> Path:
    """Both ways. Broken only where that is proven; hops that nothing is known of say so."""
    facts = PathFacts(
        identifier=observation.seen.identifier,
        authority=observation.node,
        responder=observation.responder,
        owners={
            address: AddressOwner(node=observation.node, role=observation.role) for address in observation.addresses
        },
        roles={observation.node: observation.role},
        rehearsal=observation.seen,
    )
    path = _broken(observation, facts, policy) if is_broken(observation) else _as_far_as_seen(facts, observation.seen)
    return path if observation.vantage is Vantage.AUTHORITY else _by_a_client(path, observation)


def is_broken(observation: LocalObservation) -> bool:
    """Whether no token, had one been planted, could have come back this way."""
    if observation.seen.challenge == ChallengeType.DNS01:
        return observation.seen.txt is not None and observation.seen.txt.error in _NO_RECORD_TO_BE_HAD
    attempt = deciding(observation.seen.attempts)
    if attempt is None or not attempt.hops or _leads_astray(observation, attempt.hops[0]):
        return True
    last = attempt.hops[-1]
    if observation.seen.challenge == ChallengeType.TLS_ALPN01 and last.is_answered:
        return False  # who speaks it during a challenge alone is no fault
    if last.error is not None:
        return last.error not in _NOT_ASKED
    status = last.status or 0
    return status < 300 or status in (401, 403) or status >= 500  # a responder says 404 of a token that it has not


def _leads_astray(observation: LocalObservation, first: Hop) -> bool:
    """Whether a hosts line led there, against DNS. This node's own names may well be on loopback here."""
    resolution = observation.seen.resolution
    used = address_used(resolution, first.address)
    if resolution is None or used is None or used.origin.source != "hosts":
        return False
    return any(line.origin.line == used.origin.line for line in stray_lines(resolution, observation.addresses))


def _broken(observation: LocalObservation, facts: PathFacts, policy: Policy) -> Path:
    failed = msgspec.structs.replace(observation.seen, outcome=RehearsalOutcome.FAILED, owners=dict(facts.owners))
    evidence = Evidence(identifier=facts.identifier, node=observation.node, rehearsal=failed)
    findings = judged(policy, facts.identifier, conclude(evidence), failed).findings
    path = trace(msgspec.structs.replace(facts, rehearsal=failed, findings=findings))
    culprit = next((one.culprit for one in findings if one.culprit is not None), path.culprit)
    return msgspec.structs.replace(path, broken=True, culprit=culprit)


def _as_far_as_seen(facts: PathFacts, seen: Rehearsal) -> Path:
    if seen.challenge == ChallengeType.DNS01:
        record = record_hop(facts, seen.txt, planted=False)
        end = responder_hop(facts, HopState.UNKNOWN, "unknown: no record was written")
        actual = (authority_hop(facts), record, end)
        return Path(identifier=facts.identifier, intended=trace(facts).intended, actual=actual, broken=False)
    attempt = deciding(seen.attempts)
    hops = attempt.hops if attempt is not None else ()
    used = address_used(seen.resolution, hops[0].address if hops else None)
    reached = bool(hops) and hops[-1].server == RESPONDER
    end = responder_hop(
        facts,
        HopState.OK if reached else HopState.UNKNOWN,
        "answers there; no token was planted" if reached else "unknown: no token was planted",
    )
    resolved = resolution_hop(facts, seen.resolution, used, passed=True)
    servers = tuple(_server(facts, hop) for hop in hops)
    return Path(
        identifier=facts.identifier,
        intended=trace(facts).intended,
        actual=(authority_hop(facts), resolved, *servers, end),
        broken=False,
    )


def _server(facts: PathFacts, hop: Hop) -> PathHop:
    shown = server_hop(facts, hop, does_its_part=True)
    unasked = HOP_LABELS[hop.error] if hop.error in _NOT_ASKED else None
    if unasked is None:
        return shown
    return msgspec.structs.replace(shown, state=HopState.UNKNOWN, detail=f"port {hop.port}: {unasked}")


def _by_a_client(path: Path, observation: LocalObservation) -> Path:
    """The CA's part in it is not seen from here, and it is this node that asks in its place."""
    here = PathHop(
        kind="client",
        label="this node",
        node=observation.node,
        role=observation.role,
        detail="asks in place of the CA: the CA's own path is not visible from here",
        state=HopState.UNKNOWN,
    )
    intended = msgspec.structs.replace(path.intended[0], node=None, role=None)
    return msgspec.structs.replace(path, intended=(intended, *path.intended[1:]), actual=(here, *path.actual[1:]))
