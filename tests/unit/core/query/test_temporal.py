"""Temporal queries and aggregations (clauses 4.11, 4.5.19)."""

from __future__ import annotations

import math
import statistics
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core import moments
from broker.core.errors import BadRequestData, InvalidRequest, TooManyResults
from broker.core.query import aggregation, temporal
from broker.core.query.aggregation import Aggregation, Bucket, Duration, aggregate

AT = "2026-05-01T12:00:00Z"
LATER = "2026-05-02T12:00:00Z"
DAY = 86_400_000_000
START = moments.instant(AT)
NO_BOUNDS = (None, None)


def window(**params: str) -> temporal.TemporalQuery:
    return temporal.parse(params, last_n=None, aggregation=None)


@pytest.mark.parametrize(
    ("params", "start", "end"),
    [
        ({"timerel": "before", "timeAt": AT}, None, START),
        ({"timerel": "after", "timeAt": AT}, START, None),
        ({"timerel": "between", "timeAt": AT, "endTimeAt": LATER}, START, START + DAY),
        ({}, None, None),
    ],
    ids=["before", "after", "between", "any time"],
)
def test_a_window_has_a_first_instant_and_one_behind_it(
    params: dict[str, str], start: int | None, end: int | None
) -> None:
    found = window(**params)

    assert (found.start, found.end) == (start, end)


@pytest.mark.parametrize(
    ("params", "named"),
    [
        ({"timerel": "during", "timeAt": AT}, "timerel"),
        ({"timerel": "before"}, "timeAt"),
        ({"timerel": "between", "timeAt": AT}, "endTimeAt"),
        ({"timerel": "between", "timeAt": LATER, "endTimeAt": AT}, "endTimeAt"),
        ({"timerel": "after", "timeAt": AT, "endTimeAt": LATER}, "endTimeAt"),
        ({"timeAt": AT}, "timeAt"),
        ({"timerel": "after", "timeAt": "2026-05-01"}, "timeAt"),
        ({"timerel": "after", "timeAt": "2026-05-01T12:00:00"}, "timeAt"),
        ({"timerel": "after", "timeAt": AT, "timeproperty": "speed"}, "timeproperty"),
    ],
)
def test_a_wrong_window_is_refused_by_name(params: dict[str, str], named: str) -> None:
    with pytest.raises(BadRequestData, match=named):
        window(**params)


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("P1D", Duration(0, DAY)),
        ("PT1H30M", Duration(0, DAY // 24 * 3 // 2)),
        ("P2W", Duration(0, 14 * DAY)),
        ("P1Y2M3D", Duration(14, 3 * DAY)),
        ("PT0S", None),
        ("P0D", None),
    ],
)
def test_durations_are_months_and_microseconds(text: str, duration: Duration | None) -> None:
    assert aggregation.parse_duration(text) == duration


