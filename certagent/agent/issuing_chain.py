"""Where the CA's chain comes from, and whether the CA still issues with it.

A chain can end before its leaf. Then an order helps only once the CA has another one: until then it would bring the
same chain again, and again.
"""

from collections.abc import Awaitable, Callable, Sequence
from urllib.parse import urlsplit

import msgspec

from certagent.agent.context import AgentContext
from certagent.domain.certificates import CertificateFacts
from certagent.domain.findings import Culprit
from certagent.domain.policy import Judgement
from certagent.state import State
from certagent.system import handshake
from certagent.system.handshake import ChainLink, Handshake

_RECORD = "issuing-chain"


class ChainSource(msgspec.Struct, frozen=True, kw_only=True):
    """The CA's node, and the file there that it takes its chain from, as the agent beside it said last."""

    node: str
    file: str


def issuing_chain(state: State) -> Culprit:
    """What has to be changed for another chain: the CA's file where an agent beside the CA named it, else the CA."""
    known = state.read_record(_RECORD, ChainSource)
    if known is None:
        return Culprit(role="authority")
    return Culprit(node=known.node, file=known.file, role="authority")


def remember_chain(state: State, judgements: Sequence[Judgement]) -> None:
    """Keep what the rehearsals say of it."""
    for judgement in judgements:
        rehearsal = judgement.rehearsal
        source = rehearsal.provisioner.chain_file if rehearsal is not None and rehearsal.provisioner else None
        if rehearsal is None or rehearsal.node is None or source is None:
            continue
        found = ChainSource(node=rehearsal.node, file=source)
        if state.read_record(_RECORD, ChainSource) != found:
            state.note_record(_RECORD, found)
        return


Probe = Callable[..., Awaitable[Handshake]]
_LOOK_SECONDS = 3.0
_LOOK_EVERY = 10.0


class IssuingChain:
    """What the CA issues with now, as far as its own certificate shows it: Step-CA has that from the same intermediate.
    No order is needed for a look."""

    def __init__(self, context: AgentContext, probe: Probe = handshake.probe) -> None:
        self._authority = context.settings.authority
        self._clock = context.clock
        self._probe = probe
        self._looked_at = float("-inf")
        self._seen: tuple[ChainLink, ...] = ()
        self._shown: set[ChainLink] = set()

    async def has_changed(self, facts: CertificateFacts) -> bool | None:
        """Whether the CA has another certificate now than the one that ends before the leaf; None where that cannot be
        said, as the CA cannot be reached, or has its own certificate from elsewhere."""
        if facts.chain_ends_at is None or facts.chain_ends_with is None:
            return None
        short = ChainLink(facts.chain_ends_with, facts.chain_ends_at)
        seen = await self._look()
        if short in seen:
            self._shown.add(short)
            return False
        is_renewed = any(link.name == short.name for link in seen)
        return True if is_renewed or (seen and short in self._shown) else None

    async def _look(self) -> tuple[ChainLink, ...]:
        """One handshake for all certificates of this node that ask at about the same time."""
        now = self._clock.monotonic()
        if now - self._looked_at < _LOOK_EVERY:
            return self._seen
        self._looked_at, self._seen = now, ()
        parts = urlsplit(self._authority.directory)
        name, port = parts.hostname or "", parts.port or 443
        for address in (name, *self._authority.addresses):
            seen = await self._probe(address, port, name, self._authority.root, _LOOK_SECONDS)
            if seen.is_verified or seen.distrust == "expired":
                self._seen = seen.above
                break
        return self._seen
