"""Conclusions about the CA itself: whether an agent observes from its node, whether it can be used, and how it was
started. Pure."""

from collections.abc import Iterator
from urllib.parse import urlsplit

from certagent.domain.catalogue import Fact
from certagent.domain.diagnosis.evidence import DirectoryCheck, Evidence, decides_against_dns
from certagent.domain.findings import Culprit, Finding, Vantage
from certagent.domain.probe_errors import SILENT, UNHEARD, ProbeError
from certagent.domain.rehearsals import ChallengeType, Provisioner, RehearsalOutcome

_FLAGS = {
    "--acme-strict-fqdn": ("ca.strict_fqdn", (ChallengeType.HTTP01, ChallengeType.TLS_ALPN01, ChallengeType.DNS01)),
    "--acme-http-port": ("ca.port_override", (ChallengeType.HTTP01,)),
    "--acme-tls-port": ("ca.port_override", (ChallengeType.TLS_ALPN01,)),
}
"""What a flag changes, and for which challenge types."""
_NOT_A_CA = frozenset(
    {
        ProbeError.REFUSED,
        *UNHEARD,
        ProbeError.RESET,
        ProbeError.UNTRUSTED,
        ProbeError.ROOT_CHANGED,
        ProbeError.NAME_MISMATCH,
        ProbeError.HTTP_STATUS,
    }
)
_OWN_ROUTES = ("EINVAL", "ENETUNREACH", "EACCES", "EPERM")
"""The kernel's errors for this node's own routes: a black hole, no route, a prohibition."""
_MOST_SKEW_SECONDS = 60
_CODES: dict[str, str] = {
    ProbeError.UNTRUSTED: "ca.untrusted",
    ProbeError.ROOT_CHANGED: "ca.root_changed",
    ProbeError.EXPIRED: "ca.leaf_expired",
    ProbeError.NAME_MISMATCH: "ca.name_mismatch",
    ProbeError.HTTP_STATUS: "ca.directory_missing",
    ProbeError.UNHEALTHY: "ca.unhealthy",
}


def vantage_is_missing(evidence: Evidence) -> Iterator[Finding]:
    """ca.vantage_missing: no agent next to the CA can run the check, and preflight reports that."""
    rehearsal = evidence.rehearsal
    if rehearsal is not None and rehearsal.outcome is not RehearsalOutcome.UNAVAILABLE:
        return
    if evidence.responder is not None and evidence.responder.withheld:  # no agent was asked
        return
    if rehearsal is not None and not rehearsal.planted:
        return  # the probe that is possible for a certificate of another client was made
    reason = rehearsal.reason if rehearsal and rehearsal.reason else "no collector is configured"
    yield evidence.finding("ca.vantage_missing", None, vantage=Vantage.PEER, detail={"reason": reason}, reason=reason)


def directory_cannot_be_used(evidence: Evidence) -> Iterator[Finding]:
    """ca.unreachable, untrusted, root_changed, leaf_expired, name_mismatch, directory_missing, unhealthy: the CA's
    directory cannot be used from this node."""
    if not evidence.directory or any(check.error is None for check in evidence.directory):
        yield from _only_a_fall_back(evidence)
        return
    if any(name_is_not_the_cas(evidence)) and not any(check.by_address for check in evidence.directory):
        return  # the CA itself was not observed
    check = _telling(evidence.directory)
    if check.error in UNHEARD and _is_kept_from_here(evidence):
        return  # its answers do not leave its node either: that is said of the way to here
    words = evidence.rehearsal.last_words if evidence.rehearsal is not None else None
    yield evidence.finding(
        _CODES.get(check.error or "", "ca.unreachable"),
        _unusable(evidence, check),
        vantage=Vantage.CLIENT,
        detail={"checks": [_shown(check) for check in evidence.directory], **_ended_chain(evidence, check)},
        url=check.url,
        place=evidence.place(check.address),
        error=check.error,
        said=words.said if words is not None else None,
        reason=words.missing if words is not None else None,
    )


def name_is_not_the_cas(evidence: Evidence) -> Iterator[Finding]:
    """dns.authority_not_authority: the CA's name resolves to a host that is not the CA, and no other address works."""
    if not evidence.directory or any(check.error is None for check in evidence.directory):
        return
    check = next((check for check in evidence.directory if not check.by_address and check.error in _NOT_A_CA), None)
    here = evidence.here.authority if evidence.here is not None else None
    line = decides_against_dns(here)
    elsewhere = line is not None or any(check.by_address for check in evidence.directory)
    if check is None or check.address is None or not elsewhere or check.address in evidence.addresses:
        return
    node, role = evidence.owner(check.address)
    culprit = Culprit(node=node, address=check.address, role=role)
    if line is not None and line.address == check.address:
        origin = line.origin
        culprit = Culprit(
            node=evidence.node, file=origin.file, line=origin.line, text=origin.text, address=check.address, role=role
        )
    yield evidence.finding(
        "dns.authority_not_authority",
        culprit,
        vantage=Vantage.CLIENT,
        detail={"checks": [_shown(check) for check in evidence.directory]},
        place=evidence.place(check.address),
        error=check.error,
    )


