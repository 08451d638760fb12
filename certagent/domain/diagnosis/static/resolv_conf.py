"""Conclusions from a resolv.conf alone. Pure."""

from collections.abc import Callable, Iterator, Sequence

import msgspec

from certagent.domain.diagnosis.name_resolution import resolver_is_missing
from certagent.domain.diagnosis.static.observation import StaticObservation, is_public, several, short
from certagent.domain.findings import Finding
from certagent.domain.resolution.go import is_domain_name
from certagent.domain.resolution.resolv_conf import RESOLV_CONF_FILE
from certagent.domain.resolution.text import Line, parse_address, read_lines, split_fields

_MOST_NAMESERVERS = 3
_MOST_DOTS = 15
_NUMBERS = {"ndots": 0, "timeout": 1, "attempts": 1}
_SWITCHES = {"rotate", "single-request", "single-request-reopen", "use-vc", "usevc", "tcp", "trust-ad", "edns0"}
_OF_LIBC = {"debug", "inet6", "ip6-bytestring", "ip6-dotint", "no-ip6-dotint", "no-check-names", "no-tld-query"}
_OF_LIBC |= {"no-aaaa"}
_NO_RELOAD = "no-reload"
_KEYWORDS = {"nameserver", "domain", "search", "options"}

Objection = tuple[str, str]
"""A code, and what is wrong, in a clause that goes on from the line's place."""
_IGNORED, _DIFFERS = "dns.resolv_conf_ignored", "dns.resolv_conf_differs"


def nobody_is_named(look: StaticObservation) -> Iterator[Finding]:
    """dns.resolv_conf_broken: absent, a link that leads nowhere, or without a usable nameserver."""
    found = resolver_is_missing(look.node, look.files.resolv_conf)
    if found is None or found.culprit is None:
        return
    path, link = look.shown.get(RESOLV_CONF_FILE, RESOLV_CONF_FILE), look.links.get(RESOLV_CONF_FILE)
    explanation = found.explanation
    if link is not None and not look.files.resolv_conf.exists:
        explanation = f"{path} on {look.node} is a link to {link}, and that does not exist."
    yield msgspec.structs.replace(
        found,
        explanation=explanation.replace(RESOLV_CONF_FILE, path, 1),
        culprit=msgspec.structs.replace(found.culprit, file=path),
        detail={"link": link},
    )


def public_servers_are_asked(look: StaticObservation) -> Iterator[Finding]:
    """dns.resolver_public: the fleet's zones are asked of a server of the Internet's, first or as a fall-back."""
    used = [server for server in look.files.resolv_conf.nameservers if server.is_used]
    for number, server in enumerate(used):
        if not look.zones or not server.line or not is_public(server.address):  # no line: the CA's own --resolver
            continue
        when = "first of all" if number == 0 else "as soon as the nameserver before it is silent"
        yield look.finding(
            "dns.resolver_public",
            f"{server.address} is a public nameserver, and is asked for {several(look.bare_zones())} {when}: what"
            f" only the fleet knows does not exist to it ({look.place(RESOLV_CONF_FILE, server.line)}).",
            file=RESOLV_CONF_FILE,
            line=server.line,
            text=server.text,
            address=server.address,
            fix=look.mend(RESOLV_CONF_FILE, server.line, "Name only nameservers that know the fleet's zones"),
            is_first=number == 0,
        )


def words_say_nothing(look: StaticObservation) -> Iterator[Finding]:
    """dns.resolv_conf_ignored, dns.resolv_conf_differs: words without effect; and with another one in a Go program
    (the CA is one) than in all others."""
    lines, stopped_at = read_lines(look.contents.get(RESOLV_CONF_FILE) or b"")
    meant = [(line, fields) for line in lines if (fields := split_fields(line.content)) and not _is_comment(fields)]
    standing = _stand(meant)
    for line, fields in meant:
        for code, what in _objections(line, fields, standing):
            yield _found(look, code, line.number, line.text, what)
    if stopped_at is not None:
        what = "is longer than a Go program reads (64 KiB): it and all lines after it have no effect"
        yield _found(look, _IGNORED, stopped_at, "", what)


