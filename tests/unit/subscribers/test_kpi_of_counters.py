"""KPIs over the index of a meter: what was used is by how much the index grew."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import accumulate, pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subscribers.common.instants import to_instant
from subscribers.common.observations import Observation, Reading
from tests.support.engine_bench import EngineBench
from tests.support.kpi_bench import USE, binding_of, kpi_bench

BINDING = binding_of(USE)
METER, OTHER = (
    "urn:ngsi-ld:WaterConsumptionObserved:school",
    "urn:ngsi-ld:WaterConsumptionObserved:gym",
)
MIDNIGHT = datetime(2026, 5, 2, tzinfo=ZoneInfo("Europe/Paris")).astimezone(UTC)
MINUTES_A_DAY = 24 * 60


def at(hour: float) -> datetime:
    """Return an hour of the second of May, local time."""
    return MIDNIGHT + timedelta(hours=hour)


def tell(
    bench: EngineBench, hour: float, index: Any, *, meter: str = METER, **members: Any
) -> None:
    instance = {"type": "Property", "value": index, "unitCode": "LTR", **members}
    moment = to_instant(at(hour))
    reading = Reading(moment, instance)
    bench.engine.observe(BINDING, Observation(meter, {"waterConsumption": reading}), moment)


def values(written: list[Mapping[str, Any]]) -> dict[str, float]:
    return {entity["refEntity"]["object"]: entity["kpiValue"]["value"] for entity in written}


@pytest.fixture
def bench() -> Iterator[EngineBench]:
    with kpi_bench(USE) as made:
        tell(made, 6, 1000)
        made.advance(at(6))
        yield made


def test_use_is_what_the_index_grew_evenly_between_readings(bench: EngineBench) -> None:
    tell(bench, 12, 1040)
    tell(bench, 23, 1100.5)
    first_day = bench.advance(at(24))
    tell(bench, 27, 1140.5)
    corrected = bench.advance(at(27))

    assert values(first_day) == {METER: 100.5}
    assert values(corrected) == {METER: 110.5}
    assert values(bench.advance(at(48))) == {METER: 30}


def test_a_meter_that_is_read_once_a_day_has_the_use_of_each_day(bench: EngineBench) -> None:
    uses = []
    for day, index in ((1, 1240), (2, 1240), (3, 1480)):
        tell(bench, 24 * day + 6, index)
        uses.append(values(bench.advance(at(24 * day + 6))))

    assert [*uses, values(bench.advance(at(24 * 4)))] == [
        {METER: use} for use in (180, 60, 180, 60)
    ]


def test_each_meter_has_a_value_of_its_own_in_its_unit(bench: EngineBench) -> None:
    tell(bench, 7, 5, meter=OTHER)
    tell(bench, 12, 1001)
    tell(bench, 12, 9, meter=OTHER)

    written = bench.advance(at(24))

    assert values(written) == {METER: 1, OTHER: 4}
    assert written[0]["kpiValue"]["unitCode"] == "LTR"


def test_a_reading_that_comes_late_changes_nothing_but_when_water_was_used(
    bench: EngineBench,
) -> None:
    tell(bench, 25, 1100)
    first_day = bench.advance(at(25))
    tell(bench, 23, 1080)

    corrected = bench.advance(at(26))

    assert (values(first_day), values(corrected)) == ({METER: 94.736842}, {METER: 90})
    assert values(bench.advance(at(48))) == {METER: 10}


def test_a_meter_that_was_exchanged_begins_a_new_count(bench: EngineBench) -> None:
    tell(bench, 12, 1040)
    tell(bench, 13, 3)
    tell(bench, 14, 10)

    assert values(bench.advance(at(24))) == {METER: 47}


@pytest.mark.parametrize(
    ("index", "members"),
    [
        (1.5, {"unitCode": "MTQ"}),
        (1500, {"unitCode": None}),
        ("1500", {}),
        (True, {}),
        (2**53 + 1, {}),
        (10**400, {}),
        (float("inf"), {}),
    ],
    ids=["other unit", "no unit", "text", "boolean", "too large", "far too large", "infinite"],
)
def test_a_reading_that_is_no_index_in_the_unit_is_left_out_and_counted(
    bench: EngineBench, index: Any, members: Mapping[str, Any]
) -> None:
    tell(bench, 12, index, **members)
    tell(bench, 13, 1040)

    assert values(bench.advance(at(24))) == {METER: 40}
    assert bench.counts["observations", "unfit"] == 1


def test_use_is_the_same_after_a_restart(bench: EngineBench) -> None:
    tell(bench, 12, 1040.25)
    bench.advance(at(24 + 13))  # what was observed is now folded into one row
    bench.restart()
    tell(bench, 24 + 12, 1064.25)

    assert values(bench.advance(at(48))) == {METER: 12}


def index_at(read: list[tuple[int, int]], minute: int) -> float:
    """Return the index at a minute: even between readings, and still before and after them."""
    return sum(
        (after - before) * min(max((minute - since) / (at - since), 0.0), 1.0)
        for (since, before), (at, after) in pairwise(read)
    )


@given(st.dictionaries(st.integers(0, 3 * MINUTES_A_DAY - 1), st.integers(0, 50), min_size=1))
def test_the_use_of_a_day_is_the_difference_of_the_index_at_its_ends(
    growth: dict[int, int],
) -> None:
    minutes = sorted(growth)
    read = list(zip(minutes, accumulate(growth[minute] for minute in minutes), strict=True))
    with kpi_bench(USE) as bench:
        bench.engine.start(to_instant(at(0)))
        for minute, index in read:
            tell(bench, minute / 60, index)

        written = bench.advance(at(3 * 24))

    midnights = [index_at(read, day * MINUTES_A_DAY) for day in range(4)]
    heard_of = minutes[0] // MINUTES_A_DAY
    assert [entity["kpiValue"]["value"] for entity in written] == pytest.approx(
        [after - before for before, after in pairwise(midnights)][heard_of:], abs=1e-5
    )
