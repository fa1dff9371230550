from pathlib import Path

import pytest

from subscribers.common.definitions import InvalidDefinition, load_definitions
from subscribers.kpi.model import Kpi
from subscribers.kpi.role import kpi_role, packaged_kpis
from subscribers.settings import Settings

GOOD = """
kpi: rotations
title: Rotations
source: {type: ParkingSpot, attribute: status, states: [free, occupied]}
measure: {changes: {from: free, to: occupied}}
window: day
unit: C62
formula: changes
process: Parking
"""


def test_the_packaged_kpis_have_one_subscription_for_each_source() -> None:
    role = kpi_role(Settings())

    assert [(binding.entity_type, binding.attributes) for binding in role.bindings] == [
        ("EVChargingPoint", ("status", "refEVChargingStation")),
        ("ParkingSpot", ("status", "refParkingGroup")),
        ("WaterConsumptionObserved", ("waterConsumption",)),
    ]


def test_the_packaged_kpis_are_about_parking_charging_and_water() -> None:
    found = load_definitions([packaged_kpis()], Kpi)

    assert [kpi.content.name for kpi in found] == [
        "charging-availability",
        "parking-longest-stay",
        "parking-occupancy-rate",
        "parking-rotations",
        "parking-shortest-stay",
        "water-use",
    ]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("to: occupied", "to: taken", "measure: taken is not among source.states"),
        ("{changes: {from: free, to: occupied}}", "{}", "expected one of shareOfTime, changes"),
        ("{changes: {from: free, to: occupied}}", "{shareOfTime: x}", "x is not among"),
        ("{changes: {from: free, to: occupied}}", "{shareOfTime: [free, x]}", "x is not among"),
        ("{changes: {from: free, to: occupied}}", "{shareOfTime: []}", "of length >= 1"),
        ("{changes: {from: free, to: occupied}}", "{increase: false}", "expected one of shareOf"),
        ("{changes: {from: free, to: occupied}}", "{increase: true}", "source.unit: expected C62"),
        ("states: [free, occupied]", "unit: LTR", "measure: free is not among source.states"),
        ("states: [free, occupied]", "states: [free], unit: LTR", "source: expected either states"),
        (", states: [free, occupied]", "", "source: expected either states, or the unit"),
        ("from: free", "form: free", "measure.changes.form: unknown field; the nearest known"),
        (
            "{changes: {from: free, to: occupied}}",
            "{stays: {state: occupied, take: mean}}",
            "unit: expected one of SEC, MIN, HUR for stays",
        ),
        ("window: day", "window: year", "window: invalid enum value 'year'"),
        ("window: day", "window: hour\nlateness: 2h", "corrected until the next one ends"),
        ("window: day", "window: day\ntimeZone: Europe/Pariss", "is no time zone"),
        ("window: day", "window: day\ntimeZone: ../etc/passwd", "is no time zone"),
        ("states: [free, occupied]", "states: []", "source.states: expected `array` of length"),
    ],
)
def test_a_mistake_in_a_kpi_is_told_with_its_place(
    tmp_path: Path, old: str, new: str, problem: str
) -> None:
    (tmp_path / "kpi.yaml").write_text(GOOD.replace(old, new))

    with pytest.raises(InvalidDefinition) as caught:
        kpi_role(Settings(kpi_dirs=(tmp_path,)))

    assert "kpi.yaml:" in str(caught.value)
    assert problem in str(caught.value)


def test_the_time_zone_of_the_settings_must_exist() -> None:
    with pytest.raises(InvalidDefinition, match="time_zone of the settings"):
        kpi_role(Settings(time_zone="Mars/Olympus"))
