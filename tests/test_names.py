"""The rules for names that can be tested: a stranger guesses from a module's or a class's name what it holds."""

import ast
from collections import Counter, defaultdict

from tests.house import HOUSE, MODULES, nodes_of, parse

RIDDLES = {"besides", "own", "one"}
"""As parameters: the thing has a name."""


def test_no_file_stem_is_in_more_than_two_folders() -> None:
    """Two may mirror each other; a third is a riddle."""
    stems = Counter(path.stem for path in MODULES if path.stem != "__init__")
    assert {stem: count for stem, count in stems.items() if count > 2} == {}


def test_no_public_class_name_has_two_meanings() -> None:
    """A class is found by its name alone."""
    homes = defaultdict(list)
    for path in MODULES:
        for node in parse(path).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes[node.name].append(str(path.relative_to(HOUSE)))
    assert {name: places for name, places in homes.items() if len(places) > 1} == {}


def test_no_parameter_is_a_riddle() -> None:
    """`besides`, `own`, `one`: what?"""
    found = [
        f"{path.relative_to(HOUSE)}:{node.lineno}: {argument.arg}"
        for path in MODULES
        for node in nodes_of(path)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
        if argument.arg in RIDDLES
    ]
    assert found == []


def test_no_constructor_takes_more_than_seven() -> None:
    """What takes more holds two ideas."""
    found = [
        f"{path.relative_to(HOUSE)}:{node.lineno}"
        for path in MODULES
        for node in nodes_of(path)
        if isinstance(node, ast.FunctionDef) and node.name == "__init__"
        if len([*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]) > 8  # and self
    ]
    assert found == []


def test_no_file_is_too_long_to_stand_in() -> None:
    """A file is a room, not a hall."""
    long = {str(path.relative_to(HOUSE)): len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert {path: lines for path, lines in long.items() if lines > 350} == {}
