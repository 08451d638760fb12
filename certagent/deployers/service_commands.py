"""A service's own programs: what they say when they fail, as a fault."""

import re
from collections.abc import Sequence

from certagent.domain.deployments import Fault
from certagent.system.files import Owner
from certagent.system.processes import run

_PLACE = re.compile(r" in (/\S+):(\d+)$")


async def attempt(
    command: Sequence[str], timeout: float, code: str, summary: str, *, user: Owner | None = None
) -> Fault | None:
    """Run it; None when it ended well, else a fault with its own words, and the place that they name."""
    shown = " ".join(command)
    try:
        finished = await run(command, timeout=timeout, user=user)
    except OSError as error:
        return Fault(code=code, explanation=f"{summary}: {shown} cannot be started ({error.strerror}).")
    if finished.is_good:
        return None
    ended = f"did not end within {timeout:g} s" if finished.status is None else f"ended with {finished.status}"
    said = next((line for line in finished.output.splitlines() if "[warn]" not in line), "and said nothing")
    place = _PLACE.search(said)
    return Fault(
        code=code,
        explanation=f"{summary}: {shown} {ended}: {said}",
        file=place[1] if place else None,
        line=int(place[2]) if place else None,
        detail={"command": list(command), "status": finished.status, "output": finished.output},
    )
