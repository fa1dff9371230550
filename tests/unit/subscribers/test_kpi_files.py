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


def test_the_packaged_kpis_share_one_subscription() -> None:
    role = kpi_role(Settings())

    (binding,) = role.bindings
    assert binding.entity_type == "ParkingSpot"
    assert binding.attributes == ("status", "refParkingGroup")


def test_the_packaged_kpis_are_the_four_of_a_parking_group() -> None:
    found = load_definitions([packaged_kpis()], Kpi)

    assert [kpi.content.name for kpi in found] == [
        "parking-longest-stay",
        "parking-occupancy-rate",
        "parking-rotations",
        "parking-shortest-stay",
    ]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("to: occupied", "to: taken", "measure: taken is not among source.states"),
        ("{changes: {from: free, to: occupied}}", "{}", "expected one of shareOfTime, changes"),
        ("{changes: {from: free, to: occupied}}", "{shareOfTime: x}", "x is not among"),
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
