"""The year's renewals, zone by zone: how many, what made others fail, and the nearest call. Reads the store."""

from collections import Counter
from datetime import timedelta

import msgspec
from aiohttp import web

from certagent.collector.access import READERS, HttpProblem, Route
from certagent.collector.dashboard.page_frame import PageFrame
from certagent.collector.sql.daily_sums import ZoneYear, list_years, list_zone_years
from certagent.collector.store import Store
from certagent.domain.ports import Clock

_MOST_ZONES = 100
_LONGEST_ZONE = 256
_DAYS = timedelta(days=365)


class HistoryFilter(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which zones, by any part of the name, and of which year; 0: the latest 365 days."""

    zone: str = ""
    year: int = 0


class HistoryPages:
    """The handler of /history."""

    def __init__(self, store: Store, frame: PageFrame, clock: Clock) -> None:
        self._store = store
        self._frame = frame
        self._clock = clock

    def routes(self) -> tuple[Route, ...]:
        """For users."""
        return (Route("GET", "/history", self._frame.with_error_page(self.show_year), READERS),)

    async def show_year(self, request: web.Request) -> web.Response:
        """The zones, the nearest call first, and the sums of all that are chosen."""
        wanted = _filter_of(request)
        today = self._clock.now()
        first = f"{wanted.year:04}-01-01" if wanted.year else f"{today - _DAYS:%Y-%m-%d}"
        last = f"{wanted.year:04}-12-31" if wanted.year else f"{today:%Y-%m-%d}"
        years = await self._store.read(list_years)
        found = await self._store.read(list_zone_years, first, last)
        zones = [one for one in found if wanted.zone.lower() in one.zone]
        return await self._frame.render(
            request,
            "history.html",
            wanted=wanted,
            years=years,
            zones=zones[:_MOST_ZONES],
            count=len(zones),
            period=f"in {wanted.year}" if wanted.year else f"since {first}",
            sums=_sum_of(zones),
        )


def _sum_of(zones: list[ZoneYear]) -> dict[str, int]:
    sums: Counter[str] = Counter(renewed=0, kept=0, failed=0)
    for one in zones:
        sums.update(renewed=one.renewed, kept=one.kept, failed=one.failed)
    return dict(sums)


def _filter_of(request: web.Request) -> HistoryFilter:
    zone, year = request.query.get("zone", "").strip(), request.query.get("year", "").strip() or "0"
    if len(zone) > _LONGEST_ZONE or not (year.isascii() and year.isdigit() and len(year) <= 4):
        raise HttpProblem(400, "Bad Request", "there is no such history: the year has four digits")
    return HistoryFilter(zone=zone, year=int(year))
