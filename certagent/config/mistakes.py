"""What is wrong in a configuration file, for a person: with the line, the key that was probably meant, and what may
stand there. Works on texts and types alone; imported when there is a mistake."""

import re
import tomllib
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import msgspec
from msgspec import inspect

from certagent.domain.toml_lines import Path as KeyPath
from certagent.domain.toml_lines import lines_of_toml

_KEY_PATH = re.compile(r"([A-Za-z_][\w-]*(?:\.[\w-]+|\[\d+\]|\['[^']*'\]|\[\.\.\.\])*): ")
_PART = re.compile(r"\['([^']*)'\]|\[(\d+)\]|([\w-]+|\.\.\.)")
_AT_LINE = re.compile(r"\(at line (\d+), column \d+\)$")
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`")
_MISSING = re.compile(r"Object missing required field `(.*)`")
_WRONG_TYPE = re.compile(r"Expected `(.*)`, got `(.*)`")
_WRONG_VALUE = re.compile(r"Invalid (?:enum )?value (.*)")
_TYPES = {
    "str": "a string",
    "int": "an integer",
    "float": "a number",
    "bool": "true or false",
    "array": "an array",
    "object": "a table",
    "datetime": "a date",
    "date": "a date",
    "time": "a time",
}
"""msgspec's names of types -> TOML's, with their article."""


def line_of(text: str, message: str) -> int | None:
    """The line of the key path that the message begins with; None where there is nothing of it in the text."""
    said = _AT_LINE.search(message)
    if said is not None:
        return int(said[1])
    if message.endswith("(at end of document)"):
        return max(1, len(text.splitlines()))
    found = _KEY_PATH.match(message)
    plain = text.replace("\r\n", "\n")
    try:
        tomllib.loads(plain)
    except tomllib.TOMLDecodeError:
        return None
    lines, key_path = lines_of_toml(plain), _parts(found[1]) if found is not None else ()
    while key_path and key_path not in lines:
        key_path = key_path[:-1]
    return lines.get(key_path)


def in_words(message: str, kind: type[msgspec.Struct], document: Mapping[str, Any]) -> str:
    """msgspec's message about the document as a sentence with its key path in front: ``certificate[0].key: ...``."""
    text, _, location = message.partition(" - at ")
    key_path = location.strip("`").removeprefix("$").removeprefix(".")
    place = _type_at(inspect.type_info(kind), document, _parts(key_path))
    prefix = f"{key_path}." if key_path else ""
    if unknown := _UNKNOWN.fullmatch(text):
        return f"{prefix}{unknown[1]}: unknown key{_instead(unknown[1], place, kind)}"
    if missing := _MISSING.fullmatch(text):
        return f"{prefix}{missing[1]}: is missing{_allowed(_values(place, missing[1]))}"
    if wrong := _WRONG_TYPE.fullmatch(text):
        expected = [_TYPES.get(name, name) for name in wrong[1].split(" | ") if name != "null"]
        return f"{key_path}: must be {' or '.join(dict.fromkeys(expected))}, not {_TYPES.get(wrong[2], wrong[2])}"
    if wrong := _WRONG_VALUE.fullmatch(text):
        return f"{key_path}: invalid value {wrong[1]}{_allowed(_values(place))}"
    return f"{key_path}: {text[:1].lower()}{text[1:]}"


def _instead(key: str, place: inspect.Type | None, kind: type[msgspec.Struct]) -> str:
    """The key that was probably meant, the section that it belongs in, or else the keys that there are."""
    known = _keys(place)
    near = get_close_matches(key, known, n=1)
    if near:
        return f"; did you mean {near[0]}?"
    fields = msgspec.structs.fields(kind)
    sections = [field.name for field in fields if key in _keys(_plain(inspect.type_info(field.type)))]
    if sections:
        return f"; it belongs in [{sections[0]}]"
    return _allowed(known)


def _allowed(values: Sequence[str]) -> str:
    return f" (allowed: {', '.join(values)})" if values else ""


def _parts(key_path: str) -> KeyPath:
    return tuple(int(number) if number else quoted or key for quoted, number, key in _PART.findall(key_path))


def _plain(place: inspect.Type) -> inspect.Type:
    """Without the null that stands for what is left out, and of an array what is in it."""
    if isinstance(place, inspect.UnionType):
        others = [one for one in place.types if not isinstance(one, inspect.NoneType)]
        return others[0] if len(others) == 1 else inspect.UnionType(tuple(others))
    return _plain(place.item_type) if isinstance(place, inspect.VarTupleType) else place


def _type_at(place: inspect.Type | None, value: Any, key_path: KeyPath) -> inspect.Type | None:
    """The type of what stands at the key path; of several kinds of tables the one that the value says it is."""
    for key in key_path:
        place = _kind_of(place, value)
        if isinstance(place, inspect.StructType) and isinstance(key, str):
            if key == place.tag_field:
                return place
            place = next((field.type for field in place.fields if field.encode_name == key), None)
        elif isinstance(place, inspect.UnionType) and key == "kind":
            return place
        elif isinstance(place, inspect.DictType):
            place = place.value_type
        elif isinstance(place, inspect.VarTupleType):
            place = place.item_type
        else:
            return None
        value = _inside(value, key)
    return _kind_of(place, value)


def _inside(value: Any, key: str | int) -> Any:
    try:
        return value[key]
    except (KeyError, IndexError, TypeError):
        return None


def _kind_of(place: inspect.Type | None, value: Any) -> inspect.Type | None:
    if not isinstance(place, inspect.UnionType):
        return place
    tables = [one for one in place.types if isinstance(one, inspect.StructType)]
    tag = value.get("kind") if isinstance(value, dict) else None
    chosen = [one for one in tables if len(tables) == 1 or (tag is not None and one.tag == tag)]
    plain = [one for one in place.types if not isinstance(one, inspect.NoneType)]
    return chosen[0] if chosen and isinstance(value, dict) else plain[0] if len(plain) == 1 else place


def _keys(place: inspect.Type | None) -> list[str]:
    if not isinstance(place, inspect.StructType):
        return []
    return [*([place.tag_field] if place.tag_field else []), *(field.encode_name for field in place.fields)]


def _values(place: inspect.Type | None, key: str = "kind") -> list[str]:
    """What may stand there: of a list of words, or as the `kind` of a table."""
    if isinstance(place, inspect.LiteralType):
        return [str(value) for value in place.values]
    if isinstance(place, inspect.EnumType):
        return [str(member.value) for member in place.cls]
    if isinstance(place, inspect.UnionType):
        kinds = [str(one.tag) for one in place.types if isinstance(one, inspect.StructType) and key == "kind"]
        return kinds + [value for one in place.types if isinstance(one, inspect.EnumType) for value in _values(one)]
    return []
