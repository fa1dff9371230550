"""The demonstration, as a newcomer runs it."""

import re
from pathlib import Path

import pytest

from tests.support.rigel_process import Ports, rigel

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]
SECONDS = 240


async def demo(directory: Path) -> tuple[int, str]:
    """Run the demonstration to its end; return the exit status and what it printed."""
    environment = {**Ports().environment, "COLUMNS": "120"}
    async with rigel("demo", "--exit", directory=directory, environment=environment) as process:
        status = await process.ended(SECONDS)
        return status, process.output


async def test_everything_that_is_sent_arrives(tmp_path: Path) -> None:
    status, output = await demo(tmp_path)

    assert status == 0, output
    assert re.search(r"All \d+ measures arrived", output)
    assert re.search(r"ParkingSpot\W+48\b", output)
    assert re.search(r"EVChargingPoint\W+24\b", output)
    assert re.search(r"Alerts: [1-9]", output)


async def test_it_can_be_run_again_in_the_same_place(tmp_path: Path) -> None:
    await demo(tmp_path)

    status, output = await demo(tmp_path)

    assert status == 0, output


async def test_it_does_not_touch_a_directory_with_other_data(tmp_path: Path) -> None:
    kept = tmp_path / "rigel-data" / "demo" / "broker.db"
    kept.parent.mkdir(parents=True)
    kept.write_text("somebody's")

    status, output = await demo(tmp_path)

    assert status == 1
    assert "not the demonstration's" in output
    assert kept.read_text() == "somebody's"
