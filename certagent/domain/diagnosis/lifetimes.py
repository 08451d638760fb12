"""Conclusions from a certificate's own validity: is there time to renew it? Pure."""

from collections.abc import Iterator
from datetime import timedelta

from certagent.domain import catalogue
from certagent.domain.certificates import CertificateFacts
from certagent.domain.findings import Culprit, Finding, Vantage
from certagent.domain.policy import Policy

_CACHED_FOR = timedelta(seconds=5)
"""What the CA has read of its hosts file it goes on with for that long."""


def renewal_is_impossible(node: str, name: str, facts: CertificateFacts, policy: Policy) -> Iterator[Finding]:
    """cert.renewal_impossible: between due and expiry one retry and a proof do not fit."""
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
    return 2 * policy.renewal.retry_first + _CACHED_FOR + max(proof.nginx_for, proof.traefik_for, proof.command_for)


def _rounded(span: timedelta) -> timedelta:
    return timedelta(seconds=round(span.total_seconds()))
