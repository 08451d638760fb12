"""YAML with the line of each text; bounded, whatever aliases and nesting it has. Pure.

Nothing is constructed: the tree of nodes is walked as it is, an alias is the very node that it names, and whoever walks
counts.
"""

from collections.abc import Iterator
from typing import Any

import yaml

from certagent.domain.sources.writes import NOBODY_KNOWS, CodePlace, Text, TextLine, whole_lines

LARGEST_YAML = 512 * 1024
_MOST_NODES = 50_000
_DEEPEST = 40
_TRUE = ("true", "yes", "on")
_FALSE = ("false", "no", "off")

Node = yaml.Node
Data = Any
"""Texts, numbers, lists and maps by text; what nobody knows is the text `NOBODY_KNOWS.text`."""


class NotYamlError(Exception):
    """The text is none, or more than anybody reads. `line` counts from 1."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line = line


class YamlFile:
    """The documents of one file."""

    def __init__(
        self, source: str, documents: list[Node], *, first: int = 1, places: tuple[CodePlace, ...] = ()
    ) -> None:
        self.source = source
        self.documents = documents
        self._first = first
        self._places = places
        self._count = 0

    @classmethod
    def parse(cls, text: str, source: str, *, first: int = 1) -> "YamlFile":
        """`first`: the line that it begins in. Raises `NotYamlError`."""
        if len(text) > LARGEST_YAML:
            raise NotYamlError(first, f"it is longer than {LARGEST_YAML // 1024} KiB")
        try:
            nodes = [node for node in yaml.compose_all(text, Loader=_LOADER) if node is not None]
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            reason = str(getattr(error, "problem", None) or "it is not YAML")
            raise NotYamlError(first + (mark.line if mark is not None else 0), reason) from error
        except (RecursionError, ValueError) as error:
            raise NotYamlError(first, "it is nested too deeply, or has odd characters") from error
        return cls(source, nodes, first=first)

    @classmethod
    def of_text(cls, text: Text) -> "YamlFile":
        """Lines that were put together elsewhere; each keeps its place. Raises `NotYamlError`."""
        lines = list(whole_lines(text))
        places = tuple(line.place for line in lines)
        joined = "".join(f"{line.text}\n" for line in lines)
        try:
            file = cls.parse(joined, places[0].source if places else "")
        except NotYamlError as error:
            line = places[min(error.line, len(places)) - 1].line if places else 1
            raise NotYamlError(line, str(error)) from error
        return cls(file.source, file.documents, places=places)

    def entries(self, node: Node | None) -> dict[str, tuple[Node, Node]]:
        """Key -> (key's node, value) of a mapping, with what it merges; of anything else nothing."""
        found: dict[str, tuple[Node, Node]] = {}
        self._collect(node, found, 0)
        return found

    def _collect(self, node: Node | None, found: dict[str, tuple[Node, Node]], depth: int) -> None:
        self._count_one()
        if not isinstance(node, yaml.MappingNode) or depth > _DEEPEST:
            return
        own = {}
        for key, value in node.value:
            self._count_one()
            if isinstance(key, yaml.ScalarNode) and key.value != "<<":
                own[key.value] = (key, value)  # of a key that is there twice the later one counts
        for name, entry in own.items():
            found.setdefault(name, entry)
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value == "<<":
                for merged in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                    self._collect(merged, found, depth + 1)

    def get(self, node: Node | None, *keys: str) -> Node | None:
        """The value of the first of these keys that a mapping has."""
        entries = self.entries(node)
        return next((entries[key][1] for key in keys if key in entries), None)

    def hide(self, node: Node, keys: frozenset[str]) -> None:
        """Take these keys out of a mapping."""
        if isinstance(node, yaml.MappingNode):
            node.value = [pair for pair in node.value if getattr(pair[0], "value", None) not in keys]

    def items(self, node: Node | None) -> Iterator[Node]:
        """The items of a sequence; of anything else nothing."""
        if isinstance(node, yaml.SequenceNode):
            for item in node.value:
                self._count_one()
                yield item

    def place(self, node: Node) -> CodePlace:
        """Where it begins."""
        return self._place_of_row(node.start_mark.line)

    def _place_of_row(self, row: int) -> CodePlace:
        if self._places:
            return self._places[min(row, len(self._places) - 1)]
        return CodePlace(self.source, self._first + row)

    def text(self, node: Node | None) -> str | None:
        """A scalar's text."""
        return str(node.value) if isinstance(node, yaml.ScalarNode) else None

    def lines(self, node: Node, *, first_row: int = 0) -> Text:
        """A scalar's text, each line with its own place where it has one."""
        text, place = str(node.value), self.place(node)
        style = getattr(node, "style", None)
        if style not in ("|", ">"):
            return tuple(TextLine(line, place) for line in text.splitlines(keepends=True))
        start = node.start_mark.line + 1 + first_row
        return tuple(
            TextLine(line, self._place_of_row(start + (number if style == "|" else 0)))
            for number, line in enumerate(text.splitlines(keepends=True))
        )

    def data(self, node: Node | None, depth: int = 0) -> Data:
        """The plain value; what is too deep or too much is unknown."""
        self._count_one()
        if depth > _DEEPEST:
            return NOBODY_KNOWS.text
        if isinstance(node, yaml.MappingNode):
            return {key: self.data(value, depth + 1) for key, (_, value) in self.entries(node).items()}
        if isinstance(node, yaml.SequenceNode):
            return [self.data(item, depth + 1) for item in self.items(node)]
        if not isinstance(node, yaml.ScalarNode) or node.tag.startswith("!"):
            return NOBODY_KNOWS.text
        is_plain = not node.style  # None or "", as the parser in use has it
        if is_plain and node.value.lower() in (*_TRUE, *_FALSE):
            return node.value.lower() in _TRUE
        if is_plain and node.value in ("", "~", "null"):
            return None
        return str(node.value)

    def _count_one(self) -> None:
        self._count += 1
        if self._count > _MOST_NODES:
            raise NotYamlError(self._first, "its aliases expand to too much data")


_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def is_true(data: Data) -> bool:
    """Whether a setting is switched on."""
    return data is True or (isinstance(data, str) and data.lower() in _TRUE)
