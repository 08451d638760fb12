"""Conclusions about the challenge's path, http-01: who answered the CA, and with what. Pure."""

from collections.abc import Iterator

from certagent.domain.diagnosis.evidence import Evidence, chain_of
from certagent.domain.findings import Culprit, Finding
from certagent.domain.rehearsals import Hop

_NET = {"refused": "net.refused", "timeout": "net.timeout", "no_route": "net.no_route", "reset": "net.reset"}
_NET_WORDS = {
    "refused": "nothing listens there",
    "timeout": "no answer came: something drops the packets",
    "no_route": "there is no route",
    "reset": "the connection was cut",
}
_SLOW_MS = 10_000
_ANY = {"0.0.0.0", "::", "[::]", ""}  # noqa: S104 -- read, not bound
_REDIRECTS = {"redirect_loop": "http01.redirect_loop", "redirect_offsite": "http01.redirect_offsite"}


def responder_is_absent(evidence: Evidence) -> Iterator[Finding]:
    """http01.responder_absent: this node's own responder does not answer on loopback."""
    check = evidence.responder
    if check is not None and not check.answered and check.challenge == "http-01" and check.file is not None:
        yield evidence.own_finding(
            "http01.responder_absent",
            f"{check.file} on {evidence.node} does not answer the challenge: {check.detail}.",
            Culprit(node=evidence.node, file=check.file),
            f"See to {check.file}: it is what has to answer.",
            said=check.detail,
        )
    elif check is not None and not check.answered and check.challenge == "http-01":
        yield evidence.own_finding(
            "http01.responder_absent",
            f"The responder on {check.listen} did not answer the planted token on {evidence.node} itself:"
            f" {check.detail or 'it gave no reason'}.",
            Culprit(node=evidence.node, address=check.listen),
            f"See who listens on {check.listen}, and the agent's journal.",
            said=check.detail,
        )


def port_is_anothers(evidence: Evidence) -> Iterator[Finding]:
    """http01.port_owner: the responder does not answer, and somebody else listens on its port."""
    check = evidence.responder
    if check is None or check.answered or check.challenge != "http-01" or evidence.here is None:
        return
    host, _, port = check.listen.rpartition(":")
    for one in evidence.here.listeners:
        if str(one.port) == port and not one.is_ours and (host == one.address or _ANY & {host, one.address}):
            who = f"the process {one.process}" if one.process else "a process that cannot be seen from here"
            yield evidence.own_finding(
                "http01.port_owner",
                f"Port {port} of {evidence.node}, where the responder is to listen ({check.listen}), belongs to {who}.",
                Culprit(node=evidence.node, address=check.listen),
                f"Stop {one.process or 'it'}, or give the responder another port (solver.listen, and whatever passes"
                " challenges on to it).",
                process=one.process,
            )
            return


def nobody_answers(evidence: Evidence) -> Iterator[Finding]:
    """net.refused, net.timeout, net.no_route, net.reset, http01.tls_on_80: the first hop gave no HTTP answer."""
    attempt = evidence.attempt()
    if not evidence.has_failed or attempt is None or not attempt.hops or attempt.hops[0].error is None:
        return
    hop = attempt.hops[0]
    if hop.error not in _NET:
        yield from _no_http(evidence, hop)
        return
    where = f"{hop.address} port {hop.port}"
    if hop.is_local:
        why = f"{evidence.looker} itself lets nothing out to there"
        fix = f"On {evidence.looker}, see the routes and the packet filter for what leaves to {where}."
    else:
        why = _NET_WORDS[hop.error]
        fix = f"From the CA's node, reach {where}: the service, its packet filter, the route back."
    yield evidence.finding(
        _NET[hop.error],
        f"The CA does not get through to {evidence.place(hop.address)} port {hop.port} for {evidence.identifier}:"
        f" {why}.",
        evidence.path_culprit(hop.address),
        fix,
        errno=hop.errno,
        took_ms=hop.took_ms,
    )


