"""Conclusions from files of others' that could not be read. Pure."""

from collections.abc import Iterable

from certagent.domain import catalogue
from certagent.domain.findings import Culprit, Finding, Vantage
from certagent.domain.observations import Unreadable

_MOST_PLACES = 20


def files_are_unreadable(node: str, unreadable: Iterable[Unreadable]) -> list[Finding]:
    """config.unreadable: one per file, in their order, at the first line; `detail` has the other places."""
    by_file: dict[str, list[Unreadable]] = {}
    for one in dict.fromkeys(unreadable):
        by_file.setdefault(one.file, []).append(one)
    return [_found(node, sorted(places, key=lambda place: place.line or 0)) for places in by_file.values()]


def _found(node: str, places: list[Unreadable]) -> Finding:
    first, others = places[0], places[1 : _MOST_PLACES + 1]
    return catalogue.finding(
        "config.unreadable",
        variant="long" if first.is_long else "",
        vantage=Vantage.STATIC,
        reporter=node,
        culprit=Culprit(node=node, file=first.file, line=first.line),
        detail={
            "reason": first.reason,
            "lines": [{"line": place.line, "text": place.reason} for place in others],
        },
        reason=first.reason,
        count=len(places) - 1,
    )
