"""The way of a measure: where it ends when devices, mappings or the measure itself are wrong."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from iot_agents.common.agent import Agent, open_agent
from iot_agents.common.device import Attribute, Device, StaticAttribute
from iot_agents.common.making import Maker
from iot_agents.common.mapping.model import EntityRule, Mappings, Source
from iot_agents.common.mapping.model import Mapping as LoadedMapping
from iot_agents.common.measure import Measure, Outcome
from iot_agents.common.pipeline import Pipeline
from iot_agents.common.registry import Registry
from iot_agents.common.service_group import ServiceGroup
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
        self.pipeline = self.with_mappings(Mappings())

    def with_mappings(self, mappings: Mappings, mode: Mode = Mode.WARN) -> Pipeline:
        self.pipeline = Pipeline(
            self.registry,
            mappings,
            Maker(Validator(Catalogue.packaged(), default=mode), self.agent.counters),
            self.agent.outlets,
            counters=self.agent.counters,
            clock=lambda: self.now,
        )
        return self.pipeline

    async def spooled(self) -> list[str]:
        return [row.body.decode() for row in await self.agent.spool.load(0, 100)]

    async def reasons(self) -> list[str]:
        return [letter.reason for letter in await self.agent.outlets.dead_letters.newest()]


@asynccontextmanager
async def bench(directory: Path) -> AsyncIterator[Bench]:
    settings = Settings(data_dir=directory)
    async with (
        Registry.open(directory / "registry.db") as registry,
        open_agent("lorawan", settings, _no_client, lambda: START) as agent,
    ):
        yield Bench(agent, registry)


def _no_client(tenant: str) -> Any:
    raise AssertionError(f"nothing is sent here, not even to {tenant!r}")


def measure(number: int = 1, **members: Any) -> Measure:
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
    return msgspec.structs.replace(DEVICE, attributes=attributes, **members)


STATUS = Attribute(
    object_id="occupied",
    name="status",
    type="Text",
    expression="occupied|mapper([true,false],['occupied','free'])",
)


def failing_mapping(error: Exception) -> LoadedMapping:
    def fail(_: Any) -> Any:
        raise error

    rule = EntityRule(field="entities[0]", type="Device", identify=fail, attributes=(), when=fail)
    return LoadedMapping(name="failing", source=lambda _: True, entities=(rule,))


async def test_a_measure_of_a_known_device_is_spooled_for_its_tenant(tmp_path: Path) -> None:
    async with bench(tmp_path) as here:
        await here.registry.add_devices([device(STATUS)])

        ticket = await here.pipeline.submit(measure())

        assert await ticket.durable() is Outcome.SPOOLED
        (row,) = await here.agent.spool.load(0, 10)
        assert (row.tenant, row.device, row.ids) == ("city", "d1", ("urn:x:1",))
        assert b'"value":"occupied"' in row.body


async def test_a_measure_that_comes_again_is_a_duplicate(tmp_path: Path) -> None:
    async with bench(tmp_path) as here:
        await here.registry.add_devices([device(STATUS)])

        outcomes = [await (await here.pipeline.submit(measure())).durable() for _ in range(2)]

        assert outcomes == [Outcome.SPOOLED, Outcome.DUPLICATE]
        assert here.agent.counters.duplicates == 1


async def test_a_device_whose_id_others_have_too_waits(tmp_path: Path) -> None:
    async with bench(tmp_path) as here:
        await here.registry.add_devices([device(apikey="a"), device(apikey="b")])

        ticket = await here.pipeline.submit(measure())

        assert await ticket.durable() is Outcome.WAITING
        assert "2 devices" in ticket.reason


@pytest.mark.parametrize(
    ("internal", "reason"),
    [
        ({"lorawan": {"codec": "no-such"}}, "no codec 'no-such'"),
        ({"rigel": {"mapping": "no-such"}}, "no mapping 'no-such'"),
    ],
    ids=["codec", "mapping"],
)
async def test_what_a_device_asks_for_and_is_not_there_is_named(
    tmp_path: Path, internal: Mapping[str, Any], reason: str
) -> None:
    attributes = (STATUS,) if "lorawan" in internal else ()
    async with bench(tmp_path) as here:
        await here.registry.add_devices([device(*attributes, internal_attributes=internal)])

        ticket = await here.pipeline.submit(measure())

        assert await ticket.durable() is Outcome.REJECTED
        assert reason in ticket.reason
        assert await here.reasons() == [ticket.reason]


async def test_a_measure_without_values_is_rejected(tmp_path: Path) -> None:
    async with bench(tmp_path) as here:
        await here.registry.add_devices([device(STATUS)])

        ticket = await here.pipeline.submit(replace(measure(), members={}))

        assert await ticket.durable() is Outcome.REJECTED
        assert "decoded its bytes" in ticket.reason


async def test_a_measure_that_says_nothing_mapped_is_ignored(tmp_path: Path) -> None:
    async with bench(tmp_path) as here:
        await here.registry.add_devices([device(STATUS)])

        ticket = await here.pipeline.submit(measure(other=1))

        assert await ticket.durable() is Outcome.IGNORED
        assert await here.spooled() == []


async def test_an_error_nobody_thought_of_costs_one_measure_and_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with bench(tmp_path) as here:
        await here.registry.add_devices([device()])
        pipeline = here.with_mappings(Mappings((failing_mapping(RuntimeError("surprise")),)))

        with caplog.at_level(logging.ERROR):
            ticket = await pipeline.submit(measure())

        assert await ticket.durable() is Outcome.REJECTED
        assert "surprise" in ticket.reason
        assert "Traceback" in caplog.text


async def test_of_several_entities_only_the_wrong_one_is_refused(tmp_path: Path) -> None:
    elsewhere = Attribute(
        object_id="occupied", name="batteryLevel", entity_name="urn:x:2", entity_type="Device"
    )
    async with bench(tmp_path) as here:
        await here.registry.add_devices([device(STATUS, elsewhere)])
        pipeline = here.with_mappings(Mappings(), Mode.REJECT)

        ticket = await pipeline.submit(measure())

        assert await ticket.durable() is Outcome.SPOOLED
        (row,) = await here.agent.spool.load(0, 10)
        assert row.ids == ("urn:x:1",)
        (reason,) = await here.reasons()
        assert "urn:x:2 breaks Device: batteryLevel: expected" in reason


async def test_in_warn_mode_a_rule_broken_is_counted_and_the_entity_goes_on(
    tmp_path: Path,
) -> None:
    wrong = Attribute(object_id="occupied", name="status", type="Text")
    async with bench(tmp_path) as here:
        await here.registry.add_devices([device(wrong)])

        ticket = await here.pipeline.submit(measure())

        assert await ticket.durable() is Outcome.SPOOLED
        assert here.agent.counters.warnings == 1


async def test_an_attribute_that_fails_is_left_out_and_counted(tmp_path: Path) -> None:
    number = Attribute(object_id="level", name="level", type="Number")
    async with bench(tmp_path) as here:
        await here.registry.add_devices([device(STATUS, number)])

        ticket = await here.pipeline.submit(measure(occupied=True, level="high"))

        assert await ticket.durable() is Outcome.SPOOLED
        (body,) = await here.spooled()
        assert '"level"' not in body
        assert here.agent.counters.warnings == 1


async def test_static_attributes_are_repeated_after_a_day(tmp_path: Path) -> None:
    static = StaticAttribute(name="name", type="Text", value="bay")
    async with bench(tmp_path) as here:
        await here.registry.add_devices([device(STATUS, static_attributes=(static,))])
        for number, passed in enumerate([0, 23, 1]):
            here.now += timedelta(hours=passed)
            await (await here.pipeline.submit(measure(number))).durable()

        assert ['"name"' in body for body in await here.spooled()] == [True, False, True]


async def test_a_duplicate_does_not_count_as_having_brought_static_attributes(
    tmp_path: Path,
) -> None:
    static = StaticAttribute(name="name", type="Text", value="bay")
    async with bench(tmp_path) as here:
        await here.registry.add_devices([device(STATUS)])
        await (await here.pipeline.submit(measure(1))).durable()
        known = device(STATUS, static_attributes=(static,))
        await here.registry.update_device(device(STATUS), known)

        await (await here.pipeline.submit(measure(1))).durable()
        await (await here.pipeline.submit(measure(2))).durable()

        assert ['"name"' in body for body in await here.spooled()] == [False, True]


async def test_a_device_adds_to_its_group_and_replaces_what_has_the_same_name(
    tmp_path: Path,
) -> None:
    group = ServiceGroup(
        resource="",
        apikey="",
        service="city",
        entity_type="ParkingSpot",
        attributes=(Attribute(object_id="occupied", name="old"), Attribute(name="shared")),
    )
    twice = (STATUS, Attribute(object_id="occupied", name="raw"))
    async with bench(tmp_path) as here:
        await here.registry.add_groups([group])
        await here.registry.add_devices([device(*twice)])

        known = await here.registry.find("d1")

        assert known is not None
        names = [element["name"] for element in known.in_force["attributes"]]
        assert names == ["status", "raw", "shared"]


async def test_a_group_takes_in_the_device_of_a_first_measure(tmp_path: Path) -> None:
    group = ServiceGroup(
        resource="/iot/json",
        apikey="key",
        service="city",
        entity_type="ParkingSpot",
        attributes=(STATUS,),
    )
    async with bench(tmp_path) as here:
        await here.registry.add_groups([group])

        ticket = await here.pipeline.submit(
            replace(measure(), apikey="key", resources=("/iot/json",))
        )

        assert await ticket.durable() is Outcome.SPOOLED
        (row,) = await here.agent.spool.load(0, 10)
        assert (row.tenant, row.ids) == ("city", ("urn:ngsi-ld:ParkingSpot:d1",))


async def test_a_measure_whose_key_no_group_has_waits(tmp_path: Path) -> None:
    async with bench(tmp_path) as here:
        ticket = await here.pipeline.submit(
            replace(measure(), apikey="key", resources=("/iot/json",))
        )

        assert await ticket.durable() is Outcome.WAITING
        assert "no group has this apikey" in ticket.reason
