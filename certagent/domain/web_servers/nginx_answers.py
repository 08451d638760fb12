"""What a request may come to in nginx, and how every answer to what is not known is tried. Pure."""

from collections.abc import Iterator

import msgspec

from certagent.domain.observations import Place, ServerAction
from certagent.domain.web_servers.nginx_syntax import Directive


class RequestResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a request comes to. `status` is None where somebody else gives it, 0 where the connection is closed.

    `blocks` are those that it ended in, from `http` inwards. `passed` is what an upstream is asked: path and Host.
    """

    action: ServerAction
    status: int | None = None
    place: Place | None = None
    target: str | None = None
    host: Place | None = None
    blocks: tuple[Directive, ...] = ()
    passed: tuple[str, str] | None = None


class Choices:
    """Answers to what is not known: the first time one, and in later runs the others."""

    def __init__(self, taken: tuple[bool, ...] = ()) -> None:
        self._taken = list(taken)
        self._begun_with = len(taken)
        self._asked: list[str] = []

    def choose(self, question: str) -> bool:
        """The same answer to the same question."""
        if question not in self._asked:
            self._asked.append(question)
        number = self._asked.index(question)
        if number >= len(self._taken):
            self._taken.append(True)
        return self._taken[number]

    def others(self) -> Iterator[tuple[bool, ...]]:
        """How else this run's questions could have been answered."""
        for number in range(self._begun_with, len(self._taken)):
            yield (*self._taken[:number], False)


class BrokenOff(Exception):
    """`break`, or a rewrite that ends its block: the block's other statements are passed over."""
