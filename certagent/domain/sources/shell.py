"""Follows a shell script without running it: what is certain is taken, what is not is taken both ways. Pure.

Statements are here; words in `shell_words`, commands in `shell_commands`. What a command prints is carried along, with
the place of each part, until it ends in a file.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from certagent.domain.sources.shell_arithmetic import evaluate
from certagent.domain.sources.shell_outcome import NOTHING, UNTOLD, CommandOutcome
from certagent.domain.sources.shell_patterns import fits
from certagent.domain.sources.shell_state import Function, Leave, Shell, merge
from certagent.domain.sources.shell_syntax import Node
from certagent.domain.sources.shell_text import join_values
from certagent.domain.sources.shell_words import Words
from certagent.domain.sources.writes import NOBODY_KNOWS, Text, Value

if TYPE_CHECKING:
    from certagent.domain.sources.shell_commands import Commands

_COMPOUND = ("compound_statement", "do_group", "program", "ERROR")


class Follower:
    """Follows the statements of one shell."""

    def __init__(self, shell: Shell, commands: "Commands") -> None:
        self.shell = shell
        self.words = Words(shell, self._substitute)
        self.commands = commands

    def follow(self, stdin: Text = ()) -> Text:
        """The whole script; what it prints."""
        text, _ = self._sequence(self.shell.script.root.children, stdin)
        return text

    def run_all(self, nodes: Sequence[Node]) -> Text:
        """Statements one after the other; what they print."""
        text, _ = self._sequence(nodes)
        return text

    def run(self, node: Node, stdin: Text = ()) -> CommandOutcome:
        """One statement. Raises `Leave`."""
        handler = _HANDLERS.get(node.type) or self.commands.loops.get(node.type)
        if handler is not None:
            self.shell.run.step()
            return handler(self, node, stdin)
        if node.type in _COMPOUND:
            return self._compound(node, stdin)
        return NOTHING

    def _compound(self, node: Node, stdin: Text) -> CommandOutcome:
        text = self.shell.script.text_of(node)
        if node.type == "compound_statement" and text.startswith("(("):
            number = evaluate(self.shell, text[2:-2])
            return CommandOutcome(status=None if number is None else bool(number))
        printed, status = self._sequence(node.children, stdin)
        return CommandOutcome(printed, status)

    def _sequence(self, nodes: Sequence[Node], stdin: Text = ()) -> tuple[Text, bool | None]:
        text: Text = ()
        status: bool | None = True
        for node in nodes:
            if not node.is_named or node.type == "comment":
                continue
            try:
                outcome = self.run(node, stdin)
            except Leave as leave:
                leave.text = text + leave.text
                raise
            text, status = text + outcome.text, outcome.status
        return text, status

    def _substitute(self, node: Node) -> Value:
        """What a command substitution comes to; its variables are its own."""
        kept = dict(self.shell.variables)
        try:
            text, _ = self._sequence([child for child in node.children if child.is_named])
        except Leave as leave:
            text = leave.text
        self.shell.variables = kept
        if not text or any(part.is_rest for part in text):
            return NOBODY_KNOWS
        return _joined(text)

    # --- lists and pipes ---

    def list(self, node: Node, stdin: Text) -> CommandOutcome:
        """`a && b`, `a || b`."""
        left, right = node.named_children[0], node.named_children[-1]
        operator = next((child.type for child in node.children if child.type in ("&&", "||")), "&&")
        return self.either(self.run(left, stdin), operator, lambda: self.run(right, stdin))

    def either(self, first: CommandOutcome, operator: str, right: Callable[[], CommandOutcome]) -> CommandOutcome:
        """The second part, as far as the first one lets it."""
        if first.status is (operator == "||"):
            return first
        if first.status is not None:
            second = right()
            return second._replace(text=first.text + second.text)
        second = self.attempt(first, right, succeeded=operator == "&&")
        status = second.status if operator == "||" and second.status else None
        return CommandOutcome(first.text + second.text, status, first.guards, first.if_absent)

    def branch(self, condition: CommandOutcome, nodes: Sequence[Node], *, succeeded: bool) -> CommandOutcome:
        """The same for statements."""
        return self.attempt(condition, lambda: CommandOutcome(*self._sequence(nodes)), succeeded=succeeded)

    def attempt(
        self, condition: CommandOutcome, action: Callable[[], CommandOutcome], *, succeeded: bool
    ) -> CommandOutcome:
        """What is done if a condition of which nobody knows came out so. It ends nothing but itself; but what a
        branch leaves that asked for a line guards what follows."""
        is_absent = condition.if_absent is succeeded
        kept, before = self.shell.guards, dict(self.shell.variables)
        try:
            if is_absent:
                self.shell.guards = (*kept, *condition.guards)
            outcome = action()
            self.shell.guards = kept
        except Leave as leave:
            self.shell.guards = kept if is_absent else (*kept, *condition.guards)
            self.shell.variables = before
            return CommandOutcome(leave.text, None)
        self.shell.variables = merge(before, self.shell.variables)
        return CommandOutcome(outcome.text, outcome.status)

    def pipeline(self, node: Node, stdin: Text) -> CommandOutcome:
        """`a | b | c`."""
        outcome = NOTHING
        for child in node.named_children:
            if child.type == "comment":
                continue
            outcome = self.run(child, stdin)
            stdin = outcome.text
        return outcome

    def negated(self, node: Node, stdin: Text) -> CommandOutcome:
        """`! a`."""
        outcome = self.run(node.named_children[-1], stdin)
        status = None if outcome.status is None else not outcome.status
        return outcome._replace(status=status, if_absent=not outcome.if_absent)

    # --- conditions ---

    def if_statement(self, node: Node, _stdin: Text) -> CommandOutcome:
        """`if`, with its `elif` and `else`."""
        conditions = node.children_by_field_name("condition")
        ends = conditions[-1].end_byte if conditions else node.start_byte
        body = [child for child in node.named_children if child.start_byte >= ends]
        return self._alternatives(conditions, body)

    def _alternatives(self, conditions: Sequence[Node], body: Sequence[Node]) -> CommandOutcome:
        clauses = ("elif_clause", "else_clause")
        then = [child for child in body if child.type not in clauses]
        others = [child for child in body if child.type in clauses]
        condition = self.condition(conditions)
        if condition.status is True:
            text, status = self._sequence(then)
            return CommandOutcome(text, status)
        if condition.status is False:
            return self._others(others)
        before = dict(self.shell.variables)
        first = self.branch(condition, then, succeeded=True)
        after, self.shell.variables = self.shell.variables, before
        second = self.branch(condition, others, succeeded=False) if others else NOTHING
        self.shell.variables = merge(after, self.shell.variables)
        return CommandOutcome(first.text + second.text, None)

    def condition(self, nodes: Sequence[Node]) -> CommandOutcome:
        """The statements of a condition; the last one decides."""
        outcome = NOTHING
        for node in nodes:
            if node.is_named:
                outcome = self.run(node)
        return outcome

    def _others(self, others: Sequence[Node]) -> CommandOutcome:
        for number, clause in enumerate(others):
            if clause.type == "else_clause":
                text, status = self._sequence(clause.children)
                return CommandOutcome(text, status)
            return self._elif(clause, others[number + 1 :])
        return NOTHING

    def _elif(self, clause: Node, further: Sequence[Node]) -> CommandOutcome:
        named = [child for child in clause.named_children if child.type != "comment"]
        ends = next((child.start_byte for child in clause.children if child.type == "then"), clause.end_byte)
        conditions = [child for child in named if child.end_byte <= ends]
        return self._alternatives(conditions, [*(child for child in named if child.start_byte >= ends), *further])

    def elif_clause(self, node: Node, _stdin: Text) -> CommandOutcome:
        """As the first of the other ways of an `if` that is taken both ways."""
        return self._elif(node, ())

    def else_clause(self, node: Node, _stdin: Text) -> CommandOutcome:
        """The same."""
        text, status = self._sequence(node.children)
        return CommandOutcome(text, status)

    def case(self, node: Node, _stdin: Text) -> CommandOutcome:
        """`case`: the item that fits, or each if nobody knows."""
        value = self.words.value(node.child_by_field_name("value"))
        text: Text = ()
        for item in [child for child in node.named_children if child.type == "case_item"]:
            patterns = item.children_by_field_name("value")
            body = [child for child in item.named_children if child.start_byte >= patterns[-1].end_byte]
            if not value.is_known:
                text += self.branch(UNTOLD, body, succeeded=True).text
            elif any(fits(value.text, self.words.value(pattern).text) for pattern in patterns):
                return CommandOutcome(*self._sequence(body))
        return CommandOutcome(text, None)

    def test(self, node: Node, _stdin: Text) -> CommandOutcome:
        """`[ ... ]`, `[[ ... ]]`."""
        return self.commands.test(self, node)

    # --- definitions, assignments, redirections, commands ---

    def define(self, node: Node, _stdin: Text) -> CommandOutcome:
        """A function."""
        name, body = node.child_by_field_name("name"), node.child_by_field_name("body")
        if name is not None and body is not None:
            self.shell.functions[self.shell.script.text_of(name)] = Function(body, self.shell.script)
        return NOTHING

    def assign(self, node: Node, _stdin: Text) -> CommandOutcome:
        """`x=...`."""
        self.commands.assign(self, node)
        return NOTHING

    def assign_all(self, node: Node, stdin: Text) -> CommandOutcome:
        """`a=1 b=2`."""
        for child in node.named_children:
            self.assign(child, stdin)
        return NOTHING

    def declare(self, node: Node, _stdin: Text) -> CommandOutcome:
        """`local`, `export`, `declare` and their kin."""
        self.commands.declare(self, node)
        return NOTHING

    def subshell(self, node: Node, stdin: Text) -> CommandOutcome:
        """`( ... )`: what it sets and where it goes ends with it."""
        shell = self.shell
        kept = (dict(shell.variables), shell.folder, shell.guards, dict(shell.functions))
        try:
            text, status = self._sequence(node.children, stdin)
        except Leave as leave:
            text, status = leave.text, None
        shell.variables, shell.folder, shell.guards, shell.functions = kept
        return CommandOutcome(text, status)

    def redirected(self, node: Node, stdin: Text) -> CommandOutcome:
        """A statement with its redirections."""
        return self.commands.redirected(self, node, stdin)

    def command(self, node: Node, stdin: Text) -> CommandOutcome:
        """A simple command."""
        return self.commands.command(self, node, stdin)

    def call(self, function: Function, args: tuple[Value, ...], stdin: Text, row: int) -> CommandOutcome:
        """A function of the script."""
        with self.shell.calling(function.script, args, row):
            try:
                return self.run(function.body, stdin)
            except Leave as leave:
                if leave.kind != "return":
                    raise
                return CommandOutcome(leave.text, None)


def _joined(text: Text) -> Value:
    value = join_values([Value(part.text, part.resolved) for part in text if not part.is_rest])
    return Value(value.text.rstrip("\n"), value.resolved)


_HANDLERS = {
    "list": Follower.list,
    "pipeline": Follower.pipeline,
    "negated_command": Follower.negated,
    "if_statement": Follower.if_statement,
    "elif_clause": Follower.elif_clause,
    "else_clause": Follower.else_clause,
    "case_statement": Follower.case,
    "test_command": Follower.test,
    "function_definition": Follower.define,
    "variable_assignment": Follower.assign,
    "variable_assignments": Follower.assign_all,
    "declaration_command": Follower.declare,
    "subshell": Follower.subshell,
    "redirected_statement": Follower.redirected,
    "command": Follower.command,
}
