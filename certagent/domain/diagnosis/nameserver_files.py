"""Conclusions about a DNS server's own files: what it tells everybody, by which line, and what it keeps back. Pure.

Only the agent beside a nameserver can read its files: what it finds travels as testimony.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from certagent.domain import catalogue
from certagent.domain.findings import Culprit, Finding, Vantage
from certagent.domain.resolution.dnsmasq import Dnsmasq, HostsSource, ServedHosts, is_below
from certagent.domain.resolution.file_formats import HostsEntry, leads_to_itself
from certagent.domain.resolution.local_records import LocalRecord

FILTERS = "dns.rebind_filtered"
ANSWERS = "dns.local_answer"
BELOW = "below"
"""The variant of such a fact for a domain: it is one of every name in it."""
FACTS = frozenset({FILTERS, ANSWERS})
"""What is no trouble by itself: it explains one that somebody else has."""

_MOST_ANSWERS = 100
_READS_AGAIN = {HostsSource.HOSTS: "", HostsSource.ADDN_HOSTS: "", HostsSource.HOSTSDIR: "hostsdir"}


def zone_is_overridden(
    configuration: Dnsmasq, hosts: Iterable[ServedHosts], zones: Sequence[str], node: str
) -> Iterator[Finding]:
    """dns.hosts_shadow.nameserver: a line of a hosts file that dnsmasq serves says otherwise than its own zone."""
    for served, name, entry in _lines_of(hosts, zones):
        told = configuration.zone_says(name)
        if told and entry.address not in told:
            manager = served.managers.get(entry.line)
            yield catalogue.finding(
                "dns.hosts_shadow.nameserver",
                vantage=Vantage.STATIC,
                reporter=node,
                identifier=name,
                culprit=_culprit(node, served.file, entry),
                variant="waiting" if served.waits else _READS_AGAIN[served.source],
                detail={"hosts": entry.address, "zone": list(told), "managed_by": manager},
                answers=list(told),
                manager=manager,
                edit_at=manager,
                file_name=served.file.rpartition("/")[2],
            )


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


def names_stand_in_files(
    configuration: Dnsmasq,
    hosts: Iterable[ServedHosts],
    records: Iterable[LocalRecord],
    zones: Sequence[str],
    node: str,
) -> Iterator[Finding]:
    """dns.local_answer, as a mere fact: which line of which file a name of the fleet is answered from. Where dnsmasq
    has a record of its own as well, the two agree or one is a shadow: then nothing is said here, nor of the node's
    own name. Of those records themselves: the ones that lead whoever asks to itself."""
    yield from islice(_answers(configuration, hosts, records, zones, node), _MOST_ANSWERS)


def _answers(
    configuration: Dnsmasq,
    hosts: Iterable[ServedHosts],
    records: Iterable[LocalRecord],
    zones: Sequence[str],
    node: str,
) -> Iterator[Finding]:
    for served, name, entry in _lines_of(hosts, zones):
        is_own = name.partition(".")[0] == node.lower()
        if not (served.waits or is_own or configuration.zone_says(name)):
            yield _answer(node, name, "dnsmasq", _culprit(node, served.file, entry))
    yield from _records_that_lead_home(configuration, zones, node)
    for record in records:
        if any(is_below(record.name, zone) for zone in zones):
            culprit = Culprit(node=node, file=record.file, line=record.line, text=record.text, address=record.address)
            yield _answer(node, record.name, record.server, culprit)


def _records_that_lead_home(configuration: Dnsmasq, zones: Sequence[str], node: str) -> Iterator[Finding]:
    for record in configuration.records():
        setting = record.setting
        if setting.file is None or not leads_to_itself(record.address):
            continue
        culprit = Culprit(node=node, file=setting.file, line=setting.line, text=setting.text, address=record.address)
        names = [record.name] if any(is_below(record.name, zone) for zone in zones) else []
        if record.is_domain:
            names += [zone for zone in zones if is_below(zone, record.name) and zone not in names]
        for name in names:
            yield _answer(node, name, "dnsmasq", culprit, BELOW if record.is_domain else "")


def _answer(node: str, name: str, server: str, culprit: Culprit, variant: str = "") -> Finding:
    return catalogue.finding(
        ANSWERS, vantage=Vantage.STATIC, reporter=node, identifier=name, culprit=culprit, variant=variant, server=server
    )


def answers_for(finding: Finding, identifier: str) -> bool:
    """Whether such a fact is about that name: its own, or everything below a domain that the name lies in."""
    domain = finding.identifier or ""
    return identifier == domain or (finding.variant == BELOW and bool(domain) and is_below(identifier, domain))


def _lines_of(hosts: Iterable[ServedHosts], zones: Sequence[str]) -> Iterator[tuple[ServedHosts, str, HostsEntry]]:
    """Each line for each name of these zones."""
    for served in hosts:
        for name in served.hosts.names():
            if any(is_below(name, zone) for zone in zones):
                for entry in served.hosts.entries_for(name):
                    yield served, name, entry


def _culprit(node: str, file: str, entry: HostsEntry) -> Culprit:
    return Culprit(node=node, file=file, line=entry.line, text=entry.text, address=entry.address)
