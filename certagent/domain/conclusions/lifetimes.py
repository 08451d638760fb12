"""Conclusions from a certificate's own validity: is there time to renew it, and how much of it is left? Pure."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from certagent.domain.certificates import CertificateFacts
from certagent.domain.findings import Culprit, Finding, Vantage
from certagent.domain.policy import Policy

_CACHED_FOR = timedelta(seconds=5)
"""What the CA has read of its hosts file it goes on with for that long."""


def end_is_near(node: str, name: str, facts: CertificateFacts, now: datetime, policy: Policy) -> Iterator[Finding]:
    """cert.expired, cert.expiring: it was not renewed, and has no or little life left."""
    left = facts.not_after - now
    if left <= timedelta(0):
        text = f"{name} expired at {facts.not_after.isoformat()} and is not renewed."
        yield _finding("cert.expired", node, facts, text)
    elif left < facts.lifetime() * policy.renewal.urgent_below:
        text = f"{name} expires at {facts.not_after.isoformat()}, in {_rounded(left)}, and is not renewed."
        yield _finding("cert.expiring", node, facts, text)


def renewal_is_impossible(node: str, name: str, facts: CertificateFacts, policy: Policy) -> Iterator[Finding]:
    """cert.renewal_impossible: between due and expiry one retry and a proof do not fit."""
    window = facts.not_after - facts.due_at(policy.renewal.due_after)
    needed = _needed(policy)
    if window < needed:
        yield _finding(
            "cert.renewal_impossible",
            node,
            facts,
            f"{name} lives {_rounded(facts.lifetime())}, of which {_rounded(window)} are left when it is due;"
            f" a renewal with one retry and a proof may take {_rounded(needed)}.",
            "Have the CA issue for longer (the certificate's `lifetime`, the provisioner's claims), or lower"
            " renewal.due_after in the policy.",
        )


def _needed(policy: Policy) -> timedelta:
    proof = policy.proof
    return 2 * policy.renewal.retry_first + _CACHED_FOR + max(proof.nginx_for, proof.traefik_for, proof.command_for)


def _finding(code: str, node: str, facts: CertificateFacts, explanation: str, fix: str | None = None) -> Finding:
    return Finding(
        code=code,
        identifier=facts.identifiers[0] if facts.identifiers else None,
        vantage=Vantage.CLIENT,
        reporter=node,
        explanation=explanation,
        detail={"not_before": facts.not_before.isoformat(), "not_after": facts.not_after.isoformat()},
        culprit=Culprit(node=node),
        fix=fix or "See what keeps it from being renewed: `certagent check` names it.",
    )


def _rounded(span: timedelta) -> timedelta:
    return timedelta(seconds=round(span.total_seconds()))
