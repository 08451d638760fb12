"""The pages of the codes: each with its cause and its fix, as `certagent explain` says it. Reads the catalogue."""

from collections.abc import Mapping

from aiohttp import web

from certagent.collector.access import READERS, HttpProblem, Route
from certagent.collector.dashboard.page_frame import PageFrame
from certagent.domain.catalogue.entries import CATALOGUE
from certagent.domain.catalogue.entry import Entry, Layer, Severities
from certagent.domain.catalogue.examples import example_finding
from certagent.domain.findings import Severity


class CodePages:
    """The handlers of /findings: all codes, and one of them."""

    def __init__(self, frame: PageFrame) -> None:
        self._frame = frame

    def routes(self) -> tuple[Route, ...]:
        """For users."""
        pages = {"/findings": self.list_codes, "/findings/{code}": self.show_code}
        return tuple(
            Route("GET", path, self._frame.with_error_page(handler), READERS) for path, handler in pages.items()
        )

    async def list_codes(self, request: web.Request) -> web.Response:
        """Every code with what it means, by layer."""
        layers: dict[Layer, list[Entry]] = {}
        for entry in CATALOGUE.values():
            layers.setdefault(entry.layer, []).append(entry)
        return await self._frame.render(request, "codes.html", layers=layers.items(), count=len(CATALOGUE))

    async def show_code(self, request: web.Request) -> web.Response:
        """What `certagent explain` says of the code, and a finding of it as an example."""
        entry = CATALOGUE.get(code := request.match_info["code"])
        if entry is None:
            raise HttpProblem(404, "Not Found", f"no finding of this release has the code {code!r}")
        return await self._frame.render(
            request, "code.html", entry=entry, grades=_grades_of(entry.severity), example=example_finding(entry)
        )


def _grades_of(severity: Severities) -> Mapping[str, Severity]:
    """By vantage; one grade for all has no name."""
    if isinstance(severity, Severity):
        return {"": severity}
    return {str(vantage): grade for vantage, grade in severity.items()}
