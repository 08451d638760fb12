"""Whether the collector is there, said where it can be heard without one: the journal, `certagent status`, and
this node's own webhook. Once when it is gone, and once when it is back, also across restarts of the agent.
"""

import asyncio
import logging
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Protocol

import msgspec

from certagent.domain.diagnosis.collector_health import CollectorContact, Silence, conclude_contact
from certagent.domain.findings import Finding
from certagent.domain.policy import Policy
from certagent.domain.ports import Clock
from certagent.reporting import Spool
from certagent.state import State
from certagent.system.pinned_http import PinnedClient
from certagent.system.webhook import PermanentFailure, TransientFailure

log = logging.getLogger(__name__)

WAYS = ("reports", "channel")
FIRST_PAUSE = timedelta(seconds=2)
LONGEST_PAUSE = timedelta(minutes=5)
_RECORD = "collector-gone"


class CollectorOutage(msgspec.Struct, frozen=True, kw_only=True):
    """What was said of an outage: kept until its end was said, too. `told`: the webhook has it."""

    silence: Silence
    ended_at: datetime | None = None
    told: bool = False


class Telling(Protocol):
    """A way to a person that needs no collector."""

    async def tell(self, title: str, body: str, *, is_over: bool, now: datetime) -> None:
        """Return once it is taken over. Raises `TransientFailure` or `PermanentFailure`."""
        ...


class CollectorHealth:
    """Told by uplink and channel how each try went; concludes after `agent.collector_gone_after` of the policy."""

    def __init__(
        self,
        node: str,
        client: PinnedClient,
        *,
        spool: Spool,
        state: State,
        tell: Telling | None,
        policy: Policy,
        clock: Clock,
    ) -> None:
        self._node = node
        self._client = client
        self._spool = spool
        self._state = state
        self._tell = tell
        self._policy = policy
        self._clock = clock
        self._outage = state.read_record(_RECORD, CollectorOutage)
        known = self._outage.silence if self._outage is not None and self._outage.ended_at is None else None
        self._missed: dict[str, Silence] = dict.fromkeys(WAYS, known) if known is not None else {}
        self._changed = asyncio.Event()
        self._pause = FIRST_PAUSE

    # --- what uplink and channel say ------------------------------------------------------------------------------

    def reached(self, way: str) -> None:
        """The collector took something that way."""
        if self._missed.pop(way, None) is not None:
            self._changed.set()

    def missed(self, way: str, reason: str) -> None:
        """A try failed that way."""
        known = self._missed.get(way)
        self._missed[way] = Silence(since=known.since if known else self._clock.now(), reason=reason)
        if known is None:
            self._changed.set()

    # --- what it comes to -----------------------------------------------------------------------------------------

    def findings(self) -> list[Finding]:
        """About the way to the collector, as it is now; graded."""
        contact = CollectorContact(
            url=self._client.url,
            silence=self._silence(),
            waiting=len(self._spool.waiting()),
            dead=self._spool.dead_count(),
            dead_folder=str(self._spool.dead_folder),
            ahead_seconds=self._client.ahead_seconds,
        )
        return [self._policy.grade(finding) for finding in conclude_contact(self._node, contact)]

    async def run(self) -> None:
        """Say it, for ever."""
        while True:
            self._changed.clear()
            pause = await self._say()
            with suppress(TimeoutError):
                async with asyncio.timeout(pause.total_seconds() if pause is not None else None):
                    await self._changed.wait()

    async def _say(self) -> timedelta | None:
        """What there is to say; how long until the next look without any news, None if there is none to be had."""
        self._note_change()
        if self._tell is not None and (failure := await self._tell_outage(self._tell)) is not None:
            log.warning("this node's webhook does not take what it is to know of the collector: %s", failure)
            self._pause, pause = min(2 * self._pause, LONGEST_PAUSE), self._pause
            return pause
        self._pause = FIRST_PAUSE
        if self._outage is not None and self._outage.ended_at is not None:
            self._keep(None)
        if self._outage is not None or not self._missed:
            return None
        oldest = min(silence.since for silence in self._missed.values())
        return max(oldest + self._policy.agent.collector_gone_after - self._clock.now(), timedelta(milliseconds=10))

    def _note_change(self) -> None:
        """The journal, and what is to be told by the webhook."""
        silence, outage = self._silence(), self._outage
        is_on = outage is not None and outage.ended_at is None
        if silence is not None and not is_on:
            for finding in self.findings():
                log.warning("%s: %s", finding.code, finding.explanation)
            self._keep(CollectorOutage(silence=silence, told=outage is not None and outage.told))
        elif is_on and outage is not None and not self._missed:
            log.warning("the collector is back: %s", _ended(outage.silence))
            self._keep(msgspec.structs.replace(outage, ended_at=self._clock.now()))

    async def _tell_outage(self, way: Telling) -> str | None:
        """What it is not told yet; the failure, if it is worth another try."""
        outage = self._outage
        if outage is None or outage.told == (outage.ended_at is None):
            return None
        title, body = self._worded(outage)
        try:
            await way.tell(title, body, is_over=outage.ended_at is not None, now=self._clock.now())
        except TransientFailure as failure:
            return str(failure)
        except PermanentFailure as failure:
            log.error("this node's webhook refuses what it is told: %s", failure)
        self._keep(msgspec.structs.replace(outage, told=not outage.told))
        return None

    def _worded(self, outage: CollectorOutage) -> tuple[str, str]:
        if outage.ended_at is not None:
            return f"Resolved: {self._node} reaches the collector again", _ended(outage.silence)
        body = "\n".join(f"{one.explanation}\nFix: {one.fix}" for one in self.findings())
        return f"{self._node} does not reach the collector", body

    def _silence(self) -> Silence | None:
        """Null until it has lasted as long as the policy wants."""
        before = self._clock.now() - self._policy.agent.collector_gone_after
        return min((one for one in self._missed.values() if one.since <= before), key=_since, default=None)

    def _keep(self, outage: CollectorOutage | None) -> None:
        self._outage = outage
        if outage is not None:
            self._state.note_record(_RECORD, outage)
        else:
            self._state.forget_record(_RECORD)


def _since(silence: Silence) -> datetime:
    return silence.since


def _ended(silence: Silence) -> str:
    return f"It had taken nothing since {silence.since:%Y-%m-%d %H:%M:%S} UTC ({silence.reason})."
