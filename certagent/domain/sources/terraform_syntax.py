"""Terraform's language, as much of it as tells blocks, attributes, texts and their lines apart. Pure.

A scanner of its own: the library for this language keeps no lines inside of here-documents.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from certagent.domain.sources.writes import CodePlace, Text, TextLine

LARGEST_FILE = 512 * 1024
_MOST_TOKENS = 50_000
_DEEPEST = 40

_SKIPPED = re.compile(r"(?:[ \t\r]+|#[^\n]*|//[^\n]*|/\*.*?\*/)", re.DOTALL)
_WORD = re.compile(r"[A-Za-z_][\w.-]*|\d[\w.]*")
_HEREDOC = re.compile(r"<<(?P<strips>-?)\s*\"?(?P<mark>\w+)\"?[ \t\r]*\n")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\"}


class TerraformToken(NamedTuple):
    """`kind`: `word`, `text` (its lines in `text`), `mark` (a single character) or `end` (of a line)."""

    kind: str
    value: str
    line: int
    text: Text = ()


class Block(msgspec.Struct):
    """`resource "a" "b" { ... }`: its words, what is assigned in it, and the blocks inside."""

    words: tuple[str, ...]
    line: int
    attributes: dict[str, list[TerraformToken]] = {}
    blocks: list["Block"] = []

    def inner(self, *words: str) -> Iterator["Block"]:
        """The blocks inside that begin with these words."""
        return (block for block in self.blocks if block.words[: len(words)] == words)


class NotTerraformError(Exception):
    """It cannot be told apart."""


def parse(text: str, source: str) -> Block:
    """The whole file as one block. Raises `NotTerraformError`."""
    tokens = list(_tokens(text[:LARGEST_FILE], source))
    whole = Block((), 1)
    try:
        _body(tokens, 0, whole, 0)
    except RecursionError as error:
        raise NotTerraformError("it is nested too deeply") from error
    return whole


def _body(tokens: list[TerraformToken], position: int, block: Block, depth: int) -> int:
    if depth > _DEEPEST:
        raise NotTerraformError("it is nested too deeply")
    words: list[str] = []
    line = 0
    while position < len(tokens):
        token = tokens[position]
        position += 1
        if token.value == "}" and token.kind == "mark":
            break
        if token.kind in ("word", "text"):
            line = line if words else token.line
            words.append(token.value if token.kind == "word" else "".join(part.text for part in token.text))
        elif token.value == "=" and words:
            position, block.attributes[words[-1]] = _expression(tokens, position)
            words = []
        elif token.value == "{":
            inner = Block(tuple(words), line)
            position = _body(tokens, position, inner, depth + 1)
            block.blocks.append(inner)
            words = []
        elif token.kind == "end":
            words = []
    return position


def _expression(tokens: list[TerraformToken], position: int) -> tuple[int, list[TerraformToken]]:
    """Up to the end of the line that no bracket keeps open, or the bracket that closes around it."""
    found: list[TerraformToken] = []
    depth = 0
    while position < len(tokens):
        token = tokens[position]
        if token.kind == "mark":
            if token.value in "}])" and depth == 0:
                break
            depth += {"{": 1, "[": 1, "(": 1, "}": -1, "]": -1, ")": -1}.get(token.value, 0)
        if token.kind == "end" and depth == 0:
            break
        if token.kind != "end":
            found.append(token)
        position += 1
    return position, found


def _tokens(text: str, source: str) -> Iterator[TerraformToken]:
    position, line, count = 0, 1, 0
    while position < len(text):
        count += 1
        if count > _MOST_TOKENS:
            raise NotTerraformError("it is too long")
        skipped = _SKIPPED.match(text, position)
        heredoc = _HEREDOC.match(text, position)
        word = _WORD.match(text, position)
        if skipped is not None:
            line += skipped[0].count("\n")
            position = skipped.end()
        elif heredoc is not None:
            token, position = _heredoc(text, heredoc, source, line)
            yield token
            line += text.count("\n", heredoc.start(), position)
        elif text[position] == '"':
            token, position = _string(text, position, source, line)
            yield token
        elif word is not None:
            yield TerraformToken("word", word[0], line)
            position = word.end()
        else:
            yield TerraformToken("end" if text[position] == "\n" else "mark", text[position], line)
            line += text[position] == "\n"
            position += 1


def _string(text: str, start: int, source: str, line: int) -> tuple[TerraformToken, int]:
    """A quoted text; what `${}` encloses may have quotes of its own."""
    parts: list[str] = []
    position, depth = start + 1, 0
    while position < len(text) and text[position] != "\n":
        character = text[position]
        if character == "\\" and depth == 0:
            parts.append(_ESCAPES.get(text[position + 1 : position + 2], text[position : position + 2]))
            position += 2
            continue
        if character == '"' and depth == 0:
            break
        if text.startswith("${", position) and text[position - 1] != "$":
            depth += 1
        depth -= character == "}" and depth > 0
        parts.append(character)
        position += 1
    return TerraformToken("text", "", line, (TextLine("".join(parts), CodePlace(source, line)),)), position + 1


def _heredoc(text: str, start: re.Match[str], source: str, line: int) -> tuple[TerraformToken, int]:
    end = re.compile(rf"^[ \t]*{re.escape(start['mark'])}[ \t\r]*$", re.MULTILINE).search(text, start.end())
    body = text[start.end() : end.start() if end is not None else len(text)]
    lines = body.splitlines(keepends=True)
    indent = min((len(one) - len(one.lstrip(" \t")) for one in lines if one.strip()), default=0)
    cut = indent if start["strips"] else 0
    parts = tuple(
        TextLine(one[cut:] if one.strip() else one.lstrip(" \t"), CodePlace(source, line + number))
        for number, one in enumerate(lines, 1)
    )
    return TerraformToken("text", "", line, parts), end.end() if end is not None else len(text)
