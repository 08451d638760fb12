"""Conclusions from the sides of a name: hosts lines against each other, nameservers against each other, this node
against the CA. They explain, and warn while the path still works. Pure."""

import ipaddress
from collections.abc import Iterable, Iterator

from certagent.domain.catalogue import Fact
from certagent.domain.diagnosis.evidence import Evidence, decides_against_dns
from certagent.domain.diagnosis.name_resolution import no_address
from certagent.domain.findings import Culprit, Finding, Vantage
from certagent.domain.probe_errors import SILENT, DnsStatus
from certagent.domain.rehearsals import DnsAnswer, Origin, Resolution, ResolvedAddress
from certagent.domain.resolution.file_formats import RESOLV_CONF_FILE
from certagent.domain.resolution.files import NSSWITCH_FILE


def hosts_lines_contradict(evidence: Evidence) -> Iterator[Finding]:
    """dns.hosts_conflict, dns.hosts_duplicate: the CA's hosts file has several lines for one name."""
    resolution = evidence.resolution
    lines = resolution.hosts if resolution is not None else ()
    if len(lines) < 2:
        return
    addresses = list(dict.fromkeys(line.address for line in lines))
    other = next((line for line in lines[1:] if line.address != lines[0].address), lines[1])
    is_conflict = len(addresses) > 1
    yield evidence.finding(
        "dns.hosts_conflict" if is_conflict else "dns.hosts_duplicate",
        _line(other, evidence),
        detail={"lines": [line.origin.line for line in lines]},
        count=len(lines),
        places=list(map(evidence.place, addresses)),
    )


def nameservers_are_dead(evidence: Evidence) -> Iterator[Finding]:
    """dns.resolver_dead: one of the CA's nameservers does not answer, while the name resolves all the same."""
    resolution = evidence.resolution
    if resolution is None or resolution.error is not None:
        return
    for origin in _dead(resolution):
        yield _about(evidence, origin, "dns.resolver_dead")


def this_node_asks_in_vain(evidence: Evidence) -> Iterator[Finding]:
    """dns.nxdomain, nodata, servfail, refused, timeout, tcp_blocked, resolver_dead on the wire: what this node's own
    questions to its nameservers show, if the CA's view is missing or failed and does not show the same."""
    here = evidence.here.resolution if evidence.here is not None else None
    if here is None or evidence.has_passed:
        return
    asked = tuple(dict.fromkeys(reply.nameserver for reply in here.dns))
    if here.error is not None and asked and evidence.resolution is None:
        yield no_address(evidence, here, asked, Vantage.WIRE)
    known = {origin.nameserver for origin in _dead(evidence.resolution)} if evidence.resolution is not None else set()
    for origin in _dead(here) if here.error is None else ():
        if origin.nameserver not in known:
            yield _about(evidence, origin, "dns.resolver_dead", Vantage.WIRE)


def _dead(resolution: Resolution) -> list[Origin]:
    """Return the nameservers that answered no question."""
    statuses: dict[str | None, set[str]] = {}
    for reply in resolution.dns:
        statuses.setdefault(reply.nameserver, set()).add(reply.status)
    return [
        configured for configured in resolution.nameservers if statuses.get(configured.nameserver, {"ok"}) <= SILENT
    ]


def nameservers_mislead(evidence: Evidence) -> Iterator[Finding]:
    """dns.resolver_public, resolver_not_internal, tcp_blocked, split_horizon: which nameservers are asked for the
    fleet's names, where the CA did not reach this node."""
    if not evidence.reaches_this_node():
        yield from _about_who_is_asked(evidence)


def nameservers_disagree(evidence: Evidence) -> Iterator[Finding]:
    """Yield the same findings where the CA did reach this node: they explain nothing of what happened here."""
    if evidence.reaches_this_node():
        yield from _about_who_is_asked(evidence)


