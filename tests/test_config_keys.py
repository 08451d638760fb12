"""Every key of the configuration files is documented where it is defined: that is what the reference is made from."""

import inspect
from collections.abc import Iterator

import msgspec
import pytest

from certagent.config import AgentSettings, CollectorSettings, NginxTarget, settings, targets

OF_ALL_KINDS = inspect.getdoc(NginxTarget) or ""
"""What the keys mean that all kinds of targets have."""


def _sections() -> Iterator[type[msgspec.Struct]]:
    for module in (settings, targets):
        for _, found in inspect.getmembers(module, inspect.isclass):
            if issubclass(found, msgspec.Struct) and found.__module__ == module.__name__ and found.__struct_fields__:
                yield found


SECTIONS = list(_sections())


def test_all_sections_are_looked_at() -> None:
    """The two files and what is in them."""
    assert {AgentSettings, CollectorSettings, NginxTarget} <= set(SECTIONS)
    assert len(SECTIONS) >= 25


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.__name__)
def test_each_key_is_named_in_its_sections_docstring(section: type[msgspec.Struct]) -> None:
    """In backticks, alone or with a value."""
    text = inspect.getdoc(section) or ""
    if section.__name__.endswith("Target"):
        text += OF_ALL_KINDS
    missing = [key for key in section.__struct_fields__ if f"`{key}`" not in text and f"`{key} = " not in text]
    assert missing == []
