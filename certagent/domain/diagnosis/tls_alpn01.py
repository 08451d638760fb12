"""Conclusions about tls-alpn-01: which process answered the CA's handshake, and with which certificate. Pure."""

from collections.abc import Iterator

from certagent.domain.diagnosis.evidence import Evidence
from certagent.domain.findings import Culprit, Finding, Vantage
from certagent.domain.probe_errors import ProbeError
from certagent.domain.rehearsals import ACME_TLS, AlpnAnswer, ChallengeType, Hop

_EXTENSIONS = frozenset({"obsolete", "not_critical", "malformed"})


def responder_is_absent(evidence: Evidence) -> Iterator[Finding]:
    """alpn.responder_absent: this node's own responder does not present the planted certificate."""
    check = evidence.responder
    if check is None or check.answered or check.challenge != ChallengeType.TLS_ALPN01:
        return
    yield evidence.finding(
        "alpn.responder_absent",
        Culprit(node=evidence.node, address=check.listen),
        vantage=Vantage.CLIENT,
        detail={"said": check.detail},
        listen=check.listen,
        said=check.detail,
    )


def handshake_is_not_ours(evidence: Evidence) -> Iterator[Finding]:
    """alpn.port_not_443, unreachable, no_protocol, wrong_certificate, san_mismatch, bad_extension: another server
    answered the handshake, or none did."""
    hop = _deciding(evidence)
    if hop is None or not evidence.has_failed:
        return
    if hop.error == ProbeError.REFUSED and _listens_elsewhere(evidence, hop):
        yield _port_is_another(evidence, hop)
    elif hop.error == ProbeError.NO_PROTOCOL or (hop.alpn is not None and hop.alpn.protocol != ACME_TLS):
        yield _protocol_is_not_spoken(evidence, hop)
    elif hop.alpn is None:
        yield _nobody_shakes_hands(evidence, hop)
    else:
        yield _certificate_is_wrong(evidence, hop, hop.alpn)


def _deciding(evidence: Evidence) -> Hop | None:
    rehearsal = evidence.rehearsal
    if rehearsal is None or rehearsal.challenge != ChallengeType.TLS_ALPN01 or not rehearsal.attempts:
        return None
    return rehearsal.attempts[-1].hops[-1]


def _listens_elsewhere(evidence: Evidence, hop: Hop) -> bool:
    """Return whether this node was asked while its responder listens on another port."""
    listen = evidence.responder.listen if evidence.responder else ""
    return hop.address in evidence.addresses and bool(listen) and listen.rpartition(":")[2] != str(hop.port)


def _port_is_another(evidence: Evidence, hop: Hop) -> Finding:
    listen = evidence.responder.listen if evidence.responder else ""
    return evidence.finding(
        "alpn.port_not_443",
        Culprit(node=evidence.node, address=listen),
        vantage=Vantage.CLIENT,
        detail={"port": hop.port, "listen": listen},
        place=evidence.place(hop.address),
        port=hop.port,
        listen=listen,
    )


def _protocol_is_not_spoken(evidence: Evidence, hop: Hop) -> Finding:
    return evidence.finding(
        "alpn.no_protocol",
        evidence.path_culprit(hop.address),
        detail={"certificate_names": hop.certificate_names, "protocol": hop.alpn.protocol if hop.alpn else None},
        place=evidence.place(hop.address),
        port=hop.port,
        process=_process_at(evidence, hop),
        names=list(hop.certificate_names),
    )


def _nobody_shakes_hands(evidence: Evidence, hop: Hop) -> Finding:
    return evidence.finding(
        "alpn.unreachable",
        evidence.path_culprit(hop.address),
        detail={"error": hop.error, "errno": hop.errno, "took_ms": hop.took_ms},
        place=evidence.place(hop.address),
        address=hop.address,
        port=hop.port,
        error=hop.error,
        errno=hop.errno,
    )


def _certificate_is_wrong(evidence: Evidence, hop: Hop, answer: AlpnAnswer) -> Finding:
    code, variant = _judged(answer)
    return evidence.finding(
        code,
        evidence.path_culprit(hop.address),
        variant=variant,
        detail={"certificate_names": hop.certificate_names, "extension": answer.extension},
        place=evidence.place(hop.address),
        port=hop.port,
        names=list(hop.certificate_names),
        extension=answer.extension,
    )


def _judged(answer: AlpnAnswer) -> tuple[str, str]:
    """Return code and variant for a certificate that the CA does not accept."""
    if answer.extension == "absent":
        return "alpn.wrong_certificate", "ordinary"
    if not answer.is_alone:
        return "alpn.san_mismatch", ""
    if answer.extension in _EXTENSIONS:
        return "alpn.bad_extension", ""
    return "alpn.wrong_certificate", "other_challenge"


def _process_at(evidence: Evidence, hop: Hop) -> str | None:
    """Return the process that listens there, if that is this node."""
    if evidence.here is None or hop.address not in evidence.addresses:
        return None
    return next(
        (listener.process for listener in evidence.here.listeners if listener.port == hop.port and listener.process),
        None,
    )
