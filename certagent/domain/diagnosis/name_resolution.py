"""Conclusions about how the CA resolves a name. Pure."""

from collections.abc import Iterator

import msgspec

from certagent.domain.diagnosis.evidence import Evidence
from certagent.domain.findings import Culprit, Finding, Vantage
from certagent.domain.rehearsals import Origin, Resolution, ResolvedAddress
from certagent.domain.resolution.hosts import HOSTS_FILE
from certagent.domain.resolution.nsswitch import NSSWITCH_FILE
from certagent.domain.resolution.resolv_conf import RESOLV_CONF_FILE, ResolvConf
from certagent.domain.resolver_agreement import loops, told_by_dns

_REASONS = {
    "nxdomain": "does not exist in DNS",
    "nodata": "has no address in DNS",
    "servfail": "cannot be looked up: the nameserver failed",
    "refused": "cannot be looked up: the nameserver refuses to answer",
    "timeout": "cannot be looked up: no nameserver answered in time",
    "unreachable": "cannot be looked up: no nameserver can be reached",
    "tcp_blocked": "cannot be looked up: the answer is too long for UDP, and the nameserver does not answer over TCP",
    "no_nameserver": "cannot be looked up: resolv.conf names no nameserver",
}
_CODES = {"unreachable": "dns.resolver_dead", "no_nameserver": "dns.resolv_conf_broken"}


def name_leads_elsewhere(evidence: Evidence) -> Iterator[Finding]:
    """dns.hosts_shadow.authority, dns.loopback: a hosts line at the CA decides otherwise than DNS.
    dns.address_not_ours: DNS itself leads to another node, and the rehearsal failed there."""
    resolution = evidence.resolution
    if resolution is None or not resolution.addresses:
        return
    line = evidence.deciding_line()
    if line is not None:
        yield shadowing(resolution, line, evidence)
    elif evidence.has_failed and resolution.addresses[0].origin.source == "dns":
        yield from _address_not_ours(evidence, resolution.addresses[0])


def name_has_no_address(evidence: Evidence) -> Iterator[Finding]:
    """dns.nxdomain, nodata, servfail, refused, timeout, tcp_blocked, resolver_dead, resolv_conf_broken: the
    CA gets no address. The culprit is the line that keeps it from one that would know, else the nameserver."""
    resolution = evidence.resolution
    if resolution is None or resolution.error is None:
        return
    asked = tuple(dict.fromkeys(reply.nameserver for reply in resolution.dns))
    yield evidence.finding(
        _code_without_address(resolution),
        f"At the CA {evidence.identifier} {_reason(resolution)}"
        + (f" (asked: {', '.join(evidence.place(server) for server in asked)})." if asked else "."),
        _culprit_without_address(resolution, evidence),
        _fix_without_address(resolution, evidence),
        nameservers=asked,
    )


def files_are_unreadable(evidence: Evidence) -> Iterator[Finding]:
    """dns.file_unreadable: there is a file, but not for the CA, and the CA did not come to this node. An nsswitch.conf
    does not matter: without one Go goes by the order that nearly all of them have. Of a dns-01 record no hosts file
    says anything."""
    if not evidence.has_failed or evidence.rehearsal is None or evidence.reaches_this_node():
        return
    for file in evidence.rehearsal.unreadable:
        if file != NSSWITCH_FILE and not (file == HOSTS_FILE and evidence.challenge == "dns-01"):
            unreadable = file_is_unreadable(evidence.looker or "", file)
            yield msgspec.structs.replace(unreadable, identifier=evidence.identifier)


def file_is_unreadable(node: str, file: str) -> Finding:
    """dns.file_unreadable: of a resolver file beside the CA. Go takes a hosts file for unchanged by size and time."""
    touch = f", and touch {file}: else the CA does not look again" if file == HOSTS_FILE else ""
    return Finding(
        code="dns.file_unreadable",
        vantage=Vantage.AUTHORITY,
        reporter=node,
        explanation=f"The user that the CA on {node} runs as may not read {file}: to the CA there is no such file.",
        culprit=Culprit(node=node, file=file, role="authority"),
        fix=f"On {node}: chmod a+r {file}{touch}.",
    )


