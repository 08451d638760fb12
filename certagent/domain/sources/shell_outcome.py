"""How a statement of a shell ended, as far as anybody knows. Pure."""

from typing import NamedTuple

from certagent.domain.sources.virtual_files import Guard
from certagent.domain.sources.writes import Text


class CommandOutcome(NamedTuple):
    """What a statement printed and how it ended: None where nobody knows. `guards`: what it asked; `if_absent`: it
    succeeds if that is not so yet."""

    text: Text = ()
    status: bool | None = True
    guards: tuple[Guard, ...] = ()
    if_absent: bool = False


NOTHING = CommandOutcome()
UNTOLD = CommandOutcome(status=None)
