"""Conclusions about the web server in front of the responder: why it does not pass the challenge on. Pure.

Only where the rehearsal failed at this very node: its configuration then explains what was seen.
"""

from collections.abc import Iterator
from urllib.parse import urlsplit

from certagent.domain import catalogue
from certagent.domain.catalogue import Fact
from certagent.domain.diagnosis.evidence import Evidence
from certagent.domain.findings import Culprit, Finding, Vantage
from certagent.domain.observations import Place, ServerAction, WebServerObservation


def configuration_is_wrong(evidence: Evidence) -> Iterator[Finding]:
    """http01.traefik_acme_router, deploy.dangling_reference, http01.wrong_entrypoint, http01.tls_on_80: mistakes that
    the files show."""
    look = evidence.gateway()
    if look is None:
        return
    for cause in look.causes:
        yield _found(evidence, cause.code, cause.place, look, cause.variant, **cause.facts)


def responder_is_missed(evidence: Evidence) -> Iterator[Finding]:
    """http01.upstream_scheme, http01.webroot_mismatch, http01.host_rewritten: the challenge's path goes past the
    responder."""
    look = evidence.gateway()
    if look is None or look.place is None:
        return
    if look.deed is ServerAction.PASSES and _is_responder(evidence, look.target, "https"):
        yield _found(evidence, "http01.upstream_scheme", look.place, look)
    if look.deed is ServerAction.PASSES and look.host is not None and not _is_responder(evidence, look.target):
        yield _found(evidence, "http01.host_rewritten", look.host, look)
    if look.deed is ServerAction.SERVES and not evidence.answered_with_success():
        yield _found(evidence, "http01.webroot_mismatch", look.place, look)


def _is_responder(evidence: Evidence, target: str | None, *schemes: str) -> bool:
    """Whether that URL leads to certagent's own responder; by one of those schemes, if any are given."""
    listen = evidence.responder.listen if evidence.responder is not None else ""
    try:
        parts = urlsplit(target or "")
        return str(parts.port) == listen.rpartition(":")[2] and (not schemes or parts.scheme in schemes)
    except ValueError:
        return False


def _found(
    evidence: Evidence, code: str, place: Place, look: WebServerObservation, variant: str = "", **facts: Fact
) -> Finding:
    address = evidence.first_address()
    culprit = Culprit(
        node=evidence.node,
        file=place.file,
        line=place.line,
        text=place.text,
        address=address,
        role=evidence.owner(address)[1],
    )
    return catalogue.finding(
        code,
        vantage=Vantage.AUTHORITY,
        reporter=evidence.node,
        identifier=evidence.identifier,
        culprit=culprit,
        variant=variant,
        detail={"server": look.server, "deed": look.deed, "target": look.target},
        **{"server": look.server, "snippet": look.server, "target": look.target, **facts},
    )
