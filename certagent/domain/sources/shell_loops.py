"""A shell's loops: a turn for each item that is known, and never too many. Pure."""

from certagent.domain.sources.shell import Follower
from certagent.domain.sources.shell_arithmetic import evaluate
from certagent.domain.sources.shell_outcome import CommandOutcome
from certagent.domain.sources.shell_state import MOST_TURNS, Leave
from certagent.domain.sources.shell_syntax import Node
from certagent.domain.sources.writes import NOBODY_KNOWS, Text


def for_statement(follower: Follower, node: Node, stdin: Text) -> CommandOutcome:
    """`for x in ...`."""
    name = follower.shell.script.text_of(node.child_by_field_name("variable") or node)
    values = node.children_by_field_name("value")
    items = [item for value in values for item in follower.words.fields(value)]
    has_list = any(child.type == "in" for child in node.children)
    if not has_list:
        items = [NOBODY_KNOWS] if follower.shell.args is None else list(follower.shell.args)
    body = node.child_by_field_name("body")
    text: Text = ()
    for item in items[:MOST_TURNS]:
        follower.shell.set(name, item)
        printed, goes_on = _turn(follower, body, stdin)
        text += printed
        if not goes_on:
            break
    return CommandOutcome(text)


def _turn(follower: Follower, body: Node | None, stdin: Text = ()) -> tuple[Text, bool]:
    kept = follower.shell.guards
    try:
        return (follower.run(body, stdin).text if body is not None else ()), True
    except Leave as leave:
        if leave.kind not in ("break", "continue"):
            raise
        return leave.text, leave.kind == "continue"
    finally:
        follower.shell.guards = kept


def while_statement(follower: Follower, node: Node, stdin: Text) -> CommandOutcome:
    """`while` and `until`; with `read`, a turn for each line."""
    conditions = [child for child in node.children_by_field_name("condition") if child.is_named]
    body = node.child_by_field_name("body")
    is_until = any(child.type == "until" for child in node.children)
    if conditions and follower.commands.is_read(follower, conditions[0]):
        return _read_loop(follower, conditions[0], body, stdin)
    text: Text = ()
    for _ in range(MOST_TURNS):
        condition = follower.condition(conditions)
        if condition.status is None:
            return CommandOutcome(
                text + follower.branch(condition, [body] if body else [], succeeded=not is_until).text
            )
        if condition.status is is_until:
            break
        printed, goes_on = _turn(follower, body)
        text += printed
        if not goes_on or all(follower.shell.script.text_of(one) in ("true", ":") for one in conditions):
            break
    return CommandOutcome(text)


def _read_loop(follower: Follower, condition: Node, body: Node | None, stdin: Text) -> CommandOutcome:
    lines = follower.commands.lines_to_read(stdin, follower.shell.place(condition.start_point[0]))
    text: Text = ()
    for line in lines[:MOST_TURNS]:
        follower.commands.read_line(follower, condition, line)
        printed, goes_on = _turn(follower, body)
        text += printed
        if not goes_on:
            break
    return CommandOutcome(text)


def c_style_for(follower: Follower, node: Node, _stdin: Text) -> CommandOutcome:
    """`for ((a; b; c))`."""
    text_of = follower.shell.script.text_of
    parts = {name: node.child_by_field_name(name) for name in ("initializer", "condition", "update", "body")}
    if parts["initializer"] is not None:
        evaluate(follower.shell, text_of(parts["initializer"]))
    text: Text = ()
    for _ in range(MOST_TURNS):
        goes_on = 1 if parts["condition"] is None else evaluate(follower.shell, text_of(parts["condition"]))
        if goes_on == 0:
            break
        printed, stays = _turn(follower, parts["body"])
        text += printed
        if goes_on is None or not stays or parts["update"] is None:
            break
        evaluate(follower.shell, text_of(parts["update"]))
    return CommandOutcome(text)


LOOPS = {"for_statement": for_statement, "while_statement": while_statement, "c_style_for_statement": c_style_for}
"""By the grammar's names."""
