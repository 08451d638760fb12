"""TOML with places: the values are the standard library's, the lines those of `certagent.domain.toml_lines`."""

import re
import tomllib
from typing import Any

from certagent.domain.toml_lines import Path, lines_of_toml
from certagent.vantage.config_nodes import ConfigNode, ConfigSource

_LINE = re.compile(r"at line (\d+)")


def load_toml(source: ConfigSource) -> ConfigNode:
    """The file's values; an empty node for what is no TOML, which is noted."""
    text = source.text.replace("\r\n", "\n")
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line = _LINE.search(str(error))
        source.refuse(int(line[1]) if line else text.count("\n") + 1, "it is not TOML")
        return ConfigNode(source, 1, None)
    return _node(source, document, (), 1, lines_of_toml(text))


def _node(source: ConfigSource, value: Any, path: Path, line: int, lines: dict[Path, int]) -> ConfigNode:
    line = lines.get(path, line)
    if isinstance(value, dict):
        children = {key: _node(source, child, (*path, key), line, lines) for key, child in value.items()}
        return ConfigNode(source, line, children)
    if isinstance(value, list):
        items = [_node(source, item, (*path, number), line, lines) for number, item in enumerate(value)]
        return ConfigNode(source, line, items)
    return ConfigNode(source, line, str(value).lower() if isinstance(value, bool) else str(value))
