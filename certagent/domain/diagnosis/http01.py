"""Conclusions about the challenge's path, http-01: who answered the CA, with what, and why the web server did not pass
the challenge on. Pure.

The web server's configuration explains only what the rehearsal met at this very node.
"""

from collections.abc import Iterator
from urllib.parse import urlsplit

from certagent.domain import catalogue
from certagent.domain.catalogue import Fact
from certagent.domain.diagnosis.evidence import Evidence, chain_of
from certagent.domain.findings import Culprit, Finding, Vantage
from certagent.domain.observations import Place, ServerAction, WebServerObservation
from certagent.domain.probe_errors import UNHEARD, ProbeError
from certagent.domain.rehearsals import ChallengeType, Hop

_NET: dict[str, str] = {
    ProbeError.REFUSED: "net.refused",
    ProbeError.TIMEOUT: "net.timeout",
    ProbeError.NO_ROUTE: "net.no_route",
    ProbeError.RESET: "net.reset",
}
_SLOW_MS = 10_000
_ANY = {"0.0.0.0", "::", "[::]", ""}  # noqa: S104 -- read, not bound
_BY_ENTRY_POINT = ("http01.redirect_broken", "http01.redirect_loop", "http01.redirect_offsite")
_REDIRECTS: dict[str, str] = {
    ProbeError.REDIRECT_LOOP: "http01.redirect_loop",
    ProbeError.REDIRECT_OFFSITE: "http01.redirect_offsite",
}


def responder_is_absent(evidence: Evidence) -> Iterator[Finding]:
    """http01.responder_absent: this node's own responder does not answer on loopback."""
    check = evidence.responder
    if check is None or check.answered or check.challenge != ChallengeType.HTTP01:
        return
    detail, said = {"said": check.detail}, check.detail
    if check.file is not None:
        culprit, variant = Culprit(node=evidence.node, file=check.file), "unsafe_path" if check.changeable else "file"
        facts = {"said": said, **check.changeable}
        yield evidence.finding(
            "http01.responder_absent", culprit, vantage=Vantage.CLIENT, variant=variant, detail=detail, **facts
        )
        return
    culprit = Culprit(node=evidence.node, address=check.listen)
    yield evidence.finding(
        "http01.responder_absent", culprit, vantage=Vantage.CLIENT, detail=detail, said=said, listen=check.listen
    )


def port_is_anothers(evidence: Evidence) -> Iterator[Finding]:
    """http01.port_owner: the responder does not answer, and somebody else listens on its port."""
    check = evidence.responder
    if check is None or check.answered or check.challenge != ChallengeType.HTTP01 or evidence.here is None:
        return
    host, _, port = check.listen.rpartition(":")
    for one in evidence.here.listeners:
        if str(one.port) == port and not one.is_ours and (host == one.address or _ANY & {host, one.address}):
            yield evidence.finding(
                "http01.port_owner",
                Culprit(node=evidence.node, address=check.listen),
                vantage=Vantage.CLIENT,
                detail={"process": one.process},
                port=one.port,
                listen=check.listen,
                process=one.process,
            )
            return


def nobody_answers(evidence: Evidence) -> Iterator[Finding]:
    """net.refused, net.timeout, net.no_route, net.reset, http01.tls_on_80: the first hop gave no HTTP answer."""
    attempt = evidence.attempt()
    if not evidence.has_failed or attempt is None or not attempt.hops or attempt.hops[0].error is None:
        return
    hop = attempt.hops[0]
    if hop.status is not None:
        return  # it did, and leads to where a rehearsal does not follow
    if hop.error not in _NET:
        yield from _no_http(evidence, hop)
        return
    yield evidence.finding(
        _NET[hop.error],
        evidence.path_culprit(hop.address),
        variant="local" if hop.is_local else "",
        detail={"errno": hop.errno, "took_ms": hop.took_ms},
        place=evidence.place(hop.address),
        address=hop.address,
        port=hop.port,
        error=hop.error,
        looker=evidence.looker,
    )


def answer_is_not_ours(evidence: Evidence) -> Iterator[Finding]:
    """http01.wrong_host, not_found, forbidden, server_error, catchall, redirect_broken, redirect_loop,
    redirect_offsite: somebody answered, but not with the planted token."""
    attempt = evidence.attempt()
    if attempt is None or not attempt.hops or attempt.hops[0].status is None:
        return
    last = attempt.hops[-1]
    if not evidence.has_failed and last.error != ProbeError.REDIRECT_OFFSITE:  # not followed, so the outcome is open
        return
    code = _code_for(evidence, attempt.hops)
    configured = evidence.gateway() if code in _BY_ENTRY_POINT else None
    entry_point = configured.entry_point if configured is not None else None
    yield evidence.finding(
        code,
        evidence.path_culprit(attempt.hops[0].address),
        variant="entry_point" if entry_point is not None else "",
        detail={"status": last.status, "server": last.server, "hops": [_shown(hop) for hop in attempt.hops]},
        place=evidence.place(attempt.hops[0].address),
        hops=chain_of(attempt.hops),
        entry_point=entry_point,
    )


