"""Conclusions from what this node's web servers are configured with, beside what certagent looks after. Pure."""

from collections.abc import Sequence

import msgspec

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
        Finding(
            code="cert.unmanaged",
            identifier=next(iter(pair.names), None),
            vantage=Vantage.STATIC,
            reporter=node,
            explanation=f"{pair.server} serves {pair.certificate} for {', '.join(pair.names) or 'whoever asks'}, and"
            f" nobody looks after it{_until(pair.facts)}.",
            culprit=Culprit(node=node, file=pair.certificate),
            fix="Give it a [[certificate]] section; with `manage = false` where somebody else renews it.",
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
    return Finding(
        code="traefik.renews_too_late",
        vantage=Vantage.STATIC,
        reporter=node,
        explanation=f"Traefik's resolver {resolver.name} asks {host} and was not told how long that CA's certificates"
        " live: it takes them for 90 days, looks once a day, and lets shorter ones expire.",
        culprit=Culprit(node=node, file=resolver.file, line=resolver.line, text=resolver.text),
        fix=f"Add `certificatesDuration: 24` (hours) to certificatesResolvers.{resolver.name}.acme; restart Traefik.",
    )


def _until(facts: CertificateFacts | None) -> str:
    return f"; it expires {facts.not_after.isoformat()}" if facts is not None else ""
