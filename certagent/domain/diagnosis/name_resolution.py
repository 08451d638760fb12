"""Conclusions about how the CA resolves a name. Pure."""

from collections.abc import Iterator

from certagent.domain import catalogue
from certagent.domain.diagnosis.evidence import Evidence
from certagent.domain.diagnosis.nameserver_files import FILTERS
from certagent.domain.findings import Culprit, Finding, Vantage
from certagent.domain.probe_errors import SILENT, DnsStatus
from certagent.domain.rehearsals import (
    ChallengeType,
    Origin,
    Resolution,
    ResolvedAddress,
    addresses_in_dns,
)
from certagent.domain.resolution.dnsmasq import is_below
from certagent.domain.resolution.file_formats import HOSTS_FILE, RESOLV_CONF_FILE, ResolvConf, leads_to_itself
from certagent.domain.resolution.files import NSSWITCH_FILE

LOOPBACK = "dns.loopback"
_CODES: dict[str, str] = {DnsStatus.UNREACHABLE: "dns.resolver_dead", DnsStatus.NO_NAMESERVER: "dns.resolv_conf_broken"}


def name_leads_elsewhere(evidence: Evidence) -> Iterator[Finding]:
    """dns.hosts_shadow.authority, dns.loopback: a hosts line at the CA contradicts DNS, or DNS itself leads the CA to
    itself. dns.address_not_ours: DNS itself resolves to another node, and the rehearsal failed there."""
    resolution = evidence.resolution
    if resolution is None or not resolution.addresses:
        return
    line = evidence.deciding_line()
    if line is not None and evidence.has_passed and evidence.looker == evidence.node and leads_to_itself(line.address):
        return  # the CA and this agent are in one container, and the CA has met it there
    if line is not None:
        yield shadowing(resolution, line, evidence)
    elif evidence.sends_ca_to_itself():
        yield _loopback_in_dns(evidence, resolution.addresses[0])
    elif evidence.has_failed and resolution.addresses[0].origin.source == "dns":
        yield from _address_not_ours(evidence, resolution.addresses[0])


def name_has_no_address(evidence: Evidence) -> Iterator[Finding]:
    """dns.nxdomain, nodata, servfail, refused, timeout, tcp_blocked, resolver_dead, resolv_conf_broken: the CA gets
    no address. The culprit is the line that keeps it from a nameserver that knows the name, or else the nameserver."""
    resolution = evidence.resolution
    if resolution is None or resolution.error is None:
        return
    asked = tuple(dict.fromkeys(reply.nameserver for reply in resolution.dns))
    yield no_address(evidence, resolution, asked)


def files_are_unreadable(evidence: Evidence) -> Iterator[Finding]:
    """dns.file_unreadable: a resolver file exists, but the CA cannot read it, and the CA did not reach this node. An
    unreadable nsswitch.conf does not matter, because without one Go uses the order that nearly all of them have. A
    hosts file contains nothing about a dns-01 record."""
    if not evidence.has_failed or evidence.rehearsal is None or evidence.reaches_this_node():
        return
    for file in evidence.rehearsal.unreadable:
        if file != NSSWITCH_FILE and not (file == HOSTS_FILE and evidence.challenge == ChallengeType.DNS01):
            yield file_is_unreadable(evidence.looker, file, evidence.identifier)


def file_is_unreadable(node: str, file: str, identifier: str | None = None) -> Finding:
    """dns.file_unreadable: for a resolver file on the CA's node. Go takes a hosts file for unchanged by its size and
    time."""
    return catalogue.finding(
        "dns.file_unreadable",
        vantage=Vantage.AUTHORITY,
        reporter=node,
        identifier=identifier,
        culprit=Culprit(node=node, file=file, role="authority"),
        is_hosts=file == HOSTS_FILE,
    )


def edit_is_unseen(evidence: Evidence) -> Iterator[Finding]:
    """dns.hosts_edit_unseen: the hosts file was changed in a way that the CA does not notice."""
    file = evidence.rehearsal.unseen_file if evidence.rehearsal is not None else None
    if file is not None:
        culprit = Culprit(node=evidence.looker, file=file, role="authority")
        yield evidence.finding("dns.hosts_edit_unseen", culprit)


