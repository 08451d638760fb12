"""Which process of an agent is heard: one for each name. A second one that lives beside it is refused; it keeps its
reports, and is told apart from a restart by asking the first one over its link.

Each collector decides by the table `speakers`, which all of them share; what is remembered here only saves looking.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta

from aiohttp import web

from certagent.collector.access import AGENTS, Access, HttpProblem, caller_of
from certagent.collector.agent_link import AgentLink, AgentLinks
from certagent.collector.bodies import try_later
from certagent.collector.records import Overloaded, StoreFailed
from certagent.collector.sql.speaker_queries import find_contested, find_speakers, hear_voice
from certagent.collector.store import Store
from certagent.domain.link_messages import INSTANCE_HEADER
from certagent.domain.ports import Clock
from certagent.domain.speakers import HOLD, Speaker, Standing, Voice, speaker_among

_ANSWER_SECONDS = 3.0
_BELIEVED = timedelta(seconds=2)  # for so long an agent that has just answered need not be asked again
_INSTANCE = re.compile(r"[0-9A-Za-z-]{8,64}")
_REVIEWS_AT_ONCE = 64


class Admission:
    """Admits what the speaking process of an agent sends, and refuses what another one does. `links`: the agents'."""

    def __init__(self, store: Store, access: Access, links: AgentLinks, clock: Clock) -> None:
        self._store = store
        self._access = access
        self.links = links
        self._clock = clock
        self._started_at = clock.now()
        self._speakers: dict[str, Speaker] | None = None
        self._reading = asyncio.Lock()
        self._heard_at: dict[str, datetime] = {}
        self._answered_at: dict[str, tuple[str, datetime]] = {}
        self._deciding: dict[str, asyncio.Lock] = {}

    async def admit(self, request: web.Request) -> None:
        """Let the request pass. Raises `HttpProblem` 409 unless the process that sent it speaks for its name."""
        caller, voice = caller_of(request), voice_of(request)
        if caller.role not in AGENTS:
            return
        if not await self._is_speaker(caller.name, voice):
            async with self._turn_of(caller.name):
                await self._decide(caller.name, voice)
        self._heard_at[caller.name] = self._clock.now()

    @asynccontextmanager
    async def admit_link(self, request: web.Request) -> AsyncIterator[Voice]:
        """Let the link be opened within the block, after which nobody takes its place unnoticed. Raises likewise."""
        caller, voice = caller_of(request), voice_of(request)
        async with self._turn_of(caller.name):
            if not await self._is_speaker(caller.name, voice, address=voice.address):
                await self._decide(caller.name, voice)
            self._heard_at[caller.name] = self._clock.now()
            yield voice

    async def review(self) -> None:
        """Close the links whose credential is valid no more, and look after the names under which several speak: what
        other collectors decided, and the links that are here. Several collectors do it at once, each for its own."""
        if await self._access.has_changed():
            await self.links.close_revoked()
        contested = await self._store.read(find_contested, self._clock.now() - HOLD)
        slots = asyncio.Semaphore(_REVIEWS_AT_ONCE)
        async with asyncio.TaskGroup() as group:
            for name, known in contested.items():
                speaker, link = speaker_among(known), self.links.find(name)
                self._remember(name, speaker)
                is_settled = speaker is not None and link is not None and link.voice.instance == speaker.instance
                if link is None or (is_settled and all(one.standing is not Standing.CLONE for one in known)):
                    continue
                group.create_task(self._review_link(link, slots), name=f"connections as {name}")

    async def _review_link(self, link: AgentLink, slots: asyncio.Semaphore) -> None:
        """A word of its process, if it is alive."""
        async with slots, self._turn_of(link.caller.name):
            with suppress(StoreFailed, Overloaded):  # the next round does it
                if await link.responds(_ANSWER_SECONDS):
                    await self._hear(link.caller.name, link.voice, has_answered=True)

    async def _is_speaker(self, name: str, voice: Voice, *, address: str | None = None) -> bool:
        """Whether it is known to be, at that address. An agent that never said which process it is needs no place in
        the table."""
        speaker = (await self._known_speakers()).get(name)
        if speaker is None:
            return voice.instance == ""
        return voice.instance == speaker.instance and address in (None, speaker.address)

    async def _known_speakers(self) -> dict[str, Speaker]:
        """Read once, however many agents come at once when the collector starts."""
        if self._speakers is not None:
            return self._speakers
        async with self._reading:
            if self._speakers is None:
                self._speakers = await self._store.read(find_speakers)
            return self._speakers

    async def _decide(self, name: str, voice: Voice) -> None:
        try:
            speaker = await self._hear(name, voice)
        except Overloaded as error:
            raise try_later(str(error)) from None
        if speaker is not None and speaker.instance != voice.instance:
            raise _refusal(name, speaker)

    async def _hear(self, name: str, voice: Voice, *, has_answered: bool = False) -> Speaker | None:
        """Note the word, and let the links follow; answers who speaks. `has_answered`: it is an answer to a question
        that was asked just now."""
        link = self.links.find(name)
        if link is not None and name not in (self._speakers or {}) and link.voice != voice:
            await self._note(name, link.voice, alive=None)
        alive = voice.instance if has_answered else None
        if link is not None and not has_answered:
            alive = await self._living(link, voice)
        speaker = await self._note(name, voice, alive=alive)
        if link is not None and speaker is not None and link.voice.instance != speaker.instance:
            await self.links.replace(link)
        return speaker

    async def _note(self, name: str, voice: Voice, *, alive: str | None) -> Speaker | None:
        heard_at = self._heard_at.get(name, self._started_at)
        known = await self._store.write(hear_voice, name, voice, alive=alive, heard_at=heard_at)
        speaker = speaker_among(known)
        self._remember(name, speaker)
        return speaker

    async def _living(self, link: AgentLink, voice: Voice) -> str | None:
        """The process that opened the link, if it is another one and answers."""
        name, now = link.caller.name, self._clock.now()
        if link.voice.instance == voice.instance:
            return None
        answered_at = self._answered_at.get(name)
        if answered_at is None or answered_at[0] != link.voice.instance or now - answered_at[1] >= _BELIEVED:
            if not await link.responds(_ANSWER_SECONDS):
                return None
            self._answered_at[name] = link.voice.instance, self._clock.now()
        return link.voice.instance

    def _remember(self, name: str, speaker: Speaker | None) -> None:
        if speaker is not None and self._speakers is not None:
            self._speakers[name] = speaker

    def _turn_of(self, name: str) -> asyncio.Lock:
        """One decision about a name at a time."""
        return self._deciding.setdefault(name, asyncio.Lock())


def voice_of(request: web.Request) -> Voice:
    """Which process the request says it is of, and where it comes from."""
    instance = request.headers.get(INSTANCE_HEADER, "")
    return Voice(instance if _INSTANCE.fullmatch(instance) else "", request.remote or "")


def _refusal(name: str, speaker: Speaker) -> HttpProblem:
    detail = (
        f"another agent is connected as {name}, from {speaker.address}: this one is refused as long as the "
        f"other is running. One of the two is a copy: give it its own name and token, or stop it."
    )
    return HttpProblem(409, "Conflict", detail, headers={"Retry-After": "5", "Connection": "close"})
