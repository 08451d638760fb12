"""Values of a YAML or TOML file with their places, as Traefik takes them: keys without case, null as absent, every
scalar as text. Whatever stands in a file, asking a node never raises: what is not of the expected kind is noted.
"""

from collections.abc import Iterator
from pathlib import Path

from certagent.domain.observations import Place
from certagent.system.regular_files import read_bytes
from certagent.vantage.config_lines import LARGEST_FILE, place_in
from certagent.vantage.foreign_files import Notes, read_part

_ON = ("1", "t", "T", "TRUE", "true", "True")
_BYTE_ORDER_MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16", b"\xef\xbb\xbf": "utf-8-sig"}
TEMPLATE = "{{"
"""What begins an action of a Go template."""


class ConfigSource:
    """A file whose values are read. `refused`: the first line for which Traefik takes nothing of the file; `is_unread`:
    it is one that we cannot read, whatever Traefik does.

    `is_template`: it holds actions of Go templates, and they count; what is broken may then be whole once rendered.
    """

    def __init__(self, file: str, text: str, notes: Notes, *, may_be_template: bool = False) -> None:
        self.file = file
        self.text = text
        self.is_template = may_be_template and TEMPLATE in text
        self.is_unread = False
        self.refused: Place | None = None
        self._notes = notes
        self._texts = {file: text.splitlines()} if text else {}

    def place(self, line: int) -> Place:
        """A line with its text; of line 0, which is none, the file."""
        return Place(file=self.file) if line == 0 else place_in(self.file, line, self._texts)

    def note(self, line: int | None, reason: str) -> None:
        """See `Notes.add`."""
        self._notes.add(self.file, line, reason)

    def refuse(self, line: int, reason: str) -> None:
        """Note what makes Traefik refuse the whole file, where it is what Traefik parses."""
        line = min(line, self.text.rstrip().count("\n") + 1)  # what is missing at the end, not what comes after it
        if not self.is_template:
            self.note(line, reason)
        self.refused = self.refused or self.place(line)


class ConfigNode:
    """A value at its line: a table, a list, a scalar as text, or nothing (which null is as well)."""

    __slots__ = ("line", "source", "value")

    def __init__(
        self, source: ConfigSource, line: int, value: "dict[str, ConfigNode] | list[ConfigNode] | str | None"
    ) -> None:
        self.source = source
        self.line = line
        self.value = value

    @property
    def place(self) -> Place:
        """Where the value stands: its key's line, a list item's own."""
        return self.source.place(self.line)

    @property
    def is_set(self) -> bool:
        """Whether there is anything."""
        return self.value is not None

    def get(self, *keys: str) -> "ConfigNode":
        """The value below those keys, in whatever case they are written; an empty node where there is none."""
        node = self
        for key in keys:
            found = [(name, child) for name, child in node.tables() if name.lower() == key.lower()]
            node = max(found, key=lambda entry: entry[0])[1] if found else ConfigNode(node.source, node.line, None)
        return node

    def tables(self) -> Iterator[tuple[str, "ConfigNode"]]:
        """Everything in a table that is not null, by name."""
        if isinstance(self.value, dict):
            yield from ((name, child) for name, child in self.value.items() if child.value is not None)
        elif self.value is not None:
            self.source.note(self.line, "it has a different value where a table is expected")

    def items(self) -> list["ConfigNode"]:
        """What a list holds."""
        if isinstance(self.value, list):
            return [item for item in self.value if item.value is not None]
        if self.value is not None:
            self.source.note(self.line, "it has a different value where a list is expected")
        return []

    def texts(self) -> list["ConfigNode"]:
        """A list's scalars, or a single one; Traefik divides that at its commas."""
        if isinstance(self.value, str):
            words = (word.strip() for word in self.value.split(","))
            return [ConfigNode(self.source, self.line, word) for word in words if word]
        return [item for item in self.items() if item.text()]

    def text(self) -> str:
        """A scalar; nothing for everything else."""
        if isinstance(self.value, str):
            return self.value
        if self.value is not None:
            self.source.note(self.line, "it has a different value where a single one is expected")
        return ""

    def is_on(self) -> bool:
        """Whether Go takes the scalar for true."""
        return self.value in _ON

    def number(self) -> int | None:
        """A whole number, where there is one."""
        try:
            return int(self.text().replace("_", ""), 0)
        except ValueError:
            return None

    def is_template(self) -> bool:
        """Whether it is a scalar that only a rendered template has a value for."""
        return isinstance(self.value, str) and TEMPLATE in self.value


def load_node(path: Path, notes: Notes, *, may_be_template: bool = False) -> ConfigNode:
    """The whole file, by the format that its name says; an empty node where it cannot be read, which is noted."""
    empty = ConfigNode(ConfigSource(str(path), "", notes), 0, None)
    empty.source.is_unread = True
    return read_part(path, lambda: _load(path, notes, may_be_template=may_be_template), empty, notes)


def _load(path: Path, notes: Notes, *, may_be_template: bool) -> ConfigNode:
    content = read_bytes(path, LARGEST_FILE)
    encoding = next((name for mark, name in _BYTE_ORDER_MARKS.items() if content.startswith(mark)), "utf-8")
    source = ConfigSource(str(path), content.decode(encoding), notes, may_be_template=may_be_template)
    if path.suffix.lower() == ".toml":
        from certagent.vantage.toml_nodes import load_toml

        return load_toml(source)
    from certagent.vantage.yaml_nodes import load_yaml

    return load_yaml(source)
