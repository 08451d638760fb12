"""Whole trees as people have them (`trees`), against what is right for each (its expected.toml): what `init` finds and
writes, that this loads and an agent lives on it, what `lint` says, and which line the diagnosis blames."""

import json
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import Authority
from tests.field.expectations import EXPECTED, ExpectedCertificate
from tests.field.tree import TREES, Tree

pytestmark = pytest.mark.slow

CONFIGURATION = "/etc/certagent/agent.toml"
AGENT = f"from pathlib import Path; from certagent.agent.app import main; main(Path({CONFIGURATION!r}))"
LOAD = f"from pathlib import Path; from certagent.config import load_agent; load_agent(Path({CONFIGURATION!r}))"
DIRECTORY = "https://ca.home.test:9000/acme/acme/directory"
PATIENCE, SETTLED = 60.0, 4.0
UNKNOWN = ("acme.failed", "acme.reason_hidden")
"""What says that an order failed, and not why."""
CHECKS = [(name, number) for name, expected in EXPECTED.items() for number in range(len(expected.check))]


def tree_of(name: str, folder: Path) -> Tree:
    """The tree with the CA's root, and /run and /var of its own, below `folder`."""
    tree = Tree.of(TREES / name, folder, EXPECTED[name].addresses)
    for below in ("run", "var/lib", "etc/certagent"):
        (folder / below).mkdir(parents=True, exist_ok=True)
    Authority().write_root(folder / "etc/certagent/root_ca.crt")
    return tree


class Initialised:
    """A tree after `init --write`: `document` is what it said, `text` what it wrote."""

    def __init__(self, name: str, folder: Path) -> None:
        self.tree = tree_of(name, folder)
        self.document: Any = self.tree.document(*_init(), "--write")
        self.text = (folder / CONFIGURATION.lstrip("/")).read_text()
        self.certificates: list[dict[str, Any]] = tomllib.loads(self.text).get("certificate", [])

    def said(self) -> str:
        """All that a person reads of it."""
        return "\n".join([*self.document["found"], *self.document["by_hand"], self.text])


def _init() -> list[str]:
    return ["init", "--directory", DIRECTORY, "--root", "/etc/certagent/root_ca.crt"]


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Initialised]:
    """Each tree, initialised when it is first asked for."""
    return _Trees(tmp_path_factory.mktemp("trees"))


class _Trees(dict[str, Initialised]):
    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def __missing__(self, name: str) -> Initialised:
        self[name] = Initialised(name, self._folder / name)
        return self[name]


@pytest.mark.parametrize("name", EXPECTED)
def test_a_tree_tells_its_story(name: str) -> None:
    story = (TREES / name / "story.md").read_text()
    assert "Source:" in story
    assert "What is special:" in story


@pytest.mark.parametrize("name", EXPECTED)
def test_init_finds_each_pair_with_its_names_and_whoever_renews_it(name: str, trees: dict[str, Initialised]) -> None:
    found = trees[name].certificates
    expected = {_key_of(one): one for one in EXPECTED[name].certificate}
    assert sorted(map(_key_written, found)) == sorted(expected)
    for written in found:
        _agrees(written, expected[_key_written(written)], trees[name])


def _key_of(expected: ExpectedCertificate) -> str:
    return expected.certificate or expected.kind


def _key_written(written: dict[str, Any]) -> str:
    target = written["deploy"][0]
    return str(target.get("certificate", target["kind"]))


def _agrees(written: dict[str, Any], expected: ExpectedCertificate, initialised: Initialised) -> None:
    target, names = written["deploy"][0], set(written["identifiers"])
    assert set(expected.identifiers) <= names <= {*expected.identifiers, *expected.may}
    assert (written["manage"], written.get("challenge", "http-01")) == (expected.manage, expected.challenge)
    assert (target["kind"], target.get("key")) == (expected.kind, expected.key)
    assert {place for place in target["prove"] if not place.startswith("[::1]:")} == set(expected.prove)
    if expected.renewer is not None:
        part = next(p for p in initialised.text.split("[[certificate]]") if f'name = "{written["name"]}"\n' in p)
        assert expected.renewer.lower() in part.lower()


