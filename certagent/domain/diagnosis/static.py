"""Conclusions from files alone: resolver files, and what web servers' files show. Pure; no network, and no agent.

One table: a new conclusion is one function and one line. What it says is provable from the files, whatever DNS says.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

import msgspec

from certagent.domain import catalogue
from certagent.domain.catalogue import Fact
from certagent.domain.diagnosis import resolver_files
from certagent.domain.diagnosis.foreign_files import files_are_unreadable
from certagent.domain.diagnosis.resolver_files import StaticObservation, is_public, short
from certagent.domain.findings import Culprit, Finding, Vantage
from certagent.domain.resolution.file_formats import RESOLV_CONF_FILE, Line, parse_address, read_lines, split_fields
from certagent.domain.resolution.files import DEFAULT_ORDER, NSSWITCH_FILE
from certagent.domain.resolution.go import is_domain_name


def file_is_given_up(observation: StaticObservation) -> Iterator[Finding]:
    """dns.nsswitch_ignored: one line is none, so a Go program does not use the file at all."""
    switch = observation.files.nsswitch
    if switch.problem is not None:
        yield _about_switch(observation, "dns.nsswitch_ignored", problem=switch.problem)


def sources_are_missing(observation: StaticObservation) -> Iterator[Finding]:
    """dns.nsswitch_no_dns, dns.hosts_overruled: DNS is never asked; or the hosts file is not asked first."""
    switch = observation.files.nsswitch
    if "dns" not in switch.order:
        yield _about_switch(observation, "dns.nsswitch_no_dns")
    elif switch.order != DEFAULT_ORDER:
        yield _about_switch(observation, "dns.hosts_overruled", never_read="files" not in switch.order)


def sources_are_foreign(observation: StaticObservation) -> Iterator[Finding]:
    """dns.nss_only: names that only such a source knows exist for other programs here, and not for the CA."""
    foreign = [
        short(source) for source in dict.fromkeys(observation.files.nsswitch.sources) if source not in DEFAULT_ORDER
    ]
    if foreign:
        yield _about_switch(
            observation, "dns.nss_only", variant="static", detail={"sources": foreign[:20]}, sources=foreign
        )


def _about_switch(
    observation: StaticObservation, code: str, variant: str = "", detail: dict[str, Any] | None = None, **facts: Fact
) -> Finding:
    switch = observation.files.nsswitch
    return observation.finding(
        code, file=NSSWITCH_FILE, line=switch.line, text=switch.text, variant=variant, detail=detail, **facts
    )


_MOST_NAMESERVERS = 3
_MOST_DOTS = 15
_NUMBERS = {"ndots": 0, "timeout": 1, "attempts": 1}
_SWITCHES = {"rotate", "single-request", "single-request-reopen", "use-vc", "usevc", "tcp", "trust-ad", "edns0"}
_OF_LIBC = {"debug", "inet6", "ip6-bytestring", "ip6-dotint", "no-ip6-dotint", "no-check-names", "no-tld-query"}
_OF_LIBC |= {"no-aaaa"}
_NO_RELOAD = "no-reload"
_KEYWORDS = {"nameserver", "domain", "search", "options"}


class Objection(msgspec.Struct, frozen=True):
    """What is wrong with a line: a code's variant, and its facts."""

    code: str
    variant: str
    facts: dict[str, Fact] = {}


_IGNORED, _DIFFERS = "dns.resolv_conf_ignored", "dns.resolv_conf_differs"


def nobody_is_named(observation: StaticObservation) -> Iterator[Finding]:
    """dns.resolv_conf_broken: absent, a link that leads nowhere, or without a usable nameserver."""
    configuration, link = observation.files.resolv_conf, observation.links.get(RESOLV_CONF_FILE)
    if configuration.exists and not configuration.names_nobody():
        return
    yield observation.finding(
        "dns.resolv_conf_broken",
        file=RESOLV_CONF_FILE,
        variant="dangling" if link is not None and not configuration.exists else "",
        detail={"link": link},
        missing=not configuration.exists,
        target=link,
    )


