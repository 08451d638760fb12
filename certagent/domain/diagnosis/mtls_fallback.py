"""Conclusions from a renewal without a challenge, while the verdict blocks: why not, or what it came to. Pure.

The finding of a renewal that was made is a warning with the culprit of the block: the incident is the preflight's and
stays open, whatever becomes of the certificate meanwhile.
"""

from collections.abc import Sequence
from datetime import datetime

from certagent.domain import catalogue
from certagent.domain.catalogue import Fact, Trait, has_trait
from certagent.domain.certificates import CertificateFacts
from certagent.domain.findings import Culprit, Finding, Vantage
from certagent.domain.orders import Failed
from certagent.domain.policy import Judgement


def is_pointless(identifiers: Sequence[str], facts: CertificateFacts, judgements: Sequence[Judgement]) -> bool:
    """Whether there is nothing to renew, or nobody to do it: not the wanted names, no CA, no target."""
    codes = {finding.code for judgement in judgements for finding in judgement.findings}
    return not facts.covers(tuple(identifiers)) or any(has_trait(code, Trait.BLOCKS_RENEWAL) for code in codes)


def cannot_be_kept(node: str, name: str, facts: CertificateFacts, made: int, most: int, now: datetime) -> list[Finding]:
    """renewal.expired, renewal.limit_reached: why it is not even tried."""
    if facts.not_after <= now:
        return [_expired(node, name, facts)]
    return [_limit_reached(node, name, facts, made)] if made >= most else []


def kept(node: str, name: str, facts: CertificateFacts, made: int, most: int, cause: Finding | None) -> Finding:
    """renewal.unchallenged: the certificate lives on, and what broke the path is as broken as before."""
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
    """renewal.forbidden, or whatever else the CA answered."""
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
    """About a certificate as it is on disk."""
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
