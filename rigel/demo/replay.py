"""Send the story through the real transports, tick by tick, so that they stay in step.

MQTT and OCPI are independent of each other, and at the replay's speed minutes of the story pass in
milliseconds. So the story is cut into ticks, and the next one begins when all of the last was
acknowledged, has reached the broker, and everybody subscribed was told.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby
from typing import Final
from urllib.parse import unquote, urlsplit

import aiomqtt
from aiohttp import ClientError

from rigel.demo import chirpstack
from rigel.demo.city import City
from rigel.demo.facts import Counts, Facts, everybody_told
from rigel.demo.ocpi import NotTaken, Operator
from rigel.demo.story import Event, EvseChange, Story, Uplink

TICK: Final = timedelta(minutes=15)
_SECONDS_TO_ACKNOWLEDGE: Final = 30.0
_SECONDS_TO_SETTLE: Final = 30.0

Publish = Callable[[str, bytes], Awaitable[None]]


@dataclass(slots=True)
class Tally:
    """What one transport did.

    Attributes:
        refused: why something was not acknowledged.
    """

    sent: int = 0
    acknowledged: int = 0
    refused: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def sending(self, what: str) -> AsyncIterator[None]:
        """Count what is sent in the block; what fails is kept with its reason, not raised."""
        self.sent += 1
        try:
            yield
        except (aiomqtt.MqttError, ClientError, NotTaken, TimeoutError) as error:
            self.refused.append(f"{what}: {error!s:.200}")
        else:
            self.acknowledged += 1


@dataclass(frozen=True, slots=True)
class Tallies:
    """What was sent, by transport."""

    mqtt: Tally = field(default_factory=Tally)
    ocpi: Tally = field(default_factory=Tally)

    @property
    def sent(self) -> int:
        """How many measures were sent."""
        return self.mqtt.sent + self.ocpi.sent

    @property
    def acknowledged(self) -> int:
        """How many measures were acknowledged."""
        return self.mqtt.acknowledged + self.ocpi.acknowledged

    @property
    def refused(self) -> Sequence[str]:
        """What was not acknowledged, with the reason."""
        return [*self.mqtt.refused, *self.ocpi.refused]


class Replay:
    """One replay of a story."""

    def __init__(
        self, city: City, publish: Publish, operator: Operator, facts: Facts, *, session: str
    ) -> None:
        """Bind the replay to its transports.

        Args:
            city: what stands where.
            publish: sends an MQTT message and returns once it is acknowledged.
            operator: sends by OCPI.
            facts: the metrics of the platform, which tell when it is done with what it got.
            session: the LoRaWAN session all devices joined with, in hex.
        """
        self._city = city
        self._publish = publish
        self._operator = operator
        self._facts = facts
        self._session = session
        self.tallies = Tallies()

    async def run(self, story: Story, passed: Callable[[datetime], None]) -> None:
        """Send everything.

        Args:
            story: what happens.
            passed: told how far the replay is, after each tick.

        Raises:
            NeverTrue: the platform did not get done with a tick.
        """
        acknowledged_before = _acknowledged(await self._facts.read())
        await self._announce(story.start)
        for end, events in ticks(story):
            async with asyncio.TaskGroup() as group:
                group.create_task(self._replay_changes(events), name="demo-ocpi")
                # The publishes are written to the connection in this order, and acknowledged in
                # any: so a tick costs one wait for the disk and not one per message.
                for event in events:
                    if isinstance(event, Uplink):
                        group.create_task(self._replay_uplink(event), name="demo-uplink")
            await self._settled(acknowledged_before + self.tallies.acknowledged)
            passed(end)

    async def _announce(self, at: datetime) -> None:
        for station in self._city.stations:
            async with self.tallies.ocpi.sending(f"location {station.location_id}"):
                await self._operator.put_location(station, self._city, at)

    async def _replay_changes(self, events: Sequence[Event]) -> None:
        for event in events:
            if isinstance(event, EvseChange):
                name = f"EVSE {event.evse.location_id}/{event.evse.uid} at {event.at.isoformat()}"
                async with self.tallies.ocpi.sending(name):
                    await self._operator.patch_evse(event)

    async def _replay_uplink(self, uplink: Uplink) -> None:
        async with self.tallies.mqtt.sending(f"uplink {uplink.f_cnt} of {uplink.dev_eui}"):
            await self._publish(
                chirpstack.topic(uplink.dev_eui),
                chirpstack.message(uplink, session=self._session),
            )

    async def _settled(self, acknowledged: float) -> None:
        def done(counts: Counts) -> bool:
            return (
                _acknowledged(counts) >= acknowledged
                and not counts["rigel_agent_pending"]
                and everybody_told(counts)
            )

        await self._facts.until(done, "everything delivered", _SECONDS_TO_SETTLE)


def ticks(story: Story) -> Iterator[tuple[datetime, Sequence[Event]]]:
    """Yield the ends of the ticks in which something happens, with what happens in them."""
    for number, events in groupby(story.events, lambda event: (event.at - story.start) // TICK):
        yield story.start + (number + 1) * TICK, tuple(events)


@asynccontextmanager
async def mqtt_publisher(url: str) -> AsyncIterator[Publish]:
    """Connect to an MQTT broker and yield a function that publishes with QoS 1."""
    address = urlsplit(url)
    client = aiomqtt.Client(
        address.hostname or "localhost",
        address.port or 1883,
        username=unquote(address.username) if address.username else None,
        password=unquote(address.password) if address.password else None,
        # A tick's messages may all be under way at once, and that is nothing to warn of.
        logger=logging.getLogger("rigel.demo.mqtt"),
        timeout=_SECONDS_TO_ACKNOWLEDGE,
    )
    client.pending_calls_threshold = 10_000
    async with client:

        async def publish(topic: str, payload: bytes) -> None:
            await client.publish(topic, payload, qos=1, timeout=_SECONDS_TO_ACKNOWLEDGE)

        yield publish


def _acknowledged(counts: Counts) -> float:
    return counts["rigel_agent_acknowledged_total"]
