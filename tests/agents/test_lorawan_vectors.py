"""Every LoRaWAN vector through mosquitto or HTTP, the agent and our own broker."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiomqtt
import msgspec
import pytest
from aiohttp import ClientSession

from broker.client import Client
from iot_agents.server import LORAWAN, RunningAgents, serve
from iot_agents.settings import Settings
from tests.support.eventually import eventually
from tests.support.mosquitto import mosquitto, needs_mosquitto
from tests.support.serve import running, running_broker
from tests.support.shared import SHARED, needs_shared
from tests.support.vectors import differences, vector

TOKEN = "http-token"
TOPICS = ("application/+/device/+/event/+", "things-stack=v3/+/devices/+/#")
SCRIPTS = Path(__file__).parent / "scripts"
pytestmark = [needs_shared, needs_mosquitto]


@dataclass
class Town:
    """Mosquitto, the agent and the broker, and what was read of the broker."""

    agents: RunningAgents
    http: ClientSession
    mqtt: aiomqtt.Client
    client: Client
    seen: dict[str, Any] = field(default_factory=dict)

    async def provision(self, *devices: Mapping[str, Any]) -> None:
        headers = {"fiware-service": "city", "fiware-servicepath": "/"}
        url = f"{self.agents.url}/iot/devices"
        async with self.http.post(url, json={"devices": devices}, headers=headers) as answer:
            assert answer.status == 201, await answer.text()

    async def publish(self, topic: str, message: Any) -> None:
        """Publish, and wait until the agent has acknowledged it."""
        before = self.agents.metrics()["acknowledged"]
        await self.mqtt.publish(topic, msgspec.json.encode(message), qos=1)
        await eventually(lambda: self.agents.metrics()["acknowledged"] > before)

    async def post(self, network: str, message: Any, query: str = "") -> None:
        async with self.http.post(
            f"{self.agents.url}/lorawan/{network}?{query}",
            json=message,
            headers={"Authorization": f"Bearer {TOKEN}"},
        ) as answer:
            assert answer.status == 200, await answer.text()

    async def updates(self) -> Sequence[Mapping[str, Any]]:
        """Return the attributes of the broker's entities that changed since the last call."""
        await self.agents.drained()
        changed = []
        for kind in ("Device", "ParkingSpot", "AgriParcelRecord", "Frame"):
            async for entity in self.client.query_entities(type=kind):
                before = self.seen.get(entity["id"], {})
                new = {
                    name: value
                    for name, value in entity.items()
                    if name in ("id", "type") or before.get(name) != value
                }
                self.seen[entity["id"]] = entity
                if len(new) > 2:
                    changed.append({n: v for n, v in new.items() if n != "@context"})
        return changed


@asynccontextmanager
async def town(directory: Path) -> AsyncIterator[Town]:
    async with (
        mosquitto(directory) as server,
        running_broker(directory / "broker") as broker,
        ClientSession() as http,
    ):
        settings = Settings(
            port=0,
            data_dir=directory / "agents",
            broker_url=broker.url,
            mqtt_url=server.url,
            lorawan_topics=TOPICS,
            lorawan_http_token=TOKEN,
            codecs=(SCRIPTS,),
            retry_first=0.01,
        )
        address = urlsplit(server.url)
        assert address.hostname is not None
        assert address.port is not None
        async with (
            running(serve(settings, {LORAWAN})) as agents,
            aiomqtt.Client(address.hostname, address.port) as mqtt,
        ):
            client = Client(http, broker.url, tenant="city")
            here = Town(agents, http, mqtt, client)
            await eventually(lambda: here_ready(here))
            yield here


async def here_ready(here: Town) -> bool:
    async with here.http.get(f"{here.agents.url}/ready") as answer:
        return answer.status == 200


def provisioned(name: str, eui: str) -> dict[str, Any]:
    """Return the device of a vector as the provisioning API takes it."""
    given = vector(name)["provisioning"]
    members = ("attributes", "static_attributes", "entity_name", "entity_type")
    return {
        "device_id": eui,
        "internal_attributes": {"lorawan": {"codec": given["codec"]}},
        **{member: given[member] for member in members if member in given},
    }


@pytest.mark.parametrize(
    ("name", "network", "eui"),
    [
        ("chirpstack_v4_up_parking.json", "chirpstack", "0200000000000a11"),
        ("chirpstack_v4_up_tensiometer.json", "chirpstack", "0200000000000b22"),
        ("tts_v3_up.json", "things-stack", "0200000000000c33"),
    ],
    ids=["parking", "tensiometer", "the things stack"],
)
async def test_the_uplinks_give_what_they_say(
    tmp_path: Path, name: str, network: str, eui: str
) -> None:
    given = vector(name)
    static = {each["name"] for each in given["provisioning"].get("static_attributes", ())}
    async with town(tmp_path) as here:
        await here.provision(provisioned(name, eui))
        for case in given["cases"]:
            message = case["input"]
            if message["transport"] == "mqtt":
                await here.publish(message["topic"], message["payload"])
            else:
                await here.post(network, message["payload"], message.get("query", ""))

            updates = await here.updates()

            assert differences(case, updates, static=static) == [], case["name"]


def _envelopes() -> Iterator[Any]:
    path = SHARED / "protocols" / "vectors" / "lorawan_envelopes.json"
    document = json.loads(path.read_text(encoding="utf-8")) if SHARED.is_dir() else {"cases": []}
    for case in document["cases"]:
        yield pytest.param(case, id=case["server"])


