"""What is right for each of `trees`: its expected.toml, written down before certagent ran on it."""

import tomllib
from pathlib import Path
from typing import Any

import msgspec

from tests.field.tree import TREES


class ExpectedCertificate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A `[[certificate]]` that `init` has to write. Its names are `identifiers`, and any of `may`.

    `renewer` has to stand in its part of the file; `prove` are its proof's addresses. Traefik's has no pair of files.
    """

    identifiers: tuple[str, ...]
    manage: bool
    prove: tuple[str, ...]
    may: tuple[str, ...] = ()
    kind: str = "nginx"
    renewer: str | None = None
    challenge: str = "http-01"
    certificate: str | None = None
    key: str | None = None


class SeenHop(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One answer that the CA got."""

    address: str
    status: int
    port: int = 80
    location: str | None = None
    server: str = "nginx"


class Seen(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The answers to one challenge, from the first to the last."""

    identifier: str
    hops: tuple[SeenHop, ...]


class ExpectedCheck(Seen, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the diagnosis has to say when the CA saw `hops`: the culprit is the line `FILE:LINE`, one of those, or
    "none": no line is blamed. `fix`: a word of its fix."""

    culprit: str | tuple[str, ...]
    code: str | None = None
    fix: str | None = None

    def seen(self) -> Seen:
        """What the CA saw, alone."""
        return Seen(identifier=self.identifier, hops=self.hops)

    def culprits(self) -> tuple[str, ...]:
        """The lines of which one has to be named; none where none may be."""
        named = (self.culprit,) if isinstance(self.culprit, str) else self.culprit
        return tuple(place for place in named if place != "none")


class ExpectedLint(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that `lint` has to say: `CODE FILE:LINE`."""

    findings: tuple[str, ...]


class Expected(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A tree's expectations. `addresses` are the node's own. `by_hand`: lines that `init` has to name, by FILE:LINE;
    `said`: words that have to stand anywhere in what it says; `never`: words that must stand nowhere."""

    addresses: tuple[str, ...]
    lint: ExpectedLint
    certificate: tuple[ExpectedCertificate, ...]
    check: tuple[ExpectedCheck, ...]
    by_hand: tuple[str, ...] = ()
    said: tuple[str, ...] = ()
    never: tuple[str, ...] = ()


def read_expected(folder: Path) -> Expected:
    """Of one tree."""
    content: dict[str, Any] = tomllib.loads((folder / "expected.toml").read_text())
    return msgspec.convert(content, Expected)


EXPECTED = {folder.name: read_expected(folder) for folder in sorted(TREES.iterdir())}