def edit_is_unseen(evidence: Evidence) -> Iterator[Finding]:
    """dns.hosts_edit_unseen: the hosts file was changed without a trace that the CA would notice."""
    file = evidence.rehearsal.unseen_file if evidence.rehearsal is not None else None
    if file is not None:
        yield evidence.finding(
            "dns.hosts_edit_unseen",
            f"{file} on {evidence.looker} was changed, and neither its size nor its time moved: the CA goes on with"
            " what it had read before, and this look at it went by what the file says now.",
            Culprit(node=evidence.looker, file=file, role="authority"),
            f"On {evidence.looker}: touch {file}, or restart the CA.",
        )


def _code_without_address(resolution: Resolution) -> str:
    """A port that refuses says so once a second at most, so of several questions some seem to be lost on the way."""
    error = resolution.error or ""
    asked = {one.nameserver for one in resolution.nameservers}
    refuses = any(one.status == "unreachable" and one.nameserver in asked for one in resolution.dns)
    is_dead = error in ("timeout", "unreachable") and (refuses or _line_past_the_right_one(resolution) is not None)
    return "dns.resolver_dead" if is_dead else _CODES.get(error, f"dns.{error}")


def _reason(resolution: Resolution) -> str:
    if "dns" not in resolution.order:
        return "is in no hosts file, and its nsswitch.conf keeps DNS out"
    return _REASONS.get(resolution.error or "", resolution.error or "")


def _culprit_without_address(resolution: Resolution, evidence: Evidence) -> Culprit:
    if "dns" not in resolution.order and resolution.switch is not None:
        return _line_of(resolution.switch, evidence)
    if resolution.error == "no_nameserver":
        return Culprit(node=evidence.looker, file=RESOLV_CONF_FILE)
    misled = _line_past_the_right_one(resolution)
    if misled is not None:
        return _line_of(misled, evidence)
    asked = next((one.nameserver for one in resolution.nameservers), None)
    if asked is None or asked.startswith(("127.", "::1")):  # of the node itself, at whatever port
        return Culprit(node=evidence.looker, address=asked)
    node, role = evidence.owner(asked)
    return Culprit(node=node, address=asked, role=role)


def _line_past_the_right_one(resolution: Resolution) -> Origin | None:
    """The first line that names a nameserver, if one that it does not name would have had the address."""
    named = {one.nameserver for one in resolution.nameservers}
    knowing = [one for one in resolution.dns if one.status == "ok" and one.addresses and one.nameserver not in named]
    return next(iter(resolution.nameservers), None) if knowing else None


def _line_of(origin: Origin, evidence: Evidence) -> Culprit:
    started = evidence.started_by("--resolver") if origin.source == "unit" else None
    found = started or origin
    _, role = evidence.owner(origin.nameserver)
    return Culprit(
        node=evidence.looker,
        file=found.file,
        line=found.line,
        text=found.text,
        address=origin.nameserver,
        role=role,
    )


def _fix_without_address(resolution: Resolution, evidence: Evidence) -> str:
    culprit = _culprit_without_address(resolution, evidence)
    if culprit.file is None:
        return f"Add the record for {evidence.identifier} to the zone, or mend the nameserver that the CA asks."
    where = f"line {culprit.line} of {culprit.file}" if culprit.line else culprit.file
    what = "let DNS be asked after the files" if "dns" not in resolution.order else "name the fleet's own nameserver"
    return f"In {where} on {culprit.node} {what}."


