from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from subscribers.kpi.engine import KpiEngine, source_key
from subscribers.settings import Settings
from tests.support.engine_bench import EngineBench
from tests.support.kpi_bench import (
    LONGEST,
    OCCUPANCY,
    ROTATIONS,
    SOURCE,
    binding_of,
    defined,
    kpi_bench,
    kpi_of,
)

BINDING = binding_of()
GROUP, OTHER_GROUP = "urn:ngsi-ld:ParkingGroup:g", "urn:ngsi-ld:ParkingGroup:h"
SPOT = "urn:ngsi-ld:ParkingSpot:1"
MIDNIGHT = datetime(2026, 5, 2, tzinfo=ZoneInfo("Europe/Paris")).astimezone(UTC)


def at(hour: float) -> datetime:
    """Return an hour of the second of May, local time."""
    return MIDNIGHT + timedelta(hours=hour)


def tell(bench: EngineBench, hour: float, status: str, *, now: float | None = None) -> None:
    bench.tell(
        BINDING,
        SPOT,
        at(hour if now is None else now),
        at(hour),
        status=status,
        refParkingGroup=GROUP,
    )


def values(written: list[Mapping[str, Any]]) -> dict[str, float]:
    return {entity["id"].split(":")[3]: entity["kpiValue"]["value"] for entity in written}


@pytest.fixture
def bench() -> Iterator[EngineBench]:
    with kpi_bench(OCCUPANCY, ROTATIONS, LONGEST) as made:
        tell(made, 6, "free")
        tell(made, 12, "occupied")
        made.advance(at(12))
        yield made


def test_a_value_is_written_when_its_window_has_ended(bench: EngineBench) -> None:
    assert bench.advance(at(23.99)) == []

    assert values(bench.advance(at(24))) == {"occupancy": 0.666667, "rotations": 1}


def test_a_value_is_written_once(bench: EngineBench) -> None:
    bench.advance(at(24))

    assert bench.advance(at(25)) == []


def test_the_value_is_an_entity_that_tells_what_it_is_about() -> None:
    with kpi_bench({**OCCUPANCY, "description": "How full the bays are"}) as bench:
        tell(bench, 6, "free")
        bench.advance(at(6))
        (entity,) = bench.advance(at(24))

    assert entity == {
        "id": "urn:ngsi-ld:KeyPerformanceIndicator:occupancy:ParkingGroup:g",
        "type": "KeyPerformanceIndicator",
        "name": {"type": "Property", "value": "Occupancy rate"},
        "description": {"type": "Property", "value": "How full the bays are"},
        "kpiValue": {
            "type": "Property",
            "value": 0.0,
            "unitCode": "C62",
            "observedAt": "2026-05-02T22:00:00.000Z",
        },
        "calculationPeriod": {
            "type": "Property",
            "value": {"from": "2026-05-02", "to": "2026-05-02"},
        },
        "periodStart": {
            "type": "Property",
            "value": {"@type": "DateTime", "@value": "2026-05-01T22:00:00.000Z"},
        },
        "periodEnd": {
            "type": "Property",
            "value": {"@type": "DateTime", "@value": "2026-05-02T22:00:00.000Z"},
        },
        "calculationFrequency": {"type": "Property", "value": "daily"},
        "calculationMethod": {"type": "Property", "value": "automatic"},
        "calculationFormula": {"type": "Property", "value": "occupied time / observed time"},
        "aggregatedData": {
            "type": "Property",
            "value": [{"entityType": "ParkingSpot", "attrs": ["status"]}],
        },
        "category": {"type": "Property", "value": ["quantitative", "process"]},
        "process": {"type": "Property", "value": "Parking"},
        "refEntity": {"type": "Relationship", "object": GROUP},
    }


def test_a_late_observation_corrects_the_window_before(bench: EngineBench) -> None:
    bench.advance(at(24))
    tell(bench, 18, "free", now=30)

    assert values(bench.advance(at(30))) == {"occupancy": 0.333333, "longest": 360}


def test_an_observation_that_is_too_late_corrects_nothing(bench: EngineBench) -> None:
    bench.advance(at(24))
    tell(bench, 18, "free", now=36)

    assert bench.advance(at(36)) == []
    assert bench.counts["observations", "late"] == 1