async def _send_envelope(here: Town, case: Mapping[str, Any]) -> None:
    """Send it as its server would: to MQTT where that has topics, otherwise by HTTP."""
    server, eui = case["server"], "0200000000000a11"
    if server.startswith("chirpstack"):
        topic = case.get("topic", f"application/a/device/{eui}/event/up")
        await here.publish(topic, case["input"])
    elif server == "tts_v3":
        await here.publish("v3/street@city/devices/spot-017/up", case["input"])
    else:
        await here.post(server, case["input"], case.get("query", ""))


@pytest.mark.parametrize("case", list(_envelopes()))
async def test_the_same_uplink_of_every_server_gives_one_entity(
    tmp_path: Path, case: Mapping[str, Any]
) -> None:
    device = {
        "device_id": "0200000000000a11",
        "entity_name": "urn:ngsi-ld:Device:spot",
        "entity_type": "Device",
        "attributes": [
            {"object_id": name, "name": name, "type": "Number"}
            for name in ("occupied", "temperature", "f_cnt", "f_port")
        ],
        "internal_attributes": {"lorawan": {"codec": "bosch-tps110", "radio": True}},
    }
    device["attributes"][0]["type"] = "Boolean"  # type: ignore[index]
    async with town(tmp_path) as here:
        await here.provision(device)
        await _send_envelope(here, case)
        await _send_envelope(here, case)

        (entity,) = await here.updates()
        metrics = here.agents.metrics()

    values = {
        name: member["value"] for name, member in entity.items() if name not in ("id", "type")
    }
    assert (
        values.items()
        >= {
            "occupied": True,
            "temperature": -1,
            "f_cnt": 1043,
            "f_port": 2,
            "rssi": -57,
        }.items()
    )
    assert entity["rssi"]["unitCode"] == "DBM"
    assert entity["temperature"]["observedAt"] == case["time"]
    assert (metrics["spooled"], metrics["duplicates"]) == (1, 1)


_CODECS = {
    "Bosch TPS110": "bosch-tps110",
    "Decentlab DL-TRS21": "decentlab-dl-trs21",
    "Milesight EM500-SMTC": "milesight-em500-smtc",
    "Milesight EM310-UDL": "milesight-em400-mud",
    "Milesight EM400-MUD": "milesight-em400-mud",
    "Milesight WS302": "milesight-ws302",
    "Milesight EM500-CO2": "milesight-em500-co2",
    "Milesight AM307": "am307.js",
    "Milesight VS350": "milesight-vs350",
    "Milesight VS121": "vs121.js",
    "Milesight UC511": "milesight-uc511",
    "Dragino LSE01": "dragino-lse01",
    "Dragino LDDS75": "ldds75.js",
    "Axioma Qalcosonic W1": "axioma-w1.js",
    "Kamstrup flowIQ 2200": "flowiq-2200.js",
    "Cayenne LPP": "cayennelpp",
}
_NAMED_OTHERWISE = {"soil_water_potential_kPa": "soil_water_potential"}


async def test_the_payloads_of_devices_give_what_they_say(tmp_path: Path) -> None:
    path = SHARED / "protocols" / "vectors" / "lorawan_payloads.json"
    vectors = json.loads(path.read_text(encoding="utf-8"))["vectors"]
    async with town(tmp_path) as here:
        for index, each in enumerate(vectors):
            await here.provision(_frame_device(index, each))
            await here.publish(*_frame_of(index, each))

        entities = {entity["id"]: entity for entity in await here.updates()}

    assert len(entities) == len(vectors)
    for index, each in enumerate(vectors):
        entity = entities[f"urn:ngsi-ld:Frame:{index}"]
        values = {n: member["value"] for n, member in entity.items() if n not in ("id", "type")}
        assert values == each["decoded"], each["device"]


def _frame_device(index: int, each: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "device_id": f"02{index:014x}",
        "entity_name": f"urn:ngsi-ld:Frame:{index}",
        "entity_type": "Frame",
        "attributes": [
            {"object_id": _NAMED_OTHERWISE.get(name, name), "name": name}
            for name in each["decoded"]
        ],
        "internal_attributes": {"lorawan": {"codec": _CODECS[each["device"]]}},
    }


def _frame_of(index: int, each: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    eui = f"02{index:014x}"
    data = msgspec.json.decode(msgspec.json.encode(bytes.fromhex(each["hex"])))
    message = {
        "time": "2026-03-01T08:00:00Z",
        "deviceInfo": {"devEui": eui},
        "devAddr": "01a2b3c4",
        "fCnt": index,
        "fPort": each["fPort"],
        "data": data,
    }
    return f"application/a/device/{eui}/event/up", message


async def test_devices_of_all_networks_are_served_side_by_side(tmp_path: Path) -> None:
    cases = [case.values[0] for case in _envelopes()]
    assert all(isinstance(case, dict) for case in cases)
    async with town(tmp_path) as here:
        async with asyncio.TaskGroup() as group:
            for case in cases:
                group.create_task(_send_envelope(here, case))
        # Each task waits for an acknowledgement, which may be that of another one.
        await eventually(lambda: here.agents.metrics()["waiting"] == len(cases))
        async with here.http.get(f"{here.agents.url}/iot/waiting") as answer:
            (waiting,) = (await answer.json())["devices"]

    assert waiting["device_id"] == "0200000000000a11"
    assert waiting["measures"] == len(cases)
