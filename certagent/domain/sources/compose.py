"""Docker Compose: `extra_hosts`, `dns`, `dns_search`, commands, and mounts over resolver files. Pure."""

import re
from collections.abc import Iterator, Mapping

from certagent.domain.resolution.file_formats import HOSTS_FILE, RESOLV_CONF_FILE, parse_address
from certagent.domain.sources.shell_files import follow_script
from certagent.domain.sources.shell_remote import split_extra_host
from certagent.domain.sources.shell_state import ShellRun
from certagent.domain.sources.shell_syntax import ShellScript
from certagent.domain.sources.writes import (
    UNKNOWN,
    CodePlace,
    Note,
    Text,
    TextLine,
    folder_of,
    is_resolver_file,
    lines_at,
)
from certagent.domain.sources.yaml_positions import Node, YamlFile

_VARIABLE = re.compile(
    r"\$(?:(?P<escaped>\$)|(?P<plain>[A-Za-z_]\w*)"
    r"|\{(?P<name>[A-Za-z_]\w*)(?:(?P<operator>:?[-?+])(?P<other>[^{}]*))?\})"
)


def is_compose(file: YamlFile) -> bool:
    """Whether it has services that have an image or are built."""
    return any(
        {"image", "build", "extends"} & file.entries(service).keys()
        for document in file.documents
        for _, service in file.entries(file.get(document, "services")).values()
    )


class ComposeFile:
    """One file, with the variables of the `.env` beside it."""

    def __init__(self, run: ShellRun, file: YamlFile) -> None:
        self._run = run
        self._file = file
        self._folder = folder_of(file.source)
        self._environment = read_environment(run.tree.read(f"{self._folder}/.env") or "")
        self.notes: list[Note] = []

    def follow(self) -> None:
        """All of its services."""
        for document in self._file.documents:
            for name, (_, service) in self._file.entries(self._file.get(document, "services")).items():
                node = self._file.text(self._file.get(service, "container_name")) or name
                self._service(service, node)

    def _service(self, service: Node, node: str) -> None:
        files = self._run.files
        hosts = tuple(self._extra_hosts(self._file.get(service, "extra_hosts")))
        if hosts:
            files.replace(node, HOSTS_FILE, hosts, manager="Docker")
        resolver = (*self._servers(self._file.get(service, "dns")), *self._search(service))
        if resolver:
            files.replace(node, RESOLV_CONF_FILE, resolver, manager="Docker")
        for volume in self._file.items(self._file.get(service, "volumes")):
            self._volume(volume, node)
        for key in ("entrypoint", "command"):
            self._command(self._file.get(service, key), node)

    def _extra_hosts(self, node: Node | None) -> Iterator[TextLine]:
        file = self._file
        for item in file.items(node):
            text, resolved = self._interpolated(file.text(item) or "")
            yield from _host_line(*split_extra_host(text), file.place(item), resolved)
        for name, (_, value) in file.entries(node).items():
            for entry in [*file.items(value)] or [value]:
                text, resolved = self._interpolated(file.text(entry) or "")
                yield from _host_line(name, text, file.place(entry), resolved)

    def _servers(self, node: Node | None) -> Iterator[TextLine]:
        for item in [*self._file.items(node)] or ([node] if node is not None else []):
            text, resolved = self._interpolated(self._file.text(item) or "")
            if text:
                yield TextLine(f"nameserver {text}\n", self._file.place(item), resolved)

    def _search(self, service: Node) -> Iterator[TextLine]:
        entries = self._file.entries(service)
        if "dns_search" not in entries:
            return
        key, value = entries["dns_search"]
        words = [self._file.text(item) or "" for item in self._file.items(value)] or [self._file.text(value) or ""]
        text, resolved = self._interpolated(" ".join(words))
        if text.strip(" ."):
            yield TextLine(f"search {text}\n", self._file.place(key), resolved)

    def _volume(self, volume: Node, node: str) -> None:
        """A file of the tree that is mounted over a resolver file."""
        text = self._file.text(volume)
        source, target = [*text.split(":"), ""][:2] if text is not None else ("", "")
        if text is None:
            source = self._file.text(self._file.get(volume, "source", "src")) or ""
            target = self._file.text(self._file.get(volume, "target", "dst", "destination")) or ""
        if not source.startswith((".", "/")) or not is_resolver_file(target):
            return
        found = self._run.tree.first([f"{self._folder}/{source}"])
        content = self._run.tree.read(found) if found is not None else None
        if found is not None and content is not None:
            self._run.files.replace(node, target, lines_at(content, found), manager="Docker")

    def _command(self, node: Node | None, name: str) -> None:
        """A command that a shell runs."""
        text: Text = ()
        if node is not None and self._file.text(node):
            text = tuple(line._replace(text=line.text.replace("$$", "$")) for line in self._file.lines(node))
        else:
            words = [item for item in self._file.items(node) if self._file.text(item)]
            script = [item for item in words if "/etc/" in str(self._file.text(item))]
            if len(words) >= 2 and self._file.text(words[1]) in ("-c", "-ec", "-lc") and script:
                text = self._file.lines(script[0])
        if text:
            script_text = ShellScript.of_text(text, text[0].place)
            note = follow_script(self._run.another(), script_text, node=name, args=(), once=True)
            self.notes += [note] if note is not None else []

    def _interpolated(self, text: str) -> tuple[str, bool]:
        """The text with variables in their place, and whether there were any."""
        found = _VARIABLE.sub(lambda match: self._variable(match), text)
        return found, found != text.replace("$$", "$")

    def _variable(self, match: re.Match[str]) -> str:
        if match["escaped"]:
            return "$"
        value = self._environment.get(match["plain"] or match["name"])
        operator = match["operator"] or ""
        if operator.endswith("+"):
            return match["other"] if value else ""
        if value or (value is not None and operator == "-"):
            return value
        return match["other"] if operator.endswith("-") else UNKNOWN


def _host_line(name: str, address: str, place: CodePlace, resolved: bool) -> Iterator[TextLine]:
    bare = address.strip("[]")
    if parse_address(bare) is not None or UNKNOWN in bare:
        yield TextLine(f"{bare} {name}\n", place, resolved)


def read_environment(text: str) -> Mapping[str, str]:
    """A `.env` file: `NAME=value`, quoted or not."""
    found = {}
    for line in text[:100_000].splitlines():
        name, equals, value = line.strip().removeprefix("export ").partition("=")
        if equals and re.fullmatch(r"[A-Za-z_]\w*", name.strip()):
            bare = value.strip()
            quoted = re.fullmatch(r"([\"'])(.*)\1", bare)
            found[name.strip()] = quoted[2] if quoted is not None else bare.partition(" #")[0].strip()
    return found