def test_a_late_observation_still_counts_for_the_open_window(bench: EngineBench) -> None:
    bench.advance(at(24))
    tell(bench, 18, "free", now=37)
    bench.advance(at(37))

    assert values(bench.advance(at(48))) == {"occupancy": 0.0, "rotations": 0}


def test_a_correction_that_was_taken_but_not_written_is_written_after_a_restart(
    bench: EngineBench,
) -> None:
    bench.advance(at(24))
    tell(bench, 18, "free", now=30)
    bench.keep()

    bench.restart()

    assert values(bench.advance(at(30)))["occupancy"] == 0.333333


def test_a_stay_over_midnight_counts_in_the_day_it_ends(bench: EngineBench) -> None:
    assert "longest" not in values(bench.advance(at(24)))
    tell(bench, 25, "free")
    bench.advance(at(25))

    assert values(bench.advance(at(48)))["longest"] == 13 * 60


def test_windows_without_any_observation_have_the_state_that_lasts(bench: EngineBench) -> None:
    written = bench.advance(at(72))

    assert [entity["kpiValue"]["value"] for entity in written if "occupancy" in entity["id"]] == [
        0.666667,
        1.0,
        1.0,
    ]


def test_windows_after_too_long_a_silence_have_no_value() -> None:
    quiet = {**OCCUPANCY, "source": {**SOURCE, "silentAfter": "6h"}}
    with kpi_bench(quiet) as bench:
        tell(bench, 12, "occupied")
        bench.advance(at(12))

        written = bench.advance(at(24 * 10))

        assert [entity["kpiValue"]["observedAt"] for entity in written] == [
            "2026-05-02T22:00:00.000Z"
        ]
        tell(bench, 24 * 10 + 1, "free")
        bench.advance(at(24 * 10 + 1))
        assert values(bench.advance(at(24 * 11))) == {"occupancy": 0.0}


def test_a_spot_without_a_group_counts_as_soon_as_it_has_one() -> None:
    with kpi_bench(OCCUPANCY) as bench:
        bench.tell(BINDING, SPOT, at(6), at(6), status="occupied")
        bench.advance(at(6))
        bench.tell(BINDING, SPOT, at(7), None, refParkingGroup=GROUP)

        assert values(bench.advance(at(24))) == {"occupancy": 1.0}


def test_a_spot_that_changes_its_group_is_counted_in_the_new_one(bench: EngineBench) -> None:
    bench.tell(BINDING, SPOT, at(13), None, refParkingGroup=OTHER_GROUP)

    written = bench.advance(at(24))

    assert {entity["refEntity"]["object"] for entity in written} == {OTHER_GROUP}


def test_the_first_window_is_that_of_the_first_observation_after_the_start() -> None:
    with kpi_bench(OCCUPANCY) as bench:
        tell(bench, 23, "occupied")
        tell(bench, 25, "occupied")

        (entity,) = bench.advance(at(25))

    assert entity["kpiValue"]["observedAt"] == "2026-05-02T22:00:00.000Z"


def test_of_windows_before_the_start_nothing_is_said() -> None:
    with kpi_bench(OCCUPANCY) as bench:
        bench.restart(now=at(25))
        tell(bench, 12, "occupied", now=25)

        assert bench.advance(at(26)) == []


def test_without_groups_there_is_one_value_for_all() -> None:
    source = {key: value for key, value in SOURCE.items() if key != "groupBy"}
    everything = {**OCCUPANCY, "source": source}
    with kpi_bench(everything) as bench:
        bench.tell(binding_of(everything), SPOT, at(6), at(6), status="occupied")
        bench.advance(at(6))
        (entity,) = bench.advance(at(24))

    assert entity["id"] == "urn:ngsi-ld:KeyPerformanceIndicator:occupancy:all"
    assert "refEntity" not in entity


def test_a_spot_that_is_gone_is_unknown_from_then_on(bench: EngineBench) -> None:
    bench.forget(BINDING, SPOT, at(18))

    assert list(bench.engine.known(BINDING)) == []
    assert values(bench.advance(at(24)))["occupancy"] == 0.5


def test_a_deleted_spot_that_nobody_told_of_is_no_member(bench: EngineBench) -> None:
    bench.forget(BINDING, SPOT + "9", at(18))
    bench.keep()

    assert SPOT + "9" not in str(bench.connection.execute("SELECT * FROM members").fetchall())


