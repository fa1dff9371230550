"""The agents' settings explain themselves, and what goes into the parts is checked at the start."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from broker.core.backoff import Backoff
from iot_agents.ocpi.countries import exchanged
from iot_agents.server import serve
from iot_agents.settings import Settings


def test_every_setting_has_a_line_of_explanation() -> None:
    undocumented = [field.name for field in fields(Settings) if not field.metadata.get("doc")]

    assert undocumented == []


@pytest.mark.parametrize(
    "wrong", ["ParkingSpot", "ParkingSpot=loud"], ids=["no mode", "unknown mode"]
)
async def test_a_wrong_setting_is_found_before_anything_starts(tmp_path: Path, wrong: str) -> None:
    settings = Settings(data_dir=tmp_path, port=0, validation_of=(wrong,))

    with pytest.raises(ValueError, match=r"validation_of|loud"):
        async with serve(settings, {"ocpi"}):
            pass


@pytest.mark.parametrize("setting", ["lorawan_topics", "lorawan_servers", "lorawan_downlinks"])
async def test_a_network_that_there_is_not_is_found_before_anything_starts(
    tmp_path: Path, setting: str
) -> None:
    wrong: dict[str, Any] = {setting: ("pigeons=x",)}

    with pytest.raises(ValueError, match=rf"{setting}\[0\]"):
        async with serve(Settings(data_dir=tmp_path, port=0, **wrong), {"lorawan"}):
            pass


async def test_an_agent_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="zigbee"):
        async with serve(Settings(data_dir=tmp_path, port=0), {"zigbee"}):
            pass


@pytest.mark.parametrize(("failures", "longest"), [(1, 1.0), (2, 2.0), (4, 8.0), (50, 10.0)])
def test_waits_double_up_to_a_limit_and_differ(failures: int, longest: float) -> None:
    delays = {Backoff(first=1.0, limit=10.0).delay(failures) for _ in range(100)}

    assert all(longest / 2 <= delay <= longest for delay in delays)
    assert len(delays) > 1


@pytest.mark.parametrize(
    ("latitude", "longitude", "country", "turned"),
    [
        (41.65, -4.73, "ESP", False),
        (-4.73, 41.65, "ESP", True),
        (-4.73, 41.65, "", False),
        (120.5, 31.2, "CHN", True),
        (120.5, 231.2, "CHN", False),
        (10.0, 10.0, "DEU", False),
        (8.5, 50.1, "deu", True),
    ],
)
def test_exchanged_coordinates_are_told_by_country_and_range(
    latitude: float,
    longitude: float,
    country: str,
    turned: bool,  # noqa: FBT001
) -> None:
    assert exchanged(latitude, longitude, country) is turned
