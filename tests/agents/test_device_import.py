"""Devices from CSV files: what is read, what is refused with line and column, and how many."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from iot_agents.common.device_import import DeviceImport
from iot_agents.common.provisioning import Provisioning
from iot_agents.common.provisioning_checks import Checks
from iot_agents.common.registry import Registry
from tests.support.http import serving
from tests.support.provisioning import HEADERS, Script

TYPED = {**HEADERS, "Content-Type": "text/csv; charset=utf-8"}


class Office:
    """The API with the import."""

    def __init__(self, call: Script) -> None:
        self.call = call

    async def take(self, content: str | bytes, query: str = "", **more: Any) -> Any:
        data = content if isinstance(content, bytes) else content.encode()
        headers = more.get("headers", TYPED)
        path = f"/iot/devices/import?{query}"
        return await self.call("POST", path, headers=headers, data=BytesIO(data))

    async def devices(self) -> dict[str, Any]:
        _, listed = await self.call("GET", "/iot/devices")
        return {device["device_id"]: device for device in listed["devices"]}


@asynccontextmanager
async def office(directory: Path, max_bytes: int = 10_000_000) -> AsyncIterator[Office]:
    async with Registry.open(directory / "registry.db") as registry:
        checks = Checks()
        app = Provisioning(registry, checks).app()
        app.add_routes(DeviceImport(registry, checks, max_bytes=max_bytes).routes())
        async with serving({"/iot": app}) as url, ClientSession() as http:
            yield Office(Script(http, url))


async def test_every_column_is_what_the_provisioning_api_calls_so(tmp_path: Path) -> None:
    columns = {
        "device_id": "d1",
        "apikey": "key",
        "entity_name": "spot",
        "entity_type": "ParkingSpot",
        "protocol": "json",
        "transport": "HTTP",
        "endpoint": "http://10.0.0.1/",
        "timezone": "Europe/Paris",
        "ngsiVersion": "ld",
        "payloadType": "iotagent",
        "cmdMode": "legacy",
        "expressionLanguage": "jexl",
        "timestamp": "yes",
        "autoprovision": "0",
        "storeLastMeasure": "true",
        "useCBflowControl": "no",
        "explicitAttrs": "['a']",
        "attributes": '[{"name": "a"}]',
        "lazy": '[{"name": "b"}]',
        "commands": '[{"name": "c"}]',
        "static_attributes": '[{"name": "d", "value": 1}]',
        "internal_attributes": '{"rigel": {"x": 1}}',
        "dev_eui": "02AB",
        "codec": "cayennelpp",
        "mapping": "parking-sensor",
        "expected_interval": "3600",
        "static:floor": "-2",
        "static:zip:Text": "0815",
        "static:location:geo:json": '{"type": "Point", "coordinates": [1, 2]}',
    }
    quoted = (f'''"{cell.replace('"', '""')}"''' for cell in columns.values())
    async with office(tmp_path) as here:
        status, answer = await here.take(f"{';'.join(columns)}\r\n{';'.join(quoted)}\r\n")

        shown = (await here.devices())["d1"]

    assert (status, answer["created"]) == (200, 1)
    assert shown == {
        "device_id": "d1",
        "service": "city",
        "service_path": "/parking",
        "apikey": "key",
        "entity_name": "urn:ngsi-ld:ParkingSpot:spot",
        "entity_type": "ParkingSpot",
        "protocol": "json",
        "transport": "HTTP",
        "endpoint": "http://10.0.0.1/",
        "timezone": "Europe/Paris",
        "ngsiVersion": "ld",
        "payloadType": "iotagent",
        "cmdMode": "legacy",
        "expressionLanguage": "jexl",
        "timestamp": True,
        "autoprovision": False,
        "storeLastMeasure": True,
        "useCBflowControl": False,
        "explicitAttrs": "['a']",
        "attributes": [{"name": "a"}],
        "lazy": [{"name": "b"}],
        "commands": [{"name": "c"}],
        "static_attributes": [
            {"name": "d", "value": 1},
            {"name": "floor", "value": -2},
            {"name": "zip", "type": "Text", "value": "0815"},
            {
                "name": "location",
                "type": "geo:json",
                "value": {"type": "Point", "coordinates": [1, 2]},
            },
        ],
        "internal_attributes": {
            "rigel": {"x": 1, "mapping": "parking-sensor", "expectedInterval": 3600},
            "lorawan": {"dev_eui": "02AB", "codec": "cayennelpp"},
        },
        "polling": False,
    }


BAD = """device_id,timestamp,timezone,attributes,expected_interval
good,,,,
,yes,,,
b,maybe,,,
c,,Mars/Here,,
d,,,[,
e,,,"[{""name"": ""x""

}, {}]",
f,,,,-1
good,,,,
g,,,,,more
old,,,,
"""
ERRORS = [
    (3, "device_id", "MISSING_ATTRIBUTES"),
    (4, "timestamp", "WRONG_SYNTAX"),
    (5, "timezone", "WRONG_SYNTAX"),
    (6, "attributes", "WRONG_SYNTAX"),
    (7, "attributes", "WRONG_SYNTAX"),
    (10, "expected_interval", "WRONG_SYNTAX"),
    (11, "device_id", "DUPLICATE_DEVICE_ID"),
    (12, "", "WRONG_SYNTAX"),
    (13, "device_id", "DUPLICATE_DEVICE_ID"),
]


@pytest.mark.parametrize(
    ("query", "status", "created", "devices"),
    [
        ("", 400, 0, ["old"]),
        ("dryRun=true", 400, 0, ["old"]),
        ("onError=skip", 200, 1, ["good", "old"]),
        ("onError=skip&dryRun=true", 200, 1, ["old"]),
    ],
    ids=["all or none", "all or none, dry", "by row", "by row, dry"],
)
async def test_each_bad_row_is_named_with_its_line_and_column(
    tmp_path: Path, query: str, status: int, created: int, devices: list[str]
) -> None:
    async with office(tmp_path) as here:
        await here.call("POST", "/iot/devices", {"devices": [{"device_id": "old"}]})

        answered, answer = await here.take(BAD, query)

        told = [(each["line"], each["column"], each["name"]) for each in answer["errors"]]
        assert (answered, answer["created"], answer["failed"]) == (status, created, len(ERRORS))
        assert told == ERRORS
        assert all(each["message"] for each in answer["errors"])
        assert sorted(await here.devices()) == devices


async def test_an_upsert_changes_what_cells_say_and_leaves_the_rest(tmp_path: Path) -> None:
    first = "device_id,entity_type,timezone,codec\na,Lamp,Europe/Paris,cbor\nb,Lamp,,\n"
    second = "device_id,timezone,dev_eui\na,UTC,02ab\nb,,\nc,UTC,\n"
    async with office(tmp_path) as here:
        await here.take(first)

        status, answer = await here.take(second, "mode=upsert")

        devices = await here.devices()
        counts = {name: answer[name] for name in ("created", "updated", "unchanged")}
        assert (status, counts) == (200, {"created": 1, "updated": 1, "unchanged": 1})
        assert (devices["a"]["entity_type"], devices["a"]["timezone"]) == ("Lamp", "UTC")
        assert devices["a"]["internal_attributes"] == {
            "lorawan": {"codec": "cbor", "dev_eui": "02ab"}
        }


@pytest.mark.parametrize(
    ("content", "status", "text"),
    [
        ("", 400, "no column device_id"),
        ("name\nx\n", 400, "'name' is no column"),
        ("device_id,timezon\nx,\n", 400, "'timezone' is one"),
        ("device_id,device_id\nx,y\n", 400, "twice"),
        ("apikey\nx\n", 400, "no column device_id"),
        (b"device_id\nx\n\xff\n", 400, "line 3: it is not in UTF-8"),
        ('device_id\n"x\n', 400, "line 2"),
        ("device_id\n" + "x" * 2000, 413, "1000 bytes"),
    ],
    ids=["empty", "unknown", "near", "twice", "no id", "bytes", "quotes", "large"],
)
async def test_a_file_that_cannot_be_read_is_refused(
    tmp_path: Path, content: str | bytes, status: int, text: str
) -> None:
    async with office(tmp_path, max_bytes=1000) as here:
        answered, error = await here.take(content)

        assert answered == status
        assert text in error["message"]


@pytest.mark.parametrize("query", ["dryRun=perhaps", "mode=replace", "onError=x"])
async def test_a_wish_that_is_not_understood_is_refused(tmp_path: Path, query: str) -> None:
    async with office(tmp_path) as here:
        status, error = await here.take("device_id\nx\n", query)

        assert (status, error["name"]) == (400, "BAD_REQUEST")


async def test_a_file_of_another_type_is_refused(tmp_path: Path) -> None:
    async with office(tmp_path) as here:
        headers = {**HEADERS, "Content-Type": "application/json"}
        status, error = await here.take("device_id\nx\n", headers=headers)

        assert (status, error["name"]) == (400, "UNSUPPORTED_CONTENT_TYPE")


async def test_ten_thousand_rows_come_in_while_other_requests_are_answered(
    tmp_path: Path,
) -> None:
    attributes = '"[{""object_id"": ""t"", ""name"": ""temperature"", ""expression"": ""t / 10""}]"'
    rows = "".join(f"d{number},Lamp,{attributes}\n" for number in range(10_000))
    async with office(tmp_path) as here:
        async with asyncio.TaskGroup() as group:
            taking = group.create_task(here.take("device_id,entity_type,attributes\n" + rows))
            answered = 0
            while not taking.done():
                status, _ = await here.call("GET", "/iot/devices?limit=1")
                answered += status == 200

        _, answer = taking.result()
        _, listed = await here.call("GET", "/iot/devices?limit=1")
        assert (answer["created"], listed["count"]) == (10_000, 10_000)
        assert answered > 10
