"""`certagent explain`: one code, all of them, one that does not exist; and the README's table, which is the same."""

import json
from pathlib import Path

from click.testing import CliRunner

from certagent.cli import commands
from certagent.commands.explain import explain, table_of_codes
from certagent.domain.catalogue.entries import CATALOGUE

README = Path(__file__).parents[2] / "README.md"


def _run(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(commands, ["explain", *words])
    return result.exit_code, result.output


def test_a_code_is_explained_to_a_person() -> None:
    """Meaning, cause, fix and an example; the severity in the first line."""
    status, text = _run("dns.hosts_shadow.authority")
    assert status == 0
    assert text.splitlines()[0] == "dns.hosts_shadow.authority  (fatal)"
    assert [line.split()[0] for line in text.splitlines()[1:]] == ["meaning:", "cause:", "fix:", "example:"]
    assert "line 9 of /etc/hosts" in text


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


def test_an_unknown_code_is_a_usage_error_with_the_nearest_ones() -> None:
    """2, like every other wrong word on the command line; so is a code beside --all, and neither."""
    status, text = _run("dns.nxdoman")
    assert status == 2
    assert "did you mean dns.nxdomain" in text
    assert _run("dns.nxdomain", "--all")[0] == _run()[0] == 2


def test_every_example_is_a_sentence() -> None:
    """Nothing in it is unknown."""
    for code in CATALOGUE:
        assert "(unknown)" not in explain(code)["example"], code


def test_the_readme_s_table_is_the_catalogue_s() -> None:
    """Generated: python -c "from certagent.commands.explain import table_of_codes; print(table_of_codes())"."""
    assert table_of_codes() in README.read_text(encoding="utf-8")
