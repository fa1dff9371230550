"""Which device a message is from, and which device an entity stands for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from iot_agents.common.device import Device, read
from iot_agents.common.registry import Registry
from iot_agents.common.service_group import ServiceGroup


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Registry]:
    async with Registry.open(tmp_path / "registry.db") as opened:
        yield opened


def device(**members: Any) -> Device:
    document = {"device_id": "d1", "service": "city", "entity_type": "Gate", **members}
    return read(document, Device, "device")


def group(**members: Any) -> ServiceGroup:
    document = {
        "resource": "/iot/json",
        "apikey": "key",
        "service": "city",
        "entity_type": "Gate",
        **members,
    }
    return read(document, ServiceGroup, "group")


async def test_a_device_without_an_apikey_answers_to_that_of_its_group(registry: Registry) -> None:
    await registry.add_groups([group(commands=[{"name": "open"}])])
    await registry.add_devices([device()])

    known = await registry.find("d1", "key")

    assert known is not None
    assert known.in_force["apikey"] == "key"
    assert [each["name"] for each in known.in_force["commands"]] == ["open"]


@pytest.mark.parametrize(
    "elsewhere",
    [{"subservice": "/other"}, {"service": "town"}],
    ids=["path", "service"],
)
async def test_a_group_of_another_place_lends_no_apikey(
    registry: Registry, elsewhere: dict[str, str]
) -> None:
    await registry.add_groups([group(**elsewhere)])
    await registry.add_devices([device()])

    assert await registry.find("d1", "key") is None


async def test_without_an_apikey_the_type_tells_the_group(registry: Registry) -> None:
    await registry.add_groups(
        [
            group(apikey="lights", entity_type="Light", timezone="Light"),
            group(apikey="gates", entity_type="Gate", timezone="Gate"),
        ]
    )
    await registry.add_devices([device(), device(device_id="d2", entity_type="Pump")])

    gate = await registry.by_entity("city", "urn:ngsi-ld:Gate:d1")
    pump = await registry.by_entity("city", "urn:ngsi-ld:Pump:d2")

    assert gate is not None
    assert gate.in_force["apikey"] == "gates"
    assert pump is not None
    assert "apikey" not in pump.in_force


@pytest.mark.parametrize(
    ("members", "entity_id"),
    [
        ({"entity_name": "urn:ngsi-ld:Gate:north"}, "urn:ngsi-ld:Gate:north"),
        ({}, "urn:ngsi-ld:Gate:d1"),
        ({"device_id": "a:b"}, "urn:ngsi-ld:Gate:a:b"),
    ],
    ids=["by its name", "by its type and id", "with a colon in the id"],
)
async def test_the_device_of_an_entity_is_found(
    registry: Registry, members: dict[str, str], entity_id: str
) -> None:
    await registry.add_devices([device(**members), device(device_id="other")])

    known = await registry.by_entity("city", entity_id)

    assert known is not None
    assert known.device.device_id == members.get("device_id", "d1")
    assert await registry.by_entity("town", entity_id) is None
    assert await registry.by_entity("city", entity_id + "x") is None


async def test_an_entity_of_two_devices_is_of_neither(registry: Registry) -> None:
    await registry.add_devices([device(apikey="one"), device(apikey="two")])

    assert await registry.by_entity("city", "urn:ngsi-ld:Gate:d1") is None
