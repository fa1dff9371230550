"""The way of a measure: where it ends when devices, mappings or the measure itself are wrong."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from iot_agents.common.device import Attribute, StaticAttribute
from iot_agents.common.mapping.loader import load_mappings, packaged_mappings
from iot_agents.common.mapping.model import EntityRule, Mappings
from iot_agents.common.mapping.model import Mapping as LoadedMapping
from iot_agents.common.measure import Outcome
from iot_agents.common.service_group import ServiceGroup
from smart_data_models.validator import Mode
from tests.support.pipeline_bench import STATUS, bench, device, measure


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


async def test_a_measure_cannot_change_whose_entity_it_is_of(tmp_path: Path) -> None:
    async with bench(tmp_path) as here:
        await here.registry.add_devices([device(STATUS)])
        told = measure(occupied=True, entity_name="urn:x:2", id="d2", type="Other")

        ticket = await here.pipeline.submit(told)

        assert await ticket.durable() is Outcome.SPOOLED
        (row,) = await here.agent.spool.load(0, 10)
        assert row.ids == ("urn:x:1",)


async def test_devices_of_a_group_share_what_is_compiled_and_keep_their_names(
    tmp_path: Path,
) -> None:
    group = ServiceGroup(
        service="city", apikey="k", resource="", entity_type="Spot", attributes=(STATUS,)
    )
    async with bench(tmp_path) as here:
        await here.registry.add_groups([group])
        await here.registry.add_devices(
            [device(apikey="k", device_id=name, entity_name=f"urn:x:{name}") for name in ("a", "b")]
        )
        for name in ("a", "b"):
            told = replace(measure(), device_id=name, key=name)
            await (await here.pipeline.submit(told)).durable()

        rows = await here.agent.spool.load(0, 10)
        assert [row.ids for row in rows] == [("urn:x:a",), ("urn:x:b",)]
        assert len(here.pipeline._plans._compiled) == 1


async def test_a_measure_that_comes_again_is_a_duplicate(tmp_path: Path) -> None:
    async with bench(tmp_path) as here:
        await here.registry.add_devices([device(STATUS)])

        outcomes = [await (await here.pipeline.submit(measure())).durable() for _ in range(2)]

        assert outcomes == [Outcome.SPOOLED, Outcome.DUPLICATE]
        assert here.agent.counters.duplicates == 1


async def test_a_mapping_file_reads_the_moment_of_a_measure_that_tells_none(tmp_path: Path) -> None:
    asked = {"rigel": {"mapping": "mqtt-weather-station"}}
    async with bench(tmp_path) as here:
        await here.registry.add_devices([device(internal_attributes=asked)])
        pipeline = here.with_mappings(load_mappings(packaged_mappings()))
        told = {"temp": 12.5, "wind_speed_kmh": 36}

        ticket = await pipeline.submit(replace(measure(), payload=told, members=told, chosen=True))

        assert await ticket.durable() is Outcome.SPOOLED
        (row,) = await here.agent.spool.load(0, 10)
        (entity,) = msgspec.json.decode(row.body)
        assert entity["temperature"] == {
            "type": "Property",
            "value": 12.5,
            "unitCode": "CEL",
            "observedAt": "2026-03-01T08:01:00.000Z",
        }
        assert entity["windSpeed"]["value"] == 10


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
