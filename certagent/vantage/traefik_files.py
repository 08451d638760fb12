"""Where Traefik's configuration lies: its static file, or the command line that stands for it, and the file provider's.

Facts: Traefik's documentation and source: the first static file there is, of those that it looks for, excludes flags,
and flags exclude the environment. The file provider reads a folder with all folders in it, in the order of the names.
"""

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from certagent.domain.observations import Place
from certagent.system.procfs import Process, ProcFs
from certagent.system.regular_files import is_there
from certagent.vantage.config_nodes import TEMPLATE, ConfigNode, ConfigSource, load_node
from certagent.vantage.foreign_files import Notes

_CONTROL = re.compile(r"\{\{-?\s*(?:if|else|end|range|with|define|template|block|break|continue|/\*|\$)\b")
_SECTIONS = {
    "http": ("routers", "services", "middlewares", "serversTransports"),
    "tcp": ("routers", "services", "middlewares", "serversTransports"),
    "udp": ("routers", "services"),
    "tls": (),
}
_SUFFIXES = (".toml", ".yaml", ".yml")
TRAEFIK = tuple(Path("/etc/traefik/traefik").with_suffix(suffix) for suffix in _SUFFIXES)
"""The static files that any Traefik looks for, the first of all first."""
_MOST_FILES = 200
_MOST_ENTRIES = 10_000
_MOST_FLAGS = 1000
_COMMAND_LINE = "cmdline"
_PREFIX = "TRAEFIK_"


class DynamicFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file of the file provider. `refused`, `hidden`: see `Configuration`."""

    path: Path
    node: ConfigNode
    refused: Place | None = None
    hidden: Place | None = None


def find_static(paths: tuple[Path, ...] = TRAEFIK) -> Path | None:
    """The static file in use, or /proc's file of the command line that stands for it; of the paths alone, where they
    are others than Traefik's own. A Traefik with another file system than ours is not looked at."""
    running = _find_running() if paths is TRAEFIK else None
    if running is None:
        return next(filter(is_there, paths), None)
    process, folder = running
    named = _flags(process.command).get("configfile")
    if named:
        return folder / named
    found = next(filter(is_there, _searched(process, folder)), None)
    return found or Path("/proc") / str(process.pid) / _COMMAND_LINE


def load_static(static: Path, notes: Notes) -> ConfigNode:
    """The static configuration: a file's, or a command line's."""
    if static.name != _COMMAND_LINE:
        return load_node(static, notes)
    process = ProcFs().process(int(static.parent.name))
    flags = _flags(process.command) if process is not None else {}
    if not flags and process is not None:
        environment = ProcFs().environment(process.pid).items()
        flags = {
            name.removeprefix(_PREFIX).replace("_", ".").lower(): value
            for name, value in environment
            if name.startswith(_PREFIX)
        }
    return _node_of(ConfigSource(str(static), "", notes), flags)


def provider_files(static: Path, node: ConfigNode, notes: Notes) -> list[Path]:
    """The file provider's files, in Traefik's order."""
    provider = node.get("providers", "file")
    folder, file = provider.get("directory").text(), provider.get("filename").text()
    if folder:
        files = list(_walk(resolve(static, folder), [_MOST_ENTRIES]))
        if len(files) > _MOST_FILES:
            notes.add(static, provider.line, f"its file provider reads more than {_MOST_FILES} files")
        return files[:_MOST_FILES]
    return [resolve(static, file)] if file else []


def load_dynamic(static: Path, node: ConfigNode, notes: Notes) -> list[DynamicFile]:
    """The file provider's files; a broken one is noted, and so is what only Traefik can render."""
    return load_files(provider_files(static, node, notes), notes)


def load_files(files: Iterable[Path], notes: Notes) -> list[DynamicFile]:
    """Those files; see `load_dynamic`."""
    return [_load_file(file, notes) for file in files]


def files_below(folder: Path) -> list[Path]:
    """The files that a file provider reads in that folder, in Traefik's order."""
    return list(_walk(folder, [_MOST_ENTRIES]))[:_MOST_FILES]


def decisive_paths(static: Path) -> list[Path]:
    """The file and those of its file provider, and the folders in which more of them may come."""
    notes = Notes()
    node = load_static(static, notes)
    folder, _ = provider_folder(static, node)
    files = provider_files(static, node, notes)
    below = list(_folders(folder, [_MOST_ENTRIES])) if folder is not None else []
    return [static, *files, static.parent, *below]


def provider_folder(static: Path, node: ConfigNode) -> tuple[Path | None, Path | None]:
    """(the folder that the file provider reads, the single file that it reads instead)."""
    provider = node.get("providers", "file")
    folder, file = provider.get("directory").text(), provider.get("filename").text()
    if folder:
        return resolve(static, folder), None
    return (None, resolve(static, file)) if file else (None, None)


