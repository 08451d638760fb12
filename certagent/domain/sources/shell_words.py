"""How a shell expands words: quotes, variables, arrays, suffixes, braces, arithmetic, command substitution. Pure.

What a word comes to is a list of values: none, one, or several.
"""

import re
from collections.abc import Callable, Iterator, Sequence

from certagent.domain.sources.shell_arithmetic import evaluate
from certagent.domain.sources.shell_state import TREE, Shell, Variable
from certagent.domain.sources.shell_syntax import Node, ShellScript
from certagent.domain.sources.shell_text import change, join_spaced, join_values, unescape, without_backslashes
from certagent.domain.sources.writes import NOBODY_KNOWS, UNKNOWN, TextLine, Value

Substitution = Callable[[Node], Value]
"""Runs the commands of a command substitution."""

_BRACES = re.compile(r"(?P<before>[^{}\s]*)\{(?P<list>[^{}\s]*,[^{}\s]*)\}(?P<after>[^{}\s]*)")
_RANGE = re.compile(r"\{(-?\d{1,6})\.\.(-?\d{1,6})(?:\.\.(\d{1,4}))?\}")
_MOST_WORDS = 1000
_EXPANSION = re.compile(r"(?P<mark>[!#]?)(?P<name>\w+|[@*#?$!0-])(?:\[(?P<index>[^]]*)\])?(?P<rest>.*)", re.DOTALL)


