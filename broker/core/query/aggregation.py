"""Aggregated temporal values: methods, periods and what each method makes of values (4.5.19).

    duration = "P" (n "W" / [n "Y"] [n "M"] [n "D"] ["T" [n "H"] [n "M"] [n "S"]])

Periods are counted from the first instance; empty ones are left out. Months and years are those of
the calendar: one month after 31 January is the last of February. No duration, or one of zero, is
one period for everything. The standard deviation is that of the whole population.
"""

from __future__ import annotations

import calendar
import json
import math
import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from broker.core import moments
from broker.core.errors import BadRequestData, InvalidRequest, TooManyResults
from broker.core.query.nodes import Kind
from broker.core.query.values import ranked, temporal, unwrap

MAX_PERIODS: Final = 100_000
"""Periods of one series."""

MAX_YEARS: Final = 10_000
_SECOND: Final = 1_000_000
_DAY: Final = 86_400 * _SECOND
_MONTHS_A_YEAR: Final = 12
_LAST: Final = moments.instant("9999-12-31T23:59:59Z")
_DURATION = re.compile(
    r"P(?=.)(?:(\d{1,9})W|(?:(\d{1,9})Y)?(?:(\d{1,9})M)?(?:(\d{1,9})D)?"
    r"(?:T(?=.)(?:(\d{1,9})H)?(?:(\d{1,9})M)?(?:(\d{1,9})S)?)?)",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Duration:
    """A duration: months of the calendar, then microseconds."""

    months: int = 0
    micros: int = 0

    def after(self, origin: int, count: int) -> int:
        """Return the instant that is `count` durations after an instant."""
        if not self.months:
            return min(origin + count * self.micros, _LAST)
        moment = moments.moment_of(origin)
        months = moment.year * _MONTHS_A_YEAR + moment.month - 1 + count * self.months
        year, month = divmod(months, _MONTHS_A_YEAR)
        if year >= MAX_YEARS:
            return _LAST
        day = min(moment.day, calendar.monthrange(year, month + 1)[1])
        shifted = moments.instant_of(moment.replace(year=year, month=month + 1, day=day))
        return min(shifted + count * self.micros, _LAST)


@dataclass(frozen=True, slots=True)
class Aggregation:
    """What is asked for: methods, and the length of a period (None: one for everything)."""

    methods: tuple[str, ...]
    period: Duration | None = None


@dataclass(frozen=True, slots=True)
class Bucket:
    """What the methods made of one period."""

    start: int
    end: int
    values: Mapping[str, Any]


def parse(methods: str | None, duration: str | None) -> Aggregation:
    """Read `aggrMethods` and `aggrPeriodDuration`.

    Raises:
        BadRequestData: there is no method, an unknown one, or a wrong duration.
    """
    names = tuple(dict.fromkeys(name.strip() for name in (methods or "").split(",")))
    for name in names:
        if name not in METHODS:
            raise BadRequestData(
                f"aggrMethods: expected some of {', '.join(METHODS)}, got {name!r:.80}"
            )
    return Aggregation(names, None if duration is None else parse_duration(duration))


def parse_duration(text: str, where: str = "aggrPeriodDuration") -> Duration | None:
    """Read a duration; None is one of zero.

    Raises:
        BadRequestData: it is none, or longer than time is counted here.
    """
    found = _DURATION.fullmatch(text)
    if found is None:
        raise BadRequestData(f"{where}: expected a duration such as P1DT12H, got {text!r:.80}")
    weeks, years, months, days, hours, minutes, seconds = (
        int(part or 0) for part in found.groups()
    )
    micros = (weeks * 7 + days) * _DAY + ((hours * 60 + minutes) * 60 + seconds) * _SECOND
    duration = Duration(years * _MONTHS_A_YEAR + months, micros)
    if duration.months > MAX_YEARS * _MONTHS_A_YEAR or micros > MAX_YEARS * 366 * _DAY:
        raise BadRequestData(f"{where}: {text} is longer than {MAX_YEARS} years")
    return duration if duration != Duration() else None


def periods(aggregation: Aggregation, first: int, last: int) -> list[int]:
    """Return the starts of the periods from the first instance to the last, and the last one's end.

    Raises:
        TooManyResults: there are more than `MAX_PERIODS`.
    """
    if aggregation.period is None:
        return [first, last]
    starts = [first]
    while starts[-1] <= last and starts[-1] < _LAST:
        if len(starts) > MAX_PERIODS:
            raise TooManyResults(f"aggrPeriodDuration: more than {MAX_PERIODS} periods")
        starts.append(aggregation.period.after(first, len(starts)))
    return starts


def aggregate(
    aggregation: Aggregation,
    points: Sequence[tuple[int, Any]],
    bounds: tuple[int | None, int | None],
    name: str,
    kind: str = "Property",
) -> list[Bucket]:
    """Aggregate values with their instants, in order of time.

    Args:
        bounds: what the temporal query says about start and end, for one period over everything.
        name: the attribute's, for errors.
        kind: the attribute's; of what names other things there are counts only.

    Raises:
        InvalidRequest: a method does not fit a value (clause 5.7.4.4).
    """
    if not points:
        return []
    if kind in _NAMES:
        _check_counts(aggregation, name, kind)
    first, last = points[0][0], points[-1][0]
    if aggregation.period is None:
        start, end = whole(bounds, first, last)
        return [Bucket(start, end, _values(aggregation, [value for _, value in points], name))]
    edges = periods(aggregation, first, last)
    grouped: dict[int, list[Any]] = {}
    for at, value in points:
        grouped.setdefault(min(bisect_right(edges, at), len(edges) - 1) - 1, []).append(value)
    return [
        Bucket(edges[place], edges[place + 1], _values(aggregation, values, name))
        for place, values in grouped.items()
    ]


def whole(bounds: tuple[int | None, int | None], first: int, last: int) -> tuple[int, int]:
    """Return start and end of the one period over everything."""
    start, end = bounds
    return first if start is None else start, last if end is None else end


def _check_counts(aggregation: Aggregation, name: str, kind: str) -> None:
    for method in aggregation.methods:
        if method not in ("totalCount", "distinctCount"):
            raise InvalidRequest(
                f"aggrMethods: {method} cannot be had of {name:.200}, which is a {kind}"
            )


def _values(aggregation: Aggregation, values: list[Any], name: str) -> dict[str, Any]:
    found = {}
    for method in aggregation.methods:
        if method == "totalCount":
            found[method] = len(values)
        elif method == "distinctCount":
            found[method] = len({json.dumps(value, sort_keys=True) for value in _even(values)})
        else:
            found[method] = _measure(method, [unwrap(value) for value in values], name)
    return found


def _even(values: Sequence[Any]) -> Iterator[Any]:
    """Yield values with whole numbers in one form, so that 1 and 1.0 count once."""
    for value in values:
        yield int(value) if isinstance(value, float) and value.is_integer() else value


def _measure(method: str, values: list[Any], name: str) -> Any:
    if method in _ORDERED and all(isinstance(value, str) for value in values):
        return _ORDERED[method](values, key=ranked)
    if method == "avg" and all(_clock(value) is not None for value in values):
        return _average_time([_clock(value) or 0 for value in values])
    numbers = [_number(method, value, name) for value in values]
    try:
        return METHODS[method](numbers)
    except OverflowError as error:
        raise InvalidRequest(
            f"aggrMethods: {method} of the values of {name:.200} is beyond what a number holds"
        ) from error


def _number(method: str, value: Any, name: str) -> float:
    """Return what is calculated with: of an array its size, of a boolean 0 or 1."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int | float):
        return value
    if isinstance(value, list) and method not in ("stddev", "sumsq"):
        return len(value)
    raise InvalidRequest(f"aggrMethods: {method} cannot be had of values of {name:.200}")


def _clock(value: Any) -> int | None:
    time = temporal(value) if isinstance(value, str) else None
    return time.microseconds if time is not None and time.kind is Kind.TIME else None


def _average_time(micros: list[int]) -> str:
    return moments.join(sum(micros) // len(micros), 6)[11:]


def _average(values: list[float]) -> float:
    return math.fsum(values) / len(values)


def _sum(values: list[float]) -> float:
    return sum(values) if all(isinstance(value, int) for value in values) else math.fsum(values)


def _deviation(values: list[float]) -> float:
    mean = _average(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / len(values))


def _squares(values: list[float]) -> float:
    return _sum([value * value for value in values])


_ORDERED: Final[Mapping[str, Callable[..., Any]]] = MappingProxyType({"max": max, "min": min})
_NAMES: Final = frozenset(("Relationship", "ListRelationship", "VocabProperty"))
METHODS: Final[Mapping[str, Callable[[list[float]], float]]] = MappingProxyType(
    {
        "avg": _average,
        "distinctCount": len,
        "max": max,
        "min": min,
        "stddev": _deviation,
        "sum": _sum,
        "sumsq": _squares,
        "totalCount": len,
    }
)