def no_address(
    evidence: Evidence, resolution: Resolution, asked: tuple[str, ...], vantage: Vantage = Vantage.AUTHORITY
) -> Finding:
    """Return the finding that a name has no address: at the CA, or by this node's questions on the wire."""
    code = _code_without_address(resolution)
    is_at_ca = vantage is Vantage.AUTHORITY
    return evidence.finding(
        code,
        _culprit_without_address(resolution, evidence, evidence.looker if is_at_ca else evidence.node),
        vantage=vantage,
        variant=_variant_without_address(code, resolution),
        detail={"nameservers": asked},
        asker=evidence.looker if is_at_ca else evidence.node,
        by_ca=is_at_ca,
        asked=[evidence.place(server) for server in asked],
        instruction="name_nameserver" if "dns" in resolution.order else "allow_dns",
    )


def _code_without_address(resolution: Resolution) -> str:
    """Return the code for the errors. A closed port is reported once a second at most, so some of several questions
    seem to be lost."""
    error = resolution.error or ""
    asked = {configured.nameserver for configured in resolution.nameservers}
    refuses = any(answer.status == DnsStatus.UNREACHABLE and answer.nameserver in asked for answer in resolution.dns)
    is_dead = error in SILENT and (refuses or _line_past_the_right_one(resolution) is not None)
    return "dns.resolver_dead" if is_dead else _CODES.get(error, f"dns.{error}")


def _variant_without_address(code: str, resolution: Resolution) -> str:
    if "dns" not in resolution.order and code == "dns.nxdomain":
        return "no_dns"
    return "unresolved" if code in _CODES.values() else ""


def _culprit_without_address(resolution: Resolution, evidence: Evidence, asker: str) -> Culprit:
    if "dns" not in resolution.order and resolution.switch is not None:
        return _line_of(resolution.switch, evidence, asker)
    if resolution.error == DnsStatus.NO_NAMESERVER:
        return Culprit(node=asker, file=RESOLV_CONF_FILE)
    misled = _line_past_the_right_one(resolution)
    if misled is not None:
        return _line_of(misled, evidence, asker)
    asked = next((configured.nameserver for configured in resolution.nameservers), None)
    if asked is None or asked.startswith(("127.", "::1")):  # on the node itself, at any port
        return Culprit(node=asker, address=asked)
    node, role = evidence.owner(asked)
    return Culprit(node=node, address=asked, role=role)


def _line_past_the_right_one(resolution: Resolution) -> Origin | None:
    """Return the first line that names a nameserver, if a nameserver that is not named has the address."""
    named = {configured.nameserver for configured in resolution.nameservers}
    knowing = [
        answer
        for answer in resolution.dns
        if answer.status == "ok" and answer.addresses and answer.nameserver not in named
    ]
    return next(iter(resolution.nameservers), None) if knowing else None


def _line_of(origin: Origin, evidence: Evidence, asker: str) -> Culprit:
    started = evidence.started_by("--resolver") if origin.source == "unit" else None
    found = started or origin
    _, role = evidence.owner(origin.nameserver)
    return Culprit(
        node=asker,
        file=found.file,
        line=found.line,
        text=found.text,
        address=origin.nameserver,
        role=role,
    )


def shadowing(resolution: Resolution, line: ResolvedAddress, evidence: Evidence) -> Finding:
    """Return the finding that a hosts line on the CA's node (`evidence.looker`) decides."""
    code = LOOPBACK if leads_to_itself(line.address) else "dns.hosts_shadow.authority"
    return _shadow(code, Vantage.AUTHORITY, resolution, line, evidence)


def _shadow(code: str, vantage: Vantage, resolution: Resolution, line: ResolvedAddress, evidence: Evidence) -> Finding:
    answers = tuple(dict.fromkeys(answer for reply in resolution.dns for answer in reply.addresses))
    detail = {"hosts": line.address, "dns": answers, "order": resolution.order, "managed_by": line.origin.managed_by}
    return evidence.finding(
        code,
        evidence.path_culprit(line.address),
        vantage=vantage,
        detail=detail,
        place=evidence.place(line.address),
        name=resolution.name,
        answers=[evidence.place(answer) for answer in answers],
        manager=line.origin.managed_by,
    )


def shadows_at_the_authority(
    resolutions: tuple[Resolution, ...], node: str, own_addresses: tuple[str, ...]
) -> list[Finding]:
    """Return what the hosts file on the CA's node does to the fleet's names, without any fetch.

    A name whose DNS address belongs to that node may resolve to loopback there: it is the CA's own name.
    """
    return [shadowing(*shadow) for shadow in _shadows(resolutions, node, own_addresses)]


