"""The CA's JSON as values. Whatever is sent in its place raises one kind of error."""

from typing import TypeVar

import msgspec

_Document = TypeVar("_Document")


def decode(content: bytes, kind: type[_Document]) -> _Document:
    """As msgspec does it. Raises `msgspec.DecodeError`, also for what is no UTF-8 or is nested without end."""
    try:
        return msgspec.json.decode(content, type=kind)
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(str(error)) from error
