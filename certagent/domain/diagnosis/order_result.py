"""Conclusions from the result of an order, of a deployment and of a renewal without a challenge; and whether there is
time for one. Pure.

The finding of a renewal that was made while the verdict blocks is a warning with the culprit of the block: the incident
is the preflight's and stays open, whatever happens to the certificate meanwhile.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

import msgspec

from certagent.domain import catalogue
from certagent.domain.catalogue import Fact, Trait, has_trait
from certagent.domain.certificates import CertificateFacts
from certagent.domain.deployments import Deployment, Fault, Proof
from certagent.domain.findings import Culprit, Finding, TargetState, Vantage
from certagent.domain.orders import Failed, OrderOutcome, Problem, Resource
from certagent.domain.policy import Judgement, Policy
from certagent.domain.rehearsals import RehearsalOutcome

_SAYS_NOTHING = frozenset({"The server could not connect to validation target", ""})


def order_failed(
    node: str, identifiers: Sequence[str], failed: Failed, again: Sequence[Judgement]
) -> Iterator[Finding]:
    """Return the CA's own words and, because the CA hides its reason, what an observation from its node finds now."""
    problem = failed.problems[0] if failed.problems else Problem()
    cause = next((finding for judgement in again for finding in judgement.findings if finding.culprit), None)
    variant = _variant(problem, failed, cause)
    yield catalogue.finding(
        failed.code,
        vantage=Vantage.CLIENT,
        reporter=node,
        identifier=problem.identifier.value if problem.identifier else next(iter(identifiers), None),
        culprit=cause.culprit if cause else None,
        detail={"problems": [problem.detail for problem in failed.problems], "order": failed.order_url},
        variant=variant,
        cause=cause,
        said=(problem.detail or failed.code).rstrip("."),
    )
    if cause is None and has_trait(failed.code, Trait.HIDES_REASON):
        yield _hidden(node, identifiers, failed, again)


def _hidden(node: str, identifiers: Sequence[str], failed: Failed, again: Sequence[Judgement]) -> Finding:
    """acme.reason_hidden: the CA does not give a reason, and the same observation from its node now finds no fault."""
    seen = [judgement.rehearsal for judgement in again if judgement.rehearsal is not None]
    outcomes = list(dict.fromkeys(rehearsal.outcome.value for rehearsal in seen)) or [
        RehearsalOutcome.UNAVAILABLE.value
    ]
    return catalogue.finding(
        "acme.reason_hidden",
        vantage=Vantage.PEER,
        reporter=node,
        identifier=next(iter(identifiers), None),
        detail={"replay": msgspec.to_builtins(seen), "order": failed.order_url},
        outcomes=outcomes,
    )


def _variant(problem: Problem, failed: Failed, cause: Finding | None) -> str:
    """Return the variant of the text: step-ca has one sentence for every failed fetch, so what was observed from its
    node takes its place."""
    if cause is None:
        return "order_refused"
    if failed.code == "acme.pending_with_error" and problem.detail in _SAYS_NOTHING and problem.identifier:
        return "order_unvalidated"
    return "order_blocked"


def agreement(node: str, judgements: Sequence[Judgement], outcome: OrderOutcome) -> list[Finding]:
    """preflight.agreed, preflight.disagreed: the result of an order against the verdict before it. Returns nothing
    without a verdict from the CA's node, and for failures that have nothing to do with a challenge."""
    rehearsals = [judgement.rehearsal for judgement in judgements if judgement.rehearsal is not None]
    if not rehearsals or any(rehearsal.outcome is RehearsalOutcome.UNAVAILABLE for rehearsal in rehearsals):
        return []
    challenged = isinstance(outcome, Failed) and any(
        problem.resource is Resource.CHALLENGE for problem in outcome.problems
    )
    if isinstance(outcome, Failed) and not challenged:
        return []
    expected = all(rehearsal.outcome is RehearsalOutcome.PASSED for rehearsal in rehearsals)
    agreed = expected is not challenged
    finding = catalogue.finding(
        "preflight.agreed" if agreed else "preflight.disagreed",
        vantage=Vantage.PEER,
        reporter=node,
        identifier=rehearsals[0].identifier,
        predicted="passed" if expected else "failed",
        fate="refused" if challenged else "issued",
    )
    return [finding]


def deployment_failed(
    node: str,
    name: str,
    deployment: Deployment,
    *,
    identifier: str | None = None,
    previous: CertificateFacts | None = None,
    retry_at: datetime | None = None,
) -> Iterator[Finding]:
    """deploy.*: the faults on the way of the certificate called `name`, in the order of their appearance.

    `previous`: what was proven before; it is served on, where nobody has looked. `retry_at`: when it is tried again."""
    looks = (deployment.restored or deployment.proof or Proof(fingerprint="", endpoints=())).endpoints
    leaves = [look.leaf for look in looks if look.leaf is not None]
    left = leaves or ([previous] if previous is not None and not looks else [])
    target = TargetState(
        certificate=name,
        name=deployment.target,
        is_served=len(leaves) == len(looks) if looks else None,
        served_until=min((leaf.ends_at for leaf in left), default=None),
        retry_at=None if deployment.is_good else retry_at,
    )
    for fault in deployment.faults:
        yield fault_found(node, fault, identifier, certificate=name, target=target)


