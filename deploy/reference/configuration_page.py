"""docs/configuration.md: every key of the configuration files, from the settings' types; its examples are those of
`docs/examples/`, which a test loads."""

import inspect as source
import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import msgspec
from msgspec import inspect

from certagent.config import AgentSettings, CollectorSettings
from deploy.reference.markdown import fenced, page, paragraphs, table

ROOT = Path(__file__).parents[2]
EXAMPLES = {
    "agent.toml": (AgentSettings, ROOT / "docs/examples/agent.toml"),
    "collector.toml": (CollectorSettings, ROOT / "docs/examples/collector.toml"),
}
"""File -> its settings, and an example of every key."""

_POLICY = ROOT / "policies/default.toml"
_INTRODUCTION = (
    "# Configuration",
    "An agent reads `/etc/certagent/agent.toml`, the collector `/etc/certagent/collector.toml`; `--config` names"
    " another file. `certagent init --write` makes the one, `certagent init --collector --write` both. Nothing is"
    " guessed: an unknown key, or an invalid value, is an error with its line, and exit status 2.",
    "Examples with every key are [examples/agent.toml](examples/agent.toml) and"
    " [examples/collector.toml](examples/collector.toml); the examples below are theirs.",
)
_TYPES: dict[type[inspect.Type], str] = {
    inspect.StrType: "string",
    inspect.IntType: "integer",
    inspect.FloatType: "number",
    inspect.BoolType: "`true` or `false`",
    inspect.DictType: "table of strings",
}
_CUSTOM = {
    "Path": "absolute path",
    "RootPaths": "absolute path, or an array of them",
    "Duration": 'duration: `"90s"`, `"20m"`, `"6h"`, `"2d"`',
}


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """A table of the file: its heading as it is written there, its type, and a value of each of its keys."""

    heading: str
    kind: inspect.StructType
    examples: dict[str, Any]


def make() -> str:
    """The page."""
    return page(*_INTRODUCTION, *(part for file in EXAMPLES for part in _file(file)), *_policy())


def sections_of(file: str) -> Iterator[Section]:
    """The tables of a file, outer ones first."""
    settings, path = EXAMPLES[file]
    values = tomllib.loads(path.read_text(encoding="utf-8"))
    shown: set[tuple[str, type]] = set()
    for section in _sections(file, cast("inspect.StructType", inspect.type_info(settings)), [values]):
        if (section.heading, section.kind.cls) not in shown:
            yield section
        shown.add((section.heading, section.kind.cls))


def _sections(heading: str, kind: inspect.StructType, values: list[dict[str, Any]]) -> Iterator[Section]:
    examples = {key: value for one in reversed(values) for key, value in one.items()}
    yield Section(heading=heading, kind=kind, examples=examples)
    above = "" if heading.endswith(".toml") else heading.strip("[]").partition("]")[0]
    for field in kind.fields:
        inner = [one[field.encode_name] for one in values if field.encode_name in one]
        flat = [item for one in inner for item in (one if isinstance(one, list) else [one])]
        for table_kind in _tables(field.type):
            meant = [one for one in flat if isinstance(one, dict) and one.get("kind") in (table_kind.tag, None)]
            chosen = [one for one in flat if isinstance(one, dict)] if table_kind.tag is None else meant
            yield from _sections(_heading(above, field, table_kind), table_kind, chosen)


def _heading(above: str, field: inspect.Field, kind: inspect.StructType) -> str:
    path = f"{above}.{field.encode_name}" if above else field.encode_name
    is_array = isinstance(field.type, inspect.VarTupleType)
    written = f"[[{path}]]" if is_array else f"[{path}]"
    return f'{written}, kind = "{kind.tag}"' if kind.tag is not None else written


def _tables(kind: inspect.Type) -> Iterator[inspect.StructType]:
    """The tables that may stand there."""
    if isinstance(kind, inspect.StructType):
        yield kind
    elif isinstance(kind, inspect.UnionType):
        for one in kind.types:
            yield from _tables(one)
    elif isinstance(kind, inspect.VarTupleType):
        yield from _tables(kind.item_type)


def _file(file: str) -> Iterator[str]:
    for section in sections_of(file):
        yield f"## {file}" if section.heading == file else f"### `{section.heading}`"
        yield from _told(section.kind)
        yield table(("key", "value", "default", "example"), map(tuple, _rows(section)))


def _told(kind: inspect.StructType) -> list[str]:
    return paragraphs(source.getdoc(kind.cls))


def _rows(section: Section) -> Iterator[list[str]]:
    if section.kind.tag is not None:
        yield ["`kind`", f'`"{section.kind.tag}"`', "required", _literal(str(section.kind.tag))]
    for field in section.kind.fields:
        example = section.examples.get(field.encode_name)
        shown = "see below" if any(_tables(field.type)) and field.encode_name != "prove" else _example(field, example)
        yield [f"`{field.encode_name}`", type_text(field.type), _default(field), shown]


def _example(field: inspect.Field, value: Any) -> str:
    return f"`0o{value:o}`" if field.encode_name == "mode" else _literal(value)


def type_text(kind: inspect.Type) -> str:
    """What may stand there, in words."""
    if isinstance(kind, inspect.CustomType):
        return _CUSTOM[kind.cls.__name__]
    if isinstance(kind, inspect.LiteralType):
        return "one of " + ", ".join(f'`"{value}"`' for value in kind.values)
    if isinstance(kind, inspect.VarTupleType):
        return f"array of {_plural(type_text(kind.item_type))}"
    if isinstance(kind, inspect.StructType):
        return "table"
    if isinstance(kind, inspect.UnionType):
        return ", or ".join(
            dict.fromkeys(type_text(one) for one in kind.types if not isinstance(one, inspect.NoneType))
        )
    return _TYPES[type(kind)]


def _plural(words: str) -> str:
    first, comma, rest = words.partition(", or ")
    return f"{first}s{comma}{f'{rest}s' if rest else ''}"


def _default(field: inspect.Field) -> str:
    if field.required:
        return "required"
    value = field.default
    if value is msgspec.NODEFAULT:
        return _literal(field.default_factory()) if callable(field.default_factory) else "none"
    return "none" if value is None else "see there" if isinstance(value, msgspec.Struct) else _literal(value)


def _literal(value: Any) -> str:
    """As TOML writes it."""
    return "none" if value is None else f"`{_toml(value)}`"


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        inside = ", ".join(f"{key} = {_toml(one)}" for key, one in value.items())
        return f"{{ {inside} }}" if inside else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else json.dumps(str(value), ensure_ascii=False)


def _policy() -> list[str]:
    text = _POLICY.read_text(encoding="utf-8").partition("# The severity of a finding")[0]
    return [
        "## Policy",
        "Times, limits, alert rules and the severity of each finding. A file that `policy` names, in the "
        "agent's or the collector's configuration, overrides the default policy, table by table: write only "
        "what differs. This is the default policy:",
        fenced(text, "toml"),
        "The last table of it, `[severity]`, sets the severity of each code: `fatal`, `error`, `warn` or "
        "`info`, or one of them for each vantage. The defaults are listed with the [findings](findings.md).",
        fenced('[severity]\n"dns.flapping" = "info"\n"dns.nodata" = { authority = "fatal", wire = "warn" }', "toml"),
    ]
