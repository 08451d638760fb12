"""Where a task of Ansible's stands, and what its module is given. Pure."""

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from certagent.domain.sources.jinja_templates import evaluate, expand, render
from certagent.domain.sources.jinja_values import UNTOLD
from certagent.domain.sources.writes import Text


class TaskContext(msgspec.Struct, frozen=True):
    """Where a task stands: its host, the variables there, the folder that its files are looked for in."""

    host: str | None
    variables: Mapping[str, Any]
    folder: str
    depth: int = 0


class Arguments(msgspec.Struct, frozen=True):
    """The arguments of a module: name -> its lines. `free`: what stands without a name."""

    named: Mapping[str, Text]
    free: Text = ()

    def text(self, *names: str) -> str | None:
        """The first of them that is given, as one text."""
        found = next((self.named[name] for name in names if name in self.named), None)
        return "".join(part.text for part in found) if found is not None else None


def places_of(folder: str, kind: str, path: str) -> tuple[str, ...]:
    """Where a file of a role, or beside a playbook, is looked for."""
    return (f"{folder}/{kind}/{path}", f"{folder}/{path}", f"{kind}/{path}", path)


def rendered(text: Text, variables: Mapping[str, Any]) -> Text:
    """The text with variables in their place."""
    return render(text, variables) if text else ()


def is_false(condition: Any, variables: Mapping[str, Any]) -> bool:
    """Whether a condition of `when` does certainly not hold."""
    if isinstance(condition, str):
        condition = evaluate(condition, variables)
    return condition is False


def items(values: Any, variables: Mapping[str, Any], *, is_flat: bool) -> list[Any]:
    """The items of a loop; where nobody knows them, one."""
    if isinstance(values, str):
        values = expand(values, variables)
    if isinstance(values, dict):
        return [{"key": key, "value": value} for key, value in values.items()]
    if not isinstance(values, list):
        return [UNTOLD]
    expanded = [expand(value, variables) if isinstance(value, str) else value for value in values]
    if not is_flat:
        return expanded
    return [entry for value in expanded for entry in (value if isinstance(value, list) else [value])]


def pairs(text: str) -> Iterator[tuple[str, str]]:
    """`path=/etc/hosts line="..."`."""
    for word in split(text):
        name, equals, value = word.partition("=")
        if equals and name.isidentifier():
            yield name, value


def split(text: str) -> list[str]:
    """The words of a command; none where its quotes do not close."""
    try:
        return shlex.split(text)
    except ValueError:
        return []
