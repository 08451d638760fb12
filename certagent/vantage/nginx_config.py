"""nginx's configuration read through crossplane: directives with their places, includes in them, and pairs in use."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from certagent.domain.web_servers.nginx import Directive
from certagent.system.regular_files import is_there, read_bytes
from certagent.vantage.config_lines import LARGEST_FILE, place_in, read_lines
from certagent.vantage.foreign_files import Notes, Reading, read_foreign

NGINX = Path("/etc/nginx/nginx.conf")
_MOST_FILES = 200
_INCLUDE = re.compile(r"""\binclude\s+["']?([^;"'\s]+)""")
_GLOB = re.compile(r"[*?[]")


def read_nginx(path: Path) -> Reading[tuple[Directive, ...]]:
    """Its directives, with includes in their places."""
    return read_foreign(path, lambda notes: _read(path, notes), ())


def _read(path: Path, notes: Notes) -> tuple[Directive, ...]:
    import crossplane

    require_files(path)
    parsed = crossplane.parse(str(path), combine=True, catch_errors=True)
    for error in parsed["errors"]:
        if not str(error["error"]).startswith("[Errno 2]"):
            notes.add(error["file"], error["line"], "it is not as nginx wants it")
    texts: dict[str, list[str]] = {}
    blocks = [block for file in parsed["config"] for block in file["parsed"]]
    return tuple(_directives(blocks, texts))


def require_files(nginx: Path) -> None:
    """Raise OSError where one of its files is none that can be read: crossplane would wait for a named pipe."""
    for file in decisive_paths(nginx):
        if is_there(file) and not file.is_dir():
            read_bytes(file, LARGEST_FILE)


def decisive_paths(nginx: Path) -> list[Path]:
    """The file and all that it includes, and the folders in which more of them may come. A pair of nginx's is none of
    them: it changes with every renewal, and the configuration does not."""
    files, folders = [nginx], []
    for file in files:  # which grows meanwhile
        for pattern in _INCLUDE.findall("\n".join(line.partition("#")[0] for line in read_lines(file))):
            path = nginx.parent / pattern
            folder = next((parent for parent in path.parents if not _GLOB.search(str(parent))), path)
            files += [match for match in _matching(path, folder) if match not in files][
                : max(0, _MOST_FILES - len(files))
            ]
            folders.append(folder)
    return [*files, *folders]


def _matching(path: Path, folder: Path) -> list[Path]:
    try:
        return sorted(folder.glob(str(path.relative_to(folder))))
    except (OSError, ValueError, IndexError):  # what pathlib does not take for a pattern, nginx may take for a name
        return []


def _directives(blocks: Sequence[Mapping[str, Any]], texts: dict[str, list[str]]) -> Iterator[Directive]:
    for block in blocks:
        place = place_in(block.get("file", ""), block["line"], texts)
        inner = tuple(_directives(block.get("block", ()), texts))
        yield Directive(block["directive"], tuple(block["args"]), place, inner)
