"""A few hours of the demonstration, played in this process on everything `rigel up` starts."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from aiohttp import ClientSession
from rich.console import Console

from rigel.demo import names
from rigel.demo.city import City, build_city
from rigel.demo.expectations import expectations, missing
from rigel.demo.facts import Facts, NeverTrue
from rigel.demo.ocpi import NotTaken, Operator
from rigel.demo.play import Stage, play
from rigel.demo.provisioning import NotProvisioned, provision
from rigel.demo.run import demo_settings
from rigel.demo.story import EvseChange, Story, tell
from rigel.settings import Settings
from rigel.up import ALL_ROLES, run
from tests.support.mosquitto import free_port
from tests.support.serve import running

TOKEN = "a-token-for-tests"
# The last hours of a day and the first of the next, so that one day is over.
START = datetime(2025, 6, 21, 20, tzinfo=ZoneInfo("Europe/Paris"))
LENGTH = timedelta(hours=6)


@pytest.fixture(scope="module")
def city() -> City:
    return build_city()


@pytest.fixture(scope="module")
def story(city: City) -> Story:
    return tell(city, START, LENGTH, seed=1)


def settings_in(directory: Path) -> Settings:
    """Return the settings of a demonstration on free ports."""
    settings = Settings(data_dir=directory)
    settings = replace(
        settings,
        broker=replace(settings.broker, port=0),
        agents=replace(settings.agents, port=0, http_port=0, mqtt_embedded_port=0),
        subscribers=replace(settings.subscribers, port=0),
    )
    return demo_settings(settings, TOKEN)


@asynccontextmanager
async def staged(directory: Path, city: City, story: Story) -> AsyncIterator[Stage]:
    async with (
        running(run(settings_in(directory), ALL_ROLES)) as platform,
        ClientSession() as http,
    ):
        locations = platform.agents + "/ocpi/receiver/2.2.1/locations"
        yield Stage(city, story, platform, http, locations, TOKEN)


async def played(stage: Stage) -> tuple[bool, str]:
    """Play, and return whether all arrived with what was shown."""
    shown = io.StringIO()
    complete = await play(stage, Console(file=shown, width=120))
    return complete, shown.getvalue()


async def test_all_that_is_played_arrives_and_is_told(
    tmp_path: Path, city: City, story: Story
) -> None:
    async with staged(tmp_path, city, story) as stage:
        complete, shown = await played(stage)

        assert complete, shown
        assert await missing(expectations(city, story), stage.client) == []
    assert f"All {len(story.events) + len(city.stations)} measures arrived" in shown
    assert "Alerts: " in shown
    assert "curl -H" in shown


async def test_what_is_refused_is_told_and_fails(tmp_path: Path, city: City, story: Story) -> None:
    async with staged(tmp_path, city, story) as stage:
        complete, shown = await played(replace(stage, token="not-the-token"))

    assert not complete
    assert "differ from what was sent" in shown
    assert "location CH-01: PUT CH-01: HTTP 401" in shown


async def test_an_entity_that_is_gone_is_missed(tmp_path: Path, city: City, story: Story) -> None:
    spot = names.parking_spot(city.bays[0])
    async with staged(tmp_path, city, story) as stage:
        await played(stage)

        await stage.client.delete_entity(spot)
        faults = await missing(expectations(city, story), stage.client)

    assert faults == [f"{spot} is missing"]


async def test_devices_are_provisioned_once(tmp_path: Path, city: City, story: Story) -> None:
    async with staged(tmp_path, city, story) as stage:
        await provision(city, stage.http, stage.running.agents)

        with pytest.raises(NotProvisioned, match="HTTP 409"):
            await provision(city, stage.http, stage.running.agents)


async def test_a_change_of_an_unknown_station_is_not_taken(
    tmp_path: Path, city: City, story: Story
) -> None:
    change = next(event for event in story.events if isinstance(event, EvseChange))
    async with staged(tmp_path, city, story) as stage:
        operator = Operator(stage.http, stage.locations_url, TOKEN)

        with pytest.raises(NotTaken, match=change.evse.location_id):
            await operator.patch_evse(change)


async def test_what_never_becomes_true_is_told_with_the_counts(
    tmp_path: Path, city: City, story: Story
) -> None:
    async with staged(tmp_path, city, story) as stage:
        with pytest.raises(NeverTrue, match=r"a miracle not after 0\.1 s: .*rigel_agent_pending 0"):
            await stage.facts.until(lambda _: False, "a miracle", 0.1)


async def test_a_server_that_is_away_is_not_ready() -> None:
    async with ClientSession() as http:
        with pytest.raises(NeverTrue, match=r"is not ready after 0\.1 s: Cannot connect"):
            await Facts(http, f"http://127.0.0.1:{free_port()}").ready(0.1)
