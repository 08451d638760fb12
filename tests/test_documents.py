"""README and docs/ say what is so: configurations load, commands exist, tables are whole."""

import os
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import get_args, get_type_hints

import click
import pytest

from certagent.cli import commands
from certagent.config import AgentSettings, CollectorSettings, ProofEndpoint, load_agent, load_collector
from certagent.config.policy_files import load_policy
from tests.documents import DOCS, README, TREE, WRITTEN, blocks_of, page_text, rows_of, section_of, without_blocks

INSTALLER = (TREE / "deploy/lxc/install").read_text(encoding="utf-8")
POLICY = (TREE / "policies/default.toml").read_text(encoding="utf-8")
CONFIGURED = {
    f"{section}.{field}"
    for settings in (AgentSettings, CollectorSettings)
    for section, kind in get_type_hints(settings).items()
    for one in (kind, *get_args(kind))
    for field in getattr(one, "__struct_fields__", ())
}
"""Keys of the two configuration files, as prose names them: `agent.policy`."""

MOST_WORDS = 900
"""Of the README's prose; blocks of code and tables do not count."""


# --- the README -------------------------------------------------------------------------------------------------------


def test_the_readme_is_short() -> None:
    """Prose alone: what is printed as code or as a table is looked up, not read."""
    prose = [line for line in without_blocks(README).splitlines() if not line.startswith("|")]
    assert len(" ".join(prose).split()) <= MOST_WORDS


def test_the_readme_begins_with_what_it_is_and_for_whom() -> None:
    """In its first sentence."""
    first = README.split("\n\n")[1].replace("\n", " ").partition(". ")[0]
    assert first.startswith("certagent looks after the TLS certificates of")
    for words in ("containers", "LXC", "for people who", "ACME", "private [Step-CA]"):
        assert words in first


# --- configurations ---------------------------------------------------------------------------------------------------


def _block(path: str) -> str:
    (block,) = (one for one in blocks_of(README, "toml") if one.startswith(f"# {path}\n"))
    return block


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """The files that the configuration names, elsewhere."""
    (tmp_path / "etc/certagent").mkdir(parents=True)
    (tmp_path / "etc/traefik/dynamic").mkdir(parents=True)
    (tmp_path / "etc/certagent/root_ca.crt").write_text("root")
    (tmp_path / "etc/certagent/token").write_text("token")
    (tmp_path / "etc/certagent/token").chmod(0o600)
    return tmp_path


def _moved(text: str, house: Path) -> str:
    return text.replace('"/etc/', f'"{house}/etc/')


def test_the_agents_configuration_is_read(house: Path) -> None:
    """The README's, together with the targets and the section beside the CA, which docs/deployers.md prints."""
    traefik, *others = blocks_of(page_text("deployers.md"), "toml")
    assert len(others) == 4
    path = house / "agent.toml"
    path.write_text(_moved("\n".join([_block("/etc/certagent/agent.toml"), *others]), house))
    settings = load_agent(path)
    assert [target.prove for target in settings.certificate[0].deploy] == [
        ("10.0.0.12:443",),
        ("10.0.0.153:443",),
        ("10.0.0.30:443",),
        (ProofEndpoint(address="10.0.0.20:5432", starttls="postgres"),),
    ]
    assert settings.vantage is not None
    (printed,) = tomllib.loads(traefik)["certificate"]["deploy"]
    assert printed == tomllib.loads(_block("/etc/certagent/agent.toml"))["certificate"][0]["deploy"][0]


def test_the_collectors_configuration_is_read(house: Path) -> None:
    """As the lab installs it."""
    path = house / "collector.toml"
    path.write_text(_moved(_block("/etc/certagent/collector.toml"), house))
    assert load_collector(path).channel[0].kind == "webhook"
    assert tomllib.loads(_block("/etc/certagent/agent.toml"))["agent"]["name"] == "lxc102"


EXAMPLES = [(name, one) for name, text in WRITTEN.items() if name != "README.md" for one in blocks_of(text, "toml")]
BELONGS_TO = {
    "# agent.toml": "agent.toml",
    "# collector.toml": "collector.toml",
    "# also in /etc/certagent/collector.toml": "collector.toml",
}
"""The first line of an example -> whose it is."""


