"""The configuration that `init` writes is TOML that means what was found, whatever stands in it."""

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certagent.commands import config_template
from certagent.commands.config_template import Draft

ODD = ["\x7f", "\U0001f511", 'a"b\\c', "a\nb = 1", "\x00", "\u2028", "]\n[agent]", "'''", '"""', "é", "\t", "#"]


def _written(text: str) -> str:
    """What a file can hold of it: bytes of a file's name that are no text are replaced."""
    return text.encode(errors="replace").decode()


@pytest.mark.parametrize("text", [*ODD, "\udcff", "a\ud800b"])
def test_a_value_is_written_as_it_is(text: str) -> None:
    """Alone, in a list, and as a path."""
    document = f"a = {config_template.quoted(text)}\nb = {config_template.quoted([text, 'x'])}\n"
    assert tomllib.loads(document) == {"a": _written(text), "b": [_written(text), "x"]}
    path = config_template.quoted(Path(text.replace("\0", "") or "x"))
    assert tomllib.loads(f"a = {path}") == {"a": _written(text.replace("\0", "") or "x")}


@given(st.text(min_size=1, max_size=40), st.lists(st.text(max_size=20), min_size=1, max_size=3))
def test_whatever_was_found_stays_in_its_place(text: str, names: list[str]) -> None:
    """In values and in comments alike: no key appears that is not ours, and none is lost."""
    file = Path(text.replace("\0", "") or "x")
    draft = Draft(
        name=text,
        names=tuple(names),
        file=file,
        target=('kind = "nginx"', f"certificate = {config_template.quoted(file)}"),
        prove=(text,),
        challenge=text,
        key=text,
        renewer=names[0] or None,
        evidence=file,
        watched_because=text,
        remarks=(text,),
    )
    head = config_template.head(text, text, file, "ab" * 32, names)
    document = tomllib.loads(head + config_template.certificate(draft))
    assert document["agent"] == {"name": text}
    assert document["authority"] == {"directory": text, "root": str(file), "addresses": []}
    assert document["dns"] == {"nameservers": names, "zones": []}
    (certificate,) = document["certificate"]
    assert set(certificate) <= {"name", "identifiers", "manage", "challenge", "deploy"}
    assert (certificate["name"], certificate["identifiers"], certificate["manage"]) == (text, names, False)
    assert certificate["deploy"] == [{"kind": "nginx", "certificate": str(file), "prove": [text]}]