def shadowing(resolution: Resolution, line: ResolvedAddress, evidence: Evidence) -> Finding:
    """The finding that a hosts line beside the CA decides (`evidence.looker` is the CA's node)."""
    told = tuple(dict.fromkeys(answer for reply in resolution.dns for answer in reply.addresses))
    says = f"says {', '.join(evidence.place(answer) for answer in told)}" if told else "has no address for it"
    origin = line.origin
    culprit = evidence.path_culprit(line.address)
    return evidence.finding(
        "dns.loopback" if loops(line.address) else "dns.hosts_shadow.authority",
        f"The CA on {culprit.node} goes to {evidence.place(line.address)} for {resolution.name}, because line"
        f" {origin.line} of {origin.file} there says so; DNS {says}.",
        culprit,
        _fix_for(origin, culprit.node),
        hosts=line.address,
        dns=told,
        order=resolution.order,
        managed_by=origin.managed_by,
    )


def shadows_at_the_authority(resolutions: tuple[Resolution, ...], node: str, own: tuple[str, ...]) -> list[Finding]:
    """What the hosts file beside the CA does to the fleet's names, without any fetch.

    A name whose DNS address is the node's own may lead to loopback there: it is the CA's own name.
    """
    concluded = []
    for resolution in resolutions:
        evidence = Evidence(identifier=resolution.name, node=node, addresses=own, looked_up=resolution)
        line = evidence.deciding_line()
        is_own = bool(told_by_dns(resolution) & set(own))
        if line is not None and not (is_own and loops(line.address)):
            concluded.append(shadowing(resolution, line, evidence))
    return concluded


def shadows_at_a_client(resolutions: tuple[Resolution, ...], node: str, own: tuple[str, ...]) -> list[Finding]:
    """dns.hosts_shadow.client: hosts lines on an ordinary node that disagree with DNS for names of the fleet."""
    return [
        msgspec.structs.replace(
            finding,
            code="dns.hosts_shadow.client",
            vantage=Vantage.STATIC,
            explanation=finding.explanation.replace(f"The CA on {node} goes", f"{node} goes", 1),
        )
        for finding in shadows_at_the_authority(resolutions, node, own)
    ]


def resolver_is_missing(node: str, configuration: ResolvConf) -> Finding | None:
    """dns.resolv_conf_broken: absent, a dangling link, or without a usable nameserver."""
    if configuration.exists and not configuration.names_nobody():
        return None
    what = "names no nameserver" if configuration.exists else "does not exist (or is a link that leads nowhere)"
    return Finding(
        code="dns.resolv_conf_broken",
        vantage=Vantage.STATIC,
        reporter=node,
        explanation=f"{RESOLV_CONF_FILE} on {node} {what}.",
        culprit=Culprit(node=node, file=RESOLV_CONF_FILE),
        fix=f"Give {RESOLV_CONF_FILE} on {node} a line `nameserver ADDRESS`.",
    )


def _address_not_ours(evidence: Evidence, used: ResolvedAddress) -> Iterator[Finding]:
    owner, role = evidence.owner(used.address)
    if owner == evidence.node or not evidence.addresses or (owner is None and evidence.somebody_answered()):
        return
    server, _ = evidence.owner(used.origin.nameserver)
    yield evidence.finding(
        "dns.address_not_ours",
        f"DNS leads the CA to {evidence.place(used.address)}{'' if owner else ', which nobody in the fleet has,'} for"
        f" {evidence.identifier}, which this node ({evidence.node}) should answer for.",
        Culprit(node=server, address=used.address, role=role),
        f"Point the record of {evidence.identifier} to {' or '.join(evidence.addresses) or evidence.node}.",
        nameserver=used.origin.nameserver,
    )


def _fix_for(origin: Origin, node: str | None) -> str:
    where = f"line {origin.line} of {origin.file} on {node}"
    if origin.managed_by is not None:
        return f"Change it where {origin.managed_by} sets it: {where} is rewritten from there."
    return f"Remove {where}: {origin.text}"