def _found(look: StaticObservation, code: str, number: int, text: str, what: str) -> Finding:
    return look.finding(
        code,
        f"{look.the_line(RESOLV_CONF_FILE, number)} {what}.",
        file=RESOLV_CONF_FILE,
        line=number,
        text=text,
        fix=look.mend(RESOLV_CONF_FILE, number, "Say what is meant, or take it out"),
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
        yield _DIFFERS, "is indented: a Go program reads it all the same, libc does not"
    yield from _READERS[keyword](line, values, standing)


def _strange(keyword: str) -> Objection:
    if keyword == "sortlist":
        return _DIFFERS, "sorts addresses for libc alone; a Go program has no sortlist"
    return _IGNORED, f"has no effect: there is no keyword {short(keyword)!r}"


def _nameserver(line: Line, values: list[str], standing: _Standing) -> Iterator[Objection]:
    address = parse_address(values[0]) if values else None
    if address is None:
        yield _IGNORED, "has no effect: a nameserver is given by its address"
        return
    if len(values) > 1 and not _is_comment(values[1:]):
        yield _IGNORED, f"names {several(values)}, and only the first one counts: a line for each"
    if standing.nameservers[line.number] >= _MOST_NAMESERVERS:
        yield _IGNORED, f"names {address}, which is never asked: only the first {_MOST_NAMESERVERS} nameservers are"


def _names_one(fields: list[str]) -> bool:
    return fields[0] == "nameserver" and len(fields) > 1 and parse_address(fields[1]) is not None


def _search(line: Line, values: list[str], standing: _Standing) -> Iterator[Objection]:
    if line.number < standing.last_search:
        yield _IGNORED, "has no effect: of several lines `search` or `domain` the last one counts"
        return
    if not values:
        yield _IGNORED, "names no domain"
    for value in values:
        if value.startswith(("#", ";")):
            yield (
                _IGNORED,
                f"makes suffixes of {short(value)!r} and what follows: a comment has to be a line of its own",
            )
            return
        if not is_domain_name(value):
            yield _IGNORED, f"has a suffix that is no domain name: {short(value)!r}"


def _domain(line: Line, values: list[str], standing: _Standing) -> Iterator[Objection]:
    yield from _search(line, values[:1], standing)
    if len(values) > 1 and not _is_comment(values[1:]):
        yield _IGNORED, "names several domains, and only the first one counts: that is `search`"


def _options(_line: Line, values: list[str], _standing: _Standing) -> Iterator[Objection]:
    for value in values:
        if value.startswith(("#", ";")):
            yield (
                _IGNORED,
                f"takes {short(value)!r} and what follows for options: a comment has to be a line of its own",
            )
            return
        objection = _option(value)
        if objection is not None:
            yield objection


def _option(value: str) -> Objection | None:
    name, colon, number = value.partition(":")
    if colon and name in _NUMBERS:
        return _number(name, number)
    if value == _NO_RELOAD:
        return _IGNORED, f"sets {value}: no later edit of this file has an effect on the CA before it is restarted"
    if value in _OF_LIBC:
        return _DIFFERS, f"sets {value}, which a Go program does not know"
    return None if value in _SWITCHES else (_IGNORED, f"has an option that nobody knows: {short(value)!r}")


def _number(name: str, number: str) -> Objection | None:
    least = _NUMBERS[name]
    if not (number.isascii() and number.isdigit()):
        return _IGNORED, f"gives {name} no number: {short(number)!r}"
    if int(number[:9]) < least:
        return _IGNORED, f"sets {name} to {short(number)}, which is read as {least}"
    if name == "ndots" and int(number[:9]) > _MOST_DOTS:
        return _IGNORED, f"sets ndots to {short(number)}, which is read as {_MOST_DOTS}"
    return None


_READERS: dict[str, Callable[[Line, list[str], _Standing], Iterator[Objection]]] = {
    "nameserver": _nameserver,
    "search": _search,
    "domain": _domain,
    "options": _options,
}
