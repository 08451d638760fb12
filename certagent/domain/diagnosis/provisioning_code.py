"""Conclusions from provisioning code: what it would write into resolver files, judged against the fleet's zone. Pure.

One table, as everywhere: a new conclusion is one function and one line.
"""

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any

import msgspec

from certagent.domain import catalogue
from certagent.domain.catalogue import Fact
from certagent.domain.diagnosis.resolver_files import is_public
from certagent.domain.findings import Culprit, Finding, Vantage
from certagent.domain.resolution.file_formats import HOSTS_FILE, RESOLV_CONF_FILE, parse_resolv_conf
from certagent.domain.sources.fleet_zone import FleetZone, names_pinned, nodes_of_dnsmasq
from certagent.domain.sources.survey import SourceSurvey, is_authority_name
from certagent.domain.sources.writes import SHOWN_UNKNOWN, CodePlace, Mode, Write

MOST_OF_A_KIND = 500
_LONGEST_TEXT = 200


class SourceObservation(msgspec.Struct, frozen=True, kw_only=True):
    """What was found in a tree. `reporter`: the node that looked; `authorities`: nodes that are known to be the CA's,
    by name or address; `source_lines`: the code itself, where it was read."""

    reporter: str
    survey: SourceSurvey
    zone: FleetZone = FleetZone()
    authorities: tuple[str, ...] = ()
    source_lines: Mapping[CodePlace, str] = {}

    def is_authority(self, write: Write) -> bool:
        """Whether the node that is written to is the CA's, by its name, its address, or what the code does there."""
        if write.node is None:
            return (None, write.place.source) in self.survey.authorities
        if write.node in self.authorities or is_authority_name(write.node):
            return True
        return any(node == write.node for node, _ in self.survey.authorities)

    def finding(
        self,
        code: str,
        write: Write,
        *,
        variant: str = "",
        identifier: str | None = None,
        detail: Mapping[str, Any] | None = None,
        address: str | None = None,
        **facts: Fact,
    ) -> Finding:
        """About one place of the tree."""
        evidence = {
            "written_to": write.file,
            "sureness": str(write.sureness),
            "mode": str(write.mode),
            "guarded": write.guarded,
            "code": self.source_lines.get(write.place),
        }
        return catalogue.finding(
            code,
            vantage=Vantage.STATIC,
            reporter=self.reporter,
            identifier=identifier,
            culprit=Culprit(
                node=write.node,
                file=write.place.source,
                line=write.place.line,
                text=write.text[:_LONGEST_TEXT],
                address=address,
                role="authority" if self.is_authority(write) else None,
            ),
            variant=variant,
            detail={**evidence, **(detail or {})},
            target=write.file,
            origin=f"{write.caller.source}:{write.caller.line}" if write.caller is not None else None,
            **facts,
        )


def names_are_pinned(observation: SourceObservation) -> Iterator[Finding]:
    """source.hosts_pinned.*, source.hosts_agrees, source.name_without_record: a hosts line for a name of the fleet,
    against what the zone says."""
    zone, serving = observation.zone, nodes_of_dnsmasq(observation.survey.writes)
    for write, name, address in names_pinned(observation.survey.writes):
        if write.node in serving or not zone.is_of_fleet(name):
            continue
        told = zone.addresses_of(name)
        if told is None:
            continue
        facts: dict[str, Fact] = {"answers": list(told), "resolver": zone.source}
        if not told:
            yield observation.finding(
                "source.name_without_record", write, identifier=name, address=address, resolver=zone.source
            )
        elif address in told:
            yield observation.finding("source.hosts_agrees", write, identifier=name, address=address, **facts)
        else:
            by_ca = observation.is_authority(write)
            code = "source.hosts_pinned.authority" if by_ca else "source.hosts_pinned.client"
            yield observation.finding(code, write, identifier=name, address=address, **facts)


def addresses_conflict(observation: SourceObservation) -> Iterator[Finding]:
    """source.hosts_conflict: two places of the tree, two addresses; where the zone decides, it has said which one is
    wrong."""
    first: dict[tuple[str, bool], tuple[Write, str]] = {}
    told = set()
    for write, name, address in names_pinned(observation.survey.writes):
        if observation.zone.addresses_of(name) or _is_loopback(address):
            continue
        other, other_address = first.setdefault((name, ":" in address), (write, address))
        if other_address == address or (write.place, name) in told:
            continue
        told.add((write.place, name))
        yield observation.finding(
            "source.hosts_conflict",
            write,
            identifier=name,
            address=address,
            evidence=f"{other.place.source}:{other.place.line}",
            answers=[other_address],
            detail={"other": {"file": other.place.source, "line": other.place.line, "text": other.text}},
        )


