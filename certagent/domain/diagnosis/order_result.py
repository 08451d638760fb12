"""Conclusions from what became of an order and of a deployment. Pure."""

from collections.abc import Iterator, Sequence

import msgspec

from certagent.domain.deployments import Deployment, Fault
from certagent.domain.findings import Culprit, Finding, Vantage
from certagent.domain.orders import Failed, OrderOutcome, Problem, Resource
from certagent.domain.policy import Judgement
from certagent.domain.rehearsals import RehearsalOutcome

_SAYS_NOTHING = frozenset({"The server could not connect to validation target", ""})
_HIDING = frozenset({"acme.pending_with_error", "acme.authorization_stuck", "acme.server_internal"})


def order_failed(
    node: str, identifiers: Sequence[str], failed: Failed, again: Sequence[Judgement]
) -> Iterator[Finding]:
    """The CA's own words, and beside them what a look from beside the CA says now: the CA hides its reason."""
    problem = failed.problems[0] if failed.problems else Problem()
    cause = next((finding for judgement in again for finding in judgement.findings if finding.culprit), None)
    yield Finding(
        code=failed.code,
        identifier=problem.identifier.value if problem.identifier else next(iter(identifiers), None),
        vantage=Vantage.CLIENT,
        reporter=node,
        explanation=_explained(problem, failed, cause),
        detail={"problems": [one.detail for one in failed.problems], "order": failed.order_url},
        culprit=cause.culprit if cause else None,
        fix=cause.fix if cause else None,
    )
    if cause is None and failed.code in _HIDING:
        yield _hidden(node, identifiers, failed, again)


def _hidden(node: str, identifiers: Sequence[str], failed: Failed, again: Sequence[Judgement]) -> Finding:
    """acme.reason_hidden: the CA does not say why, and the same look from beside it, now, finds nothing wrong."""
    seen = [one.rehearsal for one in again if one.rehearsal is not None]
    outcomes = ", ".join(dict.fromkeys(one.outcome.value for one in seen)) or RehearsalOutcome.UNAVAILABLE.value
    return Finding(
        code="acme.reason_hidden",
        identifier=next(iter(identifiers), None),
        vantage=Vantage.PEER,
        reporter=node,
        explanation="The CA keeps its reason to itself, and a rehearsal right after the order does not show it either"
        f" ({outcomes}).",
        detail={"replay": msgspec.to_builtins(seen), "order": failed.order_url},
        fix="See the CA's journal at the time of the order; certagent tries again.",
    )


def _explained(problem: Problem, failed: Failed, cause: Finding | None) -> str:
    """step-ca has one sentence for every fetch that failed: what was seen from beside it takes its place."""
    if cause is None:
        return f"The CA refused the order: {problem.detail or failed.code}"
    if failed.code == "acme.pending_with_error" and problem.detail in _SAYS_NOTHING and problem.identifier:
        return f"The CA could not validate {problem.identifier.value}: {cause.explanation}"
    return f"The CA refused the order: {problem.detail or failed.code} Seen from beside it: {cause.explanation}"


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
    words = "passed" if expected else "failed"
    fate = "refused the challenge" if challenged else "issued"
    return [
        Finding(
            code="preflight.agreed" if agreed else "preflight.disagreed",
            identifier=rehearsals[0].identifier,
            vantage=Vantage.PEER,
            reporter=node,
            explanation=f"The rehearsal {words}, and the CA {fate}.",
        )
    ]


def deployment_failed(node: str, deployment: Deployment) -> Iterator[Finding]:
    """deploy.*: the faults on the way, in the order of their appearance."""
    for fault in deployment.faults:
        yield fault_found(node, fault)


def state_refused(node: str, name: str, file: str | None, words: str, *, is_full: bool) -> Finding:
    """deploy.disk_full, deploy.unwritable: of the agent's own state. Without it nothing is ordered or deployed."""
    return Finding(
        code="deploy.disk_full" if is_full else "deploy.unwritable",
        vantage=Vantage.CLIENT,
        reporter=node,
        explanation=f"The agent's state cannot be written ({words}), so {name} was left as it is.",
        culprit=Culprit(node=node, file=file),
        fix="Make room on its file system, or let it be written; it is tried again by itself.",
    )


def fault_found(node: str, fault: Fault, identifier: str | None = None) -> Finding:
    """A deployer's fault as a finding."""
    return Finding(
        code=fault.code,
        identifier=identifier,
        vantage=Vantage.CLIENT,
        reporter=node,
        explanation=fault.explanation,
        detail=fault.detail,
        culprit=Culprit(node=node, file=fault.file, line=fault.line, text=fault.text, address=fault.address),
        fix=fault.fix,
    )