def public_servers_are_asked(observation: StaticObservation) -> Iterator[Finding]:
    """dns.resolver_public: the fleet's zones are asked of a server of the Internet's, first or as a fall-back."""
    used = [server for server in observation.files.resolv_conf.nameservers if server.is_used]
    for number, server in enumerate(used):
        if (
            not observation.zones or not server.line or not is_public(server.address)
        ):  # no line: the CA's own --resolver
            continue
        yield observation.finding(
            "dns.resolver_public",
            file=RESOLV_CONF_FILE,
            line=server.line,
            text=server.text,
            address=server.address,
            variant="static",
            detail={"is_first": number == 0},
            is_first=number == 0,
            zones=observation.bare_zones(),
        )


def words_say_nothing(observation: StaticObservation) -> Iterator[Finding]:
    """dns.resolv_conf_ignored, dns.resolv_conf_differs: words without effect; and with another one in a Go program
    (the CA is one) than in all others."""
    lines, stopped_at = read_lines(observation.contents.get(RESOLV_CONF_FILE) or b"")
    meant = [(line, fields) for line in lines if (fields := split_fields(line.content)) and not _is_comment(fields)]
    standing = _stand(meant)
    for line, fields in meant:
        for objection in _objections(line, fields, standing):
            yield _found(observation, line.number, line.text, objection)
    if stopped_at is not None:
        yield _found(observation, stopped_at, "", Objection(_IGNORED, "not_read"))


def _found(observation: StaticObservation, number: int, text: str, objection: Objection) -> Finding:
    return observation.finding(
        objection.code,
        file=RESOLV_CONF_FILE,
        line=number,
        text=text,
        variant=objection.variant,
        **objection.facts,
    )


def _is_comment(fields: Sequence[str]) -> bool:
    return fields[0].startswith(("#", ";"))


class _Standing(msgspec.Struct, frozen=True):
    """What decides about a line besides itself: the nameserver's place among them all, and which search list is the
    last."""

    nameservers: dict[int, int]
    last_search: int


def _stand(meant: Sequence[tuple[Line, list[str]]]) -> _Standing:
    nameservers = [line.number for line, fields in meant if _names_one(fields)]
    searches = [line.number for line, fields in meant if fields[0] in ("search", "domain")]
    return _Standing({number: place for place, number in enumerate(nameservers)}, max(searches, default=0))


def _objections(line: Line, fields: list[str], standing: _Standing) -> Iterator[Objection]:
    keyword, values = fields[0], fields[1:]
    if keyword not in _KEYWORDS:
        yield _strange(keyword)
        return
    if line.content[:1] in (b" ", b"\t"):
        yield Objection(_DIFFERS, "indented")
    yield from _READERS[keyword](line, values, standing)


def _strange(keyword: str) -> Objection:
    if keyword == "sortlist":
        return Objection(_DIFFERS, "sortlist")
    return Objection(_IGNORED, "unknown_keyword", {"word": short(keyword)})


def _nameserver(line: Line, values: list[str], standing: _Standing) -> Iterator[Objection]:
    address = parse_address(values[0]) if values else None
    if address is None:
        yield Objection(_IGNORED, "no_address")
        return
    if len(values) > 1 and not _is_comment(values[1:]):
        yield Objection(_IGNORED, "several_nameservers", {"values": [short(value) for value in values]})
    if standing.nameservers[line.number] >= _MOST_NAMESERVERS:
        yield Objection(_IGNORED, "too_many", {"address": address, "most": _MOST_NAMESERVERS})


def _names_one(fields: list[str]) -> bool:
    return fields[0] == "nameserver" and len(fields) > 1 and parse_address(fields[1]) is not None


def _search(line: Line, values: list[str], standing: _Standing) -> Iterator[Objection]:
    if line.number < standing.last_search:
        yield Objection(_IGNORED, "not_last")
        return
    if not values:
        yield Objection(_IGNORED, "no_domain")
    for value in values:
        if value.startswith(("#", ";")):
            yield Objection(_IGNORED, "comment_in_search", {"word": short(value)})
            return
        if not is_domain_name(value):
            yield Objection(_IGNORED, "not_a_domain", {"word": short(value)})


