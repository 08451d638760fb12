"""Conclusions from what became of an order and of a deployment. Pure."""

from collections.abc import Iterator, Sequence

import msgspec

from certagent.domain import catalogue
from certagent.domain.catalogue import Trait, has_trait
from certagent.domain.deployments import Deployment, Fault
from certagent.domain.findings import Culprit, Finding, Vantage
from certagent.domain.orders import Failed, OrderOutcome, Problem, Resource
from certagent.domain.policy import Judgement
from certagent.domain.rehearsals import RehearsalOutcome

_SAYS_NOTHING = frozenset({"The server could not connect to validation target", ""})


def order_failed(
    node: str, identifiers: Sequence[str], failed: Failed, again: Sequence[Judgement]
) -> Iterator[Finding]:
    """The CA's own words, and beside them what a look from beside the CA says now: the CA hides its reason."""
    problem = failed.problems[0] if failed.problems else Problem()
    cause = next((finding for judgement in again for finding in judgement.findings if finding.culprit), None)
    variant = _variant(problem, failed, cause)
    yield catalogue.finding(
        failed.code,
        vantage=Vantage.CLIENT,
        reporter=node,
        identifier=problem.identifier.value if problem.identifier else next(iter(identifiers), None),
        culprit=cause.culprit if cause else None,
        detail={"problems": [one.detail for one in failed.problems], "order": failed.order_url},
        variant=variant,
        cause=cause,
        said=(problem.detail or failed.code).rstrip("."),
    )
    if cause is None and has_trait(failed.code, Trait.HIDES_REASON):
        yield _hidden(node, identifiers, failed, again)


def _hidden(node: str, identifiers: Sequence[str], failed: Failed, again: Sequence[Judgement]) -> Finding:
    """acme.reason_hidden: the CA does not say why, and the same look from beside it, now, finds nothing wrong."""
    seen = [one.rehearsal for one in again if one.rehearsal is not None]
    outcomes = list(dict.fromkeys(one.outcome.value for one in seen)) or [RehearsalOutcome.UNAVAILABLE.value]
    return catalogue.finding(
        "acme.reason_hidden",
        vantage=Vantage.PEER,
        reporter=node,
        identifier=next(iter(identifiers), None),
        detail={"replay": msgspec.to_builtins(seen), "order": failed.order_url},
        outcomes=outcomes,
    )


def _variant(problem: Problem, failed: Failed, cause: Finding | None) -> str:
    """step-ca has one sentence for every fetch that failed: what was seen from beside it takes its place."""
    if cause is None:
        return "order_refused"
    if failed.code == "acme.pending_with_error" and problem.detail in _SAYS_NOTHING and problem.identifier:
        return "order_unvalidated"
    return "order_blocked"


def agreement(node: str, judgements: Sequence[Judgement], outcome: OrderOutcome) -> list[Finding]:
    """preflight.agreed, preflight.disagreed: an order's fate against the verdict before it. Silent without a verdict
    from beside the CA, and for failures that have nothing to do with a challenge."""
    rehearsals = [judgement.rehearsal for judgement in judgements if judgement.rehearsal is not None]
    if not rehearsals or any(one.outcome is RehearsalOutcome.UNAVAILABLE for one in rehearsals):
        return []
    challenged = isinstance(outcome, Failed) and any(one.resource is Resource.CHALLENGE for one in outcome.problems)
    if isinstance(outcome, Failed) and not challenged:
        return []
    expected = all(one.outcome is RehearsalOutcome.PASSED for one in rehearsals)
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


def deployment_failed(node: str, deployment: Deployment) -> Iterator[Finding]:
    """deploy.*: the faults on the way, in the order of their appearance."""
    for fault in deployment.faults:
        yield fault_found(node, fault)


def state_refused(node: str, name: str, file: str | None, words: str, *, is_full: bool) -> Finding:
    """deploy.disk_full, deploy.unwritable: of the agent's own state. Without it nothing is ordered or deployed."""
    return catalogue.finding(
        "deploy.disk_full" if is_full else "deploy.unwritable",
        vantage=Vantage.CLIENT,
        reporter=node,
        culprit=Culprit(node=node, file=file),
        variant="state",
        said=words,
        certificate=name,
    )


def fault_found(node: str, fault: Fault, identifier: str | None = None) -> Finding:
    """A deployer's fault as a finding."""
    return catalogue.finding(
        fault.code,
        vantage=Vantage.CLIENT,
        reporter=node,
        identifier=identifier,
        culprit=Culprit(node=node, file=fault.file, line=fault.line, text=fault.text, address=fault.address),
        detail=fault.detail,
        variant=fault.variant,
        **fault.facts,
    )
