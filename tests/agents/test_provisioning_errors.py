"""Every error of the provisioning API, by the name and status that integrators know it by."""

from __future__ import annotations

import sqlite3
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web

from iot_agents.common.provisioning import Provisioning
from iot_agents.common.provisioning_checks import Checks
from iot_agents.common.registry import Registry
from tests.support.http import serving
from tests.support.provisioning import HEADERS, script

QUERY = "?resource=/iot/d&apikey=key"
OTHER = {**HEADERS, "fiware-service": "other"}
ELSEWHERE = {**HEADERS, "fiware-servicepath": "/elsewhere"}


def device(**members: Any) -> dict[str, Any]:
    return {"devices": [{"device_id": "new", **members}]}


def attribute(**members: Any) -> dict[str, Any]:
    return device(attributes=[{"name": "a", **members}])


def command(**members: Any) -> dict[str, Any]:
    return device(commands=[{"name": "a", **members}])


def group(**members: Any) -> dict[str, Any]:
    return {"groups": [{"resource": "", "apikey": "new", "entity_type": "Lamp", **members}]}


CASES: dict[str, tuple[str, str, Any, str, int, str]] = {
    # What is asked: method, path and body. What comes: name, status, and a part of the message.
    "no parameters to change a group": (
        "PUT", "groups", {}, "MISSING_HEADERS", 400, "resource and apikey",
    ),
    "no apikey to delete a group": (
        "DELETE", "services?resource=", None, "MISSING_HEADERS", 400, "resource and apikey",
    ),
    "services under groups": ("POST", "groups", {"services": []}, "WRONG_SYNTAX", 400, "'groups'"),
    "groups under services": (
        "POST", "services", {"groups": []}, "WRONG_SYNTAX", 400, "'services'",
    ),
    "a sibling": ("POST", "devices", {"devices": [], "x": 1}, "WRONG_SYNTAX", 400, "'devices'"),
    "no list": ("POST", "devices", {"devices": {}}, "WRONG_SYNTAX", 400, "devices: Expected"),
    "not an object": ("POST", "devices", [], "WRONG_SYNTAX", 400, "Expected `object`"),
    "no resource": (
        "POST", "groups", {"groups": [{"apikey": "k"}]}, "WRONG_SYNTAX", 400, "resource",
    ),
    "no apikey": (
        "POST", "groups", {"groups": [{"resource": ""}]}, "WRONG_SYNTAX", 400, "apikey",
    ),
    "unknown member of an attribute": (
        "POST", "devices", attribute(colour=1), "WRONG_SYNTAX", 400, "colour",
    ),
    "unknown member of a device that is changed": (
        "PUT", "devices/d", {"colour": 1}, "WRONG_SYNTAX", 400, "colour",
    ),
    "a member that only we set": (
        "PUT", "devices/d", {"polling": True}, "WRONG_SYNTAX", 400, "polling",
    ),
    "wrong type": ("POST", "devices", device(timestamp="yes"), "WRONG_SYNTAX", 400, "timestamp"),
    "character in a name": (
        "POST", "devices", attribute(name="a<"), "WRONG_SYNTAX", 400, "attributes[0].name: 'a<'",
    ),
    "character in an object_id": (
        "POST", "devices", attribute(object_id="a;b"), "WRONG_SYNTAX", 400, "object_id: 'a;b'",
    ),
    "character in a type": (
        "POST", "devices", attribute(type="a(b)"), "WRONG_SYNTAX", 400, "].type: 'a(b)'",
    ),
    "character in an entity type": (
        "POST", "groups", group(entity_type='"'), "WRONG_SYNTAX", 400, "entity_type",
    ),
    "unknown time zone": (
        "POST", "groups", group(timezone="Mars/Here"), "WRONG_SYNTAX", 400, "timezone",
    ),
    "time zone that is a path": (
        "POST", "devices", device(timezone="../etc/passwd"), "WRONG_SYNTAX", 400, "timezone",
    ),
    "unknown payload type": (
        "POST", "devices", device(payloadType="xml"), "WRONG_SYNTAX", 400, "payloadType",
    ),
    "unknown NGSI": ("POST", "groups", group(ngsiVersion="v1"), "WRONG_SYNTAX", 400, "ngsiVersion"),
    "unknown command mode": (
        "POST", "groups", group(cmdMode="fast"), "WRONG_SYNTAX", 400, "cmdMode",
    ),
    "interval": (
        "POST", "devices", device(internal_attributes={"rigel": {"expectedInterval": 0}}),
        "WRONG_SYNTAX", 400, "rigel.expectedInterval: 0",
    ),
    "broker that is no URL": (
        "POST", "groups", group(cbHost="ftp://x"), "WRONG_SYNTAX", 400, "cbHost",
    ),
    "quality of service": (
        "POST", "devices", command(mqtt={"qos": "3"}), "WRONG_SYNTAX", 400, "mqtt.qos: '3'",
    ),
    "retain": ("POST", "devices", command(mqtt={"retain": 1}), "WRONG_SYNTAX", 400, "mqtt.retain"),
    "payload of a command": (
        "POST", "devices", command(payloadType="xml"), "WRONG_SYNTAX", 400, "payloadType",
    ),
    "expiry of a command": (
        "POST", "devices", command(metadata={"expiry": {"value": "60"}}),
        "WRONG_SYNTAX", 400, "commands[0].metadata.expiry: '60'",
    ),
    "idempotent": (
        "POST", "groups", group(commands=[{"name": "a", "metadata": {"idempotent": "yes"}}]),
        "WRONG_SYNTAX", 400, "metadata.idempotent: 'yes'",
    ),
    "limit": ("GET", "devices?limit=0", None, "WRONG_SYNTAX", 400, "limit"),
    "limit above the most": ("GET", "devices?limit=1001", None, "WRONG_SYNTAX", 400, "1000"),
    "limit that is no number": ("GET", "groups?limit=x", None, "WRONG_SYNTAX", 400, "limit"),
    "offset": ("GET", "devices?offset=-1", None, "WRONG_SYNTAX", 400, "offset"),
    "device of a bulk deletion without an id": (
        "POST", "op/delete", {"devices": [{}]}, "WRONG_SYNTAX", 400, "deviceId",
    ),
    "changing the id": ("PUT", "devices/d", {"device_id": "e"}, "BAD_REQUEST", 400, "device_id"),
    "no id": ("POST", "devices", {"devices": [{}]}, "MISSING_ATTRIBUTES", 400, "devices[0]"),
    "no type": (
        "POST", "groups", {"groups": [{"resource": "", "apikey": ""}]},
        "MISSING_CONFIG_PARAMS", 400, "groups[0]: entity_type",
    ),
    "taking the type away": (
        "PUT", "groups" + QUERY, {"entity_type": ""}, "MISSING_CONFIG_PARAMS", 400, "entity_type",
    ),
    "expression of an attribute": (
        "POST", "devices", attribute(expression="a |"), "INVALID_EXPRESSION", 400, "attributes[0]",
    ),
    "expression of a command": (
        "POST", "devices", command(expression="a |"), "INVALID_EXPRESSION", 400, "commands[0]",
    ),
    "expression of the old agents": (
        "POST", "devices", attribute(expression="${@a}"), "INVALID_EXPRESSION", 400, "attributes",
    ),
    "name expression": (
        "POST", "groups", group(entityNameExp="a +"), "INVALID_EXPRESSION", 400, "entityNameExp",
    ),
    "explicit attributes": (
        "POST", "groups", group(explicitAttrs="a ?"), "INVALID_EXPRESSION", 400, "explicitAttrs",
    ),
    "endpoint": ("POST", "groups", group(endpoint="a +"), "INVALID_EXPRESSION", 400, "endpoint"),
    "another language": (
        "POST", "groups", group(expressionLanguage="legacy"), "WRONG_EXPRESSION_TYPE", 400,
        "groups[0].expressionLanguage",
    ),
    "a group twice": (
        "POST", "groups", group(resource="/iot/d", apikey="key"), "DUPLICATE_GROUP", 409, "/iot/d",
    ),
    "a group in the place of another": (
        "PUT", "groups" + QUERY, {"resource": "", "apikey": "other"}, "DUPLICATE_GROUP", 409, "",
    ),
    "a device twice": (
        "POST", "devices", {"devices": [{"device_id": "d"}]}, "DUPLICATE_DEVICE_ID", 409, "'d'",
    ),
    "a device without a key beside one with": (
        "POST", "devices", {"devices": [{"device_id": "keyed"}]},
        "DUPLICATE_DEVICE_ID", 409, "with an apikey",
    ),
    "unknown device": ("GET", "devices/none", None, "DEVICE_NOT_FOUND", 404, "'none'"),
    "device of another key": (
        "GET", "devices/keyed?apikey=x", None, "DEVICE_NOT_FOUND", 404, "'keyed'",
    ),
    "deleting what is not there": ("DELETE", "devices/none", None, "DEVICE_NOT_FOUND", 404, ""),
    "deleting several of which one is not there": (
        "POST", "op/delete", {"devices": [{"deviceId": "d"}, {"deviceId": "none"}]},
        "DEVICE_NOT_FOUND", 404, "'none'",
    ),
    "unknown group": (
        "DELETE", "groups?resource=&apikey=none", None, "DEVICE_GROUP_NOT_FOUND", 404, "",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
async def test_what_is_wrong_is_answered_by_its_name_and_changes_nothing(
    tmp_path: Path, case: tuple[str, str, Any, str, int, str]
) -> None:
    method, path, body, name, status, text = case
    async with script(tmp_path) as call:
        typed = {"resource": "/iot/d", "apikey": "key", "entity_type": "Lamp"}
        groups = [typed, {**typed, "resource": "", "apikey": "other"}]
        devices = [{"device_id": "d"}, {"device_id": "keyed", "apikey": "key"}]
        await call("POST", "/iot/groups", {"groups": groups})
        await call("POST", "/iot/devices", {"devices": devices})
        before = [await call("GET", f"/iot/{kind}") for kind in ("groups", "devices")]

        answered, error = await call(method, f"/iot/{path}", body)

        assert (answered, error["name"]) == (status, name)
        assert text in error["message"]
        assert [await call("GET", f"/iot/{kind}") for kind in ("groups", "devices")] == before


@pytest.mark.parametrize(
    ("headers", "status", "name"),
    [
        ({}, 400, "MISSING_HEADERS"),
        ({"fiware-service": "a"}, 400, "MISSING_HEADERS"),
        ({"fiware-servicepath": "/"}, 400, "MISSING_HEADERS"),
        ({"fiware-service": "a b", "fiware-servicepath": "/"}, 400, "BAD_REQUEST"),
        ({"fiware-service": "a", "fiware-servicepath": "x"}, 400, "BAD_REQUEST"),
        ({"fiware-service": "a", "fiware-servicepath": "/*"}, 400, "BAD_REQUEST"),
        ({**HEADERS, "NGSILD-Tenant": "other"}, 400, "BAD_REQUEST"),
        (OTHER, 403, "MISMATCHED_SERVICE"),
        (ELSEWHERE, 403, "MISMATCHED_SERVICE"),
        (HEADERS, 204, ""),
        ({"NGSILD-Tenant": "city", "NGSILD-Path": "/parking"}, 204, ""),
    ],
    ids=[
        "none",
        "no path",
        "no service",
        "service",
        "path",
        "all paths",
        "two services",
        "other service",
        "other path",
        "right",
        "right, in the words of NGSI-LD",
    ],
)
async def test_the_headers_say_whose_group_it_is(
    tmp_path: Path, headers: dict[str, str], status: int, name: str
) -> None:
    one = {"resource": "/iot/d", "apikey": "key", "entity_type": "Lamp"}
    async with script(tmp_path) as call:
        await call("POST", "/iot/groups", {"groups": [one]})

        answered, error = await call("DELETE", "/iot/groups" + QUERY, headers=headers)

        assert (answered, (error or {"name": ""})["name"]) == (status, name)


async def test_a_body_that_is_not_json_has_the_wrong_type(tmp_path: Path) -> None:
    async with script(tmp_path) as call:
        status, error = await call("POST", "/iot/devices", headers=HEADERS, data=b"{}")

        assert (status, error["name"]) == (400, "UNSUPPORTED_CONTENT_TYPE")


async def test_a_body_that_is_too_large_is_refused(tmp_path: Path) -> None:
    async with script(tmp_path) as call:
        large = BytesIO(b'{"devices": ["' + b"x" * 1_100_000 + b'"]}')
        headers = {**HEADERS, "Content-Type": "application/json"}
        status, error = await call("POST", "/iot/devices", headers=headers, data=large)

        assert (status, error["name"]) == (413, "PAYLOAD_TOO_LARGE")


async def test_a_body_that_is_too_deep_is_refused(tmp_path: Path) -> None:
    deep = b'{"devices": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    headers = {**HEADERS, "Content-Type": "application/json"}
    async with script(tmp_path) as call:
        status, error = await call("POST", "/iot/devices", headers=headers, data=BytesIO(deep))

        assert (status, error["name"]) == (400, "WRONG_SYNTAX")


async def test_any_character_may_stand_in_an_object_id_where_that_was_set(tmp_path: Path) -> None:
    async with script(tmp_path, Checks(relaxed=True)) as call:
        created = await call("POST", "/iot/devices", attribute(object_id="ns=3;s=a"))
        refused = await call("POST", "/iot/devices", attribute(name="ns=3;s=a"))

        assert created == (201, {})
        assert refused[0] == 400


async def test_a_registry_that_fails_says_so_without_its_secrets(tmp_path: Path) -> None:
    async with Registry.open(tmp_path / "registry.db") as registry:
        app = web.Application()
        app.add_subapp("/iot", Provisioning(registry, Checks()).app())
        with sqlite3.connect(tmp_path / "registry.db") as connection:
            connection.execute("DROP TABLE device")
        connection.close()
        async with (
            serving({"/a": app}) as url,
            ClientSession() as http,
            http.get(url + "/a/iot/devices", headers=HEADERS) as answer,
        ):
            error = await answer.json()

            assert (answer.status, error["name"]) == (500, "INTERNAL_DB_ERROR")
            assert "SELECT" not in error["message"]
