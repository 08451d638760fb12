"""A shell's conditions, `[ ... ]` and `[[ ... ]]`: true, false, or what nobody knows. Pure."""

import operator
from collections.abc import Callable

from certagent.domain.sources.shell import Follower
from certagent.domain.sources.shell_outcome import CommandOutcome
from certagent.domain.sources.shell_patterns import fits
from certagent.domain.sources.shell_syntax import Node
from certagent.domain.sources.virtual_files import Guard
from certagent.domain.sources.writes import Value

_NUMBERS: dict[str, Callable[[int, int], bool]] = {
    "-eq": operator.eq,
    "-ne": operator.ne,
    "-lt": operator.lt,
    "-le": operator.le,
    "-gt": operator.gt,
    "-ge": operator.ge,
}
_FILE_TESTS = ("-e", "-f", "-s", "-d", "-r", "-a")
_IF_ABSENT = ("-z", "-eq", "=", "==", "-lt", "-le")
"""How the answer of a `grep` inside is asked for when it found nothing."""


def judge(follower: Follower, node: Node) -> CommandOutcome:
    """The condition of a test command."""
    asked = len(follower.shell.asked)
    inner = [child for child in node.named_children if child.type != "comment"]
    outcome = _judge(follower, inner[-1]) if inner else CommandOutcome(status=False)
    guards = tuple(follower.shell.asked[asked:])
    if guards and outcome.status is None and not outcome.guards:
        text = follower.shell.script.text_of(node)
        is_absent = any(f" {mark} " in text or f"{mark} " in text for mark in _IF_ABSENT)
        return outcome._replace(guards=guards, if_absent=is_absent)
    return outcome


def judge_words(follower: Follower, words: list[Value]) -> CommandOutcome:
    """The same for `test`, whose words are expanded already."""
    if words and words[0].text == "!":
        outcome = judge_words(follower, words[1:])
        status = None if outcome.status is None else not outcome.status
        return outcome._replace(status=status, if_absent=not outcome.if_absent)
    if len(words) == 3:
        return CommandOutcome(status=_compare(words[0], words[1].text, words[2], is_pattern=False))
    if len(words) == 2:
        return _unary(follower, words[0].text, words[1])
    return CommandOutcome(status=bool(words[0].text) if len(words) == 1 and words[0].is_known else None)


def _judge(follower: Follower, node: Node) -> CommandOutcome:
    operator_node = node.child_by_field_name("operator")
    sign = follower.shell.script.text_of(operator_node) if operator_node is not None else ""
    if node.type == "parenthesized_expression":
        return _judge(follower, node.named_children[0])
    if node.type == "unary_expression" or (node.type == "negated_command"):
        operand = node.named_children[-1]
        if sign == "!":
            outcome = _judge(follower, operand)
            status = None if outcome.status is None else not outcome.status
            return outcome._replace(status=status, if_absent=not outcome.if_absent)
        return _unary(follower, sign, follower.words.value(operand))
    if node.type == "binary_expression":
        return _binary(follower, node, sign)
    value = follower.words.value(node)
    return CommandOutcome(status=bool(value.text) if value.is_known else None)


def _binary(follower: Follower, node: Node, sign: str) -> CommandOutcome:
    left, right = node.child_by_field_name("left"), node.child_by_field_name("right")
    if left is None or right is None:
        return CommandOutcome(status=None)
    if sign in ("&&", "||", "-a", "-o"):
        first, second = _judge(follower, left), _judge(follower, right)
        return _both(first, second, decides=sign in ("||", "-o"))
    is_pattern = follower.shell.script.text_of(node.parent or node).startswith("[[") or right.type == "extglob_pattern"
    return CommandOutcome(
        status=_compare(follower.words.value(left), sign, follower.words.value(right), is_pattern=is_pattern)
    )


def _both(first: CommandOutcome, second: CommandOutcome, *, decides: bool) -> CommandOutcome:
    if decides in (first.status, second.status):
        return CommandOutcome(status=decides)
    if first.status is None or second.status is None:
        return first if first.guards else second if second.status is None else first
    return CommandOutcome(status=not decides)


def _unary(follower: Follower, sign: str, value: Value) -> CommandOutcome:
    if sign in _FILE_TESTS:
        shell = follower.shell
        guard = Guard(shell.node, shell.absolute(value.text), is_file=True)
        return CommandOutcome(status=None, guards=(guard,))
    if sign in ("-z", "-n") and value.is_known:
        return CommandOutcome(status=(sign == "-n") is bool(value.text))
    return CommandOutcome(status=None)


def _compare(left: Value, sign: str, right: Value, *, is_pattern: bool) -> bool | None:
    if not (left.is_known and right.is_known):
        return None
    if sign in _NUMBERS:
        numbers = [value.text.strip() for value in (left, right)]
        if not all(number.lstrip("-").isdigit() and len(number) < 12 for number in numbers):
            return None
        return _NUMBERS[sign](int(numbers[0]), int(numbers[1]))
    if sign in ("=", "==", "!="):
        is_equal = fits(left.text, right.text) if is_pattern else left.text == right.text
        return is_equal is (sign != "!=")
    return None
