"""Devices that their service group takes in with their first measure: each exactly once."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from iot_agents.common.device import Attribute, Device
from iot_agents.common.provisioning_errors import DeviceNotFound, GroupFull, GroupNotFound
from iot_agents.common.recognition import ANY_RESOURCE, Caller
from iot_agents.common.registry import Registry
from iot_agents.common.registry_rows import AmbiguousDevice, Selection
from iot_agents.common.service_group import ServiceGroup

JSON = "/iot/json"
GROUP = ServiceGroup(
    resource=JSON, apikey="key", service="city", subservice="/park", entity_type="Spot"
)


def caller(device_id: str = "d1", **members: object) -> Caller:
    return Caller(device_id, **{"apikey": "key", "resources": (JSON,), **members})  # type: ignore[arg-type]


async def devices(registry: Registry) -> list[Device]:
    _, found = await registry.devices(Selection("city", "/park"), limit=100, offset=0)
    return [known.device for known in found]


async def test_a_first_measure_makes_a_device_with_what_its_group_says(tmp_path: Path) -> None:
    group = ServiceGroup(
        resource=JSON,
        apikey="key",
        service="city",
        subservice="/park",
        entity_type="Spot",
        conjunction="-",
        attributes=(Attribute(object_id="s", name="status"),),
    )
    async with Registry.open(tmp_path / "registry.db") as registry:
        await registry.add_groups([group])

        known = await registry.recognize(caller(protocol="json", transport="MQTT"))

        assert await devices(registry) == [
            Device(
                device_id="d1",
                service="city",
                service_path="/park",
                apikey="key",
                entity_type="Spot",
                entity_name="urn:ngsi-ld:Spot-d1",
                protocol="json",
                transport="MQTT",
            )
        ]
        assert known.in_force["attributes"] == [{"object_id": "s", "name": "status"}]
        assert await registry.recognize(caller(protocol="json", transport="MQTT")) is known


async def test_a_burst_of_first_measures_from_several_processes_makes_one_device(
    tmp_path: Path,
) -> None:
    path = tmp_path / "registry.db"
    async with (
        Registry.open(path) as one,
        Registry.open(path) as two,
        Registry.open(path) as three,
    ):
        await one.add_groups([GROUP])
        names = [f"d{number}" for number in range(20)]

        async with asyncio.TaskGroup() as group:
            asked = [
                group.create_task(registry.recognize(caller(name)))
                for _ in range(10)
                for registry in (one, two, three)
                for name in names
            ]

        assert {task.result().device.device_id for task in asked} == set(names)
        assert sorted(device.device_id for device in await devices(one)) == sorted(names)


async def test_a_new_device_does_not_make_others_be_looked_up_again(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    async with Registry.open(path) as registry:
        await registry.add_groups([GROUP])
        known = await registry.recognize(caller("d1"))

        await registry.recognize(caller("d2"))

        assert await registry.recognize(caller("d1")) is known


async def test_attributes_stay_with_the_group_so_that_its_changes_reach_the_device(
    tmp_path: Path,
) -> None:
    async with Registry.open(tmp_path / "registry.db") as registry:
        await registry.add_groups([GROUP])
        await registry.recognize(caller())
        changed = ServiceGroup(
            resource=JSON,
            apikey="key",
            service="city",
            subservice="/park",
            entity_type="Spot",
            attributes=(Attribute(name="new"),),
        )

        await registry.update_group(GROUP, changed)

        known = await registry.recognize(caller())
        assert [each["name"] for each in known.in_force["attributes"]] == ["new"]


@pytest.mark.parametrize(
    ("group", "asking", "error", "reason"),
    [
        ({"autoprovision": False}, caller(), DeviceNotFound, "takes in none"),
        ({}, caller(apikey="other"), GroupNotFound, "no group has this apikey"),
        ({}, caller(apikey=""), GroupNotFound, "no group has this apikey"),
        ({}, caller(resources=("/iot/d",)), GroupNotFound, "no group has this apikey"),
        ({}, caller(resources=()), DeviceNotFound, "nobody has provisioned"),
        ({}, caller(apikey=None, resources=(ANY_RESOURCE,)), GroupNotFound, "no group"),
        ({}, caller("a b"), DeviceNotFound, "cannot be the id"),
        ({}, caller("x" * 257), DeviceNotFound, "cannot be the id"),
        ({}, caller(""), DeviceNotFound, "cannot be the id"),
        ({}, caller("a/b"), DeviceNotFound, "cannot be the id"),
    ],
    ids=[
        "closed group",
        "other key",
        "empty key",
        "other resource",
        "no group wanted",
        "no key",
        "space in id",
        "long id",
        "no id",
        "slash in id",
    ],
)
async def test_who_may_not_come_in_is_told_why_and_leaves_nothing(
    tmp_path: Path,
    group: dict[str, object],
    asking: Caller,
    error: type[Exception],
    reason: str,
) -> None:
    members = {"resource": JSON, "apikey": "key", "service": "city", "subservice": "/park"}
    async with Registry.open(tmp_path / "registry.db") as registry:
        await registry.add_groups([ServiceGroup(**{**members, **group}, entity_type="Spot")])  # type: ignore[arg-type]

        with pytest.raises(error, match=reason):
            await registry.recognize(asking)

        assert await devices(registry) == []


@pytest.mark.parametrize(
    ("resources", "key", "service"),
    [
        ((JSON, ""), "key", "city"),
        (("", JSON), "key", "mqtt"),
        (("/iot/d", ANY_RESOURCE), "alone", "alone"),
        (("70b3d57ed0000000",), None, "lora"),
    ],
    ids=["best first", "mqtt first", "any of the key", "by resource without a key"],
)
async def test_resource_and_apikey_decide_which_group_takes_a_device_in(
    tmp_path: Path, resources: tuple[str, ...], key: str | None, service: str
) -> None:
    groups = [
        ServiceGroup(resource=resource, apikey=apikey, service=name, entity_type="Spot")
        for resource, apikey, name in (
            (JSON, "key", "city"),
            ("", "key", "mqtt"),
            ("/other", "alone", "alone"),
            ("70b3d57ed0000000", "any", "lora"),
        )
    ]
    async with Registry.open(tmp_path / "registry.db") as registry:
        await registry.add_groups(groups)

        known = await registry.recognize(caller(apikey=key, resources=resources))

        assert known.device.service == service


async def test_a_device_that_was_provisioned_without_a_key_is_that_of_its_group(
    tmp_path: Path,
) -> None:
    group = ServiceGroup(
        resource=JSON,
        apikey="key",
        service="city",
        subservice="/park",
        entity_type="Spot",
        timezone="Europe/Paris",
    )
    own = Device(
        device_id="d1",
        service="city",
        service_path="/park",
        entity_type="Spot",
        entity_name="urn:x:1",
    )
    async with Registry.open(tmp_path / "registry.db") as registry:
        await registry.add_groups([group])
        await registry.add_devices([own, Device(device_id="d1", service="city")])

        known = await registry.recognize(caller())
        by_entity = await registry.by_entity("city", "urn:x:1")

        assert known.device == own
        assert known.in_force["timezone"] == "Europe/Paris"
        assert by_entity is not None
        assert by_entity.in_force == known.in_force


async def test_two_services_with_the_same_key_keep_their_devices_apart(tmp_path: Path) -> None:
    groups = [
        ServiceGroup(resource=resource, apikey="key", service=service, entity_type="Spot")
        for resource, service in ((JSON, "one"), ("/iot/d", "two"))
    ]
    twins = [Device(device_id="d1", apikey="key", service=name) for name in ("one", "two")]
    async with Registry.open(tmp_path / "registry.db") as registry:
        await registry.add_groups(groups)
        await registry.add_devices(twins)

        known = await registry.recognize(caller(resources=("/iot/d",)))

        assert known.device.service == "two"
        with pytest.raises(AmbiguousDevice):
            await registry.recognize(caller(resources=()))


async def test_ids_differ_in_case_but_for_euis(tmp_path: Path) -> None:
    async with Registry.open(tmp_path / "registry.db") as registry:
        await registry.add_groups([GROUP])
        for name in ("Lamp", "lamp", "70B3D57ED0000001", "70b3d57ed0000001"):
            await registry.recognize(caller(name))

        made = [device.device_id for device in await devices(registry)]
        assert made == ["Lamp", "lamp", "70B3D57ED0000001"]


async def test_what_a_group_says_to_its_agents_is_completed_by_the_device(tmp_path: Path) -> None:
    group = ServiceGroup(
        resource=JSON,
        apikey="key",
        service="city",
        subservice="/park",
        entity_type="Spot",
        internal_attributes=[{"lorawan": {"codec": "cayenne", "port": 2}, "rigel": {"a": 1}}],
    )
    own = Device(
        device_id="d1",
        service="city",
        service_path="/park",
        apikey="key",
        internal_attributes={"lorawan": {"codec": "cbor", "dev_eui": "02ab"}},
    )
    async with Registry.open(tmp_path / "registry.db") as registry:
        await registry.add_groups([group])
        await registry.add_devices([own])

        known = await registry.recognize(caller("02ab"))

        assert known.internal("lorawan") == {"codec": "cbor", "port": 2, "dev_eui": "02ab"}
        assert known.internal("rigel") == {"a": 1}


async def test_a_group_takes_in_no_more_devices_than_it_may_have(tmp_path: Path) -> None:
    neighbour = ServiceGroup(
        resource=JSON, apikey="near", service="city", subservice="/park", entity_type="Spot"
    )
    async with Registry.open(tmp_path / "registry.db", most=3) as registry:
        await registry.add_groups([GROUP, neighbour])
        await registry.add_devices(
            [Device(device_id="own", service="city", service_path="/park", apikey="key")]
        )
        for name in ("d1", "d2"):
            await registry.recognize(caller(name))

        for name in ("d3", "d4"):
            with pytest.raises(GroupFull, match="has 3 already"):
                await registry.recognize(caller(name))

        assert (await registry.recognize(caller("d1"))).device.device_id == "d1"
        assert (await registry.recognize(caller("d3", apikey="near"))).device.device_id == "d3"
        assert registry.turned_away == 2


async def test_a_full_group_takes_in_again_once_devices_are_removed(tmp_path: Path) -> None:
    async with Registry.open(tmp_path / "registry.db", most=1) as registry:
        await registry.add_groups([GROUP])
        first = await registry.recognize(caller("d1"))
        with pytest.raises(GroupFull):
            await registry.recognize(caller("d2"))

        await registry.delete_devices([first.device])

        assert (await registry.recognize(caller("d2"))).device.device_id == "d2"
