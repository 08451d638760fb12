"""The survival clock as a picture: how many certificates stay valid, and until when, without the CA. Draws only.

Where they last for days or months the axis is logarithmic: the next hours are as wide as the last months.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import groupby
from math import log1p

from markupsafe import Markup

from certagent.collector.incident_text import span

_WIDTH, _HEIGHT = 640, 148
_LEFT, _RIGHT, _TOP, _FOOT = 44, 14, 10, 118
_STEPS = tuple(
    timedelta(seconds=seconds)
    for seconds in (60, 300, 900, 3600, 3 * 3600, 6 * 3600, 12 * 3600, 86400, 7 * 86400, 30 * 86400, 90 * 86400)
)
_MARKS = tuple(timedelta(hours=hours) for hours in (1, 6, 24, 7 * 24, 30 * 24, 90 * 24, 365 * 24))
_MOST_TICKS = 6
_LINEAR, _UNIT = timedelta(days=2), timedelta(minutes=15)
_ROOM = 44  # between two marks


def draw_survival(ends: Sequence[datetime], dues: Sequence[datetime], now: datetime) -> Markup:
    """Steps down from all to none; `ends`: when they expire, soonest first. `dues`: when renewals are due, each marked
    below the axis; what is due already at its beginning."""
    longest = 1.04 * max(ends[-1] - now, timedelta(minutes=1)) if ends else timedelta(hours=1)
    return Markup(
        '<svg class="curve" viewBox="0 0 {width} {height}" role="img" aria-label="{text}">'
        '<path class="grid" d="M{left} {top} H{end} M{left} {middle} H{end} M{left} {foot} H{end}"/>{scale}'
        '<path class="area" d="{line} L{left} {foot} Z"/><path class="line" d="{line}"/>{due}{ticks}</svg>'
    ).format(
        width=_WIDTH,
        height=_HEIGHT,
        left=_LEFT,
        top=_TOP,
        middle=(_TOP + _FOOT) // 2,
        foot=_FOOT,
        end=_WIDTH - _RIGHT,
        text=f"Of {len(ends)} certificates, how many stay valid if no renewal succeeds, from now to {span(longest)}"
        f"{_due_words(dues, now)}",
        due=_due_marks(dues, now, longest),
        scale=_scale(len(ends)),
        line=f"{_line(ends, now, longest)} H{_WIDTH - _RIGHT}",
        ticks=_ticks(longest),
    )


def _line(ends: Sequence[datetime], now: datetime, longest: timedelta) -> str:
    dead, steps = 0, [f"M{_LEFT} {_TOP}"]
    for x, group in groupby(ends, key=lambda end: _across(max(end - now, timedelta(0)), longest)):
        dead += sum(1 for _ in group)
        steps.append(f"H{x:.0f} V{_TOP + (_FOOT - _TOP) * dead / len(ends):.1f}")
    return " ".join(steps)


def _due_marks(dues: Sequence[datetime], now: datetime, longest: timedelta) -> Markup:
    places = sorted({_across(max(due - now, timedelta(0)), longest) for due in dues})
    marks = " ".join(f"M{place:.0f} {_FOOT + 1} v7" for place in places)
    return Markup('<path class="due" d="{}"/>').format(marks) if marks else Markup("")


def _due_words(dues: Sequence[datetime], now: datetime) -> str:
    if not dues:
        return ""
    first = min(dues) - now
    return f"; the next renewal is due {f'in {span(first)}' if first > timedelta(0) else 'now'}"


def _scale(most: int) -> Markup:
    marks = ((_TOP, str(most)), (_FOOT, "0"))
    return Markup("").join(
        Markup('<text class="number" x="{}" y="{}">{}</text>').format(_LEFT - 10, y + 4, text) for y, text in marks
    )


def _ticks(longest: timedelta) -> Markup:
    marks = [(_across(after, longest), span(after)) for after in _marked(longest)]
    named = [(_LEFT, "now"), *((x, text.removesuffix(" 0 min").removesuffix(" 0 h")) for x, text in marks)]
    return Markup("").join(
        Markup('<text class="tick" x="{:.0f}" y="{}">{}</text>').format(min(x, _WIDTH - 24), _FOOT + 22, text)
        for x, text in named
    )


def _marked(longest: timedelta) -> list[timedelta]:
    """Where the axis has its words."""
    if longest <= _LINEAR:
        step = next((step for step in _STEPS if longest / step <= _MOST_TICKS), longest)
        return [step * number for number in range(1, int(longest / step) + 1)]
    marks, last = [], float(_LEFT)
    for mark in _MARKS:
        place = _across(mark, longest)
        if mark <= longest and place - last >= _ROOM:
            marks.append(mark)
            last = place
    return marks


def _across(after: timedelta, longest: timedelta) -> float:
    share = after / longest
    if longest > _LINEAR:
        share = log1p(after / _UNIT) / log1p(longest / _UNIT)
    return round(_LEFT + (_WIDTH - _LEFT - _RIGHT) * min(1.0, share))
