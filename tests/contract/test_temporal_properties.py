"""History agrees with what can be said of it in another way: for any series and any writes."""

from __future__ import annotations

import asyncio
import math
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker.core import moments
from broker.core.identifiers import DEFAULT_TENANT
from broker.core.query import aggregation as rules
from broker.core.query.aggregation import Aggregation, Bucket, Duration
from broker.core.query.entity_query import EntityQuery
from broker.core.query.temporal import TemporalQuery
from broker.store.temporal import TemporalSelection
from tests.support.histories import MINUTE, Past, at, iri, measure, past, sensor

METHODS = ("totalCount", "distinctCount", "sum", "avg", "min", "max", "stddev", "sumsq")
FEW = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)

minutes = st.integers(-600_000, 600_000)
numbers = st.one_of(
    st.integers(-(10**6), 10**6),
    st.floats(-1e6, 1e6).map(lambda number: round(number, 3)),
    st.floats(1e9, 1e9 + 10),
    st.sampled_from([2**62, -(2**62), 2**70]),
)
periods = st.sampled_from(
    [None, Duration(0, MINUTE), Duration(0, 7 * 1440 * MINUTE), Duration(1), Duration(14, 5)]
).filter(lambda period: period != Duration(0, MINUTE))
series = st.lists(st.tuples(minutes, numbers), min_size=1, max_size=40)


async def buckets_of(points: list[tuple[int, Any]], query: TemporalQuery) -> list[Bucket]:
    with tempfile.TemporaryDirectory() as directory:
        async with past(Path(directory)) as store:
            for minute, value in points:  # in any order: what is older comes late
                await store.add(count=[measure(value, minute)])
            page = await store.store.temporal.evolution(
                DEFAULT_TENANT, sensor(), TemporalSelection(query)
            )
    found = page.evolutions[0]["attributes"].get(iri("count"))
    if found is None:
        return []
    ((dataset, kind, buckets),) = found
    assert (dataset, kind) == ("@none", "Property")
    return list(buckets)


def recomputed(points: list[tuple[int, Any]], query: TemporalQuery) -> list[Bucket]:
    assert query.aggregation is not None
    latest = {at(minute): value for minute, value in points}
    start = -math.inf if query.start is None else query.start
    end = math.inf if query.end is None else query.end
    inside = sorted((time, value) for time, value in latest.items() if start <= time < end)
    bounds = query.start, query.end
    return rules.aggregate(query.aggregation, inside[-(query.last_n or 0) :], bounds, "count")


@FEW
@given(
    points=series,
    period=periods,
    start=st.none() | minutes,
    end=st.none() | minutes,
    last_n=st.none() | st.integers(1, 20),
)
def test_aggregates_agree_with_their_recomputation(
    points: list[tuple[int, Any]],
    period: Duration | None,
    start: int | None,
    end: int | None,
    last_n: int | None,
) -> None:
    query = TemporalQuery(
        start=None if start is None else at(start),
        end=None if end is None else at(end),
        is_strict=True,
        last_n=last_n,
        aggregation=Aggregation(METHODS, period),
    )

    found = asyncio.run(buckets_of(points, query))
    expected = recomputed(points, query)

    assert [(one.start, one.end) for one in found] == [(one.start, one.end) for one in expected]
    for one, other in zip(found, expected, strict=True):
        largest = max(abs(float(other.values["max"])), abs(float(other.values["min"])), 1.0)
        for method in METHODS:
            power = 2 if method == "sumsq" else 1
            close = 1e-9 * largest**power * max(1, other.values["totalCount"])
            assert one.values[method] == pytest.approx(other.values[method], rel=1e-9, abs=close)


def test_a_spread_is_not_lost_beside_a_large_value_in_another_period() -> None:
    week = Duration(0, 7 * 1440 * MINUTE)
    points = [(0, 0), (1, 1), (-10_080, 1e9)]
    query = TemporalQuery(is_strict=True, aggregation=Aggregation(("stddev",), week))

    assert [one.values for one in asyncio.run(buckets_of(points, query))] == [
        {"stddev": 0.0},
        {"stddev": 0.5},
    ]


