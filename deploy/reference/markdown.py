"""Pieces of Markdown that read well as they are: tables, paragraphs, code."""

import inspect
from collections.abc import Iterable, Sequence

NOTE = "<!-- Made by `python -m deploy.reference` from the code: change that, and run it again. -->"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; a bar in a cell stays a bar."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def paragraphs(text: str | None) -> list[str]:
    """A docstring as paragraphs of one line each."""
    blocks = inspect.cleandoc(text or "").split("\n\n")
    return [" ".join(block.split()) for block in blocks if block.strip()]


def fenced(text: str, language: str = "text") -> str:
    """As a block of code."""
    return f"```{language}\n{text.rstrip()}\n```"


def page(*parts: str) -> str:
    """A whole page."""
    return "\n\n".join([NOTE, *parts]) + "\n"


def anchor(heading: str) -> str:
    """What a link to that heading ends in."""
    kept = "".join(character for character in heading.lower() if character.isalnum() or character in " -_")
    return kept.strip().replace(" ", "-")
