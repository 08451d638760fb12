"""Conclusions from the sides of a name: hosts lines against each other, nameservers against each other, node against
CA. They explain, and warn where the path still holds. Pure."""

import ipaddress
from collections.abc import Iterator

from certagent.domain.diagnosis.evidence import Evidence, decides_against_dns
from certagent.domain.findings import Culprit, Finding, Vantage
from certagent.domain.rehearsals import DnsAnswer, Origin, Resolution, ResolvedAddress


def hosts_lines_contradict(evidence: Evidence) -> Iterator[Finding]:
    """dns.hosts_conflict, dns.hosts_duplicate: several lines for one name beside the CA."""
    resolution = evidence.resolution
    lines = resolution.hosts if resolution is not None else ()
    if len(lines) < 2:
        return
    addresses = list(dict.fromkeys(line.address for line in lines))
    other = next((line for line in lines[1:] if line.address != lines[0].address), lines[1])
    is_conflict = len(addresses) > 1
    yield evidence.finding(
        "dns.hosts_conflict" if is_conflict else "dns.hosts_duplicate",
        f"{len(lines)} lines of {other.origin.file} on {evidence.looker} name {evidence.identifier}"
        + (f", and they say {' and '.join(map(evidence.place, addresses))}." if is_conflict else " alike."),
        _line(other, evidence),
        f"Leave one line for {evidence.identifier} in {other.origin.file} on {evidence.looker}, or none.",
        lines=[line.origin.line for line in lines],
    )


def nameservers_are_dead(evidence: Evidence) -> Iterator[Finding]:
    """dns.resolver_dead: one of the CA's nameservers gives no answer, while the name is known all the same."""
    resolution = evidence.resolution
    if resolution is None or resolution.error is not None:
        return
    for origin in resolution.nameservers:
        answers = [one for one in resolution.dns if one.nameserver == origin.nameserver]
        if answers and all(one.status in ("timeout", "unreachable") for one in answers):
            yield evidence.finding(
                "dns.resolver_dead",
                f"The CA's nameserver {evidence.place(origin.nameserver)} gives no answer; others do.",
                _setting(origin, evidence),
                f"Start it, or take line {origin.line} out of {origin.file} on {evidence.looker}.",
            )


def nameservers_mislead(evidence: Evidence) -> Iterator[Finding]:
    """dns.resolver_public, resolver_not_internal, tcp_blocked, split_horizon: who is asked for the fleet's names, where
    the CA did not come to this node."""
    if not evidence.reaches_this_node():
        yield from _about_who_is_asked(evidence)


def nameservers_disagree(evidence: Evidence) -> Iterator[Finding]:
    """The same where it did: that explains nothing of what happened here."""
    if evidence.reaches_this_node():
        yield from _about_who_is_asked(evidence)


def _about_who_is_asked(evidence: Evidence) -> Iterator[Finding]:
    resolution = evidence.resolution
    if resolution is None:
        return
    knowing = [one for one in resolution.dns if one.addresses]
    for origin in resolution.nameservers:
        said = [one for one in resolution.dns if one.nameserver == origin.nameserver]
        if _is_public(origin.nameserver):
            yield _about(evidence, origin, "dns.resolver_public", "is a public one, and knows nothing of this fleet")
        elif knowing and said and all(one.status == "nxdomain" for one in said):
            others = ", ".join(dict.fromkeys(evidence.place(one.nameserver) for one in knowing))
            what = f"says that {evidence.identifier} does not exist, while {others} has it"
            yield _about(evidence, origin, "dns.resolver_not_internal", what)
        elif resolution.error is None and any(one.status == "tcp_blocked" for one in said):
            yield _tcp_blocked(evidence, origin)
    yield from _split(evidence, [one for one in knowing if one.record == "A"])


def records_are_odd(evidence: Evidence) -> Iterator[Finding]:
    """dns.aaaa_nxdomain, dns.aaaa_wrong_host, dns.aaaa_dead, dns.multi_address, dns.search_expansion."""
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
            f"{evidence.identifier} does not exist by itself; the CA found {asked} by its search list.",
            Culprit(node=evidence.looker, file="/etc/resolv.conf", address=used.address),
            f"Add the record for {evidence.identifier}; take the zone out of the CA's search list.",
        )


def libc_knows_better(evidence: Evidence) -> Iterator[Finding]:
    """dns.nss_only: other programs on the CA's node resolve the name, Go does not."""
    libc = evidence.rehearsal.libc if evidence.rehearsal is not None else None
    resolution = evidence.resolution
    if libc is not None and libc.addresses and resolution is not None and resolution.error is not None:
        yield evidence.finding(
            "dns.nss_only",
            f"libc on {evidence.looker} resolves {evidence.identifier} to {', '.join(libc.addresses)}, by a source that"
            " the CA, a Go program, has not got.",
            Culprit(node=evidence.looker, file="/etc/nsswitch.conf"),
            f"Put {evidence.identifier} into DNS.",
        )


