"""Metrics for Prometheus, gathered when they are asked for. Counts; concludes nothing."""

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, generate_latest

from certagent.collector.channel import Channels
from certagent.collector.store import Page, Store
from certagent.domain.incidents import IncidentState

_PAGE = 1_000


class Metrics:
    """The collector's own registry. A certificate's expiry stays after it has expired."""

    def __init__(self, store: Store, channels: Channels) -> None:
        self._store = store
        self._channels = channels
        self._registry = CollectorRegistry()
        self._reports = Counter("certagent_reports", "Reports received.", ["result"], registry=self._registry)
        self._connected = Gauge("certagent_agents_connected", "Agents with an open channel.", registry=self._registry)
        self._incidents = Gauge("certagent_incidents", "Incidents by state.", ["state"], registry=self._registry)
        self._expiry = Gauge(
            "certagent_certificate_expiry_timestamp_seconds",
            "When the certificate on disk expires.",
            ["node", "certificate"],
            registry=self._registry,
        )

    def count_reports(self, accepted: int, duplicates: int, refused: int) -> None:
        """One post's worth."""
        for result, count in (("accepted", accepted), ("duplicate", duplicates), ("refused", refused)):
            if count:
                self._reports.labels(result).inc(count)

    async def render(self) -> tuple[bytes, str]:
        """(body, content type)."""
        self._connected.set(len(self._channels.names()))
        for state in (IncidentState.OPEN, IncidentState.ACKNOWLEDGED):
            self._incidents.labels(state).set(await self._count_incidents(state))
        self._expiry.clear()
        cursor, more = None, True
        while more:
            page = await self._store.certificates(cursor, _PAGE)
            self._show_expiry(page)
            cursor, more = page.next, page.next is not None
        return generate_latest(self._registry), CONTENT_TYPE_LATEST

    async def _count_incidents(self, state: IncidentState) -> int:
        cursor, count, more = None, 0, True
        while more:
            page = await self._store.incidents(cursor, _PAGE, states=(state,))
            count, cursor, more = count + len(page.items), page.next, page.next is not None
        return count

    def _show_expiry(self, page: Page) -> None:
        for known in page.items:
            if known.certificate.on_disk is not None:
                gauge = self._expiry.labels(known.node, known.certificate.name)
                gauge.set(known.certificate.on_disk.not_after.timestamp())
