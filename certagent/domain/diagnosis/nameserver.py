"""Conclusions about the DNS server's own files: what it tells everybody, and what it keeps back. Pure.

Its agent alone can read them: what it finds travels as testimony.
"""

from collections.abc import Iterator, Sequence

from certagent.domain import catalogue
from certagent.domain.diagnosis.evidence import Evidence
from certagent.domain.findings import Culprit, Finding, Vantage
from certagent.domain.probe_errors import DnsStatus
from certagent.domain.rehearsals import Resolution
from certagent.domain.resolution.dnsmasq import Dnsmasq, is_below
from certagent.domain.resolution.hosts import Hosts, HostsEntry

FILTERS = "dns.rebind_filtered"


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
    return catalogue.finding(
        FILTERS,
        vantage=Vantage.STATIC,
        reporter=node,
        culprit=Culprit(node=node, file=setting.file, line=setting.line, text=setting.text),
        variant="setting",
        detail={"exempt": configuration.exempt_from_filter(), "forwarded": configuration.forwarded()},
    )


def filter_keeps_the_address_back(evidence: Evidence) -> Iterator[Finding]:
    """dns.rebind_filtered: the name is there, without an address, at a nameserver that filters private ones. The CA
    asked it; or this node did, where the CA's own view says nothing of that."""
    at_ca = list(_filtered(evidence, evidence.resolution, Vantage.AUTHORITY))
    here = evidence.here.resolution if evidence.here is not None and evidence.has_failed else None
    yield from at_ca or _filtered(evidence, here, Vantage.WIRE)


def _filtered(evidence: Evidence, resolution: Resolution | None, vantage: Vantage) -> Iterator[Finding]:
    if resolution is None or evidence.rehearsal is None or resolution.error != DnsStatus.NODATA:
        return
    asked = {evidence.owner(reply.nameserver)[0] for reply in resolution.dns if reply.status == DnsStatus.OK}
    for told in evidence.rehearsal.testimony:
        culprit = told.culprit
        if told.code == FILTERS and culprit is not None and culprit.node in asked and _filters(told, resolution.name):
            yield evidence.finding(FILTERS, culprit, vantage=vantage, name=resolution.name)


def _filters(told: Finding, name: str) -> bool:
    """By the longest domain that says anything of the name, as dnsmasq goes."""
    wanted = name.lower().rstrip(".")
    exempt = [len(one) for one in told.detail.get("exempt", ()) if is_below(wanted, one)]
    forwarded = [len(one) for one in told.detail.get("forwarded", ()) if is_below(wanted, one)]
    return max(forwarded, default=0) > max(exempt, default=-1)


def _overridden(name: str, entry: HostsEntry, path: str, told: Sequence[str], node: str) -> Finding:
    return catalogue.finding(
        "dns.hosts_shadow.nameserver",
        vantage=Vantage.STATIC,
        reporter=node,
        identifier=name,
        culprit=Culprit(node=node, file=path, line=entry.line, text=entry.text, address=entry.address),
        detail={"hosts": entry.address, "zone": list(told)},
        answers=list(told),
    )
