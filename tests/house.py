"""certagent's own sources, for tests of how they are written: each file is parsed once."""

import ast
from functools import cache
from pathlib import Path

HOUSE = Path(__file__).parents[1] / "certagent"
MODULES = tuple(sorted(HOUSE.rglob("*.py")))


@cache
def parse(path: Path) -> ast.Module:
    """The file's syntax; nobody changes it."""
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def nodes_of(path: Path) -> tuple[ast.AST, ...]:
    """All of it, in no order."""
    return tuple(ast.walk(parse(path)))
