"""Templates and facts: how a sentence is made of plain values, each of a kind that checks, bounds and escapes it. Pure.

A template has facts in braces, `{node}`, and clauses in brackets: `[line?line {line} of ]` stands there if the fact is
known (not false, zero or empty), `[!line?...]` if it is not. Clauses do not nest. A fact that does not look like its
kind is quoted, so that whoever sends it cannot speak in our place.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import msgspec

from certagent.domain.probe_errors import DNS_PHRASES, PROBE_PHRASES
from certagent.domain.resolution.managed_files import EDIT_AT

Fact = Any
"""A plain value (text, number, truth), a list of them, or a list of tables; None: not known. Its kind checks it where
it is shown, for a fact may come from another node."""

_CLAUSE = re.compile(r"\[(!?)(\w+)\?([^\]]*)\]")
_FACT = re.compile(r"\{(\w+)\}")
_MOST_SHOWN = 5
_MOST_KEPT = 20
_LONGEST_KEPT = 1000


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """What values of a kind look like (None: as they like), and how long they may be shown.

    `phrases`: the values that there are, with a template for each; `otherwise` is for any other value. `item`: the
    template of a list's items, each a table of facts; `joint` stands between them.
    """

    pattern: str | None = None
    longest: int = 253
    phrases: Mapping[str, str] = {}
    otherwise: str = "{}"
    item: str = ""
    joint: str = "; "


_ADDRESS = r"(?:\[?[0-9A-Fa-f.:]+(?:%[\w.-]+)?\]?(?::\d+)?)"
_LABEL = r"(?: \([\w.@ -]+(?:, [\w.@ -]+)?\))?"
NAME = Kind(pattern=r"[\w.:@*+/ -]+")
ADDRESS = Kind(pattern=rf"(?:{_ADDRESS}|[\w.:-]+){_LABEL}", longest=400)
PLACE = Kind(pattern=rf"(?:{_ADDRESS}|[\w.:-]+|/\S+){_LABEL}", longest=400)
PATH = Kind(longest=400)
NUMBER = Kind(pattern=r"-?\d+(?:\.\d+)?", longest=20)
MOMENT = Kind(pattern=r"[\w:.,+ -]+", longest=60)
TEXT = Kind(longest=1000)
WORD = Kind(longest=200)
FLAG = Kind(pattern="True|False")


def _kinds(kind: Kind, names: str) -> dict[str, Kind]:
    return dict.fromkeys(names.split(), kind)


KINDS: Mapping[str, Kind] = {
    **_kinds(
        NAME,
        "asker certificate challenge client entry_point errno file_name found identifier key_name looker manager"
        " name names node offered option other_zone outcomes owner part predicted rcode record reporter"
        " resolver channels"
        " roots_missing roots_trusted router server server_name sources user wanted_zone zone zones",
    ),
    **_kinds(ADDRESS, "address addresses asked endpoint listen own_addresses"),
    **_kinds(PLACE, "answers others place places primary"),
    **_kinds(PATH, "evidence file folder origin pem staged"),
    **_kinds(
        NUMBER,
        "count failed http_status limit line lines mode most port removed seconds status strangers total workers",
    ),
    **_kinds(MOMENT, "changed_at left lifetime needed now silent_since since span until"),
    **_kinds(
        WORD,
        "changes command flag holder issuer location mark problem process proxy subject target text url values word",
    ),
    **_kinds(TEXT, "reason said trouble"),
    **_kinds(
        FLAG,
        "blocked by_ca checked is_ahead is_first is_hosts is_own is_stranger managed missing never_read on_disk proven"
        " unless_set_there unproven",
    ),
    "error": Kind(phrases=PROBE_PHRASES),
    "answer": Kind(phrases=DNS_PHRASES, otherwise="answers {}"),
    "edit_at": Kind(phrases=EDIT_AT),
    "extension": Kind(
        phrases={
            "obsolete": "it is from an old draft",
            "not_critical": "it is not marked critical",
            "malformed": "it is not an octet string of 32 octets",
        }
    ),
    "fate": Kind(phrases={"issued": "issued the certificate", "refused": "refused the challenge"}),
    "instruction": Kind(
        phrases={
            "allow_dns": "allow DNS after the files",
            "name_nameserver": "name the fleet's own nameserver",
        }
    ),
    "snippet": Kind(
        phrases={
            "nginx": "include snippets/certagent-challenge.conf in that server, and reload nginx",
            "traefik": "put deploy/traefik/certagent-challenge.yml into the file provider's folder as it is",
        }
    ),
    "what": Kind(
        phrases={
            "served": "The certificate that {endpoint} serves",
            "on_disk": "The certificate in {file}",
            "issued": "The certificate",
        }
    ),
    "hops": Kind(
        item="[trouble?{name} at {address} did not answer ({trouble})][!trouble?{server} at {address} answered"
        " {http_status}][location? to {location}]",
        joint=", then ",
    ),
    "views": Kind(item="{server} says {addresses}"),
}
"""Every fact that a template may use."""

_PLAIN_WORD = re.compile(r"[\w.:@*+/=-]+")
_PLAIN_PATH = re.compile(r"/[\w./@+:,~%-]*")
_PLAIN_LINE = re.compile(r"[\w.:%*@+,= \t-]+")
_LINK = re.compile(r"://|\bmailto:|\bwww\.(?=[^\s/]*/)", re.IGNORECASE)
"""What programs make a link of, beside a bare name: that may be an identifier's, and leads to no page of anybody's."""
_LONGEST_QUOTATION = 200


class Quotation(str):
    """What a node wrote, in quotation marks already; it is shown as it is."""

    __slots__ = ()


def quote(text: str) -> Quotation:
    """The text so that it can be taken for nothing but a quotation: bounded, on one line, and no link."""
    cut = text if len(text) <= _LONGEST_QUOTATION else f"{text[:_LONGEST_QUOTATION]}…"
    line = without_links(" ".join(cut.split())).replace("'", "\\'")
    return Quotation(f"'{''.join(_escaped(line))}'")


def without_links(text: str) -> str:
    """The text with every URL in it written so that no program makes a link of it."""
    return _LINK.sub(lambda link: re.sub(r"[:.]", r"[\g<0>]", link[0]), text)


def _may_be_link(text: str) -> bool:
    return "//" in text or _LINK.search(text) is not None


def is_plain_path(text: str) -> bool:
    """Whether a path can be shown as it is: one word, and no URL."""
    return _PLAIN_PATH.fullmatch(text) is not None and not _may_be_link(text)


def path_words(path: str) -> str:
    """A path, quoted if it could be more than one."""
    return path if is_plain_path(path) else quote(path)


def name_words(name: str) -> str:
    """A certificate's name, quoted if it could be more than one."""
    is_plain = _PLAIN_WORD.fullmatch(name) is not None and not _may_be_link(name) and len(name) <= _LONGEST_QUOTATION
    return name if is_plain else quote(name)