@pytest.mark.parametrize("text", ["", "P", "PT", "1D", "P1.5D", "P1W2D", "PT1D", "-P1D", "P99999Y"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(BadRequestData, match="aggrPeriodDuration"):
        aggregation.parse_duration(text)


@pytest.mark.parametrize("methods", [None, "", "median", "avg,", "avg,median"])
def test_unknown_methods_are_refused(methods: str | None) -> None:
    with pytest.raises(BadRequestData, match="aggrMethods"):
        aggregation.parse(methods, None)


@pytest.mark.parametrize(
    ("duration", "count", "text"),
    [
        (Duration(1), 1, "2026-02-28T00:00:00Z"),
        (Duration(1), 2, "2026-03-31T00:00:00Z"),
        (Duration(12), 3, "2029-01-31T00:00:00Z"),
        (Duration(1, DAY), 1, "2026-03-01T00:00:00Z"),
    ],
)
def test_months_are_those_of_the_calendar(duration: Duration, count: int, text: str) -> None:
    first = moments.instant("2026-01-31T00:00:00Z")

    assert moments.shortest(duration.after(first, count)) == text


def test_periods_begin_with_the_first_instance_and_empty_ones_are_left_out() -> None:
    points = [(START, 1), (START + DAY // 2, 3), (START + 3 * DAY, 5)]

    found = aggregate(Aggregation(("avg",), Duration(0, DAY)), points, NO_BOUNDS, "speed")

    assert found == [
        Bucket(START, START + DAY, {"avg": 2}),
        Bucket(START + 3 * DAY, START + 4 * DAY, {"avg": 5}),
    ]


def test_without_a_period_the_window_is_one() -> None:
    found = aggregate(
        Aggregation(("sum",)), [(START, 1), (START + 5, 2)], (START - DAY, START + DAY), "speed"
    )

    assert found == [Bucket(START - DAY, START + DAY, {"sum": 3})]


@pytest.mark.parametrize(
    ("method", "values", "expected"),
    [
        ("totalCount", ["a", "a", 1], 3),
        ("distinctCount", ["a", "a", 1, 1.0], 2),
        ("max", ["a", "c", "b"], "c"),
        ("min", [True, False], 0),
        ("max", [[1, 2], [3]], 2),
        ("avg", [[1, 2], []], 1),
        ("avg", ["10:00:00Z", "12:00:00Z"], "11:00:00.000000Z"),
        ("sumsq", [1, 2, 3], 14),
        ("sum", [0.1] * 10, 1.0),
        (
            "max",
            ["2026-05-01T12:00:00Z", "2026-05-01T12:00:00.5Z"],
            "2026-05-01T12:00:00.5Z",
        ),
        ("min", [{"@type": "Date", "@value": "2026-05-02"}, "2026-05-03"], "2026-05-02"),
    ],
)
def test_methods_do_what_the_table_says(method: str, values: list[Any], expected: Any) -> None:
    points = [(START + place, value) for place, value in enumerate(values)]

    [bucket] = aggregate(Aggregation((method,)), points, NO_BOUNDS, "speed")

    assert bucket.values == {method: expected}


@pytest.mark.parametrize(
    ("method", "value"),
    [("avg", "text"), ("sum", {"a": 1}), ("stddev", [1]), ("sumsq", [1]), ("max", {"a": 1})],
)
def test_a_method_that_does_not_fit_is_refused(method: str, value: Any) -> None:
    with pytest.raises(InvalidRequest, match=f"{method} .*speed"):
        aggregate(Aggregation((method,)), [(START, value)], NO_BOUNDS, "speed")


@pytest.mark.parametrize("kind", ["Relationship", "ListRelationship", "VocabProperty"])
def test_what_names_other_things_is_counted_only(kind: str) -> None:
    points = [(START, "urn:a:1"), (START + 1, "urn:a:2"), (START + 2, "urn:a:2")]

    [bucket] = aggregate(
        Aggregation(("totalCount", "distinctCount")), points, NO_BOUNDS, "near", kind
    )

    assert bucket.values == {"totalCount": 3, "distinctCount": 2}
    with pytest.raises(InvalidRequest, match=f"max .*near.*{kind}"):
        aggregate(Aggregation(("max",)), points, NO_BOUNDS, "near", kind)


def test_so_many_periods_are_refused() -> None:
    points = [(START, 1), (START + 400 * DAY, 2)]

    with pytest.raises(TooManyResults, match="aggrPeriodDuration"):
        aggregate(Aggregation(("avg",), Duration(0, 1000)), points, NO_BOUNDS, "speed")


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50))
def test_the_deviation_is_that_of_the_population(values: list[float]) -> None:
    points = list(enumerate(values))

    [bucket] = aggregate(Aggregation(("stddev", "avg")), points, NO_BOUNDS, "speed")

    assert math.isclose(
        bucket.values["stddev"], statistics.pstdev(values), rel_tol=1e-6, abs_tol=1e-3
    )
    assert math.isclose(bucket.values["avg"], statistics.fmean(values), abs_tol=1e-6)


@given(
    st.datetimes(datetime(1971, 1, 1), datetime(9998, 1, 1)),  # noqa: DTZ001 - made aware below
    st.integers(0, 6),
)
def test_instants_are_written_as_they_came(moment: datetime, digits: int) -> None:
    text = moment.replace(tzinfo=UTC).isoformat(timespec="microseconds")
    text = text[: 19 + (digits + 1 if digits else 0)] + "Z"

    assert moments.join(*moments.split(text)) == text
