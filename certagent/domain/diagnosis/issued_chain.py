"""What a CA issues with, where that does not last as long as what it issues. Pure."""

from certagent.domain import catalogue
from certagent.domain.certificates import CertificateFacts
from certagent.domain.findings import Culprit, Finding, Vantage


def chain_ends_first(node: str, name: str, leaf: CertificateFacts, issuer: Culprit) -> Finding:
    """The finding, of the leaf of the certificate called `name`; `issuer` is where its chain comes from."""
    return catalogue.finding(
        "cert.chain_ends_first",
        vantage=Vantage.CLIENT,
        reporter=node,
        identifier=leaf.identifiers[0] if leaf.identifiers else None,
        culprit=issuer,
        detail={"fingerprint": leaf.fingerprint, "chain_ends_at": leaf.ends_at.isoformat()},
        certificate=name,
        issuer=leaf.chain_ends_with,
        until=leaf.ends_at.isoformat(),
        needed=leaf.not_after.isoformat(),
    )
