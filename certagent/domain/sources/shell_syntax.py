"""Shell scripts as trees of syntax, with the line of the tree that each row of a script stands in. Pure.

The parser is tree-sitter's, with its grammar of bash: an optional part (`certagent[sources]`), imported when the first
script is read.
"""

import itertools
import re
from functools import cache
from typing import TYPE_CHECKING, Any

from certagent.domain.sources.writes import CodePlace, Text, Value, folder_of, whole_lines

if TYPE_CHECKING:
    from tree_sitter import Node as Node
    from tree_sitter import Parser
else:
    Node = Any

LARGEST_SCRIPT = 512 * 1024
_MOST_NODES = 2_000
_RESOLVER = re.compile(r"/etc/(?:hosts|resolv\.conf|nsswitch\.conf|dnsmasq)\b")
_POSIX_SHELLS = ("sh", "dash", "ash")


class MissingParserError(Exception):
    """The optional part that reads shell is not installed."""


class ShellScript:
    """One script: its text, and where each row of it stands. `taint`: rows that came through a variable."""

    def __init__(self, text: str, places: tuple[CodePlace, ...], *, taint: frozenset[int] = frozenset()) -> None:
        self.content = text[:LARGEST_SCRIPT].encode("utf-8", "replace")
        self.places = places
        self.taint = taint
        self._root: Node | None = None

    @classmethod
    def of_file(cls, text: str, source: str) -> "ShellScript":
        """A whole file of the tree."""
        return cls(text, tuple(CodePlace(source, number) for number in range(1, text.count("\n") + 2)))

    @classmethod
    def of_text(cls, text: Text, place: CodePlace) -> "ShellScript":
        """Lines that were put together elsewhere."""
        lines = [line for line in whole_lines(text) if not line.is_rest]
        taint = frozenset(row for row, line in enumerate(lines) if line.resolved)
        joined = "\n".join(line.text for line in lines) + "\n"
        return cls(joined, tuple(line.place for line in lines) or (place,), taint=taint)

    @classmethod
    def of_value(cls, value: Value, outer: "ShellScript", row: int) -> "ShellScript":
        """A text that a script hands to another shell."""
        rows = value.text.count("\n") + 1
        if value.row is not None:
            places = tuple(outer.place(value.row + number) for number in range(rows))
        elif value.origin is not None:
            source, line = value.origin
            places = tuple(CodePlace(source, line + number) for number in range(rows))
        else:
            places = (outer.place(row),) * rows
        return cls(value.text, places, taint=frozenset(range(rows)) if value.resolved else frozenset())

    @property
    def root(self) -> Node:
        """Its syntax. Raises `MissingParserError`."""
        if self._root is None:
            self._root = _parser().parse(self.content).root_node
        return self._root

    def lost_row(self) -> int | None:
        """The first row that the grammar makes nothing of, if it speaks of a resolver file; None for no such row."""
        pending = [self.root] if self.root.has_error else []
        for count in itertools.count():
            if not pending:
                return None
            node = pending.pop()
            is_lost = node.type == "ERROR" or count > _MOST_NODES
            if is_lost and _RESOLVER.search(self.text_of(node)):
                return int(node.start_point[0])
            if count > _MOST_NODES:
                return None
            pending += [child for child in reversed(node.children) if child.has_error]
        return None

    @property
    def source(self) -> str:
        """The file that its first row is in."""
        return self.places[0].source

    @property
    def folder(self) -> str:
        """The folder of that file."""
        return folder_of(self.source)

    @property
    def is_posix(self) -> bool:
        """Whether its first line asks for a plain shell, whose `echo` knows escapes."""
        first = self.content.partition(b"\n")[0].decode("utf-8", "replace")
        words = first.removeprefix("#!").split() if first.startswith("#!") else []
        return any(word.rpartition("/")[2] in _POSIX_SHELLS for word in words[:2])

    def place(self, row: int) -> CodePlace:
        """Where a row of it stands."""
        return self.places[min(row, len(self.places) - 1)]

    def is_tainted(self, row: int) -> bool:
        """Whether something of that row came through a variable."""
        return row in self.taint

    def text_of(self, node: Node) -> str:
        """The script's own words."""
        return self.between(node.start_byte, node.end_byte)

    def between(self, start: int, end: int) -> str:
        """Its words from one byte to another."""
        return self.content[start:end].decode("utf-8", "replace")


@cache
def _parser() -> "Parser":
    try:
        import tree_sitter_bash
        from tree_sitter import Language, Parser
    except ImportError as error:
        raise MissingParserError("reading shell scripts needs tree-sitter: pip install 'certagent[sources]'") from error
    return Parser(Language(tree_sitter_bash.language()))
