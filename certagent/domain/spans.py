"""Spans of time as people write them: how long, and from when until when every day. Pure."""

import re
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Any

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class Duration(timedelta):
    """A time span that a policy file writes as `"90s"`, `"20m"`, `"6h"`."""


@dataclass(frozen=True)
class DailySpan:
    """From one time of day until another, over midnight if the second is not later. Written `"22:00-07:00"`."""

    start: time
    end: time

    def end_after(self, moment: datetime) -> datetime | None:
        """When the span ends that `moment` (local) lies in; None if it lies in none."""
        clock = moment.time().replace(tzinfo=None)
        over_midnight = self.end <= self.start
        inside = clock >= self.start or clock < self.end if over_midnight else self.start <= clock < self.end
        if not inside:
            return None
        ends = moment.replace(hour=self.end.hour, minute=self.end.minute, second=0, microsecond=0)
        return ends + timedelta(days=1) if ends <= moment else ends


def read_span(kind: type, value: Any) -> Any:
    """A `Duration` or `DailySpan` out of a policy file. Raises ValueError."""
    if kind is DailySpan:
        return read_daily_span(value)
    if kind is not Duration:
        raise NotImplementedError(kind)
    matched = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", value) if isinstance(value, str) else None
    if matched is None:
        raise ValueError(f'{value!r} is not a duration such as "90s", "20m", "6h"')
    return Duration(seconds=float(matched[1]) * _UNITS[matched[2]])


def read_daily_span(text: object) -> DailySpan:
    """Raises ValueError."""
    matched = re.fullmatch(r"(\d\d):(\d\d)-(\d\d):(\d\d)", text) if isinstance(text, str) else None
    if matched is None:
        raise ValueError(f'{text!r} is not a time of day such as "22:00-07:00"')
    hours = [int(part) for part in matched.groups()]
    return DailySpan(time(hours[0], hours[1]), time(hours[2], hours[3]))
