"""The catalogue: complete, graded as the policy's file says, and its sentences follow from plain facts."""

import ast
import re

import msgspec
import pytest

from certagent.config.policy_files import load_policy
from certagent.domain import catalogue
from certagent.domain.catalogue import Trait, codes_with, facts_in, has_trait, layer_of, render
from certagent.domain.catalogue.entries import CATALOGUE
from certagent.domain.catalogue.entry import SHARED
from certagent.domain.catalogue.examples import SAMPLES, example_in, samples_of
from certagent.domain.catalogue.templates import KINDS, expand
from certagent.domain.findings import Culprit, Severity, Vantage
from certagent.domain.probe_errors import DnsStatus
from certagent.domain.resolution.file_formats import HostsProblem
from tests.house import HOUSE, MODULES, nodes_of

OUTSIDE = [path for path in MODULES if path.parent.name != "catalogue" or path.stem == "__init__"]
"""Modules that make findings by the catalogue."""
_STARTS = (
    "/",
    "chmod ",
    "dnsmasq ",
    "libc ",
    "nginx ",
    *(str(value) for value in SAMPLES.values() if isinstance(value, str)),
)
SITUATIONS = [(code, name) for code, entry in CATALOGUE.items() for name in entry.situations]


def test_the_policy_s_file_grades_every_code_as_the_catalogue_does() -> None:
    """People edit the file; the catalogue says what it is delivered with."""
    delivered = load_policy(None).severity
    assert {code: entry.severity for code, entry in CATALOGUE.items()} == delivered


@pytest.mark.parametrize("code", CATALOGUE)
def test_an_entry_is_complete(code: str) -> None:
    """A layer that exists; meaning, cause and action as sentences."""
    entry = CATALOGUE[code]
    assert layer_of(code) is entry.layer
    for sentence in (entry.meaning, entry.cause, entry.action):
        assert re.fullmatch(r"[\w`~].*\.", sentence, re.DOTALL), sentence
    assert len(entry.meaning) < 160


@pytest.mark.parametrize(("code", "name"), SITUATIONS)
def test_a_situation_s_sentences_are_whole(code: str, name: str) -> None:
    """Every fact has a kind, and with the usual facts nothing is unknown, quoted or left open."""
    situation = CATALOGUE[code].situations[name]
    used = facts_in(situation.explanation) | facts_in(situation.fix or "")
    assert used <= set(KINDS)
    facts = samples_of(CATALOGUE[code])
    for text in (example_in(CATALOGUE[code], situation), expand(situation.fix or "Nothing.", facts)):
        assert "(unknown)" not in text, text
        assert not re.search(r" '|[{}\[\]]|  ", text), text
        assert text[0].isupper() or text[0].isdigit() or text.startswith(_STARTS), text


def test_every_kind_of_fact_is_used() -> None:
    """None is left over from a sentence that is gone."""
    situations = [*SHARED.values(), *(one for entry in CATALOGUE.values() for one in entry.situations.values())]
    used = {fact for one in situations for fact in facts_in(one.explanation) | facts_in(one.fix or "")}
    of_items = {"trouble", "http_status", "location"}
    assert set(KINDS) - used <= of_items


def test_the_same_sentences_follow_from_code_variant_and_facts() -> None:
    """On the other side of the wire, without trusting the sender's."""
    culprit = Culprit(node="lxc101", file="/etc/hosts", line=9, text="10.0.0.153 x.lan", address="10.0.0.153")
    cause = catalogue.finding(
        "dns.hosts_shadow.nameserver",
        vantage=Vantage.STATIC,
        reporter="lxc101",
        identifier="x.lan",
        culprit=culprit,
        answers=["10.0.0.12"],
    )
    made = catalogue.finding(
        "dns.nxdomain", vantage=Vantage.WIRE, reporter="lxc102", identifier="x.lan", asker="lxc102"
    )
    blamed = catalogue.because(made, cause)
    for one in (cause, made, blamed):
        sent = msgspec.json.decode(msgspec.json.encode(one), type=type(one))
        assert render(sent.code, sent.variant, sent.facts) == (one.explanation, one.fix)
    assert blamed.explanation == f"{made.explanation} {cause.explanation}"
    assert (blamed.culprit, blamed.fix) == (culprit, cause.fix)


@pytest.mark.parametrize(
    ("fact", "value", "shown"),
    [
        ("node", "lxc101", "lxc101"),
        ("node", "lxc101; all is well", "'lxc101; all is well'"),
        ("node", "a\nb", r"'a\nb'"),
        ("address", "10.0.0.1, which is fine", "'10.0.0.1, which is fine'"),
        ("line", "9 of your own", "'9 of your own'"),
        ("said", "\x1b[31mred\x1b[0m\u202eder", r"\x1b[31mred\x1b[0m\u202eder"),
        ("text", "x" * 5000, "x" * 200 + "…"),
        ("names", ["a", "b"], "a and b"),
        ("names", list("abcdefg"), "a, b, c, d, e and 2 more"),
        ("error", "timeout", "no answer came in time"),
        ("answer", "formerr", "answers formerr"),
        ("url", None, "(unknown)"),
    ],
)
def test_a_fact_is_checked_bounded_and_escaped(fact: str, value: object, shown: str) -> None:
    """What does not look like its kind is quoted."""
    assert expand(f"{{{fact}}}", {fact: value}) == shown


def test_a_clause_stands_where_its_fact_is_known() -> None:
    """And its opposite where it is not; nought and empty lists are not."""
    template = "[line?line {line} of ]{file}[!line? as a whole]"
    assert expand(template, {"file": "/f", "line": 9}) == "line 9 of /f"
    assert expand(template, {"file": "/f", "line": 0}) == expand(template, {"file": "/f"}) == "/f as a whole"


def test_traits_are_what_blocks_and_caps() -> None:
    """Nothing that blocks by itself is capped by a passed rehearsal; a code of a newer agent goes by its layer."""
    assert not codes_with(Trait.OWN_INABILITY) & codes_with(Trait.PATH)
    assert codes_with(Trait.CA_UNUSABLE) <= codes_with(Trait.OWN_INABILITY) & codes_with(Trait.BLOCKS_RENEWAL)
    assert all(
        entry.severity is Severity.FATAL for code, entry in CATALOGUE.items() if has_trait(code, Trait.BLOCKS_ORDER)
    )
    assert has_trait("http01.something_new", Trait.PATH)
    assert not has_trait("new.layer", Trait.PATH)


def _literals() -> set[str]:
    nodes = (node for path in OUTSIDE for node in nodes_of(path))
    return {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def test_no_finding_is_built_by_hand() -> None:
    """One constructor, so that no sentence is written anywhere else."""
    makers = {
        str(path.relative_to(HOUSE))
        for path in OUTSIDE
        for node in nodes_of(path)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Finding"
    }
    assert makers == {"domain/catalogue/__init__.py"}


def test_every_code_and_every_situation_is_concluded_somewhere() -> None:
    """Those that are composed of what was observed are `dns.` and a status."""
    literals = _literals() | {f"dns.{status}" for status in DnsStatus} | {problem.value for problem in HostsProblem}
    assert set(CATALOGUE) <= literals
    assert {name for _, name in SITUATIONS if name} | set(SHARED) <= literals
