"""What a person at a terminal gets beside the words: lines that fit, colour, and a sign that something is going on.

Only for terminals: what is piped or redirected gets the words alone, one finding's sentence on one line.
"""

import os
import re
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

import click

_NARROWEST = 40  # columns below which wrapping would help nobody
_FIRST_AFTER = 1.0  # seconds of silence
_BETWEEN = 0.5
_WRITING = threading.Lock()
_FINDING = re.compile(r"^(\s*)(fatal|error|warn|info)(\s+)([a-z0-9_]+(?:\.[a-z0-9_]+)+)$")
_VERDICT = re.compile(r"^(\S+: )(block|warn|proceed)( \(.*)$")
_MARK = re.compile(r"\b(EXPIRED|CULPRIT|BROKEN)\b")
_LINE_OF_A_FILE = re.compile(r"^\s*(?:[\w.-]+:)?/?[\w./@-]+:\d+: ")
_LABEL = re.compile(r"^\s*(?:[a-z]+:\s+)?")
_DIFF = re.compile(r"^[-+@ \\]")
_COLOURS = {
    "fatal": "red",
    "error": "red",
    "block": "red",
    "warn": "yellow",
    "info": "cyan",
    "proceed": "green",
    "-": "red",
    "+": "green",
}


def show(text: str, *, is_verbatim: bool = False) -> None:
    """Print the text, on a terminal wrapped and coloured; `is_verbatim`: it is to be copied, so it stays as it is."""
    if not is_verbatim and sys.stdout.isatty():
        from shutil import get_terminal_size

        text = fit(text, get_terminal_size().columns)
        text = colour(text) if wants_colour() else text
    click.echo(text)


def wants_colour() -> bool:
    """Whether a terminal may be coloured: see https://no-color.org."""
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def fit(text: str, columns: int) -> str:
    """The text with its sentences wrapped; lines of files and of diffs are left whole, for they are copied."""
    return "\n".join(
        part
        for line, in_diff in _with_diffs(text)
        for part in ([line] if in_diff or len(line) <= columns else _wrapped(line, columns))
    )


def colour(text: str) -> str:
    """The text with its severities, verdicts and diffs coloured; the words stay the same."""
    return "\n".join(_coloured_diff(line) if in_diff else _coloured(line) for line, in_diff in _with_diffs(text))


def _with_diffs(text: str) -> Iterator[tuple[str, bool]]:
    """Each line, and whether it is part of a diff."""
    in_diff = False
    for line in text.splitlines():
        in_diff = line.startswith("--- ") or (in_diff and _DIFF.match(line) is not None)
        yield line, in_diff


def _wrapped(line: str, columns: int) -> list[str]:
    if columns < _NARROWEST or _LINE_OF_A_FILE.match(line):
        return [line]
    import textwrap

    label = _LABEL.match(line)
    indent = " " * (label.end() if label is not None and label.end() < columns // 2 else 0)
    return textwrap.wrap(line, columns, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def _coloured(line: str) -> str:
    if found := _FINDING.match(line):
        indent, severity, space, code = found.groups()
        return f"{indent}{click.style(severity, fg=_COLOURS[severity])}{space}{click.style(code, bold=True)}"
    if found := _VERDICT.match(line):
        return f"{found[1]}{click.style(found[2], fg=_COLOURS[found[2]], bold=True)}{found[3]}"
    return _MARK.sub(lambda mark: click.style(mark[0], fg="red", bold=True), line)


def _coloured_diff(line: str) -> str:
    return click.style(line, fg=_COLOURS[line[0]]) if line[:1] in ("-", "+") else line


class Progress:
    """Says on standard error, every half a second from the first second on, for how long a command has been working.
    Nothing where that is no terminal; nothing is left of it at the end."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._thread.is_alive():
            self._ended.set()
            self._thread.join()

    def _run(self) -> None:
        since = time.monotonic()
        if self._ended.wait(_FIRST_AFTER):
            return
        while True:
            with _WRITING:
                sys.stderr.write(f"\r{self._what} ... {time.monotonic() - since:.0f} s ")
                sys.stderr.flush()
            if self._ended.wait(_BETWEEN):
                break
        _erase_line()


@contextmanager
def asking() -> Iterator[None]:
    """While a person is asked something on the terminal, no progress is shown."""
    with _WRITING:
        if sys.stderr.isatty():
            _erase_line()
        yield


def _erase_line() -> None:
    sys.stderr.write("\r\033[K")
    sys.stderr.flush()