def redirect_is_followed(evidence: Evidence) -> Iterator[Finding]:
    """http01.redirected: the chain, when its end serves the token."""
    attempt = evidence.attempt()
    if evidence.has_failed or attempt is None or len(attempt.hops) < 2 or not attempt.matched:
        return
    detail = {"hops": [_shown(hop) for hop in attempt.hops]}
    yield evidence.finding("http01.redirected", None, detail=detail, hops=chain_of(attempt.hops))


def responder_is_slow(evidence: Evidence) -> Iterator[Finding]:
    """http01.slow: the token came, and took more than a third of what the CA waits."""
    attempt = evidence.attempt()
    took = sum(hop.took_ms for hop in attempt.hops) if attempt is not None and attempt.matched else 0
    if took > _SLOW_MS:
        yield evidence.finding(
            "http01.slow",
            evidence.path_culprit(evidence.first_address()),
            detail={"took_ms": took},
            seconds=round(took / 1000),
            place=evidence.place(evidence.first_address()),
        )


def neither_way_is_one_way(evidence: Evidence) -> Iterator[Finding]:
    """net.asymmetric: this node reaches the CA, and the CA does not reach it."""
    attempt = evidence.attempt()
    hop = attempt.hops[0] if attempt is not None and attempt.hops else None
    if not evidence.has_failed or hop is None or hop.is_local or hop.error not in UNHEARD:
        return
    if hop.address in evidence.addresses and any(check.error is None for check in evidence.directory):
        yield evidence.finding(
            "net.asymmetric",
            evidence.path_culprit(hop.address),
            client=evidence.node,
            place=evidence.place(hop.address),
            port=hop.port,
            looker=evidence.looker,
        )


def connection_is_stale(evidence: Evidence) -> Iterator[Finding]:
    """http01.stale_connection: the CA holds a connection to where the name no longer leads, and may use it."""
    rehearsal = evidence.rehearsal
    if rehearsal is None or not rehearsal.stale:
        return
    held = rehearsal.stale[0]
    yield evidence.finding(
        "http01.stale_connection",
        Culprit(node=rehearsal.node, address=held.address, role="authority"),
        detail={"connections": [f"{connection.address}:{connection.port}" for connection in rehearsal.stale]},
        place=evidence.place(held.address),
    )


def _code_for(evidence: Evidence, hops: tuple[Hop, ...]) -> str:
    last = hops[-1]
    if evidence.deciding_line() is not None:
        return "http01.wrong_host"
    moved = next((hop.error for hop in hops if hop.error in _REDIRECTS), None)
    if moved is not None:
        return _REDIRECTS[moved]
    if len(hops) > 1:
        return "http01.redirect_broken"
    return _code_for_status(last.status or 0)


def _code_for_status(status: int) -> str:
    if status in (401, 403):
        return "http01.forbidden"
    if status >= 500:
        return "http01.server_error"
    return "http01.not_found" if status >= 400 else "http01.catchall"


def _no_http(evidence: Evidence, hop: Hop) -> Iterator[Finding]:
    yield evidence.finding(
        "http01.tls_on_80",
        evidence.path_culprit(hop.address),
        detail={"error": hop.error},
        place=evidence.place(hop.address),
        port=hop.port,
        said=hop.errno or hop.error,
    )


def _shown(hop: Hop) -> dict[str, str | int | None]:
    return {
        "url": hop.url,
        "address": hop.address,
        "status": hop.status,
        "server": hop.server,
        "location": hop.location,
        "error": hop.error,
    }


def configuration_is_wrong(evidence: Evidence) -> Iterator[Finding]:
    """http01.traefik_acme_router, deploy.dangling_reference, http01.wrong_entrypoint, http01.tls_on_80: mistakes that
    the files show."""
    configured = evidence.gateway()
    if configured is None:
        return
    for cause in configured.causes:
        yield _found(evidence, cause.code, cause.place, configured, cause.variant, **cause.facts)


def responder_is_missed(evidence: Evidence) -> Iterator[Finding]:
    """http01.upstream_scheme, http01.webroot_mismatch, http01.host_rewritten: the challenge's path goes past the
    responder."""
    configured = evidence.gateway()
    if configured is None or configured.place is None:
        return
    if configured.action is ServerAction.PASSES and _is_responder(evidence, configured.target, "https"):
        yield _found(evidence, "http01.upstream_scheme", configured.place, configured)
    if (
        configured.action is ServerAction.PASSES
        and configured.host is not None
        and not _is_responder(evidence, configured.target)
    ):
        yield _found(evidence, "http01.host_rewritten", configured.host, configured)
    if configured.action is ServerAction.SERVES and not evidence.answered_with_success():
        yield _found(evidence, "http01.webroot_mismatch", configured.place, configured)


def _is_responder(evidence: Evidence, target: str | None, *schemes: str) -> bool:
    """Whether that URL leads to certagent's own responder; by one of those schemes, if any are given."""
    listen = evidence.responder.listen if evidence.responder is not None else ""
    try:
        parts = urlsplit(target or "")
        return str(parts.port) == listen.rpartition(":")[2] and (not schemes or parts.scheme in schemes)
    except ValueError:
        return False


def _found(
    evidence: Evidence, code: str, place: Place, configured: WebServerObservation, variant: str = "", **facts: Fact
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
        detail={"server": configured.server, "action": configured.action, "target": configured.target},
        **{"server": configured.server, "snippet": configured.server, "target": configured.target, **facts},
    )