@pytest.mark.parametrize("text", ["2024-01-31T10:00:00Z", "2024-02-29T00:00:00Z"])
def test_months_are_those_of_the_calendar(text: str) -> None:
    first = (moments.instant(text) - at(0)) // MINUTE
    points = [(first + day * 1440, day) for day in range(800)]
    for months in (1, 12):
        query = TemporalQuery(
            is_strict=True, aggregation=Aggregation(("totalCount", "min"), Duration(months))
        )

        assert asyncio.run(buckets_of(points, query)) == recomputed(points, query)


writes = st.lists(
    st.tuples(
        st.sampled_from(["count", "level", "name", "entity"]),
        st.none() | st.integers(0, 99),
        st.booleans(),
    ),
    min_size=1,
    max_size=25,
)


class Replay:
    """The states that an entity had, made up from the writes alone."""

    def __init__(self) -> None:
        self.states: list[dict[str, Any] | None] = [None]

    def write(self, name: str, value: int | None) -> None:
        last = self.states[-1]
        now: dict[str, Any] | None
        if name == "entity":
            now = None if last is not None else {}
        elif last is None:
            now = {} if value is None else {name: value}
        else:
            now = {key: item for key, item in last.items() if key != name}
            if value is not None:
                now[name] = value
        self.states.append(now)


async def play(store: Past, given_writes: list[tuple[str, int | None, bool]]) -> Replay:
    """Write, one write a minute from minute 1 on, each observed then or not at all."""
    replay = Replay()
    for minute, (name, value, observed) in enumerate(given_writes, start=1):
        present = replay.states[-1]
        replay.write(name, value)
        shown = {"type": "Property", "value": value}
        given_value = measure(value, minute) if observed else shown
        members: dict[str, Any] = {} if name == "entity" or value is None else {name: given_value}
        if present is None:
            await store.create(minute, **members)
            if name == "entity":
                replay.states[-1] = {}
        elif name == "entity":
            await store.delete(minute)
        elif value is not None or name in present:
            await store.update(minute, **{name: None, **members})
    return replay


async def states_of(
    given_writes: list[tuple[str, int | None, bool]],
) -> tuple[Replay, list[Any], list[Any]]:
    with tempfile.TemporaryDirectory() as directory:
        async with past(Path(directory)) as store:
            replay = await play(store, given_writes)
            temporal = store.store.temporal
            states = [
                await temporal.as_of(DEFAULT_TENANT, sensor(), at(minute))
                for minute in range(len(replay.states))
            ]
            pages = [
                await temporal.query_as_of(DEFAULT_TENANT, EntityQuery(), at(minute), limit=2)
                for minute in range(len(replay.states))
            ]
            current = await store.store.entities.get(DEFAULT_TENANT, sensor())
    assert states[-1] == (None if current is None else current.entity)
    return replay, states, [[one.entity for one in page.entities] for page in pages]


@FEW
@given(given_writes=writes)
def test_a_past_state_agrees_with_a_replay_of_the_writes(
    given_writes: list[tuple[str, int | None, bool]],
) -> None:
    replay, states, pages = asyncio.run(states_of(given_writes))

    def values(state: Any) -> dict[str, Any] | None:
        if state is None:
            return None
        attributes = state["attributes"].items()
        return {name.rpartition("/")[2]: one["@none"]["value"] for name, one in attributes}

    assert [values(state) for state in states] == replay.states
    assert pages == [[] if state is None else [state] for state in states]


async def test_of_two_writes_of_the_same_moment_the_later_one_is_the_state(
    tmp_path: Path,
) -> None:
    async with past(tmp_path) as store:
        await store.create(0, count={"type": "Property", "value": 1})
        await store.update(0, count={"type": "Property", "value": 2})

        state = await store.store.temporal.as_of(DEFAULT_TENANT, sensor(), at(0))

    assert state is not None
    assert state["attributes"][iri("count")]["@none"]["value"] == 2


async def test_a_late_measure_is_part_of_the_past_that_it_tells_of(tmp_path: Path) -> None:
    async with past(tmp_path) as store:
        await store.create(0, count=measure(0, 0))
        await store.update(10, count=measure(10, 10))
        await store.update(20, count=measure(5, 5), keep_newer=True)
        temporal = store.store.temporal

        states = [await temporal.as_of(DEFAULT_TENANT, sensor(), at(n)) for n in (4, 5, 9, 10, 30)]

    values = [one["attributes"][iri("count")]["@none"]["value"] for one in states if one]
    assert values == [0, 5, 5, 10, 10]
