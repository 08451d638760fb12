"""Metrics for Prometheus, gathered when they are asked for. Counts; concludes nothing."""

from collections.abc import Sequence

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, generate_latest

from certagent.collector.agent_link import AgentLinks
from certagent.collector.store import Counts, Store
from certagent.domain.ports import Clock
from certagent.domain.reports import Report
from certagent.domain.survival import CertificateLife, survive

VERDICTS = {"preflight.agreed": "agreed", "preflight.disagreed": "disagreed"}


class Metrics:
    """The collector's own registry. A certificate's expiry stays after it has expired."""

    def __init__(self, store: Store, channels: AgentLinks, clock: Clock) -> None:
        self._store = store
        self._channels = channels
        self._clock = clock
        self._registry = CollectorRegistry()
        self._reports = self._counter("reports", "Reports received.", "result")
        self._verdicts = self._counter("preflight_verdicts", "Orders by whether the verdict before agreed.", "fate")
        for fate in VERDICTS.values():
            self._verdicts.labels(fate)
        self._connected = self._gauge("agents_connected", "Agents with an open channel.")
        self._seen = self._gauge("agent_last_seen_timestamp_seconds", "When the agent was heard last.", "node")
        self._incidents = self._gauge("incidents", "Incidents that are not resolved.", "code", "state")
        self._waiting = self._gauge("messages_waiting", "Messages that have still to leave.", "channel")
        self._given_up = self._gauge("messages_given_up", "Messages that no receiver took.", "channel")
        self._expiry = self._gauge(
            "certificate_expiry_timestamp_seconds", "When the certificate on disk expires.", "node", "certificate"
        )
        self._living = self._gauge("certificates", "Certificates on disk.", "state")
        self._survival = self._gauge(
            "survival_timestamp_seconds", "When so many are dead if nothing is renewed; absent if none lives.", "dead"
        )

    def count_reports(self, accepted: int, duplicates: int, refused: int) -> None:
        """One post's worth."""
        for result, count in (("accepted", accepted), ("duplicate", duplicates), ("refused", refused)):
            if count:
                self._reports.labels(result).inc(count)

    def count_verdicts(self, reports: Sequence[Report]) -> None:
        """Orders that show whether the verdict before them was right."""
        for report in reports:
            for finding in report.findings:
                if finding.code in VERDICTS:
                    self._verdicts.labels(VERDICTS[finding.code]).inc()

    async def render(self) -> tuple[bytes, str]:
        """(body, content type)."""
        self._connected.set(len(self._channels.names()))
        self._show_counts(await self._store.counts())
        self._show_lives(await self._store.lives())
        return generate_latest(self._registry), CONTENT_TYPE_LATEST

    def _show_counts(self, counts: Counts) -> None:
        for gauge in (self._incidents, self._waiting, self._given_up, self._seen):
            gauge.clear()
        for (code, state), count in counts.incidents.items():
            self._incidents.labels(code, state).set(count)
        for channel in counts.waiting.keys() | counts.given_up.keys():
            self._waiting.labels(channel).set(counts.waiting.get(channel, 0))
            self._given_up.labels(channel).set(counts.given_up.get(channel, 0))
        for node, at in counts.last_seen.items():
            self._seen.labels(node).set(at.timestamp())

    def _show_lives(self, lives: Sequence[CertificateLife]) -> None:
        self._expiry.clear()
        self._survival.clear()
        for life in lives:
            self._expiry.labels(life.node, life.certificate).set(life.expires_at.timestamp())
        clock = survive(lives, self._clock.now())
        self._living.labels("living").set(clock.living)
        self._living.labels("expired").set(clock.expired)
        first_at = clock.first.expires_at if clock.first is not None else None
        for dead, at in (("first", first_at), ("half", clock.half_at), ("all", clock.last_at)):
            if at is not None:
                self._survival.labels(dead).set(at.timestamp())

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"certagent_{name}", text, labels, registry=self._registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"certagent_{name}", text, labels, registry=self._registry)
