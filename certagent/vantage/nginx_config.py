"""nginx's configuration: directives with their places, its includes followed.

This is the one reader of it. An `include` that leads nowhere stays in the tree as a directive.
"""

import errno
import glob
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import msgspec

from certagent.domain.observations import Place
from certagent.domain.web_servers.nginx_syntax import Directive, Statement, parse
from certagent.system.regular_files import read_bytes
from certagent.vantage.config_lines import LARGEST_FILE, shown_line
from certagent.vantage.foreign_files import Notes, Reading, read_foreign

INCLUDE = "include"
NGINX = Path("/etc/nginx/nginx.conf")
_MOST_FILES = 5_000
_MOST_BYTES = 32 * 1024 * 1024
_MOST_DIRECTIVES = 300_000
_DEEPEST_INCLUDE = 12
_GLOB = re.compile(r"[*?[]")
_MOST_WILD_PARTS = 3
_MISSING = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}


def read_nginx(path: Path, before: Callable[[Path], object] = lambda path: None) -> Reading[tuple[Directive, ...]]:
    """Its directives, those of included files in the places of their `include`; each file is parsed once.

    `before` is told each file, and each folder in which more of them may come, before it is looked at.
    """
    return read_foreign(path, lambda notes: _Includes(path, notes, before).read(), ())


class _File(msgspec.Struct):
    """One file with its includes followed. `weight`: how many directives stand in it, blocks included."""

    directives: tuple[Directive, ...] = ()
    weight: int = 0
    error: OSError | None = None  # why it could not be opened


class _Includes:
    """What nginx reads when it reads `path`: relative names and patterns belong to the folder of the first file."""

    def __init__(self, path: Path, notes: Notes, before: Callable[[Path], object]) -> None:
        self._path = path
        self._folder = path.parent
        self._notes = notes
        self._before = before
        self._files: dict[str, _File] = {}
        self._under_way: list[str] = []
        self._bytes = 0

    def read(self) -> tuple[Directive, ...]:
        file = self._file(str(self._path))
        if file.error is not None:
            raise file.error
        return file.directives

    def _file(self, path: str) -> _File:
        if path not in self._files:
            self._under_way.append(path)
            self._files[path] = self._parse(path)
            self._under_way.pop()
        return self._files[path]

    def _parse(self, path: str) -> _File:
        self._before(Path(path))
        if len(self._files) >= _MOST_FILES or self._bytes >= _MOST_BYTES:
            self._notes.add(self._path, None, "it includes more files than certagent supports")
            return _File()
        try:
            text = self._text(path)
        except OSError as error:
            if error.errno not in _MISSING and path != str(self._path):
                self._notes.add(path, None, error.strerror or "it cannot be opened")
            return _File(error=error)
        statements, faults = parse(text)
        for fault in faults:
            self._notes.add(path, fault.line, fault.reason)
        file = _File()
        file.directives = self._directives(statements, path, text.split("\n"), file)
        return file

    def _text(self, path: str) -> str:
        content = read_bytes(Path(path), LARGEST_FILE)
        self._bytes += len(content)
        return content.decode(errors="replace")

    def _directives(
        self, statements: Sequence[Statement], path: str, lines: list[str], file: _File
    ) -> tuple[Directive, ...]:
        found: list[Directive] = []
        for statement in statements:
            place = Place(file=path, line=statement.line, text=shown_line(lines[statement.line - 1]))
            if statement.name == INCLUDE and statement.args and statement.block is None:
                found += self._included(statement, place, file)
                continue
            file.weight += 1
            block = self._directives(statement.block, path, lines, file) if statement.block else ()
            found.append(Directive(statement.name, statement.args, place, block))
        return tuple(found)

    def _included(self, statement: Statement, place: Place, into: _File) -> Iterator[Directive]:
        """What stands in those files; where there is none that nginx insists on, the directive itself."""
        target = str(self._folder / statement.args[0])
        for path in self._matching(target, place):
            if path in self._under_way or len(self._under_way) > _DEEPEST_INCLUDE:
                self._notes.add(place.file, place.line, "an include leads back to its own file")
                continue
            file = self._file(path)
            if file.error is not None and file.error.errno in _MISSING:
                is_link = bool(_GLOB.search(target))  # a pattern found the name, and nothing is behind it
                yield Directive(INCLUDE, (path,), Place(file=path) if is_link else place)
            elif into.weight + file.weight > _MOST_DIRECTIVES:
                self._notes.add(place.file, place.line, "it includes more directives than certagent supports")
            else:
                into.weight += file.weight
                yield from file.directives

    def _matching(self, target: str, place: Place) -> list[str]:
        parts = Path(target).parts
        wild = next((number for number, part in enumerate(parts) if _GLOB.search(part)), None)
        if wild is None:
            self._before(Path(target).parent)
            return [target]
        self._before(Path(*parts[:wild]))
        if "\0" in target or sum(bool(_GLOB.search(part)) for part in parts) > _MOST_WILD_PARTS:
            self._notes.add(place.file, place.line, "its include has more wildcards than certagent supports")
            return []
        return sorted(islice(glob.iglob(target), _MOST_FILES))
