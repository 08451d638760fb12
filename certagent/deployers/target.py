"""What a target must be able to do. The procedure in `deploy` is the only one who calls it."""

from collections.abc import Awaitable, Callable, Hashable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Protocol, TypeVar

from certagent.domain.deployments import Fault, Generation, LivePair, Proof, RollbackResult

_Member = TypeVar("_Member")


class Target(Protocol):
    """One service that serves one certificate.

    The methods that are not coroutines change files and block: they raise OSError (what the disk or the kernel said)
    and `certagent.system.files.UnknownOwnerError`. Each MUST be harmless when repeated, and MUST leave, wherever it is
    killed, either the pair from before in place or the new one, never a mixture.
    """

    name: str
    """For people: "nginx /etc/nginx/ssl/gateway.crt"."""
    kind: str
    reloaded: Any
    """What `explain` has to know of the last reload, by whichever target of the service it was."""

    @property
    def service(self) -> Hashable:
        """What is reloaded for it, and for all targets of the same; None where each is told by itself."""
        ...

    def reader(self) -> str | None:
        """The user as whom the service reads the pair; None where nobody knows."""
        ...

    def reads_because(self) -> str | None:
        """Why it is that user who reads the pair, where it is not the usual one."""
        ...

    def key_file(self, folder: Path) -> Path:
        """The key that lies in a staged folder, as a person knows it."""
        ...

    def live(self) -> LivePair:
        """What is live on disk now, whoever put it there."""
        ...

    def lock_file(self) -> Path:
        """What is held while an agent looks after this target: the same file for whoever is told to write there."""
        ...

    def prepare(self) -> None:
        """Make sure that a generation could be staged and promoted, before one is ordered. Changes nothing live."""
        ...

    def stage(self, generation: Generation) -> Path:
        """Put the generation where it can be promoted from, unseen by the service; returns its folder."""
        ...

    def writing(self) -> AbstractAsyncContextManager[None]:
        """Held around `roll_back`: nothing of ours makes the service read its files meanwhile."""
        ...

    async def in_turn(self, member: _Member, act: Callable[[Sequence[_Member]], Awaitable[None]]) -> None:
        """Have `act` done once for this member and all others who wait for the same service by then. Nobody else
        changes its files, or makes it read them, meanwhile. Raises what `act` raises."""
        ...

    def promote(self, generation: Generation) -> None:
        """Make it the live pair, by one rename. What was live before and proven can still be gone back to."""
        ...

    async def validate(self) -> Fault | None:
        """Ask the service whether it could load what is live now."""
        ...

    async def reload(self) -> Fault | None:
        """Have the service load what is live now. That this went well is no evidence of anything."""
        ...

    def has_settled(self) -> bool:
        """Whether it was seen that after the last reload nothing serves any more that was loaded before."""
        ...

    async def explain(self, generation: Generation, proof: Proof) -> list[Fault]:
        """Why the generation is not served everywhere although all went well, as far as the service itself shows it."""
        ...

    def roll_back(self) -> RollbackResult | None:
        """Go back to the pair that was last settled (or was there before certagent); says what that is.

        None: there is nothing else to go back to, and nothing was changed.
        """
        ...

    def settle(self, generation: Generation) -> None:
        """The generation is proven: from now on it is what is gone back to; what is older may be dropped."""
        ...
