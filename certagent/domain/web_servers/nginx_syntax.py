"""nginx's configuration language: the text of one file as statements with their lines. Pure; total.

Facts: nginx's own reader (`ngx_conf_read_token`): what ends a word, what a backslash escapes, where comments begin.
A file that breaks off or does not hold together keeps what stands before and after the fault.
"""

import re
from collections.abc import Iterator

import msgspec

from certagent.domain.observations import Place

DEEPEST = 32
"""Blocks in blocks; nginx's own configurations stay below ten."""


class Directive(msgspec.Struct, frozen=True):
    """One directive with its place; `block` is empty for a simple one."""

    name: str
    args: tuple[str, ...]
    place: Place
    block: tuple["Directive", ...] = ()


class Statement(msgspec.Struct):
    """One directive of one file, its `include` not followed. `line` is where it begins, from 1."""

    name: str
    args: tuple[str, ...]
    line: int
    block: list["Statement"] | None = None


class SyntaxFault(msgspec.Struct, frozen=True):
    """Where a file is not nginx's language, and why."""

    line: int
    reason: str


_TOKEN = re.compile(
    r"""[ \t\r\n]+ | \#[^\n]*
    | (?P<mark>[;{}])
    | "(?P<double>(?:[^"\\]|\\.)*)" | '(?P<single>(?:[^'\\]|\\.)*)'
    | (?P<open>["'])
    | (?P<word>(?:\\.|\$\{|[^ \t\r\n;{\\])+)
    | (?P<rest>.)""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\([\"'\\trn])")
_ESCAPED = {"t": "\t", "r": "\r", "n": "\n"}
_LUA = re.compile(
    r"""--\[(?P<c>=*)\[.*?\](?P=c)\] | --[^\n]* | \[(?P<s>=*)\[.*?\](?P=s)\]
    | "(?:[^"\\\n]|\\.)*" | '(?:[^'\\\n]|\\.)*' | (?P<brace>[{}])""",
    re.VERBOSE | re.DOTALL,
)


def parse(text: str) -> tuple[list[Statement], list[SyntaxFault]]:
    """The statements of a file, and where it is no configuration of nginx's."""
    reader = _Reader(text.removeprefix("\ufeff"))
    reader.read()
    return reader.statements, reader.faults


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._line = 1
        self._counted = 0  # characters of the text, up to which lines are counted
        self._words: list[str] = []
        self._begun_at = 1
        self.statements: list[Statement] = []
        self.faults: list[SyntaxFault] = []
        self._open: list[list[Statement]] = [self.statements]

    def read(self) -> None:
        at = 0
        while (match := _TOKEN.match(self._text, at)) is not None:
            at = match.end()
            kind = match.lastgroup
            if kind == "mark":
                at = self._mark(match.group(), match.start(), at)
            elif kind in ("word", "single", "double"):
                self._word(_unescaped(match.group(kind)), match.start())
            elif kind in ("open", "rest"):
                self._fault(match.start(), "a quote is not closed" if kind == "open" else "it is cut off")
                self._words = []
                return
        self._end()

    def _word(self, word: str, start: int) -> None:
        if not self._words:
            self._begun_at = self._line_at(start)
        self._words.append(word)

    def _mark(self, mark: str, start: int, after: int) -> int:
        """What ends a statement; where reading goes on."""
        words, self._words = self._words, []
        if mark == "}":
            if words:
                self._fault(start, 'a "}" is where ";" should be')
            if len(self._open) > 1:
                self._open.pop()
            else:
                self._fault(start, 'a "}" has no "{"')
            return after
        if not words:
            self._fault(start, f'a "{mark}" has no directive')
            words = [""] if mark == "{" else []
        if words:
            statement = Statement(words[0], tuple(words[1:]), self._begun_at)
            self._open[-1].append(statement)
            if mark == "{":
                return self._begin(statement, start, after)
        return after

    def _begin(self, statement: Statement, start: int, after: int) -> int:
        statement.block = []
        if statement.name.endswith("_by_lua_block"):
            return self._lua(start, after)
        if len(self._open) > DEEPEST:
            self._fault(start, "it is nested too deeply")
            self._open = [[]]
            return len(self._text)
        self._open.append(statement.block)
        return after

    def _lua(self, start: int, at: int) -> int:
        """The end of a block of another language, whose braces in strings and comments are none."""
        depth = 1
        for match in _LUA.finditer(self._text, at):
            depth += {"{": 1, "}": -1, None: 0}[match.group("brace")]
            if not depth:
                return match.end()
        self._fault(start, 'a "{" is not closed')
        return len(self._text)

    def _end(self) -> None:
        if self._words or len(self._open) > 1:
            self._fault(len(self._text.rstrip()), f'it ends where "{";" if self._words else "}"}" is expected')

    def _fault(self, at: int, reason: str) -> None:
        self.faults.append(SyntaxFault(self._line_at(at), reason))

    def _line_at(self, at: int) -> int:
        self._line += self._text.count("\n", self._counted, at)
        self._counted = at
        return self._line


def _unescaped(word: str) -> str:
    if "\\" not in word:
        return word
    return _ESCAPE.sub(lambda match: _ESCAPED.get(match.group(1), match.group(1)), word)


def walk(directives: tuple[Directive, ...]) -> Iterator[Directive]:
    """Each directive, and those in its block."""
    for directive in directives:
        yield directive
        yield from walk(directive.block)
