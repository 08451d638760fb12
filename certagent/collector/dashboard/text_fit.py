"""How wide a text in a picture becomes at most, and how it is cut and wrapped to fit. Pure.

The reader's fonts are not known here, so the widths are those of the widest that the page's style names, DejaVu Sans:
in any other of them the text is narrower.
"""

import re
from collections.abc import Iterator
from unicodedata import east_asian_width

import msgspec

_WIDTHS = {
    letter: width for letters, width in ((" !'(),./:;I[\\]fijlrt|·-", 0.45), ("@%MWm…", 1.0)) for letter in letters
}
_WIDTHS |= dict.fromkeys(" ',./:;I\\ijl|·", 0.36) | dict.fromkeys("ABCDEFGHJKLNOPQRSTUVXYZ#&+<=>^~w", 0.84)
_ORDINARY, _FOREIGN, _BOLD = 0.65, 1.0, 1.12
_FIXED = 0.62
_PIECES = re.compile(r"/?\.?[^./:]+[./:]?|[./:]+")


class Typeface(msgspec.Struct, frozen=True):
    """How the page's style sets a text: `size` in pixels."""

    size: float
    is_bold: bool = False
    is_fixed: bool = False

    def width(self, text: str) -> float:
        """In pixels, at most."""
        if self.is_fixed:
            cells = sum(2 if east_asian_width(letter) in "WF" else 1 for letter in text)
            return cells * _FIXED * self.size
        ems = sum(_WIDTHS.get(letter, _ORDINARY if letter.isascii() else _FOREIGN) for letter in text)
        return ems * self.size * (_BOLD if self.is_bold else 1)

    def cut(self, text: str, room: float) -> str:
        """The text, or as much of it as fits with an ellipsis behind."""
        if self.width(text) <= room:
            return text
        room -= self.width("…")
        return text[: self._count(text, room)] + "…"

    def wrap(self, text: str, room: float, most: int) -> list[str]:
        """No more than so many lines, broken at spaces, and behind dots, slashes and colons where a word is too long;
        the last one is cut where there is more."""
        lines = list(self._lines(text, room))
        whole = [line.rstrip() for line in lines]
        if len(lines) <= most:
            return whole
        return [*whole[: most - 1], self.cut((lines[most - 1] + lines[most]).rstrip(), room)] if most else []

    def _lines(self, text: str, room: float) -> Iterator[str]:
        """Each with the spaces that it was broken at."""
        line = ""
        for piece in (part for word in re.findall(r"\S+\s*", text) for part in self._chop(word, room)):
            if line and self.width((line + piece).rstrip()) > room:
                yield line
                line = ""
            line += piece
        if line.rstrip():
            yield line

    def _chop(self, word: str, room: float) -> Iterator[str]:
        if self.width(word.rstrip()) <= room:
            yield word
            return
        for piece in _PIECES.findall(word):
            while self.width(piece.rstrip()) > room:
                length = max(1, self._count(piece, room))
                yield piece[:length]
                piece = piece[length:]
            yield piece

    def _count(self, text: str, room: float) -> int:
        """How many of its letters fit."""
        for number, letter in enumerate(text):
            room -= self.width(letter)
            if room < 0:
                return number
        return len(text)