def shadows_at_a_client(
    resolutions: tuple[Resolution, ...], node: str, own_addresses: tuple[str, ...]
) -> list[Finding]:
    """dns.hosts_shadow.client: hosts lines on an ordinary node contradict DNS for names of the fleet."""
    return [
        _shadow("dns.hosts_shadow.client", Vantage.STATIC, *shadow)
        for shadow in _shadows(resolutions, node, own_addresses)
    ]


def _shadows(
    resolutions: tuple[Resolution, ...], node: str, own_addresses: tuple[str, ...]
) -> Iterator[tuple[Resolution, ResolvedAddress, Evidence]]:
    for resolution in resolutions:
        evidence = Evidence(identifier=resolution.name, node=node, addresses=own_addresses, looked_up=resolution)
        line = evidence.deciding_line()
        is_own = bool(addresses_in_dns(resolution) & set(own_addresses))
        if line is not None and not (is_own and leads_to_itself(line.address)):
            yield resolution, line, evidence


def resolver_is_missing(node: str, configuration: ResolvConf) -> Finding | None:
    """dns.resolv_conf_broken: the file is missing, a dangling link, or without a usable nameserver."""
    if configuration.exists and not configuration.names_nobody():
        return None
    return catalogue.finding(
        "dns.resolv_conf_broken",
        vantage=Vantage.STATIC,
        reporter=node,
        culprit=Culprit(node=node, file=RESOLV_CONF_FILE),
        missing=not configuration.exists,
    )


def _loopback_in_dns(evidence: Evidence, used: ResolvedAddress) -> Finding:
    """The nameserver's own agent knows the line (`misled`)."""
    asked = used.origin.nameserver
    server = evidence.looker if asked is not None and leads_to_itself(asked) else evidence.owner(asked)[0]
    return evidence.finding(
        LOOPBACK,
        Culprit(node=server, address=used.address),
        variant="dns",
        detail={"nameserver": asked},
        looker=evidence.looker,
        place=used.address,
        asked=[evidence.place(asked)],
    )


def _address_not_ours(evidence: Evidence, used: ResolvedAddress) -> Iterator[Finding]:
    owner, role = evidence.owner(used.address)
    if owner == evidence.node or not evidence.addresses or (owner is None and evidence.somebody_answered()):
        return
    server, _ = evidence.owner(used.origin.nameserver)
    yield evidence.finding(
        "dns.address_not_ours",
        Culprit(node=server, address=used.address, role=role),
        detail={"nameserver": used.origin.nameserver},
        place=evidence.place(used.address),
        is_stranger=owner is None,
        client=evidence.node,
        own_addresses=list(evidence.addresses),
    )


def filter_keeps_the_address_back(evidence: Evidence) -> Iterator[Finding]:
    """dns.rebind_filtered: a nameserver that filters private addresses returns the name without an address. Either
    the CA asked it, or this node did and the CA's own view does not cover it."""
    at_ca = list(_filtered(evidence, evidence.resolution, Vantage.AUTHORITY))
    here = evidence.here.resolution if evidence.here is not None and evidence.has_failed else None
    yield from at_ca or _filtered(evidence, here, Vantage.WIRE)


def _filtered(evidence: Evidence, resolution: Resolution | None, vantage: Vantage) -> Iterator[Finding]:
    if resolution is None or evidence.rehearsal is None or resolution.error != DnsStatus.NODATA:
        return
    asked = {evidence.owner(reply.nameserver)[0] for reply in resolution.dns if reply.status == DnsStatus.OK}
    for finding in evidence.rehearsal.testimony:
        culprit = finding.culprit
        if (
            finding.code == FILTERS
            and culprit is not None
            and culprit.node in asked
            and _filters(finding, resolution.name)
        ):
            yield evidence.finding(FILTERS, culprit, vantage=vantage, name=resolution.name)


def _filters(finding: Finding, name: str) -> bool:
    """Return whether the filter applies: the longest domain that matches the name decides, as in dnsmasq."""
    wanted = name.lower().rstrip(".")
    exempt = [len(domain) for domain in finding.detail.get("exempt", ()) if is_below(wanted, domain)]
    forwarded = [len(domain) for domain in finding.detail.get("forwarded", ()) if is_below(wanted, domain)]
    return max(forwarded, default=0) > max(exempt, default=-1)