def lines_grow(observation: SourceObservation) -> Iterator[Finding]:
    """source.hosts_unguarded: each run adds the line once more; one finding for what is written together."""
    told = set()
    for write in observation.survey.writes:
        is_ours = write.file in (HOSTS_FILE, RESOLV_CONF_FILE) and write.mode is Mode.APPEND
        if not is_ours or write.guarded is not False or write.text.lstrip().startswith("#"):
            continue
        if (write.command, write.file) not in told:
            told.add((write.command, write.file))
            yield observation.finding("source.hosts_unguarded", write)


def files_are_rewritten(observation: SourceObservation) -> Iterator[Finding]:
    """source.overwritten: what is written is lost at the next start, because somebody else writes the file."""
    told = set()
    for write in observation.survey.writes:
        manager, place = _manager_of(observation, write)
        if manager is None or (write.command, write.file, write.node) in told:
            continue
        told.add((write.command, write.file, write.node))
        yield observation.finding("source.overwritten", write, holder=manager, evidence=place)


def _manager_of(observation: SourceObservation, write: Write) -> tuple[str | None, str | None]:
    """(who rewrites the file, where the tree says so)."""
    if write.manager is not None:
        return None, None
    for managed in observation.survey.managed:
        is_same = managed.place.source == write.place.source if managed.node is None else managed.node == write.node
        if managed.file == write.file and is_same:
            return managed.manager, f"{managed.place.source}:{managed.place.line}"
    guest = observation.survey.guests.get(write.node or "")
    if guest == "Docker" and write.file in (HOSTS_FILE, RESOLV_CONF_FILE):
        return guest, None
    return (guest, None) if guest is not None and write.file == RESOLV_CONF_FILE else (None, None)


def resolvers_are_elsewhere(observation: SourceObservation) -> Iterator[Finding]:
    """source.resolver_public, source.resolver_elsewhere: a nameserver that is none of the fleet's."""
    known, told = observation.zone.nameservers, set()
    for write in observation.survey.writes:
        if write.file != RESOLV_CONF_FILE or SHOWN_UNKNOWN in write.text:
            continue
        for server in parse_resolv_conf(write.text.encode()).nameservers:
            if (write.place, write.node, server.address) in told:
                continue
            told.add((write.place, write.node, server.address))
            if is_public(server.address):
                yield _about_resolver(observation, "source.resolver_public", write, server.address)
            elif known and server.address not in known and not _is_loopback(server.address):
                yield _about_resolver(observation, "source.resolver_elsewhere", write, server.address)


def _about_resolver(observation: SourceObservation, code: str, write: Write, address: str) -> Finding:
    zone = observation.zone
    zones, asked = list(zone.zones), list(zone.nameservers)
    by_ca = observation.is_authority(write)
    return observation.finding(code, write, address=address, zones=zones, asked=asked, by_ca=by_ca)


def parts_are_unreadable(observation: SourceObservation) -> Iterator[Finding]:
    """config.unreadable: a file of the tree that could not be read, or not to its end."""
    told = set()
    for note in observation.survey.notes:
        if note.place.source not in told:
            told.add(note.place.source)
            yield catalogue.finding(
                "config.unreadable",
                vantage=Vantage.STATIC,
                reporter=observation.reporter,
                culprit=Culprit(file=note.place.source, line=note.place.line),
                variant="source",
                reason=note.reason,
            )


def _is_loopback(address: str) -> bool:
    return address.startswith("127.") or address == "::1"


TABLE: tuple[Callable[[SourceObservation], Iterator[Finding]], ...] = (
    names_are_pinned,
    addresses_conflict,
    resolvers_are_elsewhere,
    files_are_rewritten,
    lines_grow,
    parts_are_unreadable,
)


def conclude_from_sources(observation: SourceObservation) -> list[Finding]:
    """Everything that the tree proves, of each kind no more than anybody reads; not graded yet."""
    return [finding for conclusion in TABLE for finding in islice(conclusion(observation), MOST_OF_A_KIND)]