def _domain(line: Line, values: list[str], standing: _Standing) -> Iterator[Objection]:
    yield from _search(line, values[:1], standing)
    if len(values) > 1 and not _is_comment(values[1:]):
        yield Objection(_IGNORED, "several_domains")


def _options(_line: Line, values: list[str], _standing: _Standing) -> Iterator[Objection]:
    for value in values:
        if value.startswith(("#", ";")):
            yield Objection(_IGNORED, "comment_in_options", {"word": short(value)})
            return
        objection = _option(value)
        if objection is not None:
            yield objection


def _option(value: str) -> Objection | None:
    name, colon, number = value.partition(":")
    if colon and name in _NUMBERS:
        return _number(name, number)
    if value == _NO_RELOAD:
        return Objection(_IGNORED, "no_reload", {"word": value})
    if value in _OF_LIBC:
        return Objection(_DIFFERS, "libc_option", {"word": value})
    return None if value in _SWITCHES else Objection(_IGNORED, "unknown_option", {"word": short(value)})


def _number(name: str, number: str) -> Objection | None:
    least = _NUMBERS[name]
    if not (number.isascii() and number.isdigit()):
        return Objection(_IGNORED, "not_a_number", {"option": name, "word": short(number)})
    most = _MOST_DOTS if name == "ndots" else int(number[:9])
    limit = max(min(int(number[:9]), most), least)
    if limit == int(number[:9]):
        return None
    return Objection(_IGNORED, "out_of_range", {"option": name, "word": short(number), "limit": limit})


_READERS: dict[str, Callable[[Line, list[str], _Standing], Iterator[Objection]]] = {
    "nameserver": _nameserver,
    "search": _search,
    "domain": _domain,
    "options": _options,
}


__all__ = ["StaticObservation", "TABLE", "WATCHED", "conclude_statically", "conclude_while_watching"]

MOST_OF_A_KIND = 500
_MOST_WATCHED = 20

Conclusion = Callable[[StaticObservation], Iterator[Finding]]


def references_dangle(observation: StaticObservation) -> Iterator[Finding]:
    """deploy.dangling_reference: what a web server's files name and nobody defines."""
    for cause in observation.gateways:
        place = cause.place
        yield catalogue.finding(
            cause.code,
            vantage=Vantage.STATIC,
            reporter=observation.node,
            culprit=Culprit(node=observation.node, file=place.file, line=place.line, text=place.text),
            variant=cause.variant,
            **cause.facts,
        )


def parts_cannot_be_read(observation: StaticObservation) -> Iterator[Finding]:
    """config.unreadable: what others wrote and no reader could make sense of."""
    yield from files_are_unreadable(observation.node, observation.unreadable)


TABLE: tuple[Conclusion, ...] = (
    nobody_is_named,
    parts_cannot_be_read,
    sources_are_missing,
    resolver_files.names_loop_back,
    resolver_files.lines_contradict,
    references_dangle,
    public_servers_are_asked,
    resolver_files.hosts_lines_will_go,
    resolver_files.settings_will_go,
    resolver_files.sections_are_torn,
    file_is_given_up,
    resolver_files.lines_say_nothing,
    words_say_nothing,
    sources_are_foreign,
)
WATCHED: tuple[Conclusion, ...] = (public_servers_are_asked, resolver_files.hosts_lines_will_go)
"""What the watch says as well: whatever else is wrong in the files, it learns from what names lead to."""


def conclude_statically(observation: StaticObservation) -> list[Finding]:
    """Everything that the files prove, of each kind no more than anybody reads; not graded yet."""
    return [finding for conclusion in TABLE for finding in islice(conclusion(observation), MOST_OF_A_KIND)]


def conclude_while_watching(observation: StaticObservation) -> list[Finding]:
    """What an agent says of its node's files besides what it says of names; not graded yet, and bounded."""
    concluded = (finding for conclusion in WATCHED for finding in conclusion(observation))
    return list(islice(concluded, _MOST_WATCHED))