def this_node_is_misled(evidence: Evidence) -> Iterator[Finding]:
    """dns.hosts_shadow.client: hosts lines of the acting node disagree with DNS, for the identifier or for the CA."""
    here = evidence.here
    for resolution in (here.resolution, here.authority) if here is not None else ():
        line = decides_against_dns(resolution)
        if resolution is not None and line is not None and line.address not in _own(evidence):
            told = dict.fromkeys(a for one in resolution.dns for a in one.addresses)
            yield Finding(
                code="dns.hosts_shadow.client",
                identifier=evidence.identifier,
                vantage=Vantage.CLIENT,
                reporter=evidence.node,
                explanation=f"{evidence.node} goes to {evidence.place(line.address)} for {resolution.name}: line"
                f" {line.origin.line} of {line.origin.file} there says so; DNS says"
                f" {', '.join(map(evidence.place, told))}.",
                culprit=Culprit(
                    node=evidence.node,
                    file=line.origin.file,
                    line=line.origin.line,
                    text=line.origin.text,
                    address=line.address,
                    role=evidence.owner(line.address)[1],
                ),
                fix=f"Remove line {line.origin.line} of {line.origin.file} on {evidence.node}.",
                detail={"hosts": line.address, "dns": list(told)},
            )


def _own(evidence: Evidence) -> tuple[str, ...]:
    """Where a node may well look for itself."""
    return (*evidence.addresses, "127.0.0.1", "127.0.1.1", "::1")


def _ipv6(evidence: Evidence, resolution: Resolution) -> Iterator[Finding]:
    by_server: dict[str, dict[str, DnsAnswer]] = {}
    for one in resolution.dns:
        by_server.setdefault(one.nameserver, {})[one.record] = one
    for server, said in by_server.items():
        if "A" in said and "AAAA" in said and said["A"].addresses and said["AAAA"].status == "nxdomain":
            yield evidence.finding(
                "dns.aaaa_nxdomain",
                f"{evidence.place(server)} has an A for {evidence.identifier}, and says of AAAA that the name does not"
                " exist.",
                None,
                "Use host-record= in place of address= (dnsmasq); the CA does not mind.",
            )
    for attempt in evidence.rehearsal.attempts if evidence.rehearsal is not None else ():
        hop = attempt.hops[0] if attempt.hops else None
        if hop is None or ":" not in (hop.address or "") or attempt.matched:
            continue
        code = "dns.aaaa_wrong_host" if hop.is_answered else "dns.aaaa_dead"
        what = "another box answers there" if hop.is_answered else "nobody answers there"
        yield evidence.finding(
            code,
            f"The IPv6 address {evidence.place(hop.address)} of {evidence.identifier}: {what}.",
            Culprit(node=evidence.owner(hop.address)[0], address=hop.address),
            f"Take the AAAA of {evidence.identifier} out, or let the responder answer on it.",
        )


def _several(evidence: Evidence, resolution: Resolution) -> Iterator[Finding]:
    """Addresses of one kind, of which at least one is known not to lead to the responder."""
    used = [one for one in resolution.addresses if one.origin.source == "dns"]
    owners = {one.address: evidence.owner(one.address)[0] for one in used}
    wrong = [one for one in used if owners[one.address] not in (None, evidence.node)]
    if len(owners) > 1 and wrong and len(wrong) < len(used):
        yield evidence.finding(
            "dns.multi_address",
            f"{evidence.identifier} has {len(owners)} addresses, and {evidence.place(wrong[0].address)} is not this"
            f" node's ({evidence.node}): which one the CA uses is chance.",
            Culprit(node=evidence.owner(wrong[0].origin.nameserver)[0], address=wrong[0].address),
            f"Take {wrong[0].address} out of the record of {evidence.identifier}.",
        )


def _split(evidence: Evidence, answers: list[DnsAnswer]) -> Iterator[Finding]:
    """Nameservers that both know the name, and differ; the node's own look counts as well."""
    here = evidence.here.resolution.dns if evidence.here is not None and evidence.here.resolution is not None else ()
    seen = {(one.nameserver, frozenset(one.addresses)) for one in (*answers, *here) if one.record == "A"}
    told = {(server, said) for server, said in seen if said}
    if len({said for _, said in told}) > 1:
        words = "; ".join(sorted(f"{server} says {', '.join(sorted(said))}" for server, said in told))
        yield evidence.finding(
            "dns.split_horizon",
            f"{evidence.identifier} has different addresses, by who is asked and from where: {words}.",
            Culprit(node=evidence.owner(sorted(told)[0][0])[0], address=sorted(told)[0][0]),
            "Let the view that the CA's node gets lead to the responder.",
        )


def _about(evidence: Evidence, origin: Origin, code: str, what: str) -> Finding:
    return evidence.finding(
        code,
        f"The CA's nameserver {evidence.place(origin.nameserver)} {what}.",
        _setting(origin, evidence),
        f"Name the fleet's own nameserver in line {origin.line} of {origin.file} on {evidence.looker}.",
    )


def _tcp_blocked(evidence: Evidence, origin: Origin) -> Finding:
    return evidence.finding(
        "dns.tcp_blocked",
        f"The CA's nameserver {evidence.place(origin.nameserver)} cuts its answer short and does not answer over TCP;"
        " another one helps out.",
        _setting(origin, evidence),
        f"Let TCP through to port 53 of {origin.nameserver}, not UDP alone.",
    )


def _setting(origin: Origin, evidence: Evidence) -> Culprit:
    return Culprit(
        node=evidence.looker, file=origin.file, line=origin.line, text=origin.text, address=origin.nameserver
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
