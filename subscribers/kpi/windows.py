"""Windows of the local calendar: hours, days of 23 to 25 hours, weeks from Monday, months."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from subscribers.common.instants import Instant, to_datetime, to_instant
from subscribers.kpi.model import WindowKind

_HOUR: Final = timedelta(hours=1)
_DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Window:
    """From `start` up to, not including, `end`.

    Attributes:
        first: the local day it begins on.
        last: the local day it ends on.
    """

    start: Instant
    end: Instant
    first: date
    last: date


def window_at(kind: WindowKind, zone: ZoneInfo, instant: Instant) -> Window:
    """Return the window an instant lies in; the windows of a kind follow one another."""
    local = to_datetime(instant).astimezone(zone)
    if kind == "hour":
        # The hour that comes twice in autumn is two windows, as its offset differs.
        start = local.replace(minute=0, second=0, microsecond=0)
        return Window(
            to_instant(start), to_instant(start.astimezone(UTC) + _HOUR), start.date(), start.date()
        )
    first, following = _BOUNDS[kind](local.date())
    return Window(_midnight(first, zone), _midnight(following, zone), first, following - _DAY)


def _day(day: date) -> tuple[date, date]:
    return day, day + _DAY


def _week(day: date) -> tuple[date, date]:
    monday = day - day.weekday() * _DAY
    return monday, monday + 7 * _DAY


def _month(day: date) -> tuple[date, date]:
    first = day.replace(day=1)
    return first, (first + 31 * _DAY).replace(day=1)


_BOUNDS: Final[dict[WindowKind, Callable[[date], tuple[date, date]]]] = {
    "day": _day,
    "week": _week,
    "month": _month,
}


def _midnight(day: date, zone: ZoneInfo) -> Instant:
    return to_instant(datetime(day.year, day.month, day.day, tzinfo=zone))