def _tables(text: str) -> list[tuple[str, list[str]]]:
    """(heading, its lines) in their order."""
    parts = re.split(r"^(\[.*\])", text, flags=re.MULTILINE)
    return [(heading, body.splitlines()[1:]) for heading, body in zip(parts[1::2], parts[2::2], strict=True)]


def _laid_over(base: str, example: str) -> str:
    """The example in a whole configuration: tables that both have become one, in which the example's keys count."""
    tables = _tables(base)
    for heading, lines in _tables(example):
        there = next((body for name, body in tables if name == heading and not name.startswith("[[")), None)
        if there is None:
            tables.append((heading, lines))
        else:
            keys = {line.partition("=")[0].strip() for line in lines}
            there[:] = [line for line in there if line.partition("=")[0].strip() not in keys] + lines
    return "\n".join(line for heading, lines in tables for line in (heading, *lines))


@pytest.fixture
def taken_for_granted(monkeypatch: pytest.MonkeyPatch) -> None:
    """That the files and folders which an example names are there."""
    monkeypatch.setattr(Path, "is_file", lambda _path: True)
    monkeypatch.setattr(Path, "is_dir", lambda path: path.name in ("dynamic", "html", "provisioning"))
    monkeypatch.setattr(os, "access", lambda *_: True)
    monkeypatch.setattr("certagent.config.checks.read_private", lambda *_: "secret")


@pytest.mark.parametrize(("name", "example"), EXAMPLES, ids=[f"{name}-{at}" for at, (name, _) in enumerate(EXAMPLES)])
def test_every_example_is_loaded(name: str, example: str, tmp_path: Path, taken_for_granted: None) -> None:
    """By what reads a real one."""
    file = BELONGS_TO[example.splitlines()[0]]
    path = tmp_path / file
    path.write_text(_laid_over(_block(f"/etc/certagent/{file}"), example))
    if file == "agent.toml":
        assert load_agent(path, with_secrets=False).agent.name == "lxc102"
    else:
        assert load_collector(path).server.listen == "0.0.0.0:8843"


@pytest.mark.parametrize("path", sorted((DOCS / "examples").glob("*.toml")), ids=lambda path: path.stem)
def test_every_example_file_is_loaded_and_named_by_a_page(path: Path, taken_for_granted: None) -> None:
    """As it lies there."""
    assert f"(examples/{path.name})" in "".join((*WRITTEN.values(), page_text("configuration.md")))
    if path.stem == "collector":
        assert load_collector(path).server.certificate is not None
    else:
        settings = load_agent(path, with_secrets=False)
        assert settings.certificate or settings.vantage is not None


# --- commands ---------------------------------------------------------------------------------------------------------


def test_every_command_of_the_table_exists_and_every_command_is_in_it() -> None:
    """The table is the contract's, as far as it is built."""
    table = section_of(page_text("operations.md"), "## Commands by task")
    named = set(re.findall(r"`certagent (\w+)", table)) | {"collector"}
    assert named == set(commands.commands)


def _calls(program: str) -> Iterator[tuple[str, list[str]]]:
    """(page, words behind the program's name) of each call in a block, whatever pipes and quotes stand around it."""
    for name, text in WRITTEN.items():
        for block in (*blocks_of(text, "console"), *blocks_of(text, "sh"), *blocks_of(text, "text")):
            for line in block.replace("\\\n", " ").splitlines():
                for words in re.findall(rf"(?:^|[ '(]){program} ([^|>#'`]+)", line):
                    yield name, words.split()


def test_every_command_that_is_printed_exists_with_its_options() -> None:
    """In each block of each page."""
    printed = set()
    for page, words in _calls("certagent"):
        if words[0] not in commands.commands:  # a word of a sentence in something that was printed
            assert words[0] in {"help"} or not words[0].startswith("-"), (page, words)
            continue
        found: click.Command = commands.commands[words[0]]
        if isinstance(found, click.Group):
            found = found.commands[words[1]]
        options = {option for param in found.params for option in param.opts}
        assert {word for word in words if word.startswith("--")} <= options, (page, words)
        printed.add(words[0])
    assert {"init", "enrol", "join", "check", "status", "lint", "token"} <= printed


def test_every_option_of_the_installer_that_is_printed_exists() -> None:
    """In each block of each page."""
    known = set(re.findall(r'add_argument\("(--[\w-]+)"', INSTALLER))
    calls = list(_calls("deploy/lxc/install"))
    assert len(calls) > 10
    for page, words in calls:
        assert {word for word in words if word.startswith("--")} <= known, (page, words)