def test_a_state_may_be_a_number_or_a_boolean() -> None:
    flag = {**OCCUPANCY, "source": {**SOURCE, "states": ["false", "true"]}}
    flag["measure"] = {"shareOfTime": "true"}
    with kpi_bench(flag) as bench:
        for hour, taken in ((0, True), (6, False)):
            bench.tell(
                binding_of(flag), SPOT, at(hour), at(hour), status=taken, refParkingGroup=GROUP
            )
        bench.advance(at(6))

        assert values(bench.advance(at(24))) == {"occupancy": 0.25}


def test_the_value_of_the_open_window_is_shown_now_and_then() -> None:
    with kpi_bench(OCCUPANCY, running_interval=10.0) as bench:
        wall = datetime(2026, 11, 21, tzinfo=UTC)
        tell(bench, 0, "occupied")
        tell(bench, 6, "free")

        (first,) = bench.advance(at(12), wall)
        tell(bench, 13, "occupied")
        too_early = bench.advance(at(13), wall + timedelta(seconds=9))
        (second,) = bench.advance(at(14), wall + timedelta(seconds=10))
        unchanged = bench.advance(at(15), wall + timedelta(seconds=20))

    assert first["runningValue"] == {
        "type": "Property",
        "value": 0.5,
        "unitCode": "C62",
        "observedAt": "2026-05-02T10:00:00.000Z",
    }
    assert "kpiValue" not in first
    assert second["runningValue"]["value"] == 0.5
    assert (too_early, unchanged) == ([], [])


def test_kpis_over_one_source_share_one_subscription_and_one_copy(bench: EngineBench) -> None:
    assert bench.rows("observations") == 2
    assert source_key(kpi_of(OCCUPANCY).source) == source_key(kpi_of(ROTATIONS).source)


def test_observations_no_window_needs_any_more_are_dropped(bench: EngineBench) -> None:
    bench.advance(at(24))
    tell(bench, 30, "free")
    kept_for_corrections = bench.rows("observations")

    bench.advance(at(36))

    assert kept_for_corrections == 2
    assert bench.rows("observations") == 1


def test_a_kpi_goes_on_from_where_it_was(bench: EngineBench) -> None:
    bench.restart()
    tell(bench, 18, "free")

    assert values(bench.advance(at(24))) == {
        "occupancy": 0.333333,
        "rotations": 1,
        "longest": 360,
    }
    bench.restart()
    assert bench.advance(at(25)) == []


def test_a_kpi_that_was_changed_begins_anew_on_what_is_known(bench: EngineBench) -> None:
    bench.advance(at(24))
    hourly = defined(kpi_of(OCCUPANCY, window="hour", lateness="10min"))

    bench.restart(
        lambda connection: KpiEngine(connection, hourly, Settings(running_interval=0)), at(25.5)
    )
    bench.advance(at(25.5))
    (entity,) = bench.advance(at(26))

    assert entity["kpiValue"]["value"] == 1.0
    assert entity["calculationFrequency"]["value"] == "hourly"


def test_what_belongs_to_kpis_that_are_gone_is_dropped(bench: EngineBench) -> None:
    bench.advance(at(24))

    bench.restart(lambda connection: KpiEngine(connection, [], Settings()))
    bench.keep()

    assert [
        bench.rows(table) for table in ("observations", "members", "progress", "published")
    ] == [
        0,
        0,
        0,
        0,
    ]


def test_what_was_observed_is_counted_by_what_became_of_it(bench: EngineBench) -> None:
    tell(bench, 12, "occupied")
    bench.keep()

    assert bench.counts["observations", "taken"] == 2
    assert bench.counts["observations", "known"] == 1


def test_the_share_of_time_may_be_that_of_several_states() -> None:
    working = {
        **OCCUPANCY,
        "source": {**SOURCE, "states": ["free", "occupied", "broken"]},
        "measure": {"shareOfTime": ["free", "occupied"]},
    }
    with kpi_bench(working) as bench:
        for hour, state in ((0, "free"), (6, "broken"), (12, "occupied"), (18, "unknown")):
            bench.tell(
                binding_of(working), SPOT, at(hour), at(hour), status=state, refParkingGroup=GROUP
            )
        bench.advance(at(18))

        assert values(bench.advance(at(24))) == {"occupancy": 0.666667}
