"""The waiting rooms over HTTP: who waits, who is let in, and who is sent away."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from iot_agents.common.admission import Admission
from iot_agents.common.provisioning import Provisioning
from iot_agents.common.provisioning_checks import Checks
from tests.support.http import serving
from tests.support.pipeline_bench import Bench, bench, measure
from tests.support.provisioning import HEADERS, Script

ATTRIBUTES = [{"object_id": "n", "name": "status", "type": "Number"}]
TEMPLATE = {"entity_type": "ParkingSpot", "attributes": ATTRIBUTES}


class Town:
    """A pipeline, and the API over it."""

    def __init__(self, here: Bench, call: Script) -> None:
        self.here = here
        self.call = call

    async def submit(self, device_id: str, *numbers: int, apikey: str | None = None) -> None:
        for number in numbers:
            one = measure(number, n=number)
            one = replace(one, device_id=device_id, apikey=apikey, key="", raw=b'{"n": 1}')
            await (await self.here.pipeline.submit(one)).durable()

    async def waiting(self, query: str = "") -> dict[str, int]:
        _, listed = await self.call("GET", f"/iot/waiting{query}")
        return {device["device_id"]: device["measures"] for device in listed["devices"]}


@asynccontextmanager
async def town(directory: Path) -> AsyncIterator[Town]:
    async with bench(directory) as here:
        checks = Checks()
        app = Provisioning(here.registry, checks).app()
        outlets = {"lorawan": here.agent.outlets}
        pipelines = {"lorawan": here.pipeline}
        app.add_routes(Admission(here.registry, checks, outlets, pipelines).routes())
        async with serving({"/iot": app}) as url, ClientSession() as http:
            yield Town(here, Script(http, url))


async def test_a_device_is_let_in_with_all_that_waited_of_it(tmp_path: Path) -> None:
    async with town(tmp_path) as here:
        await here.submit("d1", 1, 2, apikey="key")

        status, answer = await here.call(
            "POST", "/iot/waiting/accept", {"device_id": "d1", "device": TEMPLATE}
        )

        _, shown = await here.call("GET", "/iot/devices/d1")
        assert status == 200
        assert answer == {
            "dryRun": False,
            "created": ["d1"],
            "devices": ["d1"],
            "replayed": 2,
            "waiting": 0,
        }
        assert (shown["apikey"], shown["service"], shown["service_path"]) == (
            "key",
            "city",
            "/parking",
        )
        assert len(await here.here.spooled()) == 2
        assert await here.waiting() == {}


async def test_a_pattern_lets_in_those_whose_ids_fit(tmp_path: Path) -> None:
    async with town(tmp_path) as here:
        for name in ("bay-1", "bay-2", "bin-1"):
            await here.submit(name, 1)
        device = {**TEMPLATE, "entity_name": "urn:ngsi-ld:Bay:{device_id}"}

        _, answer = await here.call(
            "POST", "/iot/waiting/accept", {"pattern": "bay-?", "device": device}
        )

        _, listed = await here.call("GET", "/iot/devices")
        assert sorted(answer["created"]) == ["bay-1", "bay-2"]
        assert sorted(each["entity_name"] for each in listed["devices"]) == [
            "urn:ngsi-ld:Bay:bay-1",
            "urn:ngsi-ld:Bay:bay-2",
        ]
        assert await here.waiting() == {"bin-1": 1}


async def test_a_dry_run_says_who_would_come_in_and_changes_nothing(tmp_path: Path) -> None:
    async with town(tmp_path) as here:
        await here.submit("d1", 1, 2)

        _, answer = await here.call(
            "POST", "/iot/waiting/accept", {"pattern": "*", "device": TEMPLATE, "dryRun": True}
        )

        assert (answer["created"], answer["waiting"]) == (["d1"], 2)
        assert (await here.call("GET", "/iot/devices"))[1]["count"] == 0
        assert await here.waiting() == {"d1": 2}


async def test_a_device_that_was_provisioned_meanwhile_has_its_measures_let_out(
    tmp_path: Path,
) -> None:
    async with town(tmp_path) as here:
        await here.submit("d1", 1, 2)
        body = {"devices": [{**TEMPLATE, "device_id": "d1"}]}
        await here.call("POST", "/iot/devices", body)

        _, answer = await here.call("POST", "/iot/waiting/accept", {"device_id": "d1"})

        assert (answer["created"], answer["replayed"]) == ([], 2)


@pytest.mark.parametrize(
    ("wish", "status", "name"),
    [
        ({}, 400, "BAD_REQUEST"),
        ({"device_id": "none"}, 404, "DEVICE_NOT_FOUND"),
        ({"pattern": "x" * 257}, 400, "BAD_REQUEST"),
        ({"pattern": "*", "protocol": "ocpi"}, 404, "DEVICE_NOT_FOUND"),
        ({"device": {}, "colour": 1}, 400, "WRONG_SYNTAX"),
        ({"pattern": "d?", "device": {"entity_name": "urn:x:1"}}, 400, "BAD_REQUEST"),
        ({"pattern": "d?", "device": {"timezone": "Mars"}}, 400, "WRONG_SYNTAX"),
        ({"pattern": "d?", "device": {"endpoint": "a +"}}, 400, "INVALID_EXPRESSION"),
        ({"pattern": "taken"}, 403, "MISMATCHED_SERVICE"),
    ],
    ids=[
        "nobody named",
        "nobody waits",
        "long pattern",
        "other protocol",
        "unknown member",
        "one name for two",
        "wrong device",
        "wrong expression",
        "of another service",
    ],
)
async def test_a_wish_that_cannot_be_granted_changes_nothing(
    tmp_path: Path, wish: dict[str, Any], status: int, name: str
) -> None:
    async with town(tmp_path) as here:
        for device_id in ("d1", "d2", "taken"):
            await here.submit(device_id, 1)
        taken = {"devices": [{"device_id": "taken", "attributes": ATTRIBUTES}]}
        elsewhere = {**HEADERS, "fiware-service": "other"}
        await here.call("POST", "/iot/devices", taken, headers=elsewhere)

        answered, error = await here.call("POST", "/iot/waiting/accept", wish)

        assert (answered, error["name"]) == (status, name)
        assert (await here.call("GET", "/iot/devices"))[1]["count"] == 0
        assert await here.waiting() == {"d1": 1, "d2": 1, "taken": 1}


async def test_who_waits_is_listed_with_the_payload_and_selected(tmp_path: Path) -> None:
    async with town(tmp_path) as here:
        await here.submit("bay-1", 1, 2, apikey="key")
        await here.submit("bin-1", 1)

        _, listed = await here.call("GET", "/iot/waiting?pattern=bay*")

        (one,) = listed["devices"]
        told = ("agent", "protocol", "device_id", "apikey", "measures", "kind", "payload")
        assert {name: one[name] for name in told} == {
            "agent": "lorawan",
            "protocol": "lorawan",
            "device_id": "bay-1",
            "apikey": "key",
            "measures": 2,
            "kind": "unknown",
            "payload": {"n": 1},
        }
        assert await here.waiting("?limit=1") == {"bin-1": 1}
        assert await here.waiting("?limit=1&offset=1") == {"bay-1": 2}


async def test_what_waits_is_purged_by_pattern_or_altogether(tmp_path: Path) -> None:
    async with town(tmp_path) as here:
        await here.submit("bay-1", 1, 2)
        await here.submit("bin-1", 1)

        some = await here.call("DELETE", "/iot/waiting?pattern=bay*")
        left = await here.waiting()
        rest = await here.call("DELETE", "/iot/waiting")

        assert some == (200, {"purged": 2})
        assert left == {"bin-1": 1}
        assert rest == (200, {"purged": 1})
        assert await here.waiting() == {}