def answer_is_not_ours(evidence: Evidence) -> Iterator[Finding]:
    """http01.wrong_host, not_found, forbidden, server_error, catchall, redirect_broken, redirect_loop,
    redirect_offsite: somebody answered, but not with the planted token."""
    attempt = evidence.attempt()
    if attempt is None or not attempt.hops or attempt.hops[0].status is None:
        return
    last = attempt.hops[-1]
    if not evidence.has_failed and last.error != "redirect_offsite":  # not followed, so the outcome is open
        return
    code = _code_for(evidence, attempt.hops)
    yield evidence.finding(
        code,
        f"The CA asked {evidence.place(attempt.hops[0].address)} for {evidence.identifier}, and the token did not come:"
        f" {chain_of(attempt.hops)}.",
        evidence.path_culprit(attempt.hops[0].address),
        _FIXES.get(code, "See which route of the gateway takes the challenge's path, and send it to the responder."),
        status=last.status,
        server=last.server,
        hops=[_shown(hop) for hop in attempt.hops],
    )


def redirect_is_followed(evidence: Evidence) -> Iterator[Finding]:
    """http01.redirected: the chain, when its end serves the token."""
    attempt = evidence.attempt()
    if evidence.has_failed or attempt is None or len(attempt.hops) < 2 or not attempt.matched:
        return
    yield evidence.finding(
        "http01.redirected",
        f"The challenge of {evidence.identifier} is redirected, and the end serves it: {chain_of(attempt.hops)}.",
        None,
        None,
        hops=[_shown(hop) for hop in attempt.hops],
    )


def responder_is_slow(evidence: Evidence) -> Iterator[Finding]:
    """http01.slow: the token came, and took more than a third of what the CA waits."""
    attempt = evidence.attempt()
    took = sum(hop.took_ms for hop in attempt.hops) if attempt is not None and attempt.matched else 0
    if took > _SLOW_MS:
        yield evidence.finding(
            "http01.slow",
            f"The token of {evidence.identifier} came after {took / 1000:.0f} s from"
            f" {evidence.place(evidence.first_address())}; the CA gives up after 30 s.",
            evidence.path_culprit(evidence.first_address()),
            "See what holds the answer up on that box.",
            took_ms=took,
        )


def neither_way_is_one_way(evidence: Evidence) -> Iterator[Finding]:
    """net.asymmetric: this node reaches the CA, and the CA does not reach it."""
    attempt = evidence.attempt()
    hop = attempt.hops[0] if attempt is not None and attempt.hops else None
    if not evidence.has_failed or hop is None or hop.is_local or hop.error not in ("timeout", "no_route"):
        return
    if hop.address in evidence.addresses and any(check.error is None for check in evidence.directory):
        yield evidence.finding(
            "net.asymmetric",
            f"{evidence.node} reaches the CA, and the CA does not reach {evidence.place(hop.address)} port {hop.port}:"
            " something between them lets one direction pass only.",
            evidence.path_culprit(hop.address),
            f"See the packet filters of {evidence.node} and of {evidence.looker}, and the routes of both.",
        )


def connection_is_stale(evidence: Evidence) -> Iterator[Finding]:
    """http01.stale_connection: the CA holds a connection to where the name no longer leads, and may use it."""
    rehearsal = evidence.rehearsal
    if rehearsal is None or not rehearsal.stale:
        return
    held = rehearsal.stale[0]
    yield evidence.finding(
        "http01.stale_connection",
        f"The CA still holds a connection to {evidence.place(held.address)}, where {evidence.identifier} does not lead;"
        " it may validate over that one until it closes.",
        Culprit(node=rehearsal.node, address=held.address, role="authority"),
        "Wait until it closes (certagent does), or restart the CA.",
        connections=[f"{connection.address}:{connection.port}" for connection in rehearsal.stale],
    )


_FIXES = {
    "http01.wrong_host": "Mend the name first: the box that answered is not the one that holds the token.",
    "http01.catchall": "Give /.well-known/acme-challenge/ a route of its own that wins over the catch-all page.",
    "http01.not_found": "Give /.well-known/acme-challenge/ a route to the responder on the box that answered.",
    "http01.redirect_broken": "Leave /.well-known/acme-challenge/ out of the redirect, or serve it at its end.",
}


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
        f"What answers on {evidence.place(hop.address)} port {hop.port} does not speak plain HTTP"
        f" ({hop.errno or hop.error}).",
        evidence.path_culprit(hop.address),
        "Port 80 must speak plain HTTP: see the listener's configuration for TLS.",
        error=hop.error,
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