def test_the_first_container_needs_nothing_that_no_step_makes() -> None:
    """Each token file comes from a step before; the root is confirmed without a terminal."""
    steps = section_of(page_text("get-started.md"), "## With configuration files and tokens of your own")
    made: set[str] = set()
    for line in steps.splitlines():
        assert set(re.findall(r"--token (\S+)", line)) <= made, line
        made |= set(re.findall(r"> (token-\w+)", line))
    assert made == {"token-lxc102", "token-lxc103", "token-lxc104"}
    assert re.search(r"certagent init [^#]*--fingerprint HEX --write\n", steps)
    assert steps.index("certagent init") < steps.index("complete `[collector]`") < steps.index("102 --role agent")


@pytest.mark.parametrize("heading", ["## One container alone", "## The fleet"])
def test_a_container_has_the_program_before_it_is_entered_and_a_configuration_before_its_service(heading: str) -> None:
    """And whoever is enrolled joins before its agent is started."""
    steps = "\n".join(blocks_of(section_of(page_text("get-started.md"), heading), "console"))
    program, configured = set[str](), set[str]()
    for line in steps.replace("\\\n", " ").splitlines():
        for node in re.findall(r"pct exec (\d+) --", line):
            assert node in program, line
        if writes := re.search(r"pct exec (\d+) -- (?:certagent (?:join|init .*--write)|sh -c .*certagent join)", line):
            configured.add(writes[1])
        if installs := re.search(r"deploy/lxc/install (\d+)( --role)?", line):
            program.add(installs[1])
            assert not installs[2] or installs[1] in configured, line
    assert configured


# --- tables -----------------------------------------------------------------------------------------------------------


def test_every_graded_code_is_explained_with_its_severity() -> None:
    """Exactly the codes of the policy, in its order, and no other severity than there."""
    rows = [row for row in rows_of(section_of(page_text("findings.md"), "## All codes")) if row[0].startswith("`")]
    listed = {code.strip("`"): severity for code, _, severity, _ in rows}
    graded = {
        code: ", ".join(f"{one} ({who})" for who, one in entry.items()) if isinstance(entry, dict) else str(entry)
        for code, entry in load_policy(None).severity.items()
    }
    assert listed == graded
    assert all(meaning and fix for _, meaning, _, fix in rows)


def test_every_code_that_is_named_is_one() -> None:
    """In each page; a star stands for all of a kind."""
    codes = set(load_policy(None).severity)
    keys = {f"{table}.{key}" for table, keys in tomllib.loads(POLICY).items() for key in keys if table != "severity"}
    families = "|".join(sorted({code.partition(".")[0] for code in codes}))
    for name, text in WRITTEN.items():
        for code in re.findall(rf"`((?:{families})\.[a-z0-9_.]+)`", text):
            is_file = code.endswith((".toml", ".json", ".py", ".db", ".sock", ".crt", ".key"))
            assert is_file or code in codes | keys | CONFIGURED, (name, code)


@pytest.mark.parametrize("name", WRITTEN)
def test_a_table_s_rows_have_as_many_cells_as_its_head(name: str) -> None:
    """A bar within a cell would break it."""
    for block in re.findall(r"(?:^\|.*\n)+", WRITTEN[name], re.MULTILINE):
        assert len({len(row) for row in rows_of(block)}) == 1, block


def test_figures_are_those_of_the_measurements() -> None:
    """What the README and docs/operations.md say of sizes was measured, and is as it was measured last."""
    measured = page_text("measurements.md")
    texts = (section_of(README, "## What it needs"), section_of(page_text("operations.md"), "## Sizing"))
    for text, least in zip(texts, (3, 8), strict=True):
        figures = re.findall(r"\b[\d.]+ (?:MiB|%|reports/s)", text)
        assert len(figures) >= least
        assert [figure for figure in figures if figure not in measured] == []


def test_the_comparison_has_no_gap_and_says_where_we_are_behind() -> None:
    """A cell for everybody in every row, and ours in bold in some."""
    head, _, *rows = rows_of(page_text("comparison.md"))
    assert len(head) == 9
    assert all(len(row) == len(head) and all(row) for row in rows)
    assert [row[0] for row in rows if row[1].startswith("**")] == ["DNS providers", "runs on", "in wide use"]
