"""Rehearsals on their way: from any agent to the one beside the CA, fairly shared between the callers."""

import asyncio
import math
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import msgspec

from certagent.collector.access import AGENTS, HttpProblem
from certagent.collector.agent_link import AgentLink, AgentLinks, LinkClosed, new_id
from certagent.collector.peers import Peers, RelayedLink
from certagent.collector.records import Caller, TokenRole
from certagent.collector.sql.claim_queries import find_owners, may_rehearse
from certagent.collector.sql.fleet_queries import find_peer_findings
from certagent.collector.sql.ingest import store_rehearsals
from certagent.collector.store import Store
from certagent.domain.catalogue import Trait, has_trait
from certagent.domain.link_messages import Answer, Rehearse, Rehearsed
from certagent.domain.path_trace import addresses_met
from certagent.domain.ports import Clock
from certagent.domain.rate_limiter import RateLimiter
from certagent.domain.rehearsals import BUSY, MOST_PER_CALLER, Rehearsal, RehearsalOutcome, RehearsalRequest

LONGEST_WAIT_SECONDS = 36.0
_BURST, _EVERY = 200, timedelta(milliseconds=50)  # rehearsals of one caller
_BUSY_SECONDS = 1  # for so long a caller is asked to wait


class RehearsalBroker:
    """Passes rehearsals from any agent to the one beside the CA. It saw what it brokered: nobody has to be believed.

    A caller has no more than `MOST_PER_CALLER` under way, and one of each identifier and challenge.
    """

    def __init__(self, store: Store, links: AgentLinks, peers: Peers | None, clock: Clock) -> None:
        self.links = links
        self.peers = peers
        self._store = store
        self._clock = clock
        self._limiter = RateLimiter(clock, burst=_BURST, every=_EVERY)
        self._under_way: dict[str, set[tuple[str, str]]] = {}

    async def rehearse(self, caller: Caller, request: RehearsalRequest, wait_seconds: float) -> Rehearsal:
        """What the agent beside the CA saw; `unavailable` with the reason if it could not be asked.

        Raises `HttpProblem` 403 for an identifier that is not the caller's, 429 for too many. When it is cancelled, so
        is the rehearsal.
        """
        with self._place(caller, request):
            await self._check(caller, request)
            rehearsal = await self._ask(caller, request, min(wait_seconds, LONGEST_WAIT_SECONDS))
        if rehearsal.is_busy:
            raise _too_many(_BUSY_SECONDS, rehearsal.reason or BUSY)
        if rehearsal.outcome is not RehearsalOutcome.UNAVAILABLE:
            asker = caller.name if caller.role in AGENTS else f"@{caller.name}"
            await self._store.write(store_rehearsals, (rehearsal,), asker=asker)
        return rehearsal

    async def _check(self, caller: Caller, request: RehearsalRequest) -> None:
        is_operator = caller.role is TokenRole.OPERATOR
        if not is_operator and not await self._store.read(may_rehearse, caller.name, request.identifier):
            detail = f"{request.identifier!r} is not in a certificate of {caller.name}, or belongs to another node"
            raise HttpProblem(403, "Forbidden", detail)
        wait = self._limiter.take(caller.name)
        if wait > 0:
            raise _too_many(wait, "too many rehearsals")

    @contextmanager
    def _place(self, caller: Caller, request: RehearsalRequest) -> Iterator[None]:
        """Within the block the rehearsal counts among the caller's."""
        question, under_way = (request.identifier, request.challenge), self._under_way.setdefault(caller.name, set())
        if question in under_way:
            raise _too_many(_BUSY_SECONDS, f"{BUSY}: a rehearsal of {request.identifier!r} is already in progress")
        if len(under_way) >= MOST_PER_CALLER:
            raise _too_many(
                _BUSY_SECONDS, f"{BUSY}: {len(under_way)} rehearsals of {caller.name} are already in progress"
            )
        under_way.add(question)
        try:
            yield
        finally:
            under_way.discard(question)

    async def _ask(self, caller: Caller, request: RehearsalRequest, seconds: float) -> Rehearsal:
        node = "the agent beside the CA"
        try:
            async with asyncio.timeout(seconds):
                link = await self._find_authority()
                if link is None:
                    return self._unavailable(request, f"no agent beside the CA is connected to {self._asked()}")
                node = link.caller.name
                answer = await self._ask_over(link, caller, request)
        except TimeoutError:
            return self._unavailable(request, f"{node} did not answer within {seconds:.0f} s")
        except LinkClosed:
            return self._unavailable(request, f"{node} lost its connection to the collector")
        if not isinstance(answer, Rehearsed) or answer.rehearsal.identifier != request.identifier:
            reason = getattr(answer, "reason", "it answered another request")
            return self._unavailable(request, f"{node} refused: {reason}")
        return await self._complete(caller, node, answer.rehearsal)

    async def _find_authority(self) -> AgentLink | RelayedLink | None:
        """Its link here, else the one that another collector has; one that has just been lost is waited for."""
        here = self.links.find_authority()
        if here is not None or self.peers is None:
            return here or await self.links.authority()
        return await self.peers.find_authority() or await self.links.authority() or await self.peers.find_authority()

    def _asked(self) -> str:
        """The collectors at which it was looked for."""
        others = self.peers.others() if self.peers is not None else ()
        return "the collector" if not others else f"this collector or to {', '.join(peer.name for peer in others)}"

    async def _ask_over(self, link: AgentLink | RelayedLink, caller: Caller, request: RehearsalRequest) -> Answer:
        """A link that is lost meanwhile is usually open again at once: then the question is asked once more."""
        try:
            return await link.ask(Rehearse(id=new_id(), request=request, caller=caller.name))
        except LinkClosed:
            reopened = await self._find_authority()
            if reopened is None:
                raise
            return await reopened.ask(Rehearse(id=new_id(), request=request, caller=caller.name))

    async def _complete(self, caller: Caller, node: str, rehearsal: Rehearsal) -> Rehearsal:
        """The rehearsal with whose addresses occur in it, and what other nodes found in their own files."""
        owners = await self._store.read(find_owners, frozenset(addresses_met(rehearsal)))
        found = await self._store.read(find_peer_findings, rehearsal.identifier)
        of_peers = tuple(
            finding
            for finding in found
            if finding.reporter not in (node, caller.name)
            or has_trait(finding.code, Trait.NAMESERVER_FILES)  # both look themselves
        )
        return msgspec.structs.replace(rehearsal, node=node, owners=owners, testimony=of_peers)

    def _unavailable(self, request: RehearsalRequest, reason: str) -> Rehearsal:
        return Rehearsal(
            identifier=request.identifier,
            challenge=request.challenge,
            outcome=RehearsalOutcome.UNAVAILABLE,
            at=self._clock.now(),
            reason=reason,
        )


def _too_many(wait_seconds: float, detail: str) -> HttpProblem:
    return HttpProblem(429, "Too Many Requests", detail, headers={"Retry-After": str(math.ceil(wait_seconds))})
