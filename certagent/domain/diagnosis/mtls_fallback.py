"""Conclusions from a renewal without a challenge, while the verdict blocks: why not, or what it came to. Pure.

The finding of a renewal that was made is a warning with the culprit of the block: the incident is the preflight's and
stays open, whatever becomes of the certificate meanwhile.
"""

from collections.abc import Sequence
from datetime import datetime

from certagent.domain.certificates import CertificateFacts
from certagent.domain.findings import Culprit, Finding, Vantage
from certagent.domain.orders import Failed
from certagent.domain.policy import NO_RENEWAL, Judgement


def is_pointless(identifiers: Sequence[str], facts: CertificateFacts, judgements: Sequence[Judgement]) -> bool:
    """Whether there is nothing to renew, or nobody to do it: not the wanted names, no CA, no target."""
    codes = {finding.code for judgement in judgements for finding in judgement.findings}
    return not facts.covers(tuple(identifiers)) or bool(codes & NO_RENEWAL)


def cannot_be_kept(node: str, name: str, facts: CertificateFacts, made: int, most: int, now: datetime) -> list[Finding]:
    """renewal.expired, renewal.limit_reached: why it is not even tried."""
    if facts.not_after <= now:
        return [_expired(node, name, facts)]
    return [_limit_reached(node, name, facts, made)] if made >= most else []


def kept(node: str, name: str, facts: CertificateFacts, made: int, most: int, cause: Finding | None) -> Finding:
    """renewal.unchallenged: the certificate lives on, and what broke the path is as broken as before."""
    why = f" What blocks the challenge is still there: {cause.explanation}" if cause else ""
    return Finding(
        code="renewal.unchallenged",
        identifier=facts.identifiers[0] if facts.identifiers else None,
        vantage=Vantage.CLIENT,
        reporter=node,
        explanation=f"{name} was renewed by mTLS, without a challenge ({made} of {most} in a row), "
        f"and is valid until {facts.not_after.isoformat()}.{why}",
        detail={"in_a_row": made, "most": most, "not_after": facts.not_after.isoformat()},
        culprit=cause.culprit if cause else None,
        fix=cause.fix if cause else None,
    )


def refused(node: str, name: str, facts: CertificateFacts, failed: Failed) -> Finding:
    """renewal.forbidden, or whatever else the CA answered."""
    said = failed.problems[0].detail if failed.problems else failed.code
    is_forbidden = failed.code == "renewal.forbidden"
    return Finding(
        code=failed.code,
        identifier=facts.identifiers[0] if facts.identifiers else None,
        vantage=Vantage.CLIENT,
        reporter=node,
        explanation=f"The CA does not renew {name} without a challenge: {said}"
        if is_forbidden
        else f"{name} could not be renewed without a challenge: {said}",
        detail={"problems": [problem.detail for problem in failed.problems], "not_after": facts.not_after.isoformat()},
        culprit=Culprit(role="authority"),
        fix="Take \"disableRenewal\" out of the provisioner's claims in the CA's ca.json, or mend the challenge's path."
        if is_forbidden
        else None,
    )


def _expired(node: str, name: str, facts: CertificateFacts) -> Finding:
    return Finding(
        code="renewal.expired",
        identifier=facts.identifiers[0] if facts.identifiers else None,
        vantage=Vantage.CLIENT,
        reporter=node,
        explanation=f"{name} expired at {facts.not_after.isoformat()}: it is too late to renew it without a challenge.",
        detail={"not_after": facts.not_after.isoformat()},
        fix="Mend the challenge's path; the renewal then follows by itself.",
    )


def _limit_reached(node: str, name: str, facts: CertificateFacts, made: int) -> Finding:
    return Finding(
        code="renewal.limit_reached",
        identifier=facts.identifiers[0] if facts.identifiers else None,
        vantage=Vantage.CLIENT,
        reporter=node,
        explanation=f"{name} was renewed {made} times in a row without a challenge, as often as the policy allows, "
        f"and expires at {facts.not_after.isoformat()}.",
        detail={"in_a_row": made, "not_after": facts.not_after.isoformat()},
        fix="Mend the challenge's path, or raise renewal.unchallenged_in_a_row in the policy.",
    )
