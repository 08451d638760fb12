"""At which line of a TOML file each key stands: a walk over its words. Pure; whether it is TOML at all, and what the
values are, the standard library says."""

import re
import tomllib
from collections.abc import Iterator

_WORD = re.compile(
    r"""[^\S\n]+|\#[^\n]*
    |(?P<word>\"{3}(?:[^\\]|\\.)*?\"{3,5}|'{3}.*?'{3,5}|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'|[\[\]{}=,.\n]|[^\s\[\]{}=,.\#"']+)""",
    re.DOTALL | re.VERBOSE,
)
Path = tuple[str | int, ...]
"""The keys and list positions that lead to a value."""


def lines_of_toml(text: str) -> dict[Path, int]:
    """Each path with its line, of a text that is known to be TOML, with newlines alone as ends of lines."""
    return _Lines(text).lines


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
