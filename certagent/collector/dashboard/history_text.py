"""The history of a node or a certificate as lines in one order, and its renewals as a picture. Wording and drawing."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

import msgspec
from markupsafe import Markup

from certagent.collector.dashboard.timeline_text import TimelineEntry, timeline_entry
from certagent.collector.incident_text import place_of, sentence_of
from certagent.collector.sql.history_queries import NodeHistory, PastChange, PastTransition
from certagent.domain.incidents import TransitionKind
from certagent.domain.reports import FileChange, Outcome, Report, RunKind

_INCIDENTS = {
    TransitionKind.OPENED: ("bad", "Incident opened"),
    TransitionKind.REOPENED: ("bad", "Incident opened again"),
    TransitionKind.ACKNOWLEDGED: ("none", "Incident acknowledged"),
    TransitionKind.RESOLVED: ("good", "Incident resolved"),
}
_GOOD, _KEPT = (Outcome.DONE, Outcome.FOUND), (Outcome.KEPT,)
_WIDTH, _HEIGHT, _EDGE = 1000, 44, 8


class HistoryLine(msgspec.Struct, frozen=True, kw_only=True):
    """One line. `link`: of the page that says more; `change`: the lines of a file that came and went."""

    at: datetime
    sign: str
    what: str
    why: str = ""
    remark: str | None = None
    link: str | None = None
    change: FileChange | None = None


def history_lines(history: NodeHistory, runs: Sequence[Report] = ()) -> list[HistoryLine]:
    """Renewals, other runs, changes and incidents, the latest first: what preceded what."""
    told = {report.id: report for report in (*history.renewals, *runs)}
    lines = [
        *(_line_of_run(timeline_entry(report), report) for report in told.values()),
        *(_line_of_change(change) for change in history.changes),
        *(_line_of_transition(transition) for transition in history.transitions if transition.kind in _INCIDENTS),
    ]
    return sorted(lines, key=lambda line: line.at, reverse=True)


def _line_of_run(entry: TimelineEntry, report: Report) -> HistoryLine:
    often = f", {entry.count} times" if entry.count > 1 else ""
    name = f" ({report.certificate})" if report.certificate is not None else ""
    return HistoryLine(at=entry.at, sign=entry.sign, what=entry.what + name, why=entry.why + often, remark=entry.remark)


def _line_of_change(past: PastChange) -> HistoryLine:
    what = f"{past.change.file} changed" if past.change.exists else f"{past.change.file} is gone"
    return HistoryLine(at=past.at, sign="none", what=what, why=f"on {past.node}", change=past.change)


def _line_of_transition(past: PastTransition) -> HistoryLine:
    sign, what = _INCIDENTS[past.kind]
    return HistoryLine(
        at=past.at,
        sign=sign,
        what=f"{what}{f' by {past.by}' if past.by else ''}: {place_of(past.incident)}",
        remark=sentence_of(past.incident),
        link=f"/incidents/{past.incident.id}",
    )


def draw_renewals(runs: Sequence[Report], now: datetime) -> Markup:
    """A mark for each renewal on a line that ends now: full height where it was done, red and crossed where not."""
    renewals = [report for report in runs if report.kind is RunKind.RENEWAL]
    if not renewals:
        return Markup("")
    first = min(report.finished_at for report in renewals)
    whole = max(now - first, timedelta(minutes=1))
    marks = Markup("").join(_marks(renewals, first, whole))
    failed = sum(report.outcome not in _GOOD + _KEPT for report in renewals)
    return Markup(
        '<svg class="strip" viewBox="0 0 {width} {height}" role="img" aria-label="{text}">'
        '<path class="grid" d="M0 {foot} H{width}"/>{marks}</svg>'
    ).format(
        width=_WIDTH,
        height=_HEIGHT,
        foot=_HEIGHT - 2,
        text=f"{len(renewals)} renewals since {first:%Y-%m-%d %H:%M} UTC, {failed} of them failed or withheld",
        marks=marks,
    )


def _marks(renewals: Sequence[Report], first: datetime, whole: timedelta) -> Iterator[Markup]:
    for report in renewals:
        x = round(_EDGE + (_WIDTH - 2 * _EDGE) * min(1.0, (report.finished_at - first) / whole))
        entry = timeline_entry(report)
        seconds = entry.took.total_seconds()
        title = f"{entry.at:%Y-%m-%d %H:%M:%S} UTC: {entry.what} in {seconds:.1f} s"
        kind = "good" if report.outcome in _GOOD else "kept" if report.outcome in _KEPT else "bad"
        shape = f"M{x} 4 V{_HEIGHT - 4}" if kind != "bad" else f"M{x - 5} 16 l10 10 M{x + 5} 16 l-10 10"
        yield Markup('<g class="{}"><title>{}</title><path d="{}"/></g>').format(kind, title, shape)