def _about_who_is_asked(evidence: Evidence) -> Iterator[Finding]:
    resolution = evidence.resolution
    if resolution is None:
        return
    knowing = [answer for answer in resolution.dns if answer.addresses]
    for origin in resolution.nameservers:
        said = [answer for answer in resolution.dns if answer.nameserver == origin.nameserver]
        if _is_public(origin.nameserver):
            yield _about(evidence, origin, "dns.resolver_public")
        elif knowing and said and all(answer.status == DnsStatus.NXDOMAIN for answer in said):
            others = list(dict.fromkeys(evidence.place(answer.nameserver) for answer in knowing))
            yield _about(evidence, origin, "dns.resolver_not_internal", others=others)
        elif resolution.error is None and any(answer.status == DnsStatus.TCP_BLOCKED for answer in said):
            yield _about(evidence, origin, "dns.tcp_blocked", variant="one_of_several")
    yield from _split(evidence, [answer for answer in knowing if answer.record == "A"])


def records_are_odd(evidence: Evidence) -> Iterator[Finding]:
    """dns.aaaa_nxdomain, dns.aaaa_wrong_host, dns.aaaa_dead, dns.multi_address, dns.search_expansion: the records
    are unusual."""
    resolution = evidence.resolution
    if resolution is None:
        return
    yield from _ipv6(evidence, resolution)
    yield from _several(evidence, resolution)
    used = resolution.addresses[0] if resolution.addresses else None
    asked = used.origin.asked if used is not None else None
    if used is not None and asked is not None and asked.rstrip(".").lower() != resolution.name.rstrip(".").lower():
        yield evidence.finding(
            "dns.search_expansion",
            Culprit(node=evidence.looker, file=RESOLV_CONF_FILE, address=used.address),
            found=asked,
        )


def libc_knows_better(evidence: Evidence) -> Iterator[Finding]:
    """dns.nss_only: other programs on the CA's node resolve the name, Go does not."""
    libc = evidence.rehearsal.libc if evidence.rehearsal is not None else None
    resolution = evidence.resolution
    if libc is not None and libc.addresses and resolution is not None and resolution.error is not None:
        yield evidence.finding(
            "dns.nss_only",
            Culprit(node=evidence.looker, file=NSSWITCH_FILE),
            addresses=list(libc.addresses),
        )


def this_node_is_misled(evidence: Evidence) -> Iterator[Finding]:
    """dns.hosts_shadow.client: hosts lines of the acting node contradict DNS, for the identifier or for the CA."""
    here = evidence.here
    for resolution in (here.resolution, here.authority) if here is not None else ():
        line = decides_against_dns(resolution)
        if resolution is not None and line is not None and line.address not in _own(evidence):
            answers = list(dict.fromkeys(a for answer in resolution.dns for a in answer.addresses))
            yield evidence.finding(
                "dns.hosts_shadow.client",
                Culprit(
                    node=evidence.node,
                    file=line.origin.file,
                    line=line.origin.line,
                    text=line.origin.text,
                    address=line.address,
                    role=evidence.owner(line.address)[1],
                ),
                vantage=Vantage.CLIENT,
                detail={"hosts": line.address, "dns": answers},
                place=evidence.place(line.address),
                name=resolution.name,
                answers=list(map(evidence.place, answers)),
                manager=line.origin.managed_by,
            )


def _own(evidence: Evidence) -> tuple[str, ...]:
    """Return the addresses at which a node may legitimately expect itself."""
    return (*evidence.addresses, "127.0.0.1", "127.0.1.1", "::1")