def state_refused(
    node: str, name: str, file: str | None, words: str, *, is_full: bool, identifier: str | None = None
) -> Finding:
    """deploy.disk_full, deploy.unwritable: for the agent's own state folder, without which nothing is ordered or
    deployed."""
    return catalogue.finding(
        "deploy.disk_full" if is_full else "deploy.unwritable",
        vantage=Vantage.CLIENT,
        reporter=node,
        identifier=identifier,
        culprit=Culprit(node=node, file=file),
        variant="state",
        said=words,
        certificate=name,
    )


def fault_found(
    node: str,
    fault: Fault,
    identifier: str | None = None,
    *,
    certificate: str | None = None,
    target: TargetState | None = None,
) -> Finding:
    """A deployer's fault as a finding."""
    finding = catalogue.finding(
        fault.code,
        vantage=Vantage.CLIENT,
        reporter=node,
        identifier=identifier,
        culprit=Culprit(node=node, file=fault.file, line=fault.line, text=fault.text, address=fault.address),
        detail=fault.detail,
        variant=fault.variant,
        certificate=certificate,
        **fault.facts,
    )
    return msgspec.structs.replace(finding, target=target)


def is_pointless(identifiers: Sequence[str], facts: CertificateFacts, judgements: Sequence[Judgement]) -> bool:
    """Return whether a renewal cannot help: the certificate has other names, the CA is unusable, or a target is."""
    codes = {finding.code for judgement in judgements for finding in judgement.findings}
    return not facts.covers(tuple(identifiers)) or any(has_trait(code, Trait.BLOCKS_RENEWAL) for code in codes)


def cannot_be_kept(node: str, name: str, facts: CertificateFacts, made: int, most: int, now: datetime) -> list[Finding]:
    """renewal.expired, renewal.limit_reached: why a renewal without a challenge is not attempted."""
    if facts.not_after <= now:
        return [_expired(node, name, facts)]
    return [_limit_reached(node, name, facts, made)] if made >= most else []


def kept(node: str, name: str, facts: CertificateFacts, made: int, most: int, cause: Finding | None) -> Finding:
    """renewal.unchallenged: the certificate is renewed, and the path is still broken."""
    return _finding(
        "renewal.unchallenged",
        node,
        facts,
        cause.culprit if cause else None,
        {"in_a_row": made, "most": most, "not_after": facts.not_after.isoformat()},
        cause=cause,
        certificate=name,
        count=made,
        most=most,
        blocked=cause is not None,
    )


def refused(node: str, name: str, facts: CertificateFacts, failed: Failed) -> Finding:
    """renewal.forbidden, or the other failure that the CA returned."""
    said = failed.problems[0].detail if failed.problems else failed.code
    problems = [problem.detail for problem in failed.problems]
    detail: dict[str, object] = {"problems": problems, "not_after": facts.not_after.isoformat()}
    return _finding(
        failed.code,
        node,
        facts,
        Culprit(role="authority"),
        detail,
        variant="renewal_refused",
        certificate=name,
        said=said.rstrip("."),
    )


def _expired(node: str, name: str, facts: CertificateFacts) -> Finding:
    return _finding("renewal.expired", node, facts, None, {"not_after": facts.not_after.isoformat()}, certificate=name)


def _limit_reached(node: str, name: str, facts: CertificateFacts, made: int) -> Finding:
    detail = {"in_a_row": made, "not_after": facts.not_after.isoformat()}
    return _finding("renewal.limit_reached", node, facts, None, detail, certificate=name, count=made)


def _finding(
    code: str,
    node: str,
    certificate_facts: CertificateFacts,
    culprit: Culprit | None,
    detail: dict[str, object],
    *,
    variant: str = "",
    cause: Finding | None = None,
    **facts: Fact,
) -> Finding:
    """Return a finding about a certificate as it is on disk."""
    return catalogue.finding(
        code,
        vantage=Vantage.CLIENT,
        reporter=node,
        identifier=certificate_facts.identifiers[0] if certificate_facts.identifiers else None,
        culprit=culprit,
        detail=detail,
        variant=variant,
        cause=cause,
        until=certificate_facts.not_after.isoformat(),
        **facts,
    )


_CACHED_FOR = timedelta(seconds=5)
"""How long the CA continues to use what it has read of its hosts file."""


def renewal_is_impossible(node: str, name: str, facts: CertificateFacts, policy: Policy) -> Iterator[Finding]:
    """cert.renewal_impossible: between due and expiry one retry and a proof do not fit."""
    facts = facts.without_chain()  # a chain that ends first is told as that
    window = facts.not_after - facts.due_at(policy.renewal.due_after)
    needed = _needed(policy)
    if window < needed:
        yield catalogue.finding(
            "cert.renewal_impossible",
            vantage=Vantage.CLIENT,
            reporter=node,
            identifier=facts.identifiers[0] if facts.identifiers else None,
            culprit=Culprit(node=node),
            detail={"not_before": facts.not_before.isoformat(), "not_after": facts.not_after.isoformat()},
            certificate=name,
            lifetime=str(_rounded(facts.lifetime())),
            left=str(_rounded(window)),
            needed=str(_rounded(needed)),
        )


def _needed(policy: Policy) -> timedelta:
    proof = policy.proof
    longest = max(proof.nginx_for, proof.traefik_for, proof.haproxy_for, proof.command_for)
    return 2 * policy.renewal.retry_first + _CACHED_FOR + longest


def _rounded(span: timedelta) -> timedelta:
    return timedelta(seconds=round(span.total_seconds()))
