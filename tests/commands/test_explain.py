"""`certagent explain`: one code, all of them, one that does not exist; and the table in the docs, which is the same."""

import json
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from certagent.cli import commands
from certagent.commands.explain import explain, near_codes, table_of_codes
from certagent.commands.finding_output import hint_for, lines_of
from certagent.domain.catalogue import render
from certagent.domain.catalogue.entries import CATALOGUE
from certagent.domain.catalogue.examples import SAMPLES, example_finding, example_of

FINDINGS = Path(__file__).parents[2] / "docs" / "findings.md"


WITH_NAMES = {"/etc/hosts", "/etc/dnsmasq.hosts/fleet", "scripts/lxc103.sh"}
"""Files of the examples whose lines are an address and a name."""


def _run(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(commands, ["explain", *words])
    return result.exit_code, result.output


def test_a_code_is_explained_to_a_person() -> None:
    """Meaning, cause, fix and an example; the severity in the first line."""
    status, text = _run("dns.hosts_shadow.authority")
    assert status == 0
    assert text.splitlines()[0] == "dns.hosts_shadow.authority  (fatal)"
    assert [line.split()[0] for line in text.splitlines()[1:5]] == ["meaning:", "cause:", "fix:", "example:"]
    assert [line.strip() for line in text.splitlines()[5:]] == [
        "fatal dns.hosts_shadow.authority",
        "The CA on lxc103 connects to 10.0.0.153 (lxc101, gateway) for traefik.internal.thinkheads.ai, because line 9"
        " of /etc/hosts overrides DNS; DNS says 10.0.0.12 (lxc102, traefik).",
        "lxc103:/etc/hosts:9: 10.0.0.153 traefik.internal.thinkheads.ai",
        "fix: Remove line 9 of /etc/hosts on lxc103: 10.0.0.153 traefik.internal.thinkheads.ai",
    ]


def test_a_code_is_explained_to_a_machine() -> None:
    """One document; where severities differ by vantage, one for each."""
    status, text = _run("dns.nxdomain", "--json")
    document = json.loads(text)
    assert status == 0
    assert set(document) == {"code", "layer", "severity", "meaning", "cause", "fix", "example"}
    assert (document["layer"], document["severity"]) == ("dns", {"authority": "fatal", "wire": "error"})


def test_all_codes_are_explained() -> None:
    """Each once, by layer."""
    status, text = _run("--all", "--json")
    assert status == 0
    assert [one["code"] for one in json.loads(text)["findings"]] == list(CATALOGUE)
    assert _run("--all")[1].count("example:") == len(CATALOGUE)


def test_alone_it_lists_every_code_with_its_meaning() -> None:
    """Two lines each, and how to read on; for a machine the same document as with --all."""
    status, text = _run()
    assert status == 0
    lines = text.splitlines()
    assert lines[: 2 * len(CATALOGUE) : 2] == list(CATALOGUE)
    assert lines[1] == f"    {CATALOGUE[lines[0]].meaning}"
    assert lines[-1].startswith("certagent explain CODE says more")
    assert json.loads(_run("--json")[1]) == json.loads(_run("--all", "--json")[1])


def test_an_unknown_code_is_a_usage_error_with_the_nearest_ones() -> None:
    """2, like every other wrong word on the command line; so is a code beside --all."""
    status, text = _run("dns.nxdoman")
    assert status == 2
    assert "did you mean dns.nxdomain" in text
    assert _run("dns.nxdomain", "--all")[0] == 2
    assert "no finding has the code zzz; `certagent explain` lists all codes" in _run("zzz")[1]


@pytest.mark.parametrize(
    ("word", "first"),
    [
        ("dns.nxdoman", "dns.nxdomain"),
        ("nxdoman", "dns.nxdomain"),
        ("NXDOMAIN", "dns.nxdomain"),
        ("hosts_shadow", "dns.hosts_shadow.authority"),
        ("dns.hosts-shadow.client", "dns.hosts_shadow.client"),
        ("dns.hosts_shadow.athority", "dns.hosts_shadow.authority"),
        ("http1.redirected", "http01.redirected"),
        ("wrong_entrypont", "http01.wrong_entrypoint"),
        ("ca.unreachabel", "ca.unreachable"),
    ],
)
def test_near_misses_are_suggested(word: str, first: str) -> None:
    """A part of a code, another case, a letter missing, with the layer or without."""
    assert near_codes(word)[0] == first
    assert len(near_codes(word)) <= 3


@pytest.mark.parametrize("code", CATALOGUE)
def test_every_example_is_a_finding_of_the_catalogue(code: str) -> None:
    """Its sentences follow from its facts alone; a line that it names is shown, and is of that file."""
    entry = CATALOGUE[code]
    example = example_finding(entry)
    assert render(example.code, example.variant, example.facts) == (example.explanation, example.fix)
    assert example.explanation == example_of(entry)
    assert example.severity in ({entry.severity} if isinstance(entry.severity, str) else set(entry.severity.values()))
    shown = "\n".join(lines_of(msgspec.to_builtins(example)))
    assert "(unknown)" not in shown
    assert "None" not in shown
    culprit = example.culprit
    if culprit is not None and culprit.line is not None:
        assert culprit.text, code
        assert culprit.text != SAMPLES["text"] or culprit.file in WITH_NAMES, culprit


def test_every_example_is_a_sentence() -> None:
    """Nothing in it is unknown."""
    for code in CATALOGUE:
        assert "(unknown)" not in explain(code)["example"], code


def test_the_documentation_s_table_is_the_catalogue_s() -> None:
    """Generated: python -m deploy.reference."""
    assert table_of_codes() in FINDINGS.read_text(encoding="utf-8")


def test_what_is_found_comes_with_how_to_explain_it() -> None:
    """With a code to copy; nothing found needs no explanation."""
    assert hint_for([{"code": "dns.nxdomain"}, {"code": "net.refused"}]) == [
        "What a code means: certagent explain dns.nxdomain"
    ]
    assert hint_for([]) == []