def _ipv6(evidence: Evidence, resolution: Resolution) -> Iterator[Finding]:
    by_server: dict[str, dict[str, DnsAnswer]] = {}
    for answer in resolution.dns:
        by_server.setdefault(answer.nameserver, {})[answer.record] = answer
    for server, said in by_server.items():
        if "A" in said and "AAAA" in said and said["A"].addresses and said["AAAA"].status == DnsStatus.NXDOMAIN:
            yield evidence.finding("dns.aaaa_nxdomain", None, place=evidence.place(server))
    for attempt in evidence.rehearsal.attempts if evidence.rehearsal is not None else ():
        hop = attempt.hops[0] if attempt.hops else None
        if hop is None or ":" not in (hop.address or "") or attempt.matched:
            continue
        code = "dns.aaaa_wrong_host" if hop.is_answered else "dns.aaaa_dead"
        culprit = Culprit(node=evidence.owner(hop.address)[0], address=hop.address)
        yield evidence.finding(code, culprit, place=evidence.place(hop.address))


def _several(evidence: Evidence, resolution: Resolution) -> Iterator[Finding]:
    """Conclude on several addresses of one kind, at least one of which is known not to reach the responder."""
    used = [resolved for resolved in resolution.addresses if resolved.origin.source == "dns"]
    owners = {resolved.address: evidence.owner(resolved.address)[0] for resolved in used}
    wrong = [resolved for resolved in used if owners[resolved.address] not in (None, evidence.node)]
    if len(owners) > 1 and wrong and len(wrong) < len(used):
        yield evidence.finding(
            "dns.multi_address",
            Culprit(node=evidence.owner(wrong[0].origin.nameserver)[0], address=wrong[0].address),
            count=len(owners),
            place=evidence.place(wrong[0].address),
            client=evidence.node,
        )


def _split(evidence: Evidence, answers: list[DnsAnswer]) -> Iterator[Finding]:
    """Conclude on nameservers that both know the name and return different addresses; the node's own questions count
    as well. If only those differ, the CA's own view is consistent."""
    here = evidence.here.resolution.dns if evidence.here is not None and evidence.here.resolution is not None else ()
    at_ca, on_the_wire = _views(answers), _views(here)
    views = at_ca | on_the_wire
    if len({said for _, said in views}) < 2:
        return
    of_ca, of_wire = ({said for _, said in views} for views in (at_ca, on_the_wire))
    is_at_ca = len(of_ca) > 1 or bool(of_ca and not of_ca & of_wire)
    first = min(server for server, _ in views)
    yield evidence.finding(
        "dns.split_horizon",
        Culprit(node=evidence.owner(first)[0], address=first),
        vantage=Vantage.AUTHORITY if is_at_ca else Vantage.WIRE,
        views=[{"server": server, "addresses": sorted(said)} for server, said in sorted(views, key=str)],
    )


def _views(answers: Iterable[DnsAnswer]) -> set[tuple[str, frozenset[str]]]:
    return {
        (answer.nameserver, frozenset(answer.addresses))
        for answer in answers
        if answer.record == "A" and answer.addresses
    }


def _about(
    evidence: Evidence,
    origin: Origin,
    code: str,
    vantage: Vantage = Vantage.AUTHORITY,
    variant: str = "",
    **facts: Fact,
) -> Finding:
    """Return a finding about one of the nameservers that the CA (or, on the wire, this node) is configured with."""
    is_at_ca = vantage is Vantage.AUTHORITY
    asker = evidence.looker if is_at_ca else evidence.node
    culprit = Culprit(node=asker, file=origin.file, line=origin.line, text=origin.text, address=origin.nameserver)
    place = evidence.place(origin.nameserver)
    return evidence.finding(
        code, culprit, vantage=vantage, variant=variant, place=place, asker=asker, by_ca=is_at_ca, **facts
    )


def _line(line: ResolvedAddress, evidence: Evidence) -> Culprit:
    return Culprit(
        node=evidence.looker,
        file=line.origin.file,
        line=line.origin.line,
        text=line.origin.text,
        address=line.address,
        role=evidence.owner(line.address)[1],
    )


def _is_public(address: str | None) -> bool:
    try:
        return address is not None and ipaddress.ip_address(address.partition("%")[0]).is_global
    except ValueError:
        return False
