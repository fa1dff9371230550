"""The provisioning API over HTTP, as scripts written for the FIWARE agents use it."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from iot_agents.common import registry_rows as rows
from iot_agents.common.device import Device
from iot_agents.common.provisioning import Provisioning
from iot_agents.common.provisioning_checks import Checks
from iot_agents.common.provisioning_errors import DuplicateDeviceId
from iot_agents.common.registry import Registry
from iot_agents.common.registry_rows import AmbiguousDevice
from iot_agents.common.service_group import ServiceGroup
from tests.support.http import serving
from tests.support.provisioning import HEADERS, script

DEVICE = {
    "device_id": "Sensor-1",
    "entity_name": "spot-1",
    "entity_type": "ParkingSpot",
    "attributes": [{"object_id": "s", "name": "status", "type": "Text"}],
}
GROUP = {"resource": "/iot/d", "apikey": "key", "entity_type": "Device"}


async def test_a_created_device_is_shown_with_its_service_and_a_uri_for_a_name(
    tmp_path: Path,
) -> None:
    async with script(tmp_path) as call:
        assert await call("POST", "/iot/devices", {"devices": [DEVICE]}) == (201, {})

        status, shown = await call("GET", "/iot/devices/Sensor-1")

        assert status == 200
        assert shown["service"] == "city"
        assert shown["service_path"] == "/parking"
        assert shown["entity_name"] == "urn:ngsi-ld:ParkingSpot:spot-1"
        assert shown["attributes"] == DEVICE["attributes"]


async def test_devices_are_listed_in_pages_of_their_own_path(tmp_path: Path) -> None:
    async with script(tmp_path) as call:
        devices = [{**DEVICE, "device_id": f"d{number}"} for number in range(5)]
        await call("POST", "/iot/devices", {"devices": devices})

        _, page = await call("GET", "/iot/devices?limit=2&offset=2")
        elsewhere = {**HEADERS, "fiware-servicepath": "/other"}
        _, empty = await call("GET", "/iot/devices", headers=elsewhere)

        assert page["count"] == 5
        assert [device["device_id"] for device in page["devices"]] == ["d2", "d3"]
        assert empty == {"count": 0, "devices": []}


async def test_a_device_is_changed_and_deleted(tmp_path: Path) -> None:
    async with script(tmp_path) as call:
        await call("POST", "/iot/devices", {"devices": [DEVICE]})

        changed = await call("PUT", "/iot/devices/Sensor-1", {"entity_name": "urn:x:1"})
        _, shown = await call("GET", "/iot/devices/Sensor-1")
        deleted = await call("DELETE", "/iot/devices/Sensor-1")
        gone = await call("GET", "/iot/devices/Sensor-1")

        assert changed == (204, None)
        assert shown["entity_name"] == "urn:x:1"
        assert shown["attributes"] == DEVICE["attributes"]
        assert deleted == (204, None)
        assert gone[0] == 404
        assert gone[1]["name"] == "DEVICE_NOT_FOUND"


async def test_of_several_devices_all_are_created_or_none(tmp_path: Path) -> None:
    async with script(tmp_path) as call:
        await call("POST", "/iot/devices", {"devices": [DEVICE]})

        both = {"devices": [{**DEVICE, "device_id": "new"}, DEVICE]}
        status, error = await call("POST", "/iot/devices", both)

        assert (status, error["name"]) == (409, "DUPLICATE_DEVICE_ID")
        assert (await call("GET", "/iot/devices"))[1]["count"] == 1


@pytest.mark.parametrize(
    ("body", "status", "name", "place"),
    [
        ({"devices": [{}]}, 400, "MISSING_ATTRIBUTES", "devices[0]"),
        ({"services": []}, 400, "WRONG_SYNTAX", "devices"),
        ({"devices": [DEVICE], "more": 1}, 400, "WRONG_SYNTAX", "devices"),
        ({"devices": [{"device_id": 7}]}, 400, "WRONG_SYNTAX", "device_id"),
        (
            {"devices": [{**DEVICE, "attributes": [{"name": "a", "colour": "red"}]}]},
            400,
            "WRONG_SYNTAX",
            "colour",
        ),
        (
            {"devices": [{**DEVICE, "attributes": [{"name": "a<b"}]}]},
            400,
            "WRONG_SYNTAX",
            "'a<b'",
        ),
        (
            {"devices": [{**DEVICE, "attributes": [{"name": "a", "expression": "#"}]}]},
            400,
            "INVALID_EXPRESSION",
            "#",
        ),
    ],
    ids=["no id", "wrapper", "sibling", "type", "member", "character", "expression"],
)
async def test_a_wrong_device_is_refused_with_its_place(
    tmp_path: Path, body: Any, status: int, name: str, place: str
) -> None:
    async with script(tmp_path) as call:
        answer, error = await call("POST", "/iot/devices", body)

        assert (answer, error["name"]) == (status, name)
        assert place in error["message"]


async def test_unknown_members_pass_when_a_device_is_created_and_not_when_changed(
    tmp_path: Path,
) -> None:
    async with script(tmp_path) as call:
        created = await call("POST", "/iot/devices", {"devices": [{**DEVICE, "colour": "red"}]})
        changed = await call("PUT", "/iot/devices/Sensor-1", {"colour": "red"})
        renamed = await call("PUT", "/iot/devices/Sensor-1", {"device_id": "x"})

        assert created[0] == 201
        assert (changed[0], changed[1]["name"]) == (400, "WRONG_SYNTAX")
        assert (renamed[0], renamed[1]["name"]) == (400, "BAD_REQUEST")


@pytest.mark.parametrize("missing", ["fiware-service", "fiware-servicepath"])
async def test_both_fiware_headers_are_needed(tmp_path: Path, missing: str) -> None:
    async with script(tmp_path) as call:
        headers = {name: value for name, value in HEADERS.items() if name != missing}

        status, error = await call("GET", "/iot/devices", headers=headers)

        assert (status, error["name"]) == (400, "MISSING_HEADERS")
        assert missing in error["message"]


async def test_a_body_that_is_not_json_is_refused(tmp_path: Path) -> None:
    async with script(tmp_path) as call:
        broken = await call(
            "POST",
            "/iot/devices",
            headers={**HEADERS, "Content-Type": "application/json"},
            data=b"{",
        )
        other = await call("POST", "/iot/devices", headers=HEADERS, data=b"devices")

        assert (broken[0], broken[1]["name"]) == (400, "WRONG_SYNTAX")
        assert (other[0], other[1]["name"]) == (400, "UNSUPPORTED_CONTENT_TYPE")


@pytest.mark.parametrize("kind", ["services", "groups"])
async def test_groups_are_created_listed_changed_and_deleted(tmp_path: Path, kind: str) -> None:
    async with script(tmp_path) as call:
        created = await call("POST", f"/iot/{kind}", {kind: [GROUP]})
        query = f"/iot/{kind}?resource=/iot/d&apikey=key"
        changed = await call("PUT", query, {"entity_type": "Lamp"})
        everywhere = {**HEADERS, "fiware-servicepath": "/*"}
        _, listed = await call("GET", f"/iot/{kind}", headers=everywhere)
        deleted = await call("DELETE", query)
        _, empty = await call("GET", f"/iot/{kind}")

        assert created == (201, {})
        assert changed == (204, None)
        assert listed["count"] == 1
        assert listed[kind][0]["entity_type"] == "Lamp"
        assert listed[kind][0]["subservice"] == "/parking"
        assert deleted == (204, None)
        assert empty == {"count": 0, kind: []}


async def test_groups_are_unique_over_services_and_closed_to_others(tmp_path: Path) -> None:
    other = {**HEADERS, "fiware-service": "other"}
    async with script(tmp_path) as call:
        await call("POST", "/iot/groups", {"groups": [GROUP]})

        again = await call("POST", "/iot/groups", {"groups": [GROUP]}, headers=other)
        query = "/iot/groups?resource=/iot/d&apikey=key"
        foreign = await call("DELETE", query, headers=other)
        unknown = await call("DELETE", "/iot/groups?resource=&apikey=none")
        unnamed = await call("DELETE", "/iot/groups")
        untyped = await call("POST", "/iot/groups", {"groups": [{"resource": "", "apikey": ""}]})

        assert (again[0], again[1]["name"]) == (409, "DUPLICATE_GROUP")
        assert (foreign[0], foreign[1]["name"]) == (403, "MISMATCHED_SERVICE")
        assert (unknown[0], unknown[1]["name"]) == (404, "DEVICE_GROUP_NOT_FOUND")
        assert (unnamed[0], unnamed[1]["name"]) == (400, "MISSING_HEADERS")
        assert (untyped[0], untyped[1]["name"]) == (400, "MISSING_CONFIG_PARAMS")


async def test_deleting_a_group_can_take_its_devices_along(tmp_path: Path) -> None:
    async with script(tmp_path) as call:
        await call("POST", "/iot/groups", {"groups": [GROUP]})
        of_group = {**DEVICE, "device_id": "in", "apikey": "key"}
        await call("POST", "/iot/devices", {"devices": [of_group, DEVICE]})

        await call("DELETE", "/iot/groups?resource=/iot/d&apikey=key&device=true")

        _, listed = await call("GET", "/iot/devices")
        assert [device["device_id"] for device in listed["devices"]] == ["Sensor-1"]


async def test_a_request_is_answered_with_its_correlator(tmp_path: Path) -> None:
    async with Registry.open(tmp_path / "registry.db") as registry:
        app = Provisioning(registry, Checks()).app()
        async with serving({"/iot": app}) as url, ClientSession() as http:
            headers = {**HEADERS, "Fiware-Correlator": "abc"}
            async with http.get(url + "/iot/devices", headers=headers) as answer:
                assert answer.headers["Fiware-Correlator"] == "abc"


async def test_a_device_is_found_by_its_eui_with_what_its_group_adds(tmp_path: Path) -> None:
    device = Device(
        device_id="d",
        service="city",
        apikey="key",
        entity_type="Device",
        internal_attributes={"lorawan": {"dev_eui": "02AB"}},
    )
    group = ServiceGroup(
        resource="", apikey="key", service="city", entity_type="Device", timezone="Europe/Paris"
    )
    async with Registry.open(tmp_path / "registry.db") as registry:
        await registry.add_groups([group])
        await registry.add_devices([device])

        known = await registry.find("02ab")

        assert known is not None
        assert known.device == device
        assert known.in_force["timezone"] == "Europe/Paris"
        assert known.in_force["entity_name"] == "urn:ngsi-ld:Device:d"
        assert await registry.find("02ab") is known


async def test_a_change_is_seen_by_the_next_measure(tmp_path: Path) -> None:
    device = Device(device_id="d", service="city", entity_type="Device")
    async with Registry.open(tmp_path / "registry.db") as registry:
        await registry.add_devices([device])
        before = await registry.find("d")
        await registry.delete_devices([device])

        assert before is not None
        assert await registry.find("d") is None


async def test_an_id_that_several_devices_have_is_not_guessed(tmp_path: Path) -> None:
    async with Registry.open(tmp_path / "registry.db") as registry:
        await registry.add_devices([Device(device_id="d", apikey=key) for key in ("one", "two")])

        with pytest.raises(AmbiguousDevice):
            await registry.find("d")
        known = await registry.find("d", "two")

        assert known is not None
        assert known.device.apikey == "two"


async def test_a_device_cannot_take_the_key_of_its_twin(tmp_path: Path) -> None:
    one, two = (Device(device_id="d", apikey=key) for key in ("one", "two"))
    async with Registry.open(tmp_path / "registry.db") as registry:
        await registry.add_devices([one, two])

        with pytest.raises(DuplicateDeviceId):
            await registry.update_device(one, two)


async def test_devices_outlive_a_restart(tmp_path: Path) -> None:
    async with script(tmp_path) as call:
        await call("POST", "/iot/devices", {"devices": [DEVICE]})

    async with script(tmp_path) as call:
        assert (await call("GET", "/iot/devices/Sensor-1"))[0] == 200


ATTRIBUTES = {
    "attributes": [
        {
            "object_id": "t",
            "name": "temperature",
            "type": "Number",
            "expression": "t * 2",
            "skipValue": 0,
            "entity_name": "urn:ngsi-ld:Room:1",
            "entity_type": "Room",
            "metadata": {"unitCode": {"type": "Text", "value": "CEL"}},
        }
    ],
    "lazy": [{"object_id": "l", "name": "level", "type": "Number"}],
    "commands": [
        {
            "object_id": "o",
            "name": "open",
            "type": "command",
            "value": "x",
            "payloadType": "binaryfromhex",
            "contentType": "text/plain",
            "headers": {"x-key": "1"},
            "mqtt": {"qos": "2", "retain": True},
        }
    ],
    "static_attributes": [
        {
            "name": "serves",
            "type": "Text",
            "value": [1],
            "metadata": {"a": {"value": 1}},
            "link": {"attributes": ["a"], "name": "providedBy", "type": "Building"},
        }
    ],
}
SHARED = {
    **ATTRIBUTES,
    "internal_attributes": {"lorawan": {"application_id": "1"}},
    "explicitAttrs": "t > 1 ? ['temperature'] : []",
    "expressionLanguage": "jexl",
    "timestamp": True,
    "timezone": "Europe/Madrid",
    "transport": "HTTP",
    "endpoint": "http://10.0.0.1/cmd",
    "ngsiVersion": "ld",
    "payloadType": "ngsild",
    "useCBflowControl": False,
    "storeLastMeasure": True,
    "cmdMode": "legacy",
    "autoprovision": True,
}


async def test_all_members_of_a_group_come_back(tmp_path: Path) -> None:
    group = {
        **GROUP,
        **SHARED,
        "cbHost": "http://orion:1026",
        "entityNameExp": "id + 'x'",
        "defaultEntityNameConjunction": "-",
        "description": "bays",
    }
    async with script(tmp_path) as call:
        unknown = {"cbroker": "http://orion:1026", "token": "secret", "trust": "secret"}
        created = await call("POST", "/iot/groups", {"groups": [{**group, **unknown}]})

        _, listed = await call("GET", "/iot/groups?resource=/iot/d&apikey=key")

        assert created == (201, {})
        assert listed == {
            "count": 1,
            "groups": [{**group, "service": "city", "subservice": "/parking"}],
        }


async def test_all_members_of_a_device_come_back(tmp_path: Path) -> None:
    members = {
        **DEVICE,
        **SHARED,
        "apikey": "key",
        "protocol": "IoTA-JSON",
        "entity_name": "urn:ngsi-ld:ParkingSpot:spot-1",
    }
    async with script(tmp_path) as call:
        created = await call("POST", "/iot/devices", {"devices": [members]})

        _, shown = await call("GET", "/iot/devices/Sensor-1")

        place = {"service": "city", "service_path": "/parking", "polling": False}
        assert created == (201, {})
        assert shown == {**members, **place}


async def test_a_change_of_a_device_replaces_lists_and_leaves_the_rest(tmp_path: Path) -> None:
    async with script(tmp_path) as call:
        await call("POST", "/iot/devices", {"devices": [{**DEVICE, **SHARED}]})

        changed = await call(
            "PUT", "/iot/devices/Sensor-1", {"commands": [{"name": "shut"}], "lastMeasure": {}}
        )

        _, shown = await call("GET", "/iot/devices/Sensor-1")
        assert changed == (204, None)
        assert shown["commands"] == [{"name": "shut"}]
        assert shown["attributes"] == ATTRIBUTES["attributes"]


async def test_a_group_can_change_its_own_key(tmp_path: Path) -> None:
    async with script(tmp_path) as call:
        await call("POST", "/iot/groups", {"groups": [GROUP]})

        changed = await call("PUT", "/iot/groups?resource=/iot/d&apikey=key", {"apikey": "new"})

        gone = await call("GET", "/iot/groups?resource=/iot/d&apikey=key")
        status, found = await call("GET", "/iot/groups?resource=/iot/d&apikey=new")
        assert changed == (204, None)
        assert gone[0] == 404
        assert (status, found["groups"][0]["entity_type"]) == (200, "Device")


@pytest.mark.parametrize(
    ("group", "device", "polling"),
    [
        ({"transport": "HTTP"}, {}, True),
        ({"transport": "MQTT"}, {}, False),
        ({"transport": "MQTT"}, {"transport": "HTTP"}, True),
        ({"transport": "HTTP", "endpoint": "http://x/y"}, {}, False),
        ({"transport": "HTTP"}, {"endpoint": "http://x/y"}, False),
        ({}, {}, False),
    ],
    ids=["http", "mqtt", "own transport", "endpoint", "own endpoint", "nothing"],
)
async def test_a_device_polls_when_it_speaks_http_and_has_no_endpoint(
    tmp_path: Path, group: Any, device: Any, *, polling: bool
) -> None:
    async with script(tmp_path) as call:
        await call("POST", "/iot/groups", {"groups": [{**GROUP, **group}]})
        own = {"device_id": "d", "apikey": "key", **device}
        await call("POST", "/iot/devices", {"devices": [own]})

        _, shown = await call("GET", "/iot/devices/d")

        assert shown["polling"] is polling
        assert shown["entity_name"] == "urn:ngsi-ld:Device:d"


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["a", "b", "c"]),
        ("?apikey=key", ["b"]),
        ("?entity_type=Lamp", ["b", "c"]),
        ("?entity=urn:ngsi-ld:Lamp:c", ["c"]),
        ("?entity=urn:x:b", ["b"]),
        ("?entity=urn:x:b&apikey=other", []),
        ("?entity=urn:x:none", []),
        ("?limit=1&offset=1&protocol=IoTA-JSON&detailed=on", ["b"]),
    ],
    ids=["all", "key", "type", "made id", "given id", "both", "none", "page"],
)
async def test_devices_are_selected(tmp_path: Path, query: str, found: list[str]) -> None:
    devices = [
        {"device_id": "a"},
        {"device_id": "b", "apikey": "key", "entity_type": "Lamp", "entity_name": "urn:x:b"},
        {"device_id": "c", "entity_type": "Lamp"},
    ]
    async with script(tmp_path) as call:
        await call("POST", "/iot/devices", {"devices": devices})

        _, listed = await call("GET", "/iot/devices" + query)

        assert [device["device_id"] for device in listed["devices"]] == found


async def test_several_devices_are_deleted_at_once(tmp_path: Path) -> None:
    devices = [
        {"device_id": name, "apikey": key} for name, key in (("a", ""), ("b", "k"), ("c", ""))
    ]
    async with script(tmp_path) as call:
        await call("POST", "/iot/devices", {"devices": devices})

        body = {"devices": [{"deviceId": "a"}, {"deviceId": "b", "apikey": "k"}]}
        deleted = await call("POST", "/iot/op/delete", body)

        _, listed = await call("GET", "/iot/devices")
        assert deleted == (204, None)
        assert [device["device_id"] for device in listed["devices"]] == ["c"]


async def test_a_service_of_ngsi_ld_has_the_root_for_a_path(tmp_path: Path) -> None:
    tenant = {"NGSILD-Tenant": "City"}
    async with script(tmp_path) as call:
        await call("POST", "/iot/devices", {"devices": [DEVICE]}, headers=tenant)

        root = {"fiware-service": "city", "fiware-servicepath": "/"}
        assert (await call("GET", "/iot/devices/Sensor-1", headers=root))[0] == 200


async def test_a_device_costs_the_same_in_a_large_service_as_in_a_small_one(tmp_path: Path) -> None:
    def steps_to_add(connection: sqlite3.Connection, name: str) -> int:
        steps = 0

        def step() -> int:
            nonlocal steps
            steps += 1
            return 0

        connection.set_progress_handler(step, 10)
        rows.add_devices(connection, devices=[Device(device_id=name, service="city")])
        rows.device(connection, service="city", path="/", device_id=name, apikey=None)
        connection.set_progress_handler(None, 10)
        return steps

    async with Registry.open(tmp_path / "registry.db") as registry:
        small = await registry.work(lambda connection: steps_to_add(connection, "a"))
        await registry.add_devices(
            [Device(device_id=f"d{number}", service="city") for number in range(3000)]
        )
        large = await registry.work(lambda connection: steps_to_add(connection, "b"))

        assert 0 < large < 2 * small
