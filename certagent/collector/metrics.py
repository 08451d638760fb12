"""Metrics for Prometheus, gathered when they are asked for. Counts; concludes nothing."""

from collections.abc import Sequence

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest

from certagent.collector.agent_link import AgentLinks
from certagent.collector.records import Counts
from certagent.collector.sql.page_queries import count_for_metrics, list_lifetimes, list_managed
from certagent.collector.store import Store
from certagent.domain.ports import Clock
from certagent.domain.survival import CertificateLife, survive


class Metrics:
    """The gauges; what is counted elsewhere is in the same `registry`. A certificate's expiry stays after it has
    expired."""

    def __init__(self, store: Store, links: AgentLinks, clock: Clock) -> None:
        self.registry = CollectorRegistry()
        self._store = store
        self._links = links
        self._clock = clock
        self._connected = self._gauge("agents_connected", "Agents with an open connection.")
        self._seen = self._gauge("agent_last_seen_timestamp_seconds", "When the agent was last heard from.", "node")
        self._incidents = self._gauge("incidents", "Incidents that are not resolved.", "code", "state")
        self._waiting = self._gauge("messages_waiting", "Messages that are not delivered yet.", "channel")
        self._given_up = self._gauge("messages_given_up", "Messages that could not be delivered.", "channel")
        self._expiry = self._gauge(
            "certificate_expiry_timestamp_seconds", "When the certificate on disk expires.", "node", "certificate"
        )
        self._living = self._gauge("certificates", "Certificates on disk.", "state")
        self._survival = self._gauge(
            "survival_timestamp_seconds",
            "When this share of the certificates that certagent renews has expired if none is renewed; absent if none"
            " is valid.",
            "dead",
        )

    async def render(self) -> tuple[bytes, str]:
        """(body, content type)."""
        self._connected.set(len(self._links.names()))
        self._show_counts(await self._store.read(count_for_metrics))
        self._show_lifetimes(await self._store.read(list_lifetimes))
        managed, _ = await self._store.read(list_managed)
        self._show_survival([one.life for one in managed])
        return generate_latest(self.registry), CONTENT_TYPE_LATEST

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

    def _show_lifetimes(self, lifetimes: Sequence[CertificateLife]) -> None:
        self._expiry.clear()
        for lifetime in lifetimes:
            self._expiry.labels(lifetime.node, lifetime.certificate).set(lifetime.expires_at.timestamp())
        all_of_them = survive(lifetimes, self._clock.now())
        self._living.labels("living").set(all_of_them.living)
        self._living.labels("expired").set(all_of_them.expired)

    def _show_survival(self, lifetimes: Sequence[CertificateLife]) -> None:
        self._survival.clear()
        survival = survive(lifetimes, self._clock.now())
        first_at = survival.first.expires_at if survival.first is not None else None
        for dead, at in (("first", first_at), ("half", survival.half_at), ("all", survival.last_at)):
            if at is not None:
                self._survival.labels(dead).set(at.timestamp())

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"certagent_{name}", text, labels, registry=self.registry)
