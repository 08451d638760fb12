"""Conclusions from what this node's web servers are configured with, beside what certagent looks after. Pure."""

from collections.abc import Sequence

import msgspec

from certagent.domain import catalogue
from certagent.domain.certificates import CertificateFacts
from certagent.domain.findings import Culprit, Finding, Vantage


class ConfiguredPair(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate that a web server of this node is configured with; `facts` None: it cannot be read."""

    server: str
    certificate: str
    names: tuple[str, ...] = ()
    facts: CertificateFacts | None = None


class CertResolver(msgspec.Struct, frozen=True, kw_only=True):
    """One of Traefik's own certificate resolvers: the CA that it asks (None: its default), and the duration that it
    was told (hours; None: it assumes 2,160)."""

    name: str
    file: str
    line: int
    text: str | None = None
    directory: str | None = None
    hours: int | None = None


_PUBLIC = ("letsencrypt.org", "zerossl.com", "pki.goog", "buypass.com", "ssl.com", "sectigo.com", "digicert.com")


def nobody_owns(node: str, pairs: Sequence[ConfiguredPair], owned: frozenset[str]) -> list[Finding]:
    """cert.unmanaged: served here, and in no section of the configuration. `owned`: certificate paths and names."""
    return [
        catalogue.finding(
            "cert.unmanaged",
            vantage=Vantage.STATIC,
            reporter=node,
            identifier=next(iter(pair.names), None),
            culprit=Culprit(node=node, file=pair.certificate),
            server=pair.server,
            names=list(pair.names),
            until=pair.facts.not_after.isoformat() if pair.facts is not None else None,
        )
        for pair in pairs
        if pair.certificate not in owned and not set(pair.names) & owned
    ]


def renews_too_late(node: str, resolver: CertResolver) -> Finding | None:
    """traefik.renews_too_late: without `certificatesDuration` Traefik takes every certificate for one of 90 days, and
    looks once a day: one of 24 hours dies in between. Let's Encrypt and its like do give 90 days."""
    host = (
        (resolver.directory or "acme-v02.api.letsencrypt.org").partition("://")[2].partition("/")[0].partition(":")[0]
    )
    is_public = resolver.directory is None or host.endswith(_PUBLIC)
    if is_public or resolver.hours is not None:
        return None
    return catalogue.finding(
        "traefik.renews_too_late",
        vantage=Vantage.STATIC,
        reporter=node,
        culprit=Culprit(node=node, file=resolver.file, line=resolver.line, text=resolver.text),
        resolver=resolver.name,
        server=host,
    )