class Words:
    """Expands the words of one shell."""

    def __init__(self, shell: Shell, substitution: Substitution) -> None:
        self._shell = shell
        self._substitution = substitution

    def fields(self, node: Node) -> list[Value]:
        """What a word of a command line becomes."""
        braced = self._braces(node)
        if braced is not None:
            return braced
        fields: list[Value] = []
        for number, (pieces, splits) in enumerate(self._pieces(node)):
            words = self._split(pieces[0]) if splits else pieces
            if number and fields and words:
                fields[-1] = fields[-1].joined(words[0])
                words = words[1:]
            fields += words
        return fields[:_MOST_WORDS]

    def value(self, node: Node | None) -> Value:
        """The word as one text, as in an assignment: nothing is split."""
        if node is None:
            return Value("")
        return join_values([join_spaced(pieces) for pieces, _ in self._pieces(node)])

    def body(self, node: Node, start: int, *, strips_tabs: bool) -> tuple[TextLine, ...]:
        """The text of a here-document that is expanded: each part with its own place."""
        script = self._shell.script
        parts: list[TextLine] = []
        position, row = start, node.start_point[0]
        for child in [child for child in node.children if child.type != "heredoc_content"]:
            parts += self._literal_lines(script.between(position, _start_of(child, script)), row, strips_tabs)
            value = self.value(child)
            place = script.place(child.start_point[0])
            parts.append(TextLine(value.text, place, True, caller=self._shell.caller))
            position, row = child.end_byte, child.end_point[0]
        end = script.content.rfind(b"\n", 0, node.end_byte) + 1 if strips_tabs else node.end_byte
        return (*parts, *self._literal_lines(script.between(position, max(end, position)), row, strips_tabs))

    def _literal_lines(self, text: str, row: int, strips_tabs: bool) -> Iterator[TextLine]:
        script = self._shell.script
        text = re.sub(r"\\([$`\\])", r"\1", text)
        for number, line in enumerate(text.splitlines(keepends=True)):
            bare = line.lstrip("\t") if strips_tabs else line
            place, is_tainted = script.place(row + number), script.is_tainted(row + number)
            yield TextLine(bare, place, is_tainted, caller=self._shell.caller)

    def _split(self, value: Value) -> list[Value]:
        return [Value(word, value.resolved, value.row) for word in value.text.split()]

    def _braces(self, node: Node) -> list[Value] | None:
        text = self._shell.script.text_of(node)
        if "{" not in text or any(mark in text for mark in "$'\"`\\"):
            return None
        lists, numbers = _BRACES.fullmatch(text), _RANGE.search(text)
        if lists is not None:
            parts = lists["list"].split(",")
            return [self._literal(f"{lists['before']}{part}{lists['after']}", node) for part in parts]
        if numbers is None:
            return None
        first, last, step = int(numbers[1]), int(numbers[2]), int(numbers[3] or 1) or 1
        width = len(numbers[1]) if numbers[1].startswith("0") else 0
        values = range(first, last + 1, step) if first <= last else range(first, last - 1, -step)
        before, after = text[: numbers.start()], text[numbers.end() :]
        return [Value(f"{before}{number:0{width}d}{after}", True) for number in values[:_MOST_WORDS]]

    def _pieces(self, node: Node) -> list[tuple[list[Value], bool]]:
        """(values, whether they are split further) of each part of a word; several values only of `"$@"` and alike."""
        if node.type == "concatenation":
            return [piece for child in node.children for piece in self._pieces(child)]
        if node.type == "command_name" and node.child_count == 1:
            return self._pieces(node.children[0])
        if node.type == "string":
            return [(self._string(node), False)]
        if node.type in ("raw_string", "ansi_c_string", "translated_string"):
            return [([self._raw(node)], False)]
        if node.type in ("simple_expansion", "expansion"):
            values, is_list = self._expand(node)
            return [(values, False)] if is_list else [([join_spaced(values)], True)]
        if node.type == "command_substitution":
            return [([self._shell.carried(self._substitution(node))], True)]
        if node.type == "arithmetic_expansion":
            return [([self._arithmetic(node)], False)]
        if node.type == "process_substitution":
            return [([NOBODY_KNOWS], False)]
        return [([self._literal(without_backslashes(self._shell.script.text_of(node)), node)], False)]

    def _literal(self, text: str, node: Node) -> Value:
        row = node.start_point[0]
        return Value(text, self._shell.script.is_tainted(row), row)

    def _raw(self, node: Node) -> Value:
        text = self._shell.script.text_of(node)
        if node.type == "raw_string":
            return self._literal(text[1:-1], node)
        return Value(unescape(text[2:-1]), self._shell.script.is_tainted(node.start_point[0]))

    def _string(self, node: Node) -> list[Value]:
        script = self._shell.script
        inner = [child for child in node.children if child.type not in ('"', "string_content")]
        if len(inner) == 1 and node.named_child_count == 1:
            values, is_list = self._expand(inner[0]) if "expansion" in inner[0].type else ([], False)
            if is_list:
                return values
        parts, position = [], node.start_byte + 1
        row = node.start_point[0]
        for child in inner:
            parts.append(self._quoted(script.between(position, _start_of(child, script)), row))
            parts.append(self.value(child))
            position, row = child.end_byte, child.end_point[0]
        parts.append(self._quoted(script.between(position, max(node.end_byte - 1, position)), row))
        return [join_values([part for part in parts if part.text] or parts[:1])]

    def _quoted(self, text: str, row: int) -> Value:
        bare = re.sub(r'\\([$`"\\\n])', lambda found: found[1] if found[1] != "\n" else "", text)
        kept = row if bare.count("\n") == text.count("\n") else None
        return Value(bare, self._shell.script.is_tainted(row), kept)

    def _arithmetic(self, node: Node) -> Value:
        text = self._shell.script.text_of(node)
        number = evaluate(self._shell, text.removeprefix("$((").removesuffix("))").removeprefix("$[").removesuffix("]"))
        return NOBODY_KNOWS if number is None else Value(str(number), True)

    def _expand(self, node: Node) -> tuple[list[Value], bool]:
        """The values of `$x` or `${...}`, and whether they are words of their own."""
        text = self._shell.script.text_of(node).strip()
        if node.type == "simple_expansion":
            return self._named(text[1:], "")
        inner = text[2:-1]
        found = _EXPANSION.fullmatch(inner)
        if found is None:
            return [NOBODY_KNOWS], False
        index = found["index"]
        if index is not None and index not in ("@", "*"):
            index = self._index(node, index)
        return self._expanded(node, found["mark"], found["name"], index, found["rest"])

    def _index(self, node: Node, text: str) -> str:
        subscript = next((child for child in node.children if child.type == "subscript"), None)
        inner = subscript.child_by_field_name("index") if subscript is not None else None
        if inner is None:
            return text
        if inner.type in ("simple_expansion", "expansion", "string", "raw_string", "concatenation"):
            return self.value(inner).text
        number = evaluate(self._shell, text)
        return text if number is None else str(number)

    def _expanded(self, node: Node, mark: str, name: str, index: str | None, rest: str) -> tuple[list[Value], bool]:
        if mark == "#" and not rest:
            return self._length(name, index), False
        if mark == "!":
            return self._indirect(name, index)
        values, is_list = self._named(name, index or "")
        if not rest:
            return values, is_list
        if rest.startswith(":") and rest[1:2] not in ("-", "=", "?", "+"):
            return self._slice(values, is_list, rest[1:]), is_list
        if rest.lstrip(":")[:1] in ("-", "=", "?", "+"):
            return [self._default(node, name, values, rest)], False
        return [self._changed(value, rest) for value in values], is_list

    def _length(self, name: str, index: str | None) -> list[Value]:
        values, _ = self._named(name, index or "")
        if index in ("@", "*") or name in ("@", "*"):
            return [Value(str(len(values)), True)]
        value = join_values(values)
        return [Value(str(len(value.text)), True) if value.is_known else NOBODY_KNOWS]

    def _indirect(self, name: str, index: str | None) -> tuple[list[Value], bool]:
        variable = self._shell.get(name)
        if index in ("@", "*"):
            keys = [*variable] if isinstance(variable, dict) else [*map(str, range(_length_of(variable)))]
            return [Value(key, True) for key in keys], True
        target = variable.text if isinstance(variable, Value) else ""
        return self._named(target, "") if target.isidentifier() else ([NOBODY_KNOWS], False)

    def _named(self, name: str, index: str) -> tuple[list[Value], bool]:
        if name in ("@", "*"):
            return ([NOBODY_KNOWS] if self._shell.args is None else list(self._shell.args)), name == "@"
        if name.isdigit() or name in ("#", "?", "$", "!", "-"):
            return [self._positional(name)], False
        variable = self._shell.get(name)
        if variable is None or isinstance(variable, Value):
            return [self._special(name) if variable is None else variable], False
        if isinstance(variable, dict):
            if index in ("@", "*"):
                return list(variable.values()), True
            return [variable.get(index, NOBODY_KNOWS if UNKNOWN in index else Value("", True))], False
        return self._of_array(variable, index)

    def _of_array(self, array: tuple[Value, ...], index: str) -> tuple[list[Value], bool]:
        if index in ("@", "*"):
            return list(array), True
        if not index:
            return list(array[:1]) or [Value("", True)], False
        if not re.fullmatch(r"-?\d{1,6}", index):
            return [NOBODY_KNOWS], False
        number = int(index)
        return [array[number] if -len(array) <= number < len(array) else Value("", True)], False

    def _positional(self, name: str) -> Value:
        args = self._shell.args
        if name == "0":
            return Value(f"{TREE}/{self._shell.script.source}", True)
        if name == "#" and args is not None:
            return Value(str(len(args)), True)
        if not name.isdigit() or args is None:
            return NOBODY_KNOWS
        return args[int(name) - 1] if int(name) <= len(args) else Value("", True)

    def _special(self, name: str) -> Value:
        if name == "BASH_SOURCE":
            return Value(f"{TREE}/{self._shell.script.source}", True)
        if name == "PWD":
            return Value(self._shell.folder, True)
        return NOBODY_KNOWS

    def _slice(self, values: list[Value], is_list: bool, text: str) -> list[Value]:
        numbers = [evaluate(self._shell, part) for part in text.split(":")]
        first, length = numbers[0], numbers[1] if len(numbers) > 1 else None
        if first is None or (len(numbers) > 1 and length is None):
            return [NOBODY_KNOWS]
        if is_list or len(values) > 1:
            start = max(first - 1, 0) if self._is_of_args(values) else first
            return values[start:] if length is None else values[start : start + length]
        value = join_values(values)
        if not value.is_known:
            return [NOBODY_KNOWS]
        return [Value(value.text[first:] if length is None else value.text[first:][:length], True)]

    def _is_of_args(self, values: Sequence[Value]) -> bool:
        return self._shell.args is not None and list(values) == list(self._shell.args)

    def _default(self, node: Node, name: str, values: list[Value], rest: str) -> Value:
        """`${x:-y}` and its kin: a variable that nobody sets is taken to be unset."""
        operator, value = rest.lstrip(":")[0], join_values(values)
        is_unset = (self._is_unset(name) and not value.is_known) or (rest.startswith(":") and not value.text)
        if operator == "?":
            return value
        if (operator == "+") is is_unset:
            return value if operator != "+" else Value("", True)
        other = self._shell.carried(self._operand(node, rest))
        if operator == "=":
            self._shell.set(name, other)
        return other

    def _is_unset(self, name: str) -> bool:
        if name.isdigit():
            return self._shell.args is None or int(name) > len(self._shell.args)
        return self._shell.get(name) is None

    def _operand(self, node: Node, rest: str) -> Value:
        """What stands behind the operator, expanded."""
        operators = [child for child in node.children if child.type in (":-", "-", ":=", "=", ":+", "+")]
        if not operators:
            return Value(rest.lstrip(":")[1:])
        parts = [child for child in node.children if child.start_byte >= operators[0].end_byte and child.type != "}"]
        position, values = operators[0].end_byte, []
        for part in parts:
            values.append(Value(self._shell.script.between(position, part.start_byte)))
            values.append(self.value(part))
            position = part.end_byte
        return join_values(values)

    def _changed(self, value: Value, rest: str) -> Value:
        if not value.is_known:
            return NOBODY_KNOWS
        expanded = re.sub(r"\$\{?(\w+)\}?", lambda found: join_values(self._named(found[1], "")[0]).text, rest)
        expanded = expanded.replace('"', "").replace("'", "")
        if UNKNOWN in expanded:
            return NOBODY_KNOWS
        return Value(change(value.text, expanded), True)


def _length_of(variable: Variable | None) -> int:
    return len(variable) if isinstance(variable, tuple) and not isinstance(variable, Value) else 0


def _start_of(node: Node, script: ShellScript) -> int:
    """The grammar counts blanks before an expansion as part of it."""
    text = script.text_of(node)
    return int(node.start_byte) + len(text) - len(text.lstrip())
