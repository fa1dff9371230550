"""Measures: from the observations of the members of a group to one number."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Final

from subscribers.common.instants import Duration, Instant
from subscribers.kpi.model import SECONDS_IN, ChangeOf, Kpi, StaysIn, Take
from subscribers.kpi.series import Series

_DECIMALS: Final = 6
_MICROSECONDS: Final = 1_000_000

Measure = Callable[[Iterable[Series], Instant, Instant], float | None]
"""Measures the members of a group between two instants; None where nothing can be said."""

_TAKES: Final[dict[Take, Callable[[list[int]], float]]] = {
    "shortest": min,
    "longest": max,
    "mean": lambda lengths: sum(lengths) / len(lengths),
}


def compile_measure(kpi: Kpi) -> Measure:
    """Return what measures a KPI."""
    model, silent_after = kpi.measure, kpi.source.silent_after
    if model.changes is not None:
        return _sum_of(_counted(model.changes), silent_after)
    if model.stays is not None:
        return _measure_stays(model.stays, SECONDS_IN[kpi.unit])
    if model.increase:
        return _sum_of(_grown, silent_after)
    return _share_of_time(model.states(), silent_after)


def _share_of_time(states: Collection[str], silent_after: Duration | None) -> Measure:
    def measure(members: Iterable[Series], start: Instant, end: Instant) -> float | None:
        inside = observed = 0
        for series in members:
            for span in series.spans(start, end, silent_after):
                length = span.end - span.start
                observed += length
                if span.state in states:
                    inside += length
        return round(inside / observed, _DECIMALS) if observed else None

    return measure


def _sum_of(
    count: Callable[[Series, Instant, Instant], float], silent_after: Duration | None
) -> Measure:
    def measure(members: Iterable[Series], start: Instant, end: Instant) -> float | None:
        total: float = 0
        observed = False
        for series in members:
            total += count(series, start, end)
            observed = observed or any(True for _ in series.spans(start, end, silent_after))
        # Of a group nobody heard of, nothing is known, not even that nothing happened.
        return round(total, _DECIMALS) if observed else None

    return measure


def _counted(wanted: ChangeOf) -> Callable[[Series, Instant, Instant], float]:
    pair = (wanted.from_, wanted.to)
    return lambda series, start, end: sum(
        (change.before, change.after) == pair for change in series.changes(start, end)
    )


def _grown(series: Series, start: Instant, end: Instant) -> float:
    return sum(
        max(float(step.after) - float(step.before), 0.0)
        * (min(step.at, end) - max(step.since, start))
        / (step.at - step.since)
        for step in series.steps(start, end)
    )


def _measure_stays(wanted: StaysIn, seconds: int) -> Measure:
    def measure(members: Iterable[Series], start: Instant, end: Instant) -> float | None:
        lengths = [
            change.at - change.since
            for series in members
            for change in series.changes(start, end)
            if change.before == wanted.state and change.since is not None
        ]
        if not lengths:
            return None
        return round(_TAKES[wanted.take](lengths) / _MICROSECONDS / seconds, _DECIMALS)

    return measure
