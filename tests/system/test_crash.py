"""A process that is killed in the middle of its work loses nothing it acknowledged."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from aiohttp import ClientError, ClientSession

from broker.client import Client
from broker.core.timestamps import format_timestamp
from rigel.demo import chirpstack, names
from rigel.demo.city import City, build_city
from rigel.demo.expectations import expectations, missing
from rigel.demo.facts import Facts
from rigel.demo.ocpi import Operator
from rigel.demo.provisioning import provision
from rigel.demo.replay import Publish, mqtt_publisher
from rigel.demo.story import PARKING_SENSOR, Story, Uplink, tell
from smart_data_models.context import CONTEXT_PATH
from tests.support.eventually import PATIENCE
from tests.support.mosquitto import mosquitto, needs_mosquitto
from tests.support.receiver import Receiver, receiver
from tests.support.rigel_process import Ports, RigelProcess, rigel

pytestmark = [pytest.mark.system, pytest.mark.timeout(240), needs_mosquitto]

TOKEN = "a-token-for-tests"
START = datetime(2025, 6, 17, tzinfo=ZoneInfo("Europe/Paris"))
LENGTH = timedelta(hours=34)


@dataclass(frozen=True, slots=True)
class Town:
    """The story under test, and the addresses of the process it is told to."""

    city: City
    story: Story
    ports: Ports
    http: ClientSession

    @property
    def broker(self) -> str:
        return f"http://127.0.0.1:{self.ports.broker}"

    @property
    def agents(self) -> str:
        return f"http://127.0.0.1:{self.ports.agents}"

    @property
    def facts(self) -> Facts:
        return Facts(
            self.http, self.broker, self.agents, f"http://127.0.0.1:{self.ports.subscribers}"
        )

    @property
    def client(self) -> Client:
        return Client(self.http, self.broker, ld_context=self.broker + CONTEXT_PATH)

    @asynccontextmanager
    async def process(self, directory: Path, mqtt_url: str) -> AsyncIterator[RigelProcess]:
        """Run everything, and yield it once it is ready."""
        environment = {
            **self.ports.environment,
            "RIGEL_AGENTS_MQTT_URL": mqtt_url,
            "RIGEL_AGENTS_OCPI_TOKENS": f"FR*DEM={TOKEN}",
            "RIGEL_SUBSCRIBERS_RUNNING_INTERVAL": "0.5",
        }
        async with rigel("up", directory=directory, environment=environment) as process:
            await self.facts.ready(30)
            yield process

    async def send_uplinks(self, publish: Publish) -> None:
        """Publish every frame; the MQTT broker keeps what nobody takes at the moment."""
        for event in self.story.events:
            if isinstance(event, Uplink):
                message = chirpstack.message(event, session="01a2b3c4")
                await publish(chirpstack.topic(event.dev_eui), message)

    async def send_charging(self) -> None:
        """Send all that the operator tells, each thing until it was taken."""
        locations = self.agents + "/ocpi/receiver/2.2.1/locations"
        operator = Operator(self.http, locations, TOKEN)
        for station in self.city.stations:
            await self._until_taken(
                partial(operator.put_location, station, self.city, self.story.start)
            )
        for event in self.story.events:
            if not isinstance(event, Uplink):
                await self._until_taken(partial(operator.patch_evse, event))

    async def _until_taken(self, send: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await send()
            except ClientError:
                await self.facts.ready(60)
            else:
                return


@pytest.fixture
async def town() -> AsyncIterator[Town]:
    city = build_city()
    async with ClientSession() as http:
        yield Town(city, tell(city, START, LENGTH, seed=1), Ports(), http)


def changes_of_bays(town: Town) -> set[tuple[str, str]]:
    """Return every change of a bay that was sent: which bay, and when it was seen."""
    spots = {bay.dev_eui: names.parking_spot(bay) for bay in town.city.bays}
    return {
        (spots[event.dev_eui], format_timestamp(event.at))
        for event in town.story.events
        if isinstance(event, Uplink) and event.profile == PARKING_SENSOR
    }


def seen(watcher: Receiver) -> set[tuple[str, str]]:
    """Return the changes of bays that a subscriber was told of and took."""
    return {
        (entity["id"], entity["status"]["observedAt"])
        for notification in watcher.accepted
        for entity in notification.entities
        if entity["type"] == "ParkingSpot"
    }


def rotations(watcher: Receiver) -> Mapping[str, tuple[float, float]]:
    """Return the rotations that a subscriber was last told of, by group: first day, second day."""
    return {
        entity["refEntity"]["object"]: (
            entity["kpiValue"]["value"],
            entity["runningValue"]["value"],
        )
        for notification in watcher.accepted
        for entity in notification.entities
        if "parking-rotations" in entity["id"] and "kpiValue" in entity
    }


def arrivals(town: Town) -> Mapping[str, tuple[float, float]]:
    """Return how many cars came, by group: on the first day, on the second day."""
    midnight = START + timedelta(days=1)
    return {
        names.parking_group(group): (
            sum(stay.start < midnight for stay in town.story.stays if stay.bay.group == group),
            sum(stay.start >= midnight for stay in town.story.stays if stay.bay.group == group),
        )
        for group in town.city.groups
    }


async def subscribe(town: Town, watcher: Receiver, kind: str, attribute: str) -> None:
    await town.client.create_subscription(
        {
            "id": f"urn:ngsi-ld:Subscription:test:{kind}",
            "type": "Subscription",
            "entities": [{"type": kind}],
            "watchedAttributes": [attribute],
            "notification": {"endpoint": {"uri": watcher.url(), "accept": "application/json"}},
        }
    )


async def test_a_killed_process_goes_on_where_it_was(tmp_path: Path, town: Town) -> None:
    wanted = changes_of_bays(town)
    async with (
        mosquitto(tmp_path) as server,
        receiver() as watcher,
        mqtt_publisher(server.url) as publish,
        asyncio.TaskGroup() as senders,
    ):
        async with town.process(tmp_path, server.url) as first:
            await provision(town.city, town.http, town.agents)
            await subscribe(town, watcher, "ParkingSpot", "status")
            await subscribe(town, watcher, "KeyPerformanceIndicator", "runningValue")
            senders.create_task(town.send_uplinks(publish))
            charging = senders.create_task(town.send_charging())
            await watcher.until(lambda: len(seen(watcher)) >= len(wanted) // 4)
            await first.kill()

        async with town.process(tmp_path, server.url) as second:
            await watcher.until(lambda: len(seen(watcher)) >= len(wanted) // 2)
            await second.kill()

        async with town.process(tmp_path, server.url):
            await charging
            await watcher.until(lambda: seen(watcher) >= wanted)
            await watcher.until(lambda: rotations(watcher) == arrivals(town))
            told = expectations(town.city, town.story)
            faults = await missing(told, town.client, patience=PATIENCE)

    assert seen(watcher) == wanted
    assert faults == []
