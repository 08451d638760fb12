"""The floors of the house: imports point down only. docs/architecture.md draws them."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.house import HOUSE, MODULES, nodes_of

FLOORS = {
    "domain": 0,
    "system": 1,
    "config": 1,
    "vantage": 2,
    "issuance": 2,
    "deployers": 2,
    "proof": 2,
    "state": 2,
    "watch": 2,
    "reporting": 2,
    "agent": 3,
    "collector": 3,
    "commands": 4,
    "cli": 5,
    "entry": 6,
}
WIRING = {"agent/app.py", "collector/app.py"}
FORBIDDEN_NAMES = {"utils", "helpers", "common", "base", "manager"}


def _modules() -> list[Path]:
    return [path for path in MODULES if path.parent != HOUSE or path.stem not in {"__init__"}]


def _room(path: Path) -> str:
    return path.relative_to(HOUSE).parts[0].removesuffix(".py")


def _imports(path: Path) -> Iterator[str]:
    for node in nodes_of(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _own_imports(path: Path) -> Iterator[str]:
    for name in _imports(path):
        parts = name.split(".")
        if parts[0] == "certagent" and len(parts) > 1 and parts[1] in FLOORS:
            yield parts[1]


@pytest.mark.parametrize("path", _modules(), ids=lambda path: str(path.relative_to(HOUSE)))
def test_imports_point_down(path: Path) -> None:
    """A module imports its own room, or one on a lower floor; neighbours on the third floor do not meet."""
    room = _room(path)
    assert room in FLOORS, f"{room} has no floor"
    for imported in _own_imports(path):
        assert imported == room or FLOORS[imported] < FLOORS[room] or _is_allowed(room, imported), (
            f"{path} imports {imported}"
        )


def _is_allowed(room: str, imported: str) -> bool:
    """`config` checks policies, which are domain; the doors outside know no settings."""
    return (room, imported) == ("config", "domain")


def test_agent_and_collector_never_meet() -> None:
    """Whatever both need is on a lower floor."""
    for path in _modules():
        room = _room(path)
        if room in {"agent", "collector"}:
            assert not {"agent", "collector"} - {room} & set(_own_imports(path)), path


def test_the_domain_opens_nothing() -> None:
    """No I/O, no clock: the domain imports only what is pure."""
    doors = {"asyncio", "socket", "os", "pathlib", "subprocess", "time", "aiohttp", "dns", "ssl", "logging", "random"}
    for path in (HOUSE / "domain").rglob("*.py"):
        assert not doors & {name.split(".")[0] for name in _imports(path)}, path


def test_acme_and_josepy_are_behind_one_module() -> None:
    """Blocking libraries live behind one adapter each."""
    users = {
        str(path.relative_to(HOUSE))
        for path in _modules()
        if {"acme", "josepy"} & {name.split(".")[0] for name in _imports(path)}
    }
    assert users == {"issuance/acme_session.py"}


def test_certagent_knows_nothing_of_deploy() -> None:
    """What is installed must not need what installs it."""
    for path in _modules():
        assert not any(name.split(".")[0] in {"deploy", "tests"} for name in _imports(path)), path


def test_no_drawer_is_called_generic() -> None:
    """A name says what is inside."""
    stems = {part.removesuffix(".py") for path in _modules() for part in path.relative_to(HOUSE).parts}
    assert not stems & FORBIDDEN_NAMES


def test_every_task_is_owned_and_named() -> None:
    """Tasks come from a TaskGroup, or are kept by whoever awaits them; none is started and forgotten."""
    for path in _modules():
        for node in nodes_of(path):
            if isinstance(node, ast.Call) and _attribute(node) == "create_task":
                assert any(keyword.arg == "name" for keyword in node.keywords), f"{path}:{node.lineno} has no name"
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
                forgotten = ast.unparse(node.value.func) in {"asyncio.create_task", "asyncio.ensure_future"}
                assert not forgotten, f"{path}:{node.lineno} is nobody's"


def _attribute(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else ""
