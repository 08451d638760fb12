"""Conclusions about the CA itself: who looks from beside it, whether it can be used, how it was started. Pure."""

from collections.abc import Iterator

from certagent.domain.conclusions.evidence import DirectoryCheck, Evidence
from certagent.domain.findings import Culprit, Finding, Vantage
from certagent.domain.rehearsals import RehearsalOutcome

_FLAGS = {
    "--acme-strict-fqdn": "ca.strict_fqdn",
    "--acme-http-port": "ca.port_override",
    "--acme-tls-port": "ca.port_override",
}
_WORDS = {
    "refused": "nothing listens there",
    "timeout": "no answer came in time",
    "no_route": "there is no route to it",
    "unresolved": "its name has no address here",
    "reset": "the connection was cut",
    "untrusted": "its certificate is not of the pinned root",
    "name_mismatch": "its certificate is for another name",
    "http_status": "it does not answer with a directory",
}
_CODES = {"untrusted": "ca.untrusted", "name_mismatch": "ca.name_mismatch", "http_status": "ca.directory_missing"}


def vantage_is_missing(evidence: Evidence) -> Iterator[Finding]:
    """ca.vantage_missing: preflight is blind, and says so."""
    rehearsal = evidence.rehearsal
    if rehearsal is not None and rehearsal.outcome is not RehearsalOutcome.UNAVAILABLE:
        return
    reason = rehearsal.reason if rehearsal and rehearsal.reason else "no collector is configured"
    yield Finding(
        code="ca.vantage_missing",
        identifier=evidence.identifier,
        vantage=Vantage.PEER,
        reporter=evidence.node,
        explanation=f"Nobody could look from beside the CA ({reason}): whether the challenge gets through is open.",
        fix="Run an agent with a token of the role `authority` beside the CA, and a collector that both reach.",
        detail={"reason": reason},
    )


def directory_cannot_be_used(evidence: Evidence) -> Iterator[Finding]:
    """ca.unreachable, ca.untrusted, ca.name_mismatch, ca.directory_missing, dns.authority_not_authority."""
    if not evidence.directory or any(check.error is None for check in evidence.directory):
        yield from _only_a_fall_back(evidence)
        return
    check = evidence.directory[0]
    yield evidence.own_finding(
        _CODES.get(check.error or "", "ca.unreachable"),
        f"{evidence.node} cannot use the CA at {check.url}"
        f" ({evidence.place(check.address)}): {_WORDS.get(check.error or '', check.error)}.",
        Culprit(node=evidence.owner(check.address)[0], address=check.address, role="authority"),
        "Start the CA, or mend the way to it; every order waits for this.",
        checks=[_shown(one) for one in evidence.directory],
    )


def process_moves_the_goalposts(evidence: Evidence) -> Iterator[Finding]:
    """ca.strict_fqdn, ca.port_override, ca.uses_proxy: what the CA's own process was started with."""
    rehearsal = evidence.rehearsal
    if rehearsal is None:
        return
    culprit = Culprit(node=rehearsal.node, role="authority")
    for flag in rehearsal.authority_flags:
        code = _FLAGS.get(flag.split("=")[0])
        if code is not None:
            yield evidence.finding(
                code,
                f"The CA was started with {flag}.",
                culprit,
                f"Take {flag} off the CA's command line unless it is meant.",
                flag=flag,
            )
    if rehearsal.proxy is not None:
        yield evidence.finding(
            "ca.uses_proxy",
            f"The CA fetches challenges through the proxy {rehearsal.proxy}.",
            culprit,
            "Take HTTP_PROXY out of the CA's environment, or put the fleet's zones into NO_PROXY.",
            proxy=rehearsal.proxy,
        )


def _only_a_fall_back(evidence: Evidence) -> Iterator[Finding]:
    """The name leads elsewhere, a configured address leads to the CA: it works, but somebody should know."""
    failed = [check for check in evidence.directory if check.error is not None and not check.by_address]
    if failed:
        yield Finding(
            code="ca.name_leads_elsewhere",
            identifier=evidence.identifier,
            vantage=Vantage.CLIENT,
            reporter=evidence.node,
            explanation=f"{evidence.node} reaches the CA by its configured address only; by name:"
            f" {_WORDS.get(failed[0].error or '', failed[0].error)}.",
            culprit=Culprit(node=evidence.node, address=failed[0].address),
            fix="Mend the CA's name on this node (its hosts file, its nameserver).",
            detail={"checks": [_shown(check) for check in evidence.directory]},
        )


def _shown(check: DirectoryCheck) -> dict[str, str | int | bool | None]:
    return {"address": check.address, "by_address": check.by_address, "error": check.error, "detail": check.detail}
