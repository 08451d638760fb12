"""The other collectors on the same PostgreSQL: which of them live, which agents are connected to them, and the
questions that are passed between them.

What they say to one another by NOTIFY is a hint: whoever missed it looks by itself within seconds.
"""

import asyncio
import logging
from collections.abc import Iterable
from contextlib import suppress
from functools import partial

import msgspec

from certagent import __version__
from certagent.collector.agent_link import AgentLinks, LinkClosed
from certagent.collector.dispatch import ChangeDispatcher
from certagent.collector.records import Caller, Notice, Overloaded, Peer, RelayedQuestion, StoreFailed, TokenRole
from certagent.collector.rounds import RoundDuty
from certagent.collector.sql import peer_queries, relayed_questions
from certagent.collector.sql.database import REVISION
from certagent.collector.sql.notices import LISTENING, hear_notices
from certagent.collector.sql.ready_connection import ReadyConnection
from certagent.collector.sql.revisions import objection_to, read_schema_version
from certagent.collector.sql.statements import micros
from certagent.collector.store import Store
from certagent.domain.link_messages import Answer, Rehearse, decode_answer, decode_ask, encode
from certagent.domain.ports import Clock

log = logging.getLogger(__name__)

_LOOK_SECONDS = 5.0
_GATHER_SECONDS = 0.05  # what connects within it is written at once
_LISTEN_AGAIN_SECONDS = 1.0
_LEAVE_SECONDS = 5.0
_ANSWER_SECONDS = 40.0
_LOOK_FOR_ANSWER_SECONDS = 1.0
_LOOKS_BETWEEN_CHECKS = 12
_ALL = ""  # in place of one question's id

_decode_notice = msgspec.json.Decoder(Notice).decode


