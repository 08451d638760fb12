"""Whole numbers as a shell reckons with them. Pure."""

import ast
import operator
import re
from collections.abc import Callable

from certagent.domain.sources.shell_state import Shell
from certagent.domain.sources.writes import Value

_LONGEST = 200
_BIGGEST = 10**12
_NAME = re.compile(r"\$?\{?\b([A-Za-z_]\w*)\b\}?|\$\{?(\d)\}?")
_STEP = re.compile(r"(?:(?P<pre>\+\+|--)\s*(?P<name1>\w+)|(?P<name2>\w+)\s*(?P<post>\+\+|--))")
_ASSIGNMENT = re.compile(r"(?P<name>[A-Za-z_]\w*)\s*(?P<operator>[-+*/]?)=(?!=)\s*(?P<value>.+)", re.DOTALL)
_OPERATIONS: dict[type, Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}


def evaluate(shell: Shell, text: str) -> int | None:
    """The number, after what it assigns; None for what cannot be told."""
    text = text.strip()
    if len(text) > _LONGEST:
        return None
    step = _STEP.fullmatch(text)
    if step is not None:
        name = step["name1"] or step["name2"]
        sign = (step["pre"] or step["post"])[0]
        return _assign(shell, name, evaluate(shell, f"{name}{sign}1"))
    assignment = _ASSIGNMENT.fullmatch(text)
    if assignment is not None:
        value = assignment["value"]
        if assignment["operator"]:
            value = f"{assignment['name']}{assignment['operator']}({value})"
        return _assign(shell, assignment["name"], evaluate(shell, value))
    return _number(_NAME.sub(lambda found: _value_of(shell, found[1] or found[2]), text))


def _assign(shell: Shell, name: str, number: int | None) -> int | None:
    shell.set(name, Value("\ufffc" if number is None else str(number)))
    return number


def _value_of(shell: Shell, name: str) -> str:
    if name.isdigit():
        args = shell.args
        text = args[int(name) - 1].text if args is not None and 0 < int(name) <= len(args) else "?"
    else:
        variable = shell.get(name)
        text = variable.text if isinstance(variable, Value) else "?"
    return text if re.fullmatch(r"-?\d{1,12}", text) else "?"


def _number(text: str) -> int | None:
    bare = text.replace("/", "//").replace("&&", " and ").replace("||", " or ")
    bare = re.sub(r"\b0+(?=\d)", "", bare)
    try:
        return _reckon(ast.parse(bare.strip(), mode="eval").body)
    except (SyntaxError, ValueError, ZeroDivisionError, RecursionError, MemoryError):
        return None


def _reckon(node: ast.expr) -> int:
    if isinstance(node, ast.Constant) and isinstance(node.value, int):
        result = node.value
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        result = -_reckon(node.operand)
    elif isinstance(node, ast.BinOp) and type(node.op) in _OPERATIONS:
        result = _OPERATIONS[type(node.op)](_reckon(node.left), _reckon(node.right))
    elif isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in _OPERATIONS:
        result = int(_OPERATIONS[type(node.ops[0])](_reckon(node.left), _reckon(node.comparators[0])))
    else:
        raise ValueError("no number")
    if abs(result) > _BIGGEST:
        raise ValueError("too big")
    return result