def name_leads_in_a_circle(evidence: Evidence) -> Iterator[Finding]:
    """ca.circular: the CA is reached through this node, whose own certificate is to be issued."""
    looker = evidence.rehearsal.node if evidence.rehearsal is not None else None
    check = next(
        (check for check in evidence.directory if not check.by_address and check.address in evidence.addresses), None
    )
    if check is None or looker == evidence.node or _is_ca_here(evidence, check.url):
        return
    line = decides_against_dns(evidence.here.authority if evidence.here is not None else None)
    origin = line.origin if line is not None else None
    yield evidence.finding(
        "ca.circular",
        Culprit(
            node=evidence.node,
            file=origin.file if origin else None,
            line=origin.line if origin else None,
            text=origin.text if origin else None,
            address=check.address,
        ),
        vantage=Vantage.CLIENT,
        detail={"error": check.error},
    )


def clocks_differ(evidence: Evidence) -> Iterator[Finding]:
    """ca.clock_skew: the CA's Date header differs from this node's clock by more than a minute."""
    seen = [check for check in evidence.directory if check.error is None and check.ahead_seconds is not None]
    if not seen or abs(seen[0].ahead_seconds or 0) <= _MOST_SKEW_SECONDS:
        return
    ahead = seen[0].ahead_seconds or 0
    yield evidence.finding(
        "ca.clock_skew",
        Culprit(node=evidence.node, role=evidence.owner(next(iter(evidence.addresses), None))[1]),
        vantage=Vantage.CLIENT,
        detail={"ahead_seconds": ahead},
        place=evidence.place(seen[0].address),
        seconds=round(abs(ahead)),
        is_ahead=ahead > 0,
    )


def orders_are_impossible(evidence: Evidence) -> Iterator[Finding]:
    """ca.provisioner_missing, ca.challenge_not_offered, ca.policy_denies: the CA's own configuration refuses any
    such order. Only configuration that its process has certainly read counts. An existing account needs no binding
    (ca.eab_required)."""
    ca = evidence.rehearsal.provisioner if evidence.rehearsal is not None else None
    if ca is None or not ca.is_loaded:
        return
    challenge = evidence.challenge
    if not ca.exists:
        yield _configured(evidence, ca, "ca.provisioner_missing", "provisioners")
    if ca.challenges and challenge not in ca.challenges:
        yield _configured(
            evidence, ca, "ca.challenge_not_offered", "challenges", offered=list(ca.challenges), challenge=challenge
        )
    if not ca.allows(evidence.identifier):
        which = "deny" if ca.denies(evidence.identifier) else "allow"
        yield _configured(evidence, ca, "ca.policy_denies", which)


def process_moves_the_goalposts(evidence: Evidence) -> Iterator[Finding]:
    """ca.strict_fqdn, ca.port_override, ca.uses_proxy: how the CA's process was started changes the validation."""
    for flag in evidence.rehearsal.authority_flags if evidence.rehearsal is not None else ():
        name = flag.split("=")[0]
        code, challenges = _FLAGS.get(name, ("", ()))
        if evidence.challenge in challenges:
            yield evidence.finding(code, _started(evidence, name), detail={"flag": flag}, flag=flag)
    if not evidence.fails_without_proxy():
        yield from _proxy(evidence)


def proxy_is_used_besides(evidence: Evidence) -> Iterator[Finding]:
    """ca.uses_proxy, where the proxy is not the reason why the challenge fails."""
    if evidence.fails_without_proxy():
        yield from _proxy(evidence)


def _proxy(evidence: Evidence) -> Iterator[Finding]:
    rehearsal = evidence.rehearsal
    if rehearsal is not None and rehearsal.proxy is not None:
        yield evidence.finding(
            "ca.uses_proxy",
            _started(evidence, "HTTP_PROXY", "http_proxy"),
            detail={"proxy": rehearsal.proxy},
            proxy=rehearsal.proxy,
        )
    hops = attempt.hops if (attempt := evidence.attempt()) is not None else ()
    if hops and hops[-1].error == ProbeError.REDIRECT_PROXIED:
        yield evidence.finding(
            "ca.uses_proxy",
            _started(evidence, "HTTPS_PROXY", "https_proxy"),
            variant="redirect",
            location=hops[-1].location,
        )


def _started(evidence: Evidence, *words: str) -> Culprit:
    """Return the line of the CA's unit that contains one of the words, or else its node."""
    line = next(filter(None, map(evidence.started_by, words)), None)
    if line is None:
        return Culprit(node=evidence.looker, role="authority")
    return Culprit(node=evidence.looker, file=line.file, line=line.line, text=line.text, role="authority")


