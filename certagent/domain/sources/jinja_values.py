"""Values of Jinja's expressions: what its filters, methods and comparisons make of them. Pure."""

from collections.abc import Callable, Mapping
from typing import Any

from certagent.domain.sources.writes import NOBODY_KNOWS

UNTOLD = NOBODY_KNOWS.text


class _Undefined:
    """A name that nothing in the tree sets."""


UNDEFINED = _Undefined()


COMPARISONS: Mapping[str, Callable[[Any, Any], Any]] = {
    "eq": lambda left, right: as_text(left) == as_text(right),
    "ne": lambda left, right: as_text(left) != as_text(right),
    "in": lambda left, right: left in right,
    "notin": lambda left, right: left not in right,
    "gt": lambda left, right: float(left) > float(right),
    "lt": lambda left, right: float(left) < float(right),
    "gteq": lambda left, right: float(left) >= float(right),
    "lteq": lambda left, right: float(left) <= float(right),
}
METHODS: Mapping[str, Callable[..., Any]] = {
    "items": lambda value: [list(pair) for pair in value.items()],
    "keys": list,
    "values": lambda value: list(value.values()),
    "get": lambda value, key, other="": value.get(key, other),
    "lower": lambda value: value.lower(),
    "upper": lambda value: value.upper(),
    "strip": lambda value: value.strip(),
    "split": lambda value, *separator: value.split(*separator[:1]),
}
FILTERS: Mapping[str, Callable[..., Any]] = {
    "lower": lambda value: as_text(value).lower(),
    "upper": lambda value: as_text(value).upper(),
    "trim": lambda value: as_text(value).strip(),
    "string": lambda value: as_text(value),
    "quote": lambda value: as_text(value),
    "int": lambda value, *_: int(value),
    "bool": lambda value: value is True or str(value).lower() in ("true", "yes", "on", "1"),
    "join": lambda value, separator="": as_text(separator).join(map(as_text, value)),
    "first": lambda value: value[0],
    "last": lambda value: value[-1],
    "length": len,
    "count": len,
    "list": list,
    "sort": lambda value: sorted(value, key=as_text),
    "unique": lambda value: list(dict.fromkeys(value)),
    "dict2items": lambda value: [{"key": key, "value": entry} for key, entry in value.items()],
    "items": lambda value: [list(pair) for pair in value.items()],
    "split": lambda value, *separator: value.split(*separator[:1]),
}


def as_text(value: Any) -> str:
    """As it is printed; unknown for what is no text and no number."""
    if value is UNDEFINED:
        return UNTOLD
    if isinstance(value, str | int | float):
        return str(value)
    return UNTOLD


def as_truth(value: Any) -> bool | None:
    """None for what nobody knows; a name that nothing sets is false."""
    if value is UNDEFINED:
        return False
    if isinstance(value, str) and UNTOLD in value:
        return None
    return bool(value)
