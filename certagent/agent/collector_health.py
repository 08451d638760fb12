"""Whether the collector is reachable, reported where no collector is needed: in the journal, in `certagent status`, and
by this node's own webhook. Once when it is gone, and once when it is back, also across restarts of the agent.
"""

import asyncio
import logging
from contextlib import suppress
from datetime import datetime, timedelta

import aiohttp
import msgspec

from certagent.agent.context import AgentContext
from certagent.config import WebhookSection, read_private
from certagent.domain.backoff import Backoff
from certagent.domain.catalogue import explain_command
from certagent.domain.diagnosis.collector_health import CollectorContact, Silence, conclude_contact
from certagent.domain.findings import Finding
from certagent.reporting import Spool
from certagent.system.pinned_http import PinnedClient
from certagent.system.webhook import PermanentFailure, TransientFailure, plain_text, post, signature

log = logging.getLogger(__name__)

WAYS = ("reports", "channel")
FIRST_PAUSE = timedelta(seconds=2)
LONGEST_PAUSE = timedelta(minutes=5)
_RECORD = "collector-gone"
_SHORTEST_PAUSE = timedelta(milliseconds=10)
_URGENT, _USUAL = 4, 3  # ntfy's priorities


class CollectorOutage(msgspec.Struct, frozen=True, kw_only=True):
    """An outage that was reported: kept until its end is reported, too. `told`: the webhook has it. A record of the
    state folder."""

    silence: Silence
    ended_at: datetime | None = None
    told: bool = False

    @property
    def is_over(self) -> bool:
        """Whether the collector was reached again."""
        return self.ended_at is not None

    @property
    def is_told(self) -> bool:
        """Whether the webhook has its latest news: its beginning, or its end."""
        return self.told != self.is_over


class LocalWebhook:
    """A message to a person that needs no collector: plain text that ntfy shows; signed, if there is a secret, as the
    collector's are."""

    def __init__(self, section: WebhookSection, session: aiohttp.ClientSession) -> None:
        self._section = section
        self._session = session
        file = section.secret_file
        self._secret = read_private(file, file, "collector.webhook.secret_file").encode() if file else None

    async def send(self, title: str, body: str, *, is_over: bool, now: datetime) -> None:
        """Return once it is accepted. Raises `TransientFailure` or `PermanentFailure`."""
        content = body.encode()
        tag = "white_check_mark" if is_over else "rotating_light"
        headers = plain_text(title, _USUAL if is_over else _URGENT, (tag, "agent.collector_gone"))
        headers |= {"X-Certagent-State": "resolved" if is_over else "open"} | signature(self._secret, now, content)
        await post(self._session, self._section.url, content, headers | self._section.headers)


class CollectorHealth:
    """Uplink and link say how each attempt went; it concludes after `agent.collector_gone_after` of the policy."""

    def __init__(
        self, context: AgentContext, client: PinnedClient, spool: Spool, webhook: LocalWebhook | None = None
    ) -> None:
        self._context = context
        self._clock = context.clock
        self._client = client
        self._spool = spool
        self._webhook = webhook
        self._outage = context.state.read_record(_RECORD, CollectorOutage)
        known = self._outage.silence if self._outage is not None and not self._outage.is_over else None
        self._missed: dict[str, Silence] = dict.fromkeys(WAYS, known) if known is not None else {}
        self._changed = asyncio.Event()
        self._backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE)

    # --- what uplink and link say (a `CollectorContactLog`) -------------------------------------------------------

    def reached(self, way: str) -> None:
        """The collector accepted something that way."""
        if self._missed.pop(way, None) is not None:
            self._changed.set()

    def missed(self, way: str, reason: str) -> None:
        """An attempt failed that way."""
        known = self._missed.get(way)
        self._missed[way] = Silence(since=known.since if known else self._clock.now(), reason=reason)
        if known is None:
            self._changed.set()

    # --- what follows from it -------------------------------------------------------------------------------------

    def findings(self) -> list[Finding]:
        """About the connection to the collector, as it is now; graded. Blocks."""
        contact = CollectorContact(
            url=self._client.url,
            silence=self._silence(),
            waiting=len(self._spool.waiting()),
            dead=self._spool.dead_count(),
            dead_folder=str(self._spool.dead_folder),
            ahead_seconds=self._client.ahead_seconds,
        )
        return [self._context.policy.grade(finding) for finding in conclude_contact(self._context.node, contact)]

    async def run(self) -> None:
        """Report outages and their ends; never returns."""
        while True:
            self._changed.clear()
            pause = await self._report()
            with suppress(TimeoutError):
                async with asyncio.timeout(pause.total_seconds() if pause is not None else None):
                    await self._changed.wait()

    async def _report(self) -> timedelta | None:
        """Report what is new; how long until the next look without any news, None if none is needed."""
        self._note_change()
        if (failure := await self._send_to_webhook()) is not None:
            log.warning("this node's webhook did not accept the message about the collector: %s", failure)
            return self._backoff.next_pause()
        self._backoff.reset()
        if self._outage is not None and self._outage.is_over:
            self._save(None)
        if self._outage is not None or not self._missed:
            return None
        oldest = min(silence.since for silence in self._missed.values())
        return max(oldest + self._context.policy.agent.collector_gone_after - self._clock.now(), _SHORTEST_PAUSE)

    def _note_change(self) -> None:
        """In the journal and in the state."""
        silence, outage = self._silence(), self._outage
        is_on = outage is not None and not outage.is_over
        if silence is not None and not is_on:
            for finding in self.findings():
                log.warning("%s: %s", finding.code, finding.explanation)
            self._save(CollectorOutage(silence=silence, told=outage is not None and outage.told))
        elif outage is not None and is_on and not self._missed:
            log.warning("the collector is reachable again: %s", _end_of(outage.silence))
            self._save(msgspec.structs.replace(outage, ended_at=self._clock.now()))

    async def _send_to_webhook(self) -> str | None:
        """What it does not have yet; the failure, if another attempt is worth while."""
        outage = self._outage
        if self._webhook is None or outage is None or outage.is_told:
            return None
        title, body = self._message(outage)
        try:
            await self._webhook.send(title, body, is_over=outage.is_over, now=self._clock.now())
        except TransientFailure as failure:
            return str(failure)
        except PermanentFailure as failure:
            log.error("this node's webhook rejects the message about the collector: %s", failure)
        self._save(msgspec.structs.replace(outage, told=not outage.told))
        return None

    def _message(self, outage: CollectorOutage) -> tuple[str, str]:
        """(title, body)"""
        node = self._context.node
        if outage.is_over:
            return f"Resolved: {node} reaches the collector again", _end_of(outage.silence)
        body = "\n".join(
            f"{finding.explanation}\nFix: {finding.fix}\nCode: {finding.code} ({explain_command(finding.code)})"
            for finding in self.findings()
        )
        return f"{node} cannot reach the collector", body

    def _silence(self) -> Silence | None:
        """The longest; None until it has lasted as long as the policy wants."""
        before = self._clock.now() - self._context.policy.agent.collector_gone_after
        old = (silence for silence in self._missed.values() if silence.since <= before)
        return min(old, key=lambda silence: silence.since, default=None)

    def _save(self, outage: CollectorOutage | None) -> None:
        self._outage = outage
        if outage is not None:
            self._context.state.note_record(_RECORD, outage)
        else:
            self._context.state.forget_record(_RECORD)


def _end_of(silence: Silence) -> str:
    return f"It had accepted nothing since {silence.since:%Y-%m-%d %H:%M:%S} UTC ({silence.reason})."