def _configured(evidence: Evidence, ca: Provisioner, code: str, key: str, **facts: Fact) -> Finding:
    line = ca.lines.get(key) or ca.lines.get("provisioner") or ca.lines.get("provisioners")
    return evidence.finding(code, Culprit(node=evidence.looker, file=ca.file, line=line, role="authority"), **facts)


def _telling(checks: tuple[DirectoryCheck, ...]) -> DirectoryCheck:
    """Return the most informative check: one that reached a host, preferably by its configured address."""
    reached = [
        check
        for check in checks
        if check.error not in (ProbeError.UNRESOLVED, ProbeError.REFUSED, ProbeError.TIMEOUT, ProbeError.NO_ROUTE)
    ]
    return next((check for check in reached if check.by_address), next(iter(reached), checks[-1]))


def _is_kept_from_here(evidence: Evidence) -> bool:
    """Return whether the CA's node itself, by a route or a filter, sends this node nothing."""
    return evidence.has_failed and evidence.has_no_way_out() and evidence.reaches_this_node()


def _ended_chain(evidence: Evidence, check: DirectoryCheck) -> dict[str, str]:
    """When the CA's intermediate ended, where that is why its certificate is refused."""
    rehearsal = evidence.rehearsal
    ca = rehearsal.provisioner if rehearsal is not None else None
    if check.error != ProbeError.EXPIRED or rehearsal is None or ca is None or ca.chain_ends_at is None:
        return {}
    return {"chain_ends_at": ca.chain_ends_at.isoformat()} if ca.chain_ends_at <= rehearsal.at else {}


def _unusable(evidence: Evidence, check: DirectoryCheck) -> Culprit:
    """The CA's node; the file with its intermediate, or the line of its configuration that has its names; or this node,
    if no packet gets through to it from the CA either."""
    rehearsal = evidence.rehearsal
    ca = rehearsal.provisioner if rehearsal is not None else None
    if ca is not None and _ended_chain(evidence, check):
        return Culprit(node=evidence.looker, file=ca.chain_file, role="authority")
    if check.error == ProbeError.NAME_MISMATCH and ca is not None and "names" in ca.lines:
        return Culprit(
            node=evidence.looker, file=ca.file, line=ca.lines["names"], address=check.address, role="authority"
        )
    hop = evidence.first_hop()
    if hop is not None and hop.error in UNHEARD and check.error in UNHEARD and hop.address in evidence.addresses:
        return Culprit(node=evidence.node, address=hop.address)
    if check.error == ProbeError.NO_ROUTE and check.detail.startswith(_OWN_ROUTES):
        return Culprit(node=evidence.node, role=evidence.owner(next(iter(evidence.addresses), None))[1])
    node = evidence.owner(check.address)[0] or (rehearsal.node if rehearsal is not None else None)
    return Culprit(node=node, address=check.address, role="authority")


def _only_a_fall_back(evidence: Evidence) -> Iterator[Finding]:
    """Return the finding that the name resolves elsewhere while a configured address reaches the CA: orders work,
    but the name needs attention."""
    failed = [check for check in evidence.directory if check.error is not None and not check.by_address]
    if failed:
        culprit, asked = Culprit(node=evidence.node, address=failed[0].address), []
        if failed[0].error == ProbeError.UNRESOLVED and (asked := _mute_nameservers(evidence)):
            culprit = Culprit(node=evidence.owner(asked[0])[0] or evidence.node, address=asked[0])
        yield evidence.finding(
            "ca.name_leads_elsewhere",
            culprit,
            vantage=Vantage.CLIENT,
            variant="no_nameserver" if asked else "",
            detail={"checks": [_shown(check) for check in evidence.directory]},
            error=failed[0].error,
            asked=asked,
        )


def _mute_nameservers(evidence: Evidence) -> list[str]:
    """Return the nameservers that were asked here for the CA's name, if none of them answered."""
    answers = evidence.here.authority.dns if evidence.here is not None and evidence.here.authority is not None else ()
    are_mute = all(answer.status in SILENT for answer in answers)
    return list(dict.fromkeys(answer.nameserver for answer in answers)) if are_mute else []


def _is_ca_here(evidence: Evidence, url: str) -> bool:
    """Return whether the process that listens on the directory's port of this node is a CA, and not one that
    forwards to it."""
    port = urlsplit(url).port or 443
    here = evidence.here.listeners if evidence.here is not None else ()
    return any(listener.port == port and listener.process == "step-ca" for listener in here)


def _shown(check: DirectoryCheck) -> dict[str, str | int | bool | None]:
    return {"address": check.address, "by_address": check.by_address, "error": check.error, "detail": check.detail}