def resolve(static: Path, path: str) -> Path:
    """A path as Traefik takes it: relative to the running Traefik's working folder; where none runs, to the static
    file's."""
    running = _find_running() if not path.startswith("/") else None
    return (running[1] if running is not None else static.parent) / path


def _walk(folder: Path, budget: list[int]) -> Iterator[Path]:
    """Files with Traefik's suffixes, links to files among them; no folder behind a link."""
    try:
        with os.scandir(folder) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except OSError:
        return
    for entry in found:
        budget[0] -= 1
        if budget[0] < 0:
            return
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(Path(entry.path), budget)
        elif Path(entry.name).suffix.lower() in _SUFFIXES:
            yield Path(entry.path)


def _folders(folder: Path, budget: list[int]) -> Iterator[Path]:
    yield folder
    try:
        with os.scandir(folder) as entries:
            below = [Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return
    for path in below:
        budget[0] -= 1
        if budget[0] > 0:
            yield from _folders(path, budget)


def _find_running() -> tuple[Process, Path] | None:
    """The oldest Traefik that sees our files, and its working folder."""
    proc = ProcFs()
    with suppress(OSError):
        for process in proc.processes("traefik"):
            with suppress(OSError):  # another user's, or one that has just ended
                if proc.shares(process.pid, "mnt"):
                    return process, Path(os.readlink(f"/proc/{process.pid}/cwd"))
    return None


def _searched(process: Process, folder: Path) -> Iterator[Path]:
    """The static files that this Traefik looks for."""
    try:
        environment = ProcFs().environment(process.pid)
    except OSError:
        environment = {}
    homes = [environment.get("XDG_CONFIG_HOME"), f"{environment['HOME']}/.config" if "HOME" in environment else None]
    for base in (Path("/etc/traefik"), *(Path(home) for home in homes if home), folder):
        yield from ((base / "traefik").with_suffix(suffix) for suffix in _SUFFIXES)


def _flags(command: tuple[str, ...]) -> dict[str, str]:
    """The flags by name in lower case. One without a value is true, as Go's flags have it."""
    flags: dict[str, str] = {}
    words = list(command[1:_MOST_FLAGS])
    for word, following in zip(words, [*words[1:], ""], strict=False):
        if word.startswith("-"):
            name, is_joined, value = word.lstrip("-").partition("=")
            flags[name.lower()] = value if is_joined else following if following[:1] not in ("", "-") else "true"
    return flags


def _node_of(source: ConfigSource, flags: dict[str, str]) -> ConfigNode:
    root = ConfigNode(source, 0, {})
    for name, value in flags.items():
        node = root
        for key in name.split(".")[:20]:
            if not isinstance(node.value, dict):
                node.value = {}
            node = node.value.setdefault(key, ConfigNode(source, 0, None))
        if not isinstance(node.value, dict):
            node.value = value
    return root


def other_providers(node: ConfigNode) -> Iterator[str]:
    """What else Traefik takes routers from: "docker", "kubernetesIngress", ..."""
    for name, settings in node.get("providers").tables():
        if name.lower() not in ("file", "providersthrottleduration", "precedence") and settings.value != "false":
            yield name


def _load_file(file: Path, notes: Notes) -> DynamicFile:
    node = load_node(file, notes, may_be_template=True)
    source = node.source
    if source.is_unread:
        return DynamicFile(path=file, node=node, hidden=Place(file=str(file)))
    control = _CONTROL.search(source.text)
    if source.is_template and (control is not None or source.refused is not None):
        at = control.start() if control is not None else source.text.index(TEMPLATE)
        line = source.text.count("\n", 0, at) + 1
        source.note(line, "it is a Go template that only Traefik can render")
        return DynamicFile(path=file, node=node, hidden=source.place(line))
    if not source.is_template:
        _refuse_empty(node)
    for _, router in node.get("http", "routers").tables():
        for key in ("rule", "service", "entryPoints"):
            _note_template(router.get(key))
    return DynamicFile(path=file, node=node, refused=source.refused)


def _note_template(node: ConfigNode) -> None:
    for value in [node, *(node.value if isinstance(node.value, list) else ())]:
        if value.is_template():
            value.source.note(value.line, "its value is a Go template that only Traefik can render")


def _refuse_empty(node: ConfigNode) -> None:
    """A section with nothing in it, for which Traefik refuses the file and with it all files of the provider."""
    for section, parts in _SECTIONS.items():
        found = node.get(section)
        for part in (found, *(found.get(name) for name in parts)):
            if part.is_set and not (
                isinstance(part.value, dict) and any(child.is_set for child in part.value.values())
            ):
                part.source.refuse(part.line, "its section is empty, which Traefik rejects")
                part.value = None
