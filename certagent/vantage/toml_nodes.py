"""TOML with places: the values are the standard library's, and a walk over the words says at which line each stands."""

import re
import tomllib
from collections.abc import Iterator
from typing import Any

from certagent.vantage.config_nodes import ConfigNode, ConfigSource

_WORD = re.compile(
    r"""[^\S\n]+|\#[^\n]*
    |(?P<word>\"{3}(?:[^\\]|\\.)*?\"{3,5}|'{3}.*?'{3,5}|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'|[\[\]{}=,.\n]|[^\s\[\]{}=,.\#"']+)""",
    re.DOTALL | re.VERBOSE,
)
_LINE = re.compile(r"at line (\d+)")
Path = tuple[str | int, ...]
"""The keys and list positions that lead to a value."""


def load_toml(source: ConfigSource) -> ConfigNode:
    """The file's values; an empty node for what is no TOML, which is noted."""
    text = source.text.replace("\r\n", "\n")
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line = _LINE.search(str(error))
        source.refuse(int(line[1]) if line else text.count("\n") + 1, "it is not TOML")
        return ConfigNode(source, 1, None)
    return _node(source, document, (), 1, _Lines(text).lines)


def _node(source: ConfigSource, value: Any, path: Path, line: int, lines: dict[Path, int]) -> ConfigNode:
    line = lines.get(path, line)
    if isinstance(value, dict):
        children = {key: _node(source, child, (*path, key), line, lines) for key, child in value.items()}
        return ConfigNode(source, line, children)
    if isinstance(value, list):
        items = [_node(source, item, (*path, number), line, lines) for number, item in enumerate(value)]
        return ConfigNode(source, line, items)
    return ConfigNode(source, line, str(value).lower() if isinstance(value, bool) else str(value))


class _Lines:
    """Where everything stands in a text that is known to be TOML."""

    def __init__(self, text: str) -> None:
        self.lines: dict[Path, int] = {}
        self._words = list(_words(text))
        self._at = 0
        self._tables: dict[Path, int] = {}  # how many there are of an array of tables
        table: Path = ()
        while self._at < len(self._words):
            if self._next() == "[":
                table = self._header()
            elif not self._skip("\n"):
                self._entry(table)

    def _next(self) -> str:
        return self._words[self._at][0] if self._at < len(self._words) else ""

    def _skip(self, word: str) -> bool:
        is_there = self._next() == word
        self._at += is_there
        return is_there

    def _header(self) -> Path:
        line = self._words[self._at][1]
        is_array = self._words[self._at + 1][0] == "["
        self._at += 1 + is_array
        keys = self._keys()
        path: Path = ()
        for number, key in enumerate(keys):
            path = (*path, key)
            self.lines.setdefault(path, line)
            if is_array and number == len(keys) - 1:
                self._tables[path] = self._tables.get(path, 0) + 1
            if path in self._tables:
                path = (*path, self._tables[path] - 1)
        self.lines[path] = line
        self._at += 1 + is_array
        return path

    def _keys(self) -> list[str]:
        """A dotted key, up to what follows it."""
        keys = []
        while True:
            word = self._next()
            keys.append(str(tomllib.loads(f"key = {word}")["key"]) if word[:1] in "\"'" else word)
            self._at += 1
            if not self._skip("."):
                return keys

    def _entry(self, table: Path) -> None:
        line = self._words[self._at][1] if self._at < len(self._words) else 0
        path = table
        for key in self._keys():
            path = (*path, key)
            self.lines.setdefault(path, line)
        self._at += 1  # the equals sign
        self._value(path)

    def _value(self, path: Path) -> None:
        if self._skip("["):
            number = 0
            while not self._skip("]"):
                if not self._skip("\n") and not self._skip(","):
                    self.lines[*path, number] = self._words[self._at][1]
                    self._value((*path, number))
                    number += 1
        elif self._skip("{"):
            while not self._skip("}"):
                if not self._skip("\n") and not self._skip(","):
                    self._entry(path)
        else:
            while self._next() not in ("", "\n", ",", "]", "}"):
                self._at += 1


def _words(text: str) -> Iterator[tuple[str, int]]:
    """(word, its line); blanks and comments are none."""
    line = 1
    for found in _WORD.finditer(text):
        if found["word"] is not None:
            yield found["word"], line
        line += found[0].count("\n")
