"""Conclusions about the DNS server's own files: what it tells everybody, and what it keeps back. Pure.

Its agent alone can read them: what it finds travels as testimony.
"""

from collections.abc import Iterator, Sequence

from certagent.domain.diagnosis.evidence import Evidence
from certagent.domain.findings import Culprit, Finding, Vantage
from certagent.domain.resolution.dnsmasq import Dnsmasq, is_below
from certagent.domain.resolution.hosts import Hosts, HostsEntry

FILTERS = "dns.rebind_filtered"
OF_NAMESERVERS = frozenset({FILTERS, "dns.hosts_shadow.nameserver"})
"""What only a watch beside a nameserver finds; the preflight of that node does not look there."""


def zone_is_overridden(
    configuration: Dnsmasq, hosts: Sequence[tuple[str, Hosts]], zones: Sequence[str], node: str
) -> Iterator[Finding]:
    """dns.hosts_shadow.nameserver: a line of a hosts file that dnsmasq serves says otherwise than its own zone."""
    for path, file in hosts:
        for name in file.names():
            told = configuration.zone_says(name) if any(is_below(name, zone) for zone in zones) else ()
            for entry in file.entries_for(name):
                if told and entry.address not in told:
                    yield _overridden(name, entry, path, told, node)


def private_addresses_are_filtered(configuration: Dnsmasq, node: str) -> Finding | None:
    """dns.rebind_filtered, as a mere fact: forwarded answers lose their private addresses. No trouble by itself."""
    setting = configuration.first("stop-dns-rebind")
    if setting is None:
        return None
    where = f"line {setting.line} of {setting.file}" if setting.file else f"the argument {setting.text}"
    return Finding(
        code=FILTERS,
        vantage=Vantage.STATIC,
        reporter=node,
        explanation=f"dnsmasq on {node} takes private addresses out of forwarded answers ({where}).",
        culprit=Culprit(node=node, file=setting.file, line=setting.line, text=setting.text),
        fix=f"Exempt the fleet's zone on {node}: rebind-domain-ok=/ZONE/, then restart dnsmasq.",
        detail={"exempt": configuration.exempt_from_filter(), "forwarded": configuration.forwarded()},
    )


def filter_keeps_the_address_back(evidence: Evidence) -> Iterator[Finding]:
    """dns.rebind_filtered: the name is there, without an address, at a nameserver that filters private ones."""
    resolution, rehearsal = evidence.resolution, evidence.rehearsal
    if resolution is None or rehearsal is None or resolution.error != "nodata":
        return
    asked = {evidence.owner(reply.nameserver)[0] for reply in resolution.dns if reply.status == "ok"}
    for told in rehearsal.testimony:
        culprit = told.culprit
        if told.code != FILTERS or culprit is None or culprit.node not in asked or not _filters(told, resolution.name):
            continue
        yield evidence.finding(
            FILTERS,
            f"The nameserver on {culprit.node} has {resolution.name}, and gives no address: it takes private ones out"
            f" of forwarded answers, because line {culprit.line} of {culprit.file} there says so.",
            culprit,
            f"Exempt the name on {culprit.node}: rebind-domain-ok=/{resolution.name}/, then restart dnsmasq.",
        )


def _filters(told: Finding, name: str) -> bool:
    """By the longest domain that says anything of the name, as dnsmasq goes."""
    wanted = name.lower().rstrip(".")
    exempt = [len(one) for one in told.detail.get("exempt", ()) if is_below(wanted, one)]
    forwarded = [len(one) for one in told.detail.get("forwarded", ()) if is_below(wanted, one)]
    return max(forwarded, default=0) > max(exempt, default=-1)


def _overridden(name: str, entry: HostsEntry, path: str, told: Sequence[str], node: str) -> Finding:
    return Finding(
        code="dns.hosts_shadow.nameserver",
        identifier=name,
        vantage=Vantage.STATIC,
        reporter=node,
        explanation=f"The nameserver on {node} leads everybody to {entry.address} for {name}, because line"
        f" {entry.line} of {path} there says so; its own zone says {', '.join(told)}.",
        culprit=Culprit(node=node, file=path, line=entry.line, text=entry.text, address=entry.address),
        fix=f"Remove line {entry.line} of {path} on {node}, then have dnsmasq read it again (SIGHUP): {entry.text}",
        detail={"hosts": entry.address, "zone": list(told)},
    )