@pytest.mark.parametrize("name", EXPECTED)
def test_init_says_which_lines_a_person_has_to_see(name: str, trees: dict[str, Initialised]) -> None:
    said = trees[name].said()
    for place in EXPECTED[name].by_hand:
        file, _, line = place.rpartition(":")
        assert any(file in step and line in step for step in said.splitlines()), place
    assert all(word.lower() in said.lower() for word in EXPECTED[name].said)
    assert not [word for word in EXPECTED[name].never if word in said]


@pytest.mark.parametrize("name", EXPECTED)
def test_what_init_wrote_loads(name: str, trees: dict[str, Initialised]) -> None:
    done = trees[name].tree.run([sys.executable, "-c", LOAD])
    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture(scope="module")
def answers(trees: dict[str, Initialised], tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, str]]:
    """Of each tree, what its agent answers to `status` after some seconds (None: it has ended), and its log. All of
    them run at the same time."""
    folder = tmp_path_factory.mktemp("logs")
    agents = {name: trees[name].tree.start([sys.executable, "-c", AGENT], folder / name) for name in EXPECTED}
    try:
        first = {name: _ask(trees[name].tree, agents[name]) for name in EXPECTED}
        time.sleep(SETTLED)
        last = {name: _ask(trees[name].tree, agents[name]) if first[name] else None for name in EXPECTED}
        return {name: (last[name], (folder / name).read_text()) for name in EXPECTED}
    finally:
        for agent in agents.values():
            agent.kill()
            agent.wait()


def _ask(tree: Tree, agent: subprocess.Popen[bytes]) -> Any:
    deadline = time.monotonic() + PATIENCE
    while agent.poll() is None and time.monotonic() < deadline:
        done = tree.certagent("status", "--json")
        if done.stdout and "certificates" in (document := json.loads(done.stdout)):
            return document
        time.sleep(0.2)
    return None


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPECTED)
def test_an_agent_lives_and_answers_status(name: str, answers: dict[str, tuple[Any, str]]) -> None:
    answer, log = answers[name]
    assert answer is not None, log
    assert "Traceback" not in log
    managed = sorted(one["manage"] for one in answer["certificates"])
    assert managed == sorted(one.manage for one in EXPECTED[name].certificate)


@pytest.mark.parametrize("name", EXPECTED)
def test_lint_says_what_is_wrong_and_nothing_else(name: str, tmp_path: Path) -> None:
    document = tree_of(name, tmp_path).document("lint")
    found = [f"{one['code']} {one['culprit']['file']}:{one['culprit']['line']}" for one in document["findings"]]
    assert sorted(found) == sorted(EXPECTED[name].lint.findings)


@pytest.fixture(scope="module")
def diagnoses(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[list[dict[str, Any]]]]:
    """Of each tree, the findings of each of its checks; a tree is diagnosed when it is first asked for."""
    return _Diagnoses(tmp_path_factory.mktemp("diagnoses"))


class _Diagnoses(dict[str, list[list[dict[str, Any]]]]):
    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def __missing__(self, name: str) -> list[list[dict[str, Any]]]:
        tree = tree_of(name, self._folder / name)
        self[name] = tree.diagnoses([check.seen() for check in EXPECTED[name].check])
        return self[name]


@pytest.mark.parametrize(("name", "number"), CHECKS)
def test_the_diagnosis_blames_the_line_that_explains_what_was_seen(
    name: str, number: int, diagnoses: dict[str, list[list[dict[str, Any]]]]
) -> None:
    expected, findings = EXPECTED[name].check[number], diagnoses[name][number]
    lines = [f"{one['culprit']['file']}:{one['culprit']['line']}" for one in findings if _names_a_file(one)]
    assert findings
    if expected.culprits():
        assert lines[:1] in [[place] for place in expected.culprits()]
    else:
        assert lines == []
    if expected.code is not None:
        assert expected.code in [one["code"] for one in findings]
    if expected.fix is not None:
        assert any(expected.fix in (one["fix"] or "") for one in findings)


@pytest.mark.parametrize("name", EXPECTED)
def test_no_tree_ends_in_unknown_alone(name: str, diagnoses: dict[str, list[list[dict[str, Any]]]]) -> None:
    """Whatever a CA saw there, something is found out about it."""
    assert diagnoses[name]
    for findings in diagnoses[name]:
        known = [one for one in findings if one["code"] not in UNKNOWN]
        assert [one for one in known if one["fix"] and any((one["culprit"] or {}).values())], findings


def _names_a_file(finding: dict[str, Any]) -> bool:
    return bool(finding["culprit"]) and finding["culprit"].get("file") is not None
