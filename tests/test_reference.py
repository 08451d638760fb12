"""The reference is what the code says, its examples are loaded, and what packages install is made from the same."""

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec
import pytest
from click.shell_completion import BashComplete

from certagent import config
from certagent.cli import commands
from certagent.config import load_agent, load_collector
from certagent.domain.catalogue import Layer
from certagent.domain.catalogue.entries import CATALOGUE
from deploy.reference import command_page, completions, configuration_page, finding_page, man_pages
from deploy.reference.__main__ import DOCS, PAGES, write_for_packages
from deploy.reference.command_tree import walk
from deploy.reference.markdown import anchor

LINK = re.compile(r"\]\(([^)#]*)#?([^)]*)\)")
MACROS = {".TH", ".SH", ".PP", ".TP"}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_what_the_code_says(name: str) -> None:
    """Else: python -m deploy.reference."""
    assert (DOCS / name).read_text(encoding="utf-8") == PAGES[name]()


@pytest.mark.parametrize("name", PAGES)
def test_its_links_lead_somewhere(name: str) -> None:
    """To a page that there is, and to a heading in it."""
    for target, fragment in LINK.findall(PAGES[name]()):
        page = DOCS / (target or name)
        assert page.is_file(), target
        headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
        assert not fragment or fragment in map(anchor, headings), (target, fragment)


@pytest.mark.parametrize("name", PAGES)
def test_a_table_s_rows_have_as_many_cells_as_its_head(name: str) -> None:
    """A bar within a cell would break it."""
    for block in re.findall(r"(?:^\|.*\n)+", PAGES[name](), re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in block.splitlines()}) == 1, block


def _command_paths(command: click.Command = commands, path: str = "certagent") -> Iterator[str]:
    yield path
    for name, below in getattr(command, "commands", {}).items():
        yield from _command_paths(below, f"{path} {name}")


def test_the_commands_page_has_every_command_and_option() -> None:
    """And its manual page likewise."""
    page, manuals = command_page.make(), man_pages.make()
    assert {one.path for one in walk()} == set(_command_paths())
    for one in walk():
        manual = manuals[f"man/man1/{one.path.replace(' ', '-')}.1"]
        assert f"# {one.path}\n" in page or one.path == "certagent"
        for written, _, _ in one.options:
            assert one.path == "certagent" or written.replace("|", "\\|") in page, written
            assert written.replace("-", "\\-") in manual
    assert len(manuals) == len(list(walk()))


@pytest.mark.parametrize("path", man_pages.make())
def test_a_manual_page_is_well_formed(path: str) -> None:
    """Known macros only; name, synopsis and description are there, the summary whole."""
    lines = man_pages.make()[path].splitlines()
    assert {line.split()[0] for line in lines if line.startswith((".", "'"))} <= MACROS
    assert [line for line in lines if line.startswith(".SH")][:3] == [".SH NAME", ".SH SYNOPSIS", ".SH DESCRIPTION"]
    assert not any("..." in line for line in lines[lines.index(".SH NAME") : lines.index(".SH SYNOPSIS")])


def test_the_findings_page_has_every_code() -> None:
    """Each once, below its layer's title."""
    page = finding_page.make()
    assert re.findall(r"^### (.*)$", page, re.MULTILINE) == [
        code for layer in dict.fromkeys(entry.layer for entry in CATALOGUE.values()) for code in _codes_of(layer)
    ]
    assert set(finding_page.TITLES) == set(Layer)


def _codes_of(layer: Layer) -> list[str]:
    return [code for code, entry in CATALOGUE.items() if entry.layer is layer]


SETTINGS = [
    found
    for found in vars(config.settings).values()
    if isinstance(found, type) and issubclass(found, msgspec.Struct) and found.__struct_fields__
]


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: settings.__name__)
def test_the_configuration_page_has_every_key(settings: type[msgspec.Struct]) -> None:
    """Of every table, with an example of each key."""
    sections = [
        section
        for file in configuration_page.EXAMPLES
        for section in configuration_page.sections_of(file)
        if section.kind.cls is settings
    ]
    assert sections, "it is on no page"
    for section in sections:
        assert set(settings.__struct_fields__) <= set(section.examples), section.heading


def test_the_examples_are_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """By what reads a real one; only that the files and folders they name are there is taken for granted."""
    example = {file: path for file, (_, path) in configuration_page.EXAMPLES.items()}
    monkeypatch.setattr(Path, "is_file", lambda _path: True)
    monkeypatch.setattr(Path, "is_dir", lambda path: path.name in ("dynamic", "html"))
    monkeypatch.setattr(os, "access", lambda *_: True)
    monkeypatch.setattr("certagent.config.checks.read_private", lambda *_: "secret")
    assert len(load_agent(example["agent.toml"], with_secrets=False).certificate) == 7
    assert load_collector(example["collector.toml"]).channel[0].kind == "webhook"
    for path in example.values():
        assert tomllib.loads(path.read_text(encoding="utf-8"))


def test_packages_get_manual_pages_and_completions(tmp_path: Path) -> None:
    """Where a package has them."""
    write_for_packages(tmp_path)
    assert (tmp_path / "man/man1/certagent-token-add.1").read_text().startswith('.TH "CERTAGENT-TOKEN-ADD" "1"')
    assert set(completions.make()) == {
        "completion/bash/certagent",
        "completion/zsh/_certagent",
        "completion/fish/certagent.fish",
    }
    assert "_CERTAGENT_COMPLETE=bash_complete" in (tmp_path / "completion/bash/certagent").read_text()


@pytest.mark.parametrize(
    ("words", "beginning", "completed"),
    [
        (["explain"], "dns.nx", ["dns.nxdomain"]),
        (["explain"], "acme.order", ["acme.order_expired"]),
        ([], "re", ["renew", "resolve", "revoke"]),
        (["token"], "un", ["unbind"]),
        (["init"], "--auth", ["--authority"]),
        (["revoke", "--reason"], "super", ["superseded"]),
    ],
)
def test_the_tab_key_completes(words: list[str], beginning: str, completed: list[str]) -> None:
    """Commands, options, choices and codes."""
    completer = BashComplete(commands, {}, "certagent", "_CERTAGENT_COMPLETE")
    assert [item.value for item in completer.get_completions(words, beginning)] == completed


def test_completion_is_answered_by_the_program_itself() -> None:
    """As the shell asks it."""
    done = subprocess.run(
        [sys.executable, "-c", "import sys; sys.argv = ['certagent']; from certagent.entry import main; main()"],
        env={
            "PYTHONPATH": str(DOCS.parent),
            "_CERTAGENT_COMPLETE": "bash_complete",
            "COMP_WORDS": "certagent explain dns.nx",
            "COMP_CWORD": "2",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "plain,dns.nxdomain\n"), done.stderr
