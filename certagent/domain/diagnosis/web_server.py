"""Conclusions about the web server in front of the responder: why it does not pass the challenge on. Pure.

Only where the rehearsal failed at this very node: its configuration then explains what was seen.
"""

from collections.abc import Iterator
from urllib.parse import urlsplit

from certagent.domain.diagnosis.evidence import Evidence
from certagent.domain.findings import Culprit, Finding, Vantage
from certagent.domain.observations import Place, ServerAction, WebServerObservation

_SNIPPETS = {
    "nginx": "include snippets/certagent-challenge.conf in that server, and reload nginx",
    "traefik": "put deploy/traefik/certagent-challenge.yml into the file provider's folder as it is",
}


def configuration_is_wrong(evidence: Evidence) -> Iterator[Finding]:
    """http01.traefik_acme_router, deploy.dangling_reference, http01.wrong_entrypoint, http01.tls_on_80: mistakes that
    the files show."""
    look = evidence.gateway()
    for cause in look.causes if look is not None else ():
        yield _found(evidence, cause.code, cause.place, f"{cause.what[0].upper()}{cause.what[1:]}", look)


def responder_is_missed(evidence: Evidence) -> Iterator[Finding]:
    """http01.upstream_scheme, http01.webroot_mismatch, http01.host_rewritten: the challenge's path goes past the
    responder."""
    look = evidence.gateway()
    if look is None or look.place is None:
        return
    if look.deed is ServerAction.PASSES and _is_responder(evidence, look.target, "https"):
        what = f"{look.server} passes challenges to the responder by https ({look.target}), and that speaks plain HTTP"
        yield _found(evidence, "http01.upstream_scheme", look.place, what, look)
    if look.deed is ServerAction.PASSES and look.host is not None and not _is_responder(evidence, look.target):
        what = f"{look.server} passes challenges to {look.target} under another Host than {evidence.identifier}"
        yield _found(evidence, "http01.host_rewritten", look.host, what, look)
    if look.deed is ServerAction.SERVES and not evidence.answered_with_success():
        what = f"{look.server} serves challenges from the folder {look.target}, which certagent does not fill"
        yield _found(evidence, "http01.webroot_mismatch", look.place, what, look)


def _is_responder(evidence: Evidence, target: str | None, *schemes: str) -> bool:
    """Whether that URL leads to certagent's own responder; by one of those schemes, if any are given."""
    listen = evidence.responder.listen if evidence.responder is not None else ""
    try:
        parts = urlsplit(target or "")
        return str(parts.port) == listen.rpartition(":")[2] and (not schemes or parts.scheme in schemes)
    except ValueError:
        return False


def _found(evidence: Evidence, code: str, place: Place, what: str, look: WebServerObservation | None) -> Finding:
    server = look.server if look is not None else ""
    _, role = evidence.owner(evidence.first_address())
    return Finding(
        code=code,
        identifier=evidence.identifier,
        vantage=Vantage.AUTHORITY,
        reporter=evidence.node,
        explanation=f"{what} (line {place.line} of {place.file} on {evidence.node}).",
        culprit=Culprit(
            node=evidence.node,
            file=place.file,
            line=place.line,
            text=place.text,
            address=evidence.first_address(),
            role=role,
        ),
        fix=f"Change line {place.line} of {place.file} on {evidence.node}: {_SNIPPETS[server]}.",
        detail={"server": server, "deed": look.deed if look else None, "target": look.target if look else None},
    )
