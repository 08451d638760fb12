"""A name looked up and asked as the CA does it, with no token planted: who answers there, and with what.

It cannot prove that a challenge gets through: for that somebody has to plant one (see `certagent check`).
"""

from collections.abc import Sequence

import msgspec

from certagent.domain.rehearsals import Attempt, RehearsalRequest, Resolution
from certagent.domain.resolution.files import ResolverFiles
from certagent.vantage.dial import Dialer
from certagent.vantage.fetch import Fetch, Manner
from certagent.vantage.resolve import Desk
from certagent.vantage.rules import Rules

_NO_DIGEST = "0" * 64


class Survey(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen. `attempts` is empty where the name has no address; none of them matches."""

    resolution: Resolution
    attempts: tuple[Attempt, ...] = ()


async def survey(
    name: str, files: ResolverFiles, nameservers: Sequence[str], rules: Rules, token: str, manner: Manner | None = None
) -> Survey:
    """Look `name` up in the world of `files`, and GET the challenge of a token that nobody planted. Bounded."""
    manner = manner or Manner()
    request = RehearsalRequest(identifier=name, token=token, digest=_NO_DIGEST)
    async with Desk(files, nameservers) as desk:
        lookup = await desk.look_up(name + "." * (manner.strict_fqdn and not name.endswith(".")))
        attempts: tuple[Attempt, ...] = ()
        if lookup.addresses:
            attempts = await Fetch(desk.look_up, rules, Dialer(rules.may_connect)).attempts(request, lookup, manner)
        return Survey(resolution=await desk.resolution(lookup), attempts=attempts)
