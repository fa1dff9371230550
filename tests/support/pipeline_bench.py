"""A pipeline on real files, for tests of what becomes of measures."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from iot_agents.common.agent import Agent, open_agent
from iot_agents.common.device import Attribute, Device
from iot_agents.common.making import Maker
from iot_agents.common.mapping.model import Mappings, Source
from iot_agents.common.measure import Measure
from iot_agents.common.pipeline import Pipeline
from iot_agents.common.registry import Registry
from iot_agents.common.vitals import Pulse, Vitals
from iot_agents.settings import Settings
from smart_data_models.catalogue import Catalogue
from smart_data_models.validator import Mode, Validator

START = datetime(2026, 3, 1, 8, tzinfo=UTC)
DEVICE = Device(device_id="d1", service="city", entity_type="ParkingSpot", entity_name="urn:x:1")


class Bench:
    """A pipeline on real files, with its clock."""

    def __init__(self, agent: Agent, registry: Registry) -> None:
        self.agent = agent
        self.registry = registry
        self.now = START
        spools = {agent.name: agent.spool}
        self.vitals = Vitals(registry, spools, clock=lambda: self.now, interval=1.0)
        self.pipeline = self.with_mappings(Mappings())

    def with_mappings(self, mappings: Mappings, mode: Mode = Mode.WARN) -> Pipeline:
        """Use other mappings, or another way of validation."""
        self.pipeline = Pipeline(
            self.registry,
            mappings,
            Maker(Validator(Catalogue.packaged(), default=mode), self.agent.counters),
            self.agent.outlets,
            counters=self.agent.counters,
            clock=lambda: self.now,
            pulse=Pulse(self.vitals, self.agent.name),
        )
        return self.pipeline

    async def spooled(self) -> list[str]:
        """Return the bodies in the spool."""
        return [row.body.decode() for row in await self.agent.spool.load(0, 100)]

    def pass_seconds(self, seconds: float) -> None:
        """Let time go by."""
        self.now += timedelta(seconds=seconds)

    async def reasons(self) -> list[str]:
        """Return why measures are among the dead letters."""
        return [letter.reason for letter in await self.agent.outlets.dead_letters.newest()]


@asynccontextmanager
async def bench(directory: Path, **chosen: Any) -> AsyncIterator[Bench]:
    """Open the files in a directory."""
    settings = Settings(data_dir=directory, **chosen)
    async with (
        Registry.open(directory / "registry.db") as registry,
        open_agent("lorawan", settings, _no_client, lambda: START) as agent,
    ):
        yield Bench(agent, registry)


def _no_client(tenant: str) -> Any:
    raise AssertionError(f"nothing is sent here, not even to {tenant!r}")


def measure(number: int = 1, **members: Any) -> Measure:
    """Return a measure of the device."""
    given = members or {"occupied": True}
    return Measure(
        source=Source("lorawan", "chirpstack-v4", "t", "p"),
        device_id="d1",
        payload={"object": given},
        raw=b"raw",
        moment=START + timedelta(minutes=number),
        members=given,
        key=f"d1/{number}",
    )


def device(*attributes: Attribute, **members: Any) -> Device:
    """Return the device with attributes."""
    return msgspec.structs.replace(DEVICE, attributes=attributes, **members)


STATUS = Attribute(
    object_id="occupied",
    name="status",
    type="Text",
    expression="occupied|mapper([true,false],['occupied','free'])",
)
