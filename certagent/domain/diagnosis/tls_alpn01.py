"""Conclusions about tls-alpn-01: who answered the CA's handshake, and with which certificate. Pure."""

from collections.abc import Iterator

from certagent.domain.diagnosis.evidence import Evidence
from certagent.domain.findings import Culprit, Finding
from certagent.domain.rehearsals import ACME_TLS, AlpnAnswer, Hop

_WORDS = {
    "refused": "nothing listens there",
    "timeout": "no answer came: something drops the packets, or does not go on with the handshake",
    "no_route": "there is no route",
    "reset": "the connection was cut during the handshake",
    "tls": "what answers there does not complete a TLS handshake",
}
_EXTENSIONS = {
    "obsolete": "it is the one of an old draft",
    "not_critical": "it is not marked critical",
    "malformed": "it is not an octet string of 32 octets",
}


def responder_is_absent(evidence: Evidence) -> Iterator[Finding]:
    """alpn.responder_absent: this node's own responder does not present what was planted."""
    check = evidence.responder
    if check is None or check.answered or check.challenge != "tls-alpn-01":
        return
    yield evidence.own_finding(
        "alpn.responder_absent",
        f"The responder on {check.listen} did not present the challenge certificate on {evidence.node} itself:"
        f" {check.detail or 'it gave no reason'}.",
        Culprit(node=evidence.node, address=check.listen),
        f"See who listens on {check.listen}, and the agent's journal.",
        said=check.detail,
    )


def handshake_is_not_ours(evidence: Evidence) -> Iterator[Finding]:
    """alpn.port_not_443, unreachable, no_protocol, wrong_certificate, san_mismatch, bad_extension."""
    hop = _deciding(evidence)
    if hop is None or not evidence.has_failed:
        return
    if hop.error == "refused" and _listens_elsewhere(evidence, hop):
        yield _port_is_another(evidence, hop)
    elif hop.error == "no_protocol" or (hop.alpn is not None and hop.alpn.protocol != ACME_TLS):
        yield _protocol_is_not_spoken(evidence, hop)
    elif hop.alpn is None:
        yield _nobody_shakes_hands(evidence, hop)
    else:
        yield _certificate_is_wrong(evidence, hop, hop.alpn)


def _deciding(evidence: Evidence) -> Hop | None:
    rehearsal = evidence.rehearsal
    if rehearsal is None or rehearsal.challenge != "tls-alpn-01" or not rehearsal.attempts:
        return None
    return rehearsal.attempts[-1].hops[-1]


def _listens_elsewhere(evidence: Evidence, hop: Hop) -> bool:
    """Whether this very node was asked, and its responder has another port."""
    listen = evidence.responder.listen if evidence.responder else ""
    return hop.address in evidence.addresses and bool(listen) and listen.rpartition(":")[2] != str(hop.port)


def _port_is_another(evidence: Evidence, hop: Hop) -> Finding:
    listen = evidence.responder.listen if evidence.responder else ""
    return evidence.own_finding(
        "alpn.port_not_443",
        f"The CA connects to port {hop.port} of {evidence.place(hop.address)} for {evidence.identifier}, and nothing"
        f" listens there: the responder listens on {listen}, and nobody passes the connection on to it.",
        Culprit(node=evidence.node, address=listen),
        f"Let the responder listen on port {hop.port}, or pass TLS connections for {evidence.identifier} on to"
        f" {listen} unopened.",
        port=hop.port,
        listen=listen,
    )


def _protocol_is_not_spoken(evidence: Evidence, hop: Hop) -> Finding:
    names = ", ".join(hop.certificate_names) or "no name"
    process = _process_at(evidence, hop)
    who = f"{evidence.place(hop.address)} port {hop.port}" + (f" ({process})" if process else "")
    return evidence.finding(
        "alpn.no_protocol",
        f"{who} ends TLS for {evidence.identifier} itself, with a certificate for {names}, and does not speak"
        f" {ACME_TLS}.",
        evidence.path_culprit(hop.address),
        f"Let it pass connections for {evidence.identifier} on unopened (TLS passthrough), or use http-01.",
        certificate_names=hop.certificate_names,
        protocol=hop.alpn.protocol if hop.alpn else None,
    )


def _nobody_shakes_hands(evidence: Evidence, hop: Hop) -> Finding:
    said = f" ({hop.errno})" if hop.errno else ""
    return evidence.finding(
        "alpn.unreachable",
        f"The CA gets no TLS handshake with {evidence.place(hop.address)} port {hop.port} for {evidence.identifier}:"
        f" {_WORDS.get(hop.error or '', hop.error)}{said}.",
        evidence.path_culprit(hop.address),
        f"From the CA's node, reach {hop.address} port {hop.port}: the service, its packet filter, the route back.",
        error=hop.error,
        errno=hop.errno,
        took_ms=hop.took_ms,
    )


def _certificate_is_wrong(evidence: Evidence, hop: Hop, answer: AlpnAnswer) -> Finding:
    code, what, fix = _judged(evidence.identifier, hop, answer)
    return evidence.finding(
        code,
        f"{evidence.place(hop.address)} port {hop.port} speaks {ACME_TLS} for {evidence.identifier}, but {what}.",
        evidence.path_culprit(hop.address),
        fix,
        certificate_names=hop.certificate_names,
        extension=answer.extension,
    )


def _judged(identifier: str, hop: Hop, answer: AlpnAnswer) -> tuple[str, str, str]:
    """(code, what is wrong, what to do)."""
    names = ", ".join(hop.certificate_names) or "no name"
    pass_on = f"Let it pass connections for {identifier} on to the responder unopened (TLS passthrough)."
    if answer.extension == "absent":
        return "alpn.wrong_certificate", f"presents an ordinary certificate, for {names}", pass_on
    if not answer.is_alone:
        what = f"presents a challenge certificate for {names}, where it must be for this name alone"
        return "alpn.san_mismatch", what, "Mend the responder there, or send the connection to certagent's."
    if answer.extension in _EXTENSIONS:
        what = f"its certificate's acmeIdentifier extension is no good: {_EXTENSIONS[answer.extension]}"
        return "alpn.bad_extension", what, "Mend the responder there, or send the connection to certagent's."
    what = "presents the certificate of another challenge: another responder answers"
    return "alpn.wrong_certificate", what, f"Send connections for {identifier} to the node that asks for it."


def _process_at(evidence: Evidence, hop: Hop) -> str | None:
    """Who listens there, when it is this node."""
    if evidence.here is None or hop.address not in evidence.addresses:
        return None
    return next((one.process for one in evidence.here.listeners if one.port == hop.port and one.process), None)
