"""Commands from a PATCH at a real broker to devices over MQTT and HTTP, and their answers back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web

from tests.support.devices import Field
from tests.support.devices import field as field_of
from tests.support.eventually import eventually
from tests.support.mosquitto import free_port, mosquitto, needs_mosquitto
from tests.support.serve import running_broker
from tests.support.shared import needs_shared
from tests.support.vectors import vector

ENTITY = "urn:ngsi-ld:ParkingSpot:spot17"


@asynccontextmanager
async def street(directory: Path, **settings: Any) -> AsyncIterator[Field]:
    async with (
        running_broker(directory / "broker") as broker,
        field_of(directory / "agent", broker.url, **settings) as made,
    ):
        yield made


def group(**members: Any) -> dict[str, Any]:
    return {
        "apikey": "parkkey",
        "resource": "/iot/json",
        "entity_type": "ParkingSpot",
        "commands": [{"name": "reset", "type": "command"}, {"name": "light", "type": "command"}],
        **members,
    }


async def provision(town: Field, *, device: Mapping[str, Any] | None = None, **more: Any) -> None:
    await town.north("POST", "/iot/groups", {"groups": [group(**more)]}, status=201)
    if device is not None:
        devices = [{"device_id": "spot17", "entity_type": "ParkingSpot", **device}]
        await town.north("POST", "/iot/devices", {"devices": devices}, status=201)


async def patch(town: Field, name: str, value: Any) -> None:
    await town.broker.update_attrs(ENTITY, {name: {"type": "Property", "value": value}})


async def test_a_command_goes_to_the_device_and_its_answer_to_the_entity(tmp_path: Path) -> None:
    async with street(tmp_path) as town:
        await provision(town, device={})
        await town.subscribe("/parkkey/spot17/cmd")
        await patch(town, "reset", "now")
        topic, payload = await town.message()
        await town.publish("/json/parkkey/spot17/cmdexe", b'{"reset":"done"}')
        entity = await town.shows(ENTITY, "reset_status", "OK")

    assert topic == "/parkkey/spot17/cmd"
    assert msgspec.json.decode(payload) == {"reset": "now"}
    assert entity["reset_info"]["value"] == "done"


async def test_one_command_is_asked_for_and_not_its_neighbours(tmp_path: Path) -> None:
    async with street(tmp_path) as town:
        await provision(town, device={})
        await town.subscribe("/parkkey/spot17/cmd")
        await patch(town, "light", "on")
        first = await town.message()
        await patch(town, "reset", "now")
        second = await town.message()
        listed = await town.north("GET", "/iot/commands")

    assert [msgspec.json.decode(each[1]) for each in (first, second)] == [
        {"light": "on"},
        {"reset": "now"},
    ]
    assert listed["count"] == 2


async def test_the_same_value_twice_is_two_commands(tmp_path: Path) -> None:
    async with street(tmp_path) as town:
        await provision(town, device={})
        await town.subscribe("/parkkey/spot17/cmd")
        await patch(town, "reset", "now")
        await town.message()
        await town.shows(ENTITY, "reset", "UNKNOWN")
        await patch(town, "reset", "now")
        await town.message()

        assert (await town.north("GET", "/iot/commands"))["count"] == 2


async def test_a_device_its_group_took_in_can_be_commanded(tmp_path: Path) -> None:
    async with street(tmp_path) as town:
        await provision(town)
        await town.publish("/json/parkkey/spot17/attrs", b'{"x":1}')
        await town.shows(ENTITY, "reset", "UNKNOWN")
        await town.subscribe("/parkkey/spot17/cmd")
        await patch(town, "reset", {"mode": "soft"})
        _, payload = await town.message()

    assert msgspec.json.decode(payload) == {"reset": {"mode": "soft"}}


@needs_shared
@pytest.mark.parametrize("number", [0, 1], ids=["scalar", "object"])
async def test_the_command_vectors_of_ultralight(tmp_path: Path, number: int) -> None:
    document = vector("iota_ul_measures.json")
    case = document["commands"][number]
    async with street(tmp_path) as town:
        await town.north("POST", "/iot/groups", document["provisioning"], status=201)
        devices = [{"device_id": "spot17", "apikey": "parkkey", "entity_type": "ParkingSpot"}]
        await town.north("POST", "/iot/devices", {"devices": devices}, status=201)
        await town.subscribe("#")
        await patch(town, "reset", case["value"])
        topic, payload = await town.message()

    assert topic == case["expected_publish"]["topic"]
    assert payload.decode() == case["expected_publish"]["payload_text"]


@needs_mosquitto
async def test_commands_wait_for_a_server_that_is_away(tmp_path: Path) -> None:
    (tmp_path / "mosquitto").mkdir()
    async with (
        mosquitto(tmp_path / "mosquitto") as server,
        street(tmp_path, mqtt_url=server.url) as town,
    ):
        await provision(town, device={})
        await server.stop()
        await eventually(town.is_unready)
        await patch(town, "reset", "now")
        await town.shows(ENTITY, "reset_status", "PENDING")
        await server.start()
        await town.shows(ENTITY, "reset_status", "SENT")


@dataclass
class DeviceServer:
    """A device that takes commands by HTTP."""

    answer: str = ""
    status: int = 200
    url: str = ""
    requests: list[tuple[str, Mapping[str, str], bytes]] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        self.requests.append((request.path, request.headers, await request.read()))
        return web.Response(text=self.answer, status=self.status)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[DeviceServer]:
        app = web.Application()
        app.router.add_post("/{path:.*}", self.take)
        runner = web.AppRunner(app)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            yield self
        finally:
            await runner.cleanup()


@pytest.mark.parametrize(
    ("resource", "answer", "sent", "content_type"),
    [
        ("/iot/json", '{"reset":"done"}', b'{"reset":"now"}', "application/json"),
        ("/iot/d", "spot17@reset|done", b"spot17@reset|now", "text/plain"),
    ],
    ids=["JSON", "UltraLight"],
)
async def test_a_device_with_an_endpoint_answers_at_once(
    tmp_path: Path, resource: str, answer: str, sent: bytes, content_type: str
) -> None:
    device = DeviceServer(answer)
    async with device.listening(), street(tmp_path, egress_allow="127.0.0.1") as town:
        await provision(town, resource=resource, device={"endpoint": device.url + "/gate"})
        await patch(town, "reset", "now")
        entity = await town.shows(ENTITY, "reset_status", "OK")

    ((path, headers, body),) = device.requests
    assert (path, body) == ("/gate", sent)
    assert headers["Content-Type"] == content_type
    assert headers["fiware-service"] == "city"
    assert entity["reset_info"]["value"] == "done"


async def test_a_device_that_refuses_a_command_makes_it_an_error(tmp_path: Path) -> None:
    device = DeviceServer(status=500)
    async with device.listening(), street(tmp_path, egress_allow="127.0.0.1") as town:
        await provision(town, device={"endpoint": device.url})
        await patch(town, "reset", "now")
        entity = await town.shows(ENTITY, "reset_status", "ERROR")

    assert "500" in entity["reset_info"]["value"]
    assert len(device.requests) == 1


async def test_a_private_endpoint_is_not_called_unless_it_is_allowed(tmp_path: Path) -> None:
    device = DeviceServer()
    async with device.listening(), street(tmp_path) as town:
        await provision(town, device={"endpoint": device.url})
        await patch(town, "reset", "now")
        entity = await town.shows(ENTITY, "reset_status", "ERROR")

    assert "loopback" in entity["reset_info"]["value"]
    assert device.requests == []


@pytest.mark.parametrize(
    ("resource", "fetched", "nothing"),
    [
        ("/iot/json", '{"reset":"now","light":5}', "{}"),
        ("/iot/d", "spot17@reset|now#spot17@light|5", ""),
    ],
    ids=["JSON", "UltraLight"],
)
async def test_a_device_that_polls_fetches_its_commands_once(
    tmp_path: Path, resource: str, fetched: str, nothing: str
) -> None:
    async with street(tmp_path) as town:
        await provision(town, resource=resource, device={"transport": "HTTP"})
        await patch(town, "reset", "now")
        await patch(town, "light", 5)
        await _held(town, 2)
        url = f"{town.agents.http_url}{resource}?k=parkkey&i=spot17&getCmd=1"
        async with town.http.get(url) as answer:
            first = await answer.text()
        async with town.http.get(url) as answer:
            second = await answer.text()
        entity = await town.shows(ENTITY, "light_status", "DELIVERED")

    assert (first, second) == (fetched, nothing)
    assert entity["reset_status"]["value"] == "DELIVERED"


async def _held(town: Field, count: int) -> None:
    async def are_held() -> bool:
        found = await town.north("GET", "/iot/commands?state=held")
        return bool(found["count"] >= count)

    await eventually(are_held)


async def test_results_come_by_http_too(tmp_path: Path) -> None:
    async with street(tmp_path) as town:
        await provision(town, device={"transport": "HTTP"})
        url = f"{town.agents.http_url}/iot/json/commands?k=parkkey&i=spot17"
        async with town.http.post(url, json={"reset": "done"}) as answer:
            assert answer.status == 200
        entity = await town.shows(ENTITY, "reset_status", "OK")

    assert entity["reset_info"]["value"] == "done"


@pytest.mark.parametrize(
    ("command", "value", "payload"),
    [
        ({"expression": "{power: reset * 2}"}, 4, b'{"power":8}'),
        ({"expression": "'R' + id", "payloadType": "text"}, "x", b"Rspot17"),
        ({"expression": "'0aff'", "payloadType": "binaryfromhex"}, 1, b"\x0a\xff"),
    ],
    ids=["object", "text", "hex"],
)
async def test_an_expression_makes_the_whole_payload(
    tmp_path: Path, command: dict[str, Any], value: Any, payload: bytes
) -> None:
    async with street(tmp_path) as town:
        await provision(town, device={}, commands=[{"name": "reset", **command}])
        await town.subscribe("/parkkey/spot17/cmd")
        await patch(town, "reset", value)

        assert (await town.message())[1] == payload


async def test_a_broker_that_forwards_is_served(tmp_path: Path) -> None:
    async with street(tmp_path, command_subscriptions=False) as town:
        await provision(town, device={})
        await town.subscribe("/parkkey/spot17/cmd")
        root = f"{town.agents.url}/ngsi-ld/v1/entities"
        tenant = {"NGSILD-Tenant": "city"}
        body = {"type": "Property", "value": "now"}
        async with town.http.patch(
            f"{root}/{ENTITY}/attrs/reset", json=body, headers=tenant
        ) as answer:
            assert answer.status == 204
        first = await town.message()
        async with town.http.patch(
            f"{root}/{ENTITY}/attrs", json={"light": body}, headers=tenant
        ) as answer:
            assert answer.status == 204
        second = await town.message()
        async with town.http.patch(
            f"{root}/{ENTITY}/attrs/other", json=body, headers=tenant
        ) as answer:
            assert answer.status == 404
        async with town.http.get(root, params={"id": ENTITY}) as answer:
            assert await answer.json() == []

    assert [msgspec.json.decode(each[1]) for each in (first, second)] == [
        {"reset": "now"},
        {"light": "now"},
    ]


async def test_one_request_commands_all_devices_of_a_type(tmp_path: Path) -> None:
    async with street(tmp_path) as town:
        await provision(town)
        devices = [{"device_id": f"spot{n}", "entity_type": "ParkingSpot"} for n in range(3)]
        await town.north("POST", "/iot/devices", {"devices": devices}, status=201)
        await town.subscribe("/parkkey/+/cmd")
        body = {"type": "ParkingSpot", "command": "reset", "value": 1, "key": "night"}
        answer = await town.north("POST", "/iot/commands", body, status=202)
        topics = {(await town.message())[0] for _ in range(3)}
        again = await town.north("POST", "/iot/commands", body, status=202)
        path = f"/iot/commands/{answer['commands'][0]}"
        shown = await town.north("GET", path, status=200)
        other = {"fiware-service": "village", "fiware-servicepath": "/"}
        async with town.http.get(town.agents.url + path, headers=other) as elsewhere:
            hidden = elsewhere.status
        late = await town.north("DELETE", path, status=409)

    assert (hidden, late["detail"]) == (404, "the command has left already")
    assert topics == {f"/parkkey/spot{n}/cmd" for n in range(3)}
    assert (answer["count"], again["count"]) == (3, 0)
    assert shown["command"] == "reset"


async def test_a_request_for_many_names_what_has_no_such_command(tmp_path: Path) -> None:
    nowhere = "urn:ngsi-ld:ParkingSpot:nowhere"
    here = "urn:ngsi-ld:ParkingSpot:spot17"
    async with street(tmp_path) as town:
        await provision(town)
        await town.north(
            "POST",
            "/iot/devices",
            {"devices": [{"device_id": "spot17", "entity_type": "ParkingSpot"}]},
            status=201,
        )
        body = {"entities": [here, nowhere], "command": "reset"}
        answer = await town.north("POST", "/iot/commands", body, status=202)
        none = await town.north("POST", "/iot/commands", {**body, "command": "fly"}, status=404)

    assert (answer["count"], answer["unknown"]) == (1, [nowhere])
    assert "command fly" in none["detail"]


async def test_a_command_expires_when_nobody_answers(tmp_path: Path) -> None:
    async with street(tmp_path) as town:
        command = {"name": "reset", "metadata": {"expiry": {"value": 0.2}}}
        await provision(town, device={}, commands=[command])
        await patch(town, "reset", "now")
        entity = await town.shows(ENTITY, "reset_status", "EXPIRED")

    assert entity["reset_info"]["value"] == "it was not answered within 0.2 s"


async def test_a_device_asks_for_its_configuration(tmp_path: Path) -> None:
    async with street(tmp_path) as town:
        attributes = [{"object_id": "t", "name": "temperature", "type": "Number"}]
        await provision(town, device={}, attributes=attributes)
        await town.publish("/json/parkkey/spot17/attrs", b'{"t":21.5}')
        await town.entity(ENTITY)
        await town.subscribe("/parkkey/spot17/configuration/values")
        await town.publish(
            "/json/parkkey/spot17/configuration/commands",
            b'{"type":"configuration","fields":["t","temperature","none"]}',
        )
        values = msgspec.json.decode((await town.message())[1])
        await town.publish("/ul/parkkey/spot17/configuration/commands", b"configuration|t")
        text = (await town.message())[1].decode()

    assert {name: value for name, value in values.items() if name != "dt"} == {
        "t": 21.5,
        "temperature": 21.5,
    }
    assert text.startswith("spot17@configuration|t=21.5|dt=2")


async def test_what_is_no_longer_provisioned_is_no_longer_subscribed_to(tmp_path: Path) -> None:
    async with street(tmp_path) as town:
        await provision(town, device={})
        before = await _watched(town)
        query = "?resource=/iot/json&apikey=parkkey"
        await town.north("DELETE", f"/iot/groups{query}", status=204)

        async def nothing_is_watched() -> bool:
            return not await _watched(town)

        await eventually(nothing_is_watched)

    assert before == {"reset", "light"}


async def test_subscriptions_the_broker_lost_are_made_again(tmp_path: Path) -> None:
    async with street(tmp_path, command_check_interval=0.1) as town:
        await provision(town, device={})
        for found in await town.broker.request("GET", "/subscriptions"):
            await town.broker.delete_subscription(found["id"])

        async def all_is_watched() -> bool:
            return await _watched(town) == {"reset", "light"}

        await eventually(all_is_watched)


async def _watched(town: Field) -> set[str]:
    found = await town.broker.request("GET", "/subscriptions")
    return {name for each in found for name in each["watchedAttributes"]}


async def test_an_agent_without_a_broker_provisions_and_says_what_is_missing(
    tmp_path: Path,
) -> None:
    async with field_of(tmp_path, f"http://127.0.0.1:{free_port()}") as town:
        await provision(town, device={})

        async def is_said() -> bool:
            notes = (await town.north("GET", "/ready"))["notes"]
            return any(note.startswith("commands of the mqtt agent") for note in notes)

        await eventually(is_said)
