"""YAML with places: the first document of a file, with anchors and merge keys resolved, every value at its own line.

By libyaml, which the parser that Traefik is built with comes from. Nothing is constructed from tags.
"""

from typing import Any

from certagent.vantage.config_nodes import ConfigNode, ConfigSource

_NULLS = ("", "~", "null", "Null", "NULL")
_TRUE = ("true", "True", "TRUE")
_FALSE = ("false", "False", "FALSE")
_MOST_ENTRIES = 100_000
"""More than any file has that a person wrote; merge keys can make millions of a small one."""


class _TooMuchError(ValueError):
    """The merge keys of the file multiply without bound."""


def load_yaml(source: ConfigSource) -> ConfigNode:
    """The document's values; an empty node for an empty one, and for one that is no YAML, which is noted."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(source.text)
    try:
        root = loader.get_node() if loader.check_node() else None
        found = _Nodes(source).node(root, 1) if root is not None else ConfigNode(source, 1, None)
        if found.value is None or isinstance(found.value, dict):
            return found
        source.refuse(1, "it is not a table")
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        source.refuse(mark.line + 1 if mark is not None else 1, f"it is not YAML ({error.problem or 'broken'})")
    except yaml.YAMLError:
        source.refuse(1, "it contains characters that YAML does not allow")
    except _TooMuchError:
        source.is_unread = True
        source.note(None, "its merge keys expand to too much data")
    finally:
        loader.dispose()
    return ConfigNode(source, 1, None)


class _Nodes:
    """The values of one document. What an anchor names is made once, however often it is used."""

    def __init__(self, source: ConfigSource) -> None:
        self._source = source
        self._tables: dict[int, dict[str, ConfigNode]] = {}
        self._lists: dict[int, list[ConfigNode]] = {}
        self._entries = 0

    def node(self, found: Any, line: int) -> ConfigNode:
        """What libyaml composed, below a key at that line."""
        if found.id == "mapping":
            return ConfigNode(self._source, line, self._table(found))
        if found.id == "sequence":
            return ConfigNode(self._source, line, self._list(found))
        own = found.start_mark.line + 1
        return ConfigNode(self._source, min(line, own), _scalar(found))  # of an alias, what its anchor stands at

    def _list(self, found: Any) -> list[ConfigNode]:
        if id(found) not in self._lists:
            items = self._lists[id(found)] = []  # before they are made: an alias may lead back here
            for item in found.value:
                self._count(1)
                items.append(self.node(item, item.start_mark.line + 1))
        return self._lists[id(found)]

    def _table(self, found: Any) -> dict[str, ConfigNode]:
        if id(found) in self._tables:
            return self._tables[id(found)]
        table = self._tables[id(found)] = {}
        merged: dict[str, ConfigNode] = {}
        for key, value in found.value:
            line = key.start_mark.line + 1
            if key.id != "scalar":
                self._source.note(line, "a key is not a name")
            elif key.value == "<<" and not key.style:
                merged |= {name: child for name, child in self._merged(value, line).items() if name not in merged}
            elif key.value in table:
                self._source.refuse(line, "the same key exists twice")
            else:
                table[key.value] = self.node(value, line)
        table |= {name: child for name, child in merged.items() if name not in table}
        self._count(len(table))
        return table

    def _merged(self, value: Any, line: int) -> dict[str, ConfigNode]:
        parts = value.value if value.id == "sequence" else [value]
        merged: dict[str, ConfigNode] = {}
        for part in parts:
            if part.id != "mapping":
                self._source.refuse(line, "a merge key refers to something that is not a table")
                continue
            merged |= {name: child for name, child in self._table(part).items() if name not in merged}
            self._count(len(merged))
        return merged

    def _count(self, entries: int) -> None:
        self._entries += entries
        if self._entries > _MOST_ENTRIES:
            raise _TooMuchError


def _scalar(found: Any) -> str | None:
    """As Go's YAML takes it: null and booleans only where they are not quoted."""
    if not found.style:
        if found.value in _NULLS:
            return None
        if found.value in _TRUE + _FALSE:
            return "true" if found.value in _TRUE else "false"
    return str(found.value)
