"""Lines of configuration files as findings show them: a location with its text, without anything that may be secret."""

import re
from pathlib import Path

from certagent.domain.observations import Place
from certagent.system.regular_files import read_text

LARGEST_FILE = 1024 * 1024
_LONGEST_TEXT = 200
_SECRET = re.compile(r"(authorization|token|secret|password|api[-_]?key)", re.IGNORECASE)


def place_in(file: str, line: int, texts: dict[str, list[str]]) -> Place:
    """Return a line of a file with its text; `texts` caches the files that were read."""
    if file not in texts:
        texts[file] = read_lines(Path(file))
    lines = texts[file]
    return Place(file=file, line=line, text=shown_line(lines[line - 1]) if 0 < line <= len(lines) else None)


def read_lines(path: Path) -> list[str]:
    """Return the file's lines; none if it cannot be read or is too large."""
    try:
        return read_text(path, LARGEST_FILE).splitlines()
    except OSError:
        return []


def shown_line(line: str) -> str:
    """Return the line without its indentation; nothing if the line may hold a secret."""
    text = line.strip()[:_LONGEST_TEXT]
    return "(not shown: it may hold a secret)" if _SECRET.search(text) else text