class Peers:
    """This collector among the others. `url` is that of the database, `line` a connection to it."""

    def __init__(
        self,
        url: str,
        store: Store,
        links: AgentLinks,
        dispatcher: ChangeDispatcher,
        duty: RoundDuty,
        clock: Clock,
        line: ReadyConnection,
    ) -> None:
        self.duty = duty
        self._url = url
        self._store = store
        self._links = links
        self._dispatcher = dispatcher
        self._line = line
        self._notices: asyncio.Queue[Notice] = asyncio.Queue()
        self._clock = clock
        self._itself = Peer(
            id=store.identity,
            name=duty.collector,
            version=__version__,
            started_at=clock.now(),
            policy=duty.turn.digest,
        )
        self._others: tuple[Peer, ...] = ()
        self.schema_complaint: str | None = None
        self._written: frozenset[str] = frozenset()
        self._looks = 0
        self._authority: tuple[str, str] | None = None
        self._wanted = asyncio.Event()
        self._asked: asyncio.Queue[str] = asyncio.Queue()
        self._awaited: dict[str, asyncio.Event] = {}
        self._withdrawn: set[str] = set()
        self._answering: dict[str, asyncio.Task[None]] = {}
        self._deaf_since: float | None = clock.monotonic()
        self._unanswered_since: float | None = None  # a look that has begun and not come to its end
        links.listen(lambda _name: self._wanted.set())

    async def run(self) -> None:
        """For ever; at the end this collector takes its leave."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._keep_presence(), name="presence")
                tasks.create_task(self._listen(), name="notices")
                tasks.create_task(self._pass_on_changes(), name="changes of other collectors")
                tasks.create_task(self._answer_questions(tasks), name="questions of other collectors")
        finally:
            with suppress(StoreFailed, Overloaded, TimeoutError):
                async with asyncio.timeout(_LEAVE_SECONDS):
                    await self._store.write(peer_queries.forget_collector, self._itself.id)

    def deaf_for(self) -> float:
        """For how many seconds nothing has been heard of the others, or a look at them has not been answered; else 0.0.

        A database that is frozen, or behind a network that loses everything, ends no connection: a notice that does not
        come cannot be told from none, and what waits for a read asks for no write that could stall.
        """
        since = [moment for moment in (self._deaf_since, self._unanswered_since) if moment is not None]
        return self._clock.monotonic() - min(since) if since else 0.0

    def others(self) -> tuple[Peer, ...]:
        """The other collectors that live."""
        return self._others

    async def find_authority(self) -> "RelayedLink | None":
        """The agent beside the CA, where it is connected to another collector; what a look has shown need not be looked
        for."""
        self._authority = self._authority or await self._look_for_authority()
        return RelayedLink(self, agent=self._authority[0], collector=self._authority[1]) if self._authority else None

    async def _look_for_authority(self) -> tuple[str, str] | None:
        return await self._store.read(peer_queries.find_authority, self._clock.now(), self._itself.id)

    async def ask(self, agent: str, collector: str, question: Rehearse) -> Answer:
        """The answer of that agent. Raises `LinkClosed` when it, or that collector, is gone."""
        text = encode(question).decode()
        asked = RelayedQuestion(id=question.id, collector=collector, asker=self._itself.id, agent=agent, text=text)
        self._awaited[question.id] = asyncio.Event()
        try:
            await relayed_questions.put_question(self._line, asked, micros(self._clock.now()))
            return await self._await_answer(asked)
        except LinkClosed:
            self._authority = None
            raise
        except asyncio.CancelledError:
            self._withdrawn.add(question.id)
            self._wanted.set()
            raise
        finally:
            del self._awaited[question.id]

    async def _await_answer(self, asked: RelayedQuestion) -> Answer:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_FOR_ANSWER_SECONDS):
                    await self._awaited[asked.id].wait()
            answer = await relayed_questions.find_answer(self._line, asked.id)
            if answer:
                return _read(answer, asked.agent)
            if answer == "" or await self._look_for_authority() != (asked.agent, asked.collector):
                raise LinkClosed(asked.agent)

    async def _keep_presence(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self._wanted.wait()
                    await asyncio.sleep(_GATHER_SECONDS)
            self._wanted.clear()
            if self._unanswered_since is None:
                self._unanswered_since = self._clock.monotonic()
            try:
                await self._exchange()
                self._unanswered_since = None
            except (StoreFailed, Overloaded) as error:
                log.warning("the other collectors could not be told which agents are connected here: %s", error)

    async def _exchange(self) -> None:
        """Say who is here, and see who is elsewhere; on a schema that is not this program's, neither."""
        objection = objection_to(await self._store.read(read_schema_version), REVISION)
        self.schema_complaint = f"the database {objection}" if objection is not None else None
        if objection is not None:
            return
        here = self._links.roles()
        if self._looks % _LOOKS_BETWEEN_CHECKS == 0:  # another may have deleted what a frozen one had written
            self._written = await self._store.read(peer_queries.list_own_links, self._itself.id)
        self._looks += 1
        await self._store.write(peer_queries.note_presence, self._itself)
        opened = {name: str(role) for name, role in here.items() if name not in self._written}
        closed = self._written - here.keys()
        if opened or closed:
            await self._store.write(peer_queries.note_links, self._itself.id, opened, closed)
            self._written = frozenset(here)
        withdrawn, self._withdrawn = self._withdrawn, set()
        if withdrawn:
            await self._store.write(peer_queries.withdraw_questions, withdrawn)
        await self._look()

    async def _look(self) -> None:
        now = self._clock.now()
        living = await self._store.read(peer_queries.list_peers, now)
        self._others = tuple(peer for peer in living if peer.id != self._itself.id)
        elsewhere = await self._store.read(peer_queries.list_links, now, self._itself.id)
        self._links.note_elsewhere(elsewhere)
        self._authority = await self._look_for_authority()
        self._asked.put_nowait(_ALL)

    async def _listen(self) -> None:
        while True:
            try:
                async for notice in hear_notices(self._url):
                    self._deaf_since = None
                    self._take(notice)
            except StoreFailed as error:
                log.warning("no contact with the other collectors: %s", error)
            self._deaf_since = self._clock.monotonic() if self._deaf_since is None else self._deaf_since
            await asyncio.sleep(_LISTEN_AGAIN_SECONDS)

    def _take(self, notice: str) -> None:
        kind, _, rest = notice.partition(" ")
        collector, _, question = rest.partition(" ")
        is_ours = collector == self._itself.id
        if notice == LISTENING or (kind == "links" and not is_ours):
            self._authority = None
            self._wanted.set()
        if notice == LISTENING:
            self._notices.put_nowait(Notice())
        if kind == "changed" and not is_ours:
            self._notices.put_nowait(_read_notice(question))
        if notice == LISTENING or (kind == "ask" and is_ours):
            self._asked.put_nowait(question)  # an older collector names none
        if kind == "answer" and is_ours and question in self._awaited:
            self._awaited[question].set()
        if kind == "withdraw" and is_ours and question in self._answering:
            self._answering[question].cancel()

    async def _pass_on_changes(self) -> None:
        while True:
            notice = await self._notices.get()
            try:
                await self._dispatcher.take_notice(notice)
            except StoreFailed as error:
                log.warning("changes by another collector could not be passed on: %s", error)

    async def _answer_questions(self, tasks: asyncio.TaskGroup) -> None:
        while True:
            asked = await self._asked.get()
            try:
                questions = await (
                    relayed_questions.find_question(self._line, asked)
                    if asked != _ALL
                    else relayed_questions.list_questions(self._line, self._itself.id)
                )
            except StoreFailed as error:
                log.warning("the requests of other collectors cannot be read: %s", error)
                continue
            self._begin(tasks, questions)

    def _begin(self, tasks: asyncio.TaskGroup, questions: Iterable[RelayedQuestion]) -> None:
        for question in questions:
            if question.id not in self._answering:
                task = tasks.create_task(self._answer(question), name=f"answer {question.id}")
                self._answering[question.id] = task
                task.add_done_callback(partial(self._end, question.id))

    def _end(self, question: str, _task: "asyncio.Task[None]") -> None:
        self._answering.pop(question)

    async def _answer(self, question: RelayedQuestion) -> None:
        with suppress(StoreFailed):  # the asker's patience ends
            await relayed_questions.put_answer(self._line, question, await self._answer_of(question))

    async def _answer_of(self, question: RelayedQuestion) -> str:
        """What the agent answers over the link that it opened here; empty when there is none any more."""
        link, ask = self._links.find(question.agent), decode_ask(question.text)
        if link is None or link.caller.role is not TokenRole.AUTHORITY or not isinstance(ask, Rehearse):
            return ""
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                return encode(await link.ask(ask)).decode()
        except (LinkClosed, TimeoutError):
            return ""


def _read(answer: str, agent: str) -> Answer:
    try:
        read: Answer = decode_answer(answer)
    except msgspec.DecodeError as error:  # of another version
        raise LinkClosed(agent) from error
    return read


def _read_notice(text: str) -> Notice:
    """What is of another version may be anything."""
    try:
        return _decode_notice(text)
    except msgspec.DecodeError:
        return Notice()


class RelayedLink:
    """The link of an agent that another collector has; as `AgentLink`, as far as a rehearsal needs it."""

    def __init__(self, peers: Peers, *, agent: str, collector: str) -> None:
        self.caller = Caller(agent, TokenRole.AUTHORITY)
        self._peers = peers
        self._collector = collector

    async def ask(self, question: Rehearse) -> Answer:
        """See `AgentLink`."""
        return await self._peers.ask(self.caller.name, self._collector, question)