def quoted_facts(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts, with quotation marks around each that may be more than a name, a number or a path."""
    return {name: _quoted(KINDS[name], value) for name, value in facts.items() if name in KINDS}


def _quoted(kind: Kind, value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_quoted(kind, one) for one in value[:_MOST_KEPT]]
    if isinstance(value, Mapping):
        return quoted_facts(value) if kind.item else quote(str(value))
    if not isinstance(value, str) or value in kind.phrases or _is_plain(kind, value):
        return value
    return quote(value)


def _is_plain(kind: Kind, text: str) -> bool:
    if kind is PATH or (kind is PLACE and text.startswith("/")):
        return is_plain_path(text)
    if kind in (NAME, WORD, TEXT) or kind.phrases:
        return _PLAIN_WORD.fullmatch(text) is not None and not _may_be_link(text)
    return kind.pattern is not None and re.fullmatch(kind.pattern, text) is not None and len(text) <= kind.longest


def missing_facts(template: str, facts: Mapping[str, Any]) -> set[str]:
    """The facts that the template needs and that are not known."""
    optional = {"line"} if "{line}" not in template else set()
    return {name for name in _names_in(_choose(template, facts)) - optional if facts.get(name) is None}


def may_advise(template: str, facts: Mapping[str, Any]) -> bool:
    """Whether no fact of a fix could be read as a command."""
    shown = (facts.get(name) for name in _names_in(_choose(template, facts)))
    quoted = (one for value in shown for one in (value if isinstance(value, list) else [value]))
    return all(_PLAIN_LINE.fullmatch(one[1:-1]) for one in quoted if isinstance(one, Quotation))


def _names_in(text: str) -> set[str]:
    """The facts in it; a spot is a file, and a line if that is known."""
    names = set(_FACT.findall(text))
    return names - {"spot"} | {"file", "line"} if "spot" in names else names


def expand(template: str, facts: Mapping[str, Any]) -> str:
    """The template's text with these facts."""
    return _FACT.sub(lambda fact: _shown(fact[1], facts), _choose(template, facts))


def _choose(template: str, facts: Mapping[str, Any]) -> str:
    """The template with the clauses that these facts call for."""
    return _CLAUSE.sub(lambda clause: clause[3] if bool(facts.get(clause[2])) != bool(clause[1]) else "", template)


def with_labels(facts: Mapping[str, Any], labels: Mapping[str, str]) -> dict[str, Any]:
    """The facts, every address among them with its label: `10.0.0.153 (lxc101, gateway)`."""

    def label(name: str, value: Any) -> Any:
        if isinstance(value, list | tuple):
            return [label(name, one) for one in value]
        if isinstance(value, Mapping):
            return with_labels(value, labels)
        is_address = KINDS.get(name) in (ADDRESS, PLACE) and value in labels
        return f"{value} ({labels[value]})" if is_address else value

    return {name: label(name, value) for name, value in facts.items()}


def addresses_among(facts: Mapping[str, Any]) -> set[str]:
    """The addresses that the facts name, without their labels."""
    found: set[str] = set()
    for name, value in facts.items():
        for one in value if isinstance(value, list | tuple) else (value,):
            if isinstance(one, Mapping):
                found |= addresses_among(one)
            elif isinstance(one, str) and KINDS.get(name) in (ADDRESS, PLACE):
                found.add(one.partition(" ")[0])
    return found


def bounded(value: Fact) -> Fact:
    """The fact as a finding keeps it: what nobody reads is left out."""
    if isinstance(value, str):
        return str(value[:_LONGEST_KEPT])
    return [bounded(one) for one in value[:_MOST_KEPT]] if isinstance(value, list | tuple) else value


@cache
def facts_in(template: str) -> frozenset[str]:
    """The facts that decide what the template's text is, those of its phrases included."""
    names = {*_FACT.findall(template), *(clause[1] for clause in _CLAUSE.findall(template))}
    if "spot" in names:
        names = names - {"spot"} | {"file", "line"}
    nested = (phrase for name in names if name in KINDS for phrase in KINDS[name].phrases.values())
    return frozenset(names).union(*map(facts_in, nested))


def _shown(name: str, facts: Mapping[str, Any]) -> str:
    if name == "spot":
        return expand("[line?line {line} of ]{file}", facts)
    value = facts.get(name)
    if value is None:
        return "(unknown)"
    kind = KINDS[name]
    if isinstance(value, list | tuple):
        return _listed(kind, value)
    if kind.phrases:
        return _phrase(kind, value if isinstance(value, str) else str(value), facts)
    return _one(kind, value)


def _phrase(kind: Kind, value: str, facts: Mapping[str, Any]) -> str:
    phrase = kind.phrases.get(value)
    return kind.otherwise.format(_one(NAME, value)) if phrase is None else expand(phrase, facts)


def _listed(kind: Kind, values: Sequence[Any]) -> str:
    """`a, b and c`; of very many the first ones. Tables by their own template."""
    if kind.item:
        return kind.joint.join(expand(kind.item, one) for one in values if isinstance(one, Mapping))
    shown = [_one(kind, one) for one in values[:_MOST_SHOWN]]
    if len(values) > _MOST_SHOWN:
        more = "others" if len(values) >= _MOST_KEPT else f"{len(values) - _MOST_SHOWN} more"
        return f"{', '.join(shown)} and {more}"
    return " and ".join(filter(None, (", ".join(shown[:-1]), shown[-1]))) if shown else "none"


def _one(kind: Kind, value: object) -> str:
    if isinstance(value, Quotation):
        return str(value)
    text = str(value)
    is_odd = kind.pattern is not None and re.fullmatch(kind.pattern, text) is None
    bounded = text if len(text) <= kind.longest else f"{text[: kind.longest]}…"
    escaped = "".join(_escaped(bounded))
    return f"'{escaped}'" if is_odd else escaped


def _escaped(text: str) -> Iterator[str]:
    for character in text:
        yield character if character.isprintable() else character.encode("unicode_escape").decode()
