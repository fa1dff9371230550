"""Valves that are told to open by LoRaWAN downlinks: the agent, its broker, and mosquitto."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiomqtt
import msgspec
from aiohttp import ClientSession, web

from broker.client import Client
from iot_agents.server import LORAWAN, RunningAgents, serve
from iot_agents.settings import Settings
from tests.support.eventually import PATIENCE, eventually
from tests.support.lorawan import EUI, HTTP_TOKEN
from tests.support.mosquitto import Mosquitto, mosquitto
from tests.support.serve import running_broker

ENTITY = "urn:ngsi-ld:Valve:1"
SERVICE = {"fiware-service": "city", "fiware-servicepath": "/"}
V4 = f"application/7/device/{EUI}"
V3_UP = {"devEUI": EUI, "applicationID": "7", "fPort": 1, "data": "AQ==", "fCnt": 1}
TTS = "v3/app@city/devices/valve-1"
SCRIPT = """function decodeUplink({bytes}) { return {data: {open: bytes[0] === 1}}; }
function encodeDownlink({data, variables}) {
  if (data.open === undefined) return {errors: ['open is not said']};
  return {bytes: [data.open ? 1 : 0, variables.valve], fPort: 9};
}"""


def tts(member: str, **members: Any) -> dict[str, Any]:
    """Return a message of The Things Stack."""
    ids = {"device_id": "valve-1", "dev_eui": EUI, "application_ids": {"application_id": "app"}}
    return {"end_device_ids": ids, "received_at": "2026-03-01T08:00:00Z", member: members}


TTS_UP = tts("uplink_message", f_port=1, f_cnt=1, frm_payload="AQ==", session_key_id="k")


def valve(**options: Any) -> dict[str, Any]:
    """Return a valve to provision.

    Args:
        options: `confirmed` and other metadata of the command, `lorawan` as the device's section,
            and members of the device.
    """
    metadata = {"confirmed": {"value": options.pop("confirmed", True)}}
    lorawan = options.pop("lorawan", {})
    return {
        "device_id": EUI,
        "entity_name": ENTITY,
        "entity_type": "Valve",
        "attributes": [{"object_id": "open", "name": "opened", "type": "Boolean"}],
        "commands": [{"name": "open", "metadata": {**metadata, **options.pop("metadata", {})}}],
        "internal_attributes": {
            "lorawan": {"codec": "valve.js", "variables": {"valve": 2}, **lorawan}
        },
        **options,
    }


def codecs_in(directory: Path) -> Path:
    """Write the valve's script and return its directory."""
    scripts = directory / "codecs"
    scripts.mkdir(exist_ok=True)
    (scripts / "valve.js").write_text(SCRIPT, encoding="utf-8")
    return scripts


async def next_downlink(mqtt: aiomqtt.Client) -> tuple[str, Any]:
    """Return topic and message of the next downlink."""
    async with asyncio.timeout(PATIENCE):
        message = await anext(aiter(mqtt.messages))
    assert isinstance(message.payload, bytes)
    return message.topic.value, json.loads(message.payload)


@asynccontextmanager
async def network_server(url: str) -> AsyncIterator[aiomqtt.Client]:
    """Connect as network servers do that take downlinks."""
    address = urlsplit(url)
    assert address.hostname is not None
    assert address.port is not None
    async with aiomqtt.Client(address.hostname, address.port) as mqtt:
        await mqtt.subscribe("application/+/device/+/command/#", qos=1)
        await mqtt.subscribe("v3/+/devices/+/down/push", qos=1)
        await mqtt.subscribe("v3/+/devices/+/down/replace", qos=1)
        await mqtt.subscribe("own/#", qos=1)
        yield mqtt


async def shown(broker: Client, status: str, entity: str = ENTITY) -> Mapping[str, Any]:
    """Wait until an entity shows a status of the command, and return the entity."""
    found: dict[str, Any] = {}

    async def reached() -> bool:
        nonlocal found
        found = await broker.retrieve_entity(entity) or {}
        return bool(found.get("open_status", {}).get("value") == status)

    await eventually(reached)
    return found


@dataclass
class Works:
    """An agent with its broker, and the network server's side of MQTT."""

    agents: RunningAgents
    http: ClientSession
    mqtt: aiomqtt.Client
    broker: Client

    async def provision(self, **options: Any) -> None:
        """Provision a valve that can be told to open; see `valve`."""
        await self.north("/iot/devices", {"devices": [valve(**options)]}, 201)

    async def north(self, path: str, body: Any, status: int) -> Any:
        """Post to the agent's administration."""
        url = f"{self.agents.url}{path}"
        async with self.http.post(url, json=body, headers=SERVICE) as answer:
            assert answer.status == status, await answer.text()
            content = await answer.read()
            return json.loads(content) if content else None

    async def commands(self) -> str:
        """Return what the agent says of commands, as text."""
        async with self.http.get(f"{self.agents.url}/iot/commands", headers=SERVICE) as answer:
            return await answer.text()

    async def send(self, topic: str, message: Any) -> None:
        """Publish as the network server does, until the agent has it."""
        before = self.agents.metrics()["acknowledged"]
        await self.mqtt.publish(topic, msgspec.json.encode(message), qos=1)
        await eventually(lambda: self.agents.metrics()["acknowledged"] > before)

    async def post(self, network: str, message: Any, **headers: str) -> None:
        """Post as the network server does, and wait until the broker has what came of it."""
        url = f"{self.agents.url}/lorawan/{network}"
        token = {"Authorization": f"Bearer {HTTP_TOKEN}"}
        async with self.http.post(url, json=message, headers={**token, **headers}) as answer:
            assert answer.status == 200, await answer.text()
        await self.agents.drained()

    async def ask(self, value: Any) -> None:
        """Set the command attribute at the broker."""
        await self.broker.update_attrs(ENTITY, {"open": {"type": "Property", "value": value}})

    async def ask_here(self, **members: Any) -> None:
        """Ask through the agent's own interface, as an entity need not be there for that."""
        bulk = {"command": "open", "value": {"open": True}, "entities": [ENTITY], "key": "once"}
        await self.north("/iot/commands", {**bulk, **members}, 202)

    async def downlink(self) -> tuple[str, Any]:
        """Return topic and message of the next downlink."""
        return await next_downlink(self.mqtt)

    async def shows(self, status: str, entity: str = ENTITY) -> Mapping[str, Any]:
        """Wait until an entity shows a status of the command, and return the entity."""
        return await shown(self.broker, status, entity)

    async def ready(self) -> bool:
        """Tell whether the agent says that messages can come in."""
        async with self.http.get(f"{self.agents.url}/ready") as answer:
            return answer.status == 200


@asynccontextmanager
async def works(directory: Path, **settings: Any) -> AsyncIterator[Works]:
    """Run all parts; what is on disk stays for a next run in the same directory."""
    async with mosquitto(directory) as server, works_at(directory, server, **settings) as made:
        yield made


@asynccontextmanager
async def works_at(
    directory: Path, server: Mosquitto, *, until_ready: bool = True, **settings: Any
) -> AsyncIterator[Works]:
    """Run agent and broker beside an MQTT server."""
    async with (
        running_broker(directory / "broker") as broker,
        ClientSession() as http,
        Client.connect(broker.url, tenant="city") as client,
    ):
        given: dict[str, Any] = {
            "retry_first": 0.05,
            "mqtt_url": server.url,
            "lorawan_topics": ("application/+/device/+/event/+", "things-stack=v3/+/devices/+/#"),
        }
        chosen = Settings(
            port=0,
            data_dir=directory / "agents",
            broker_url=broker.url,
            lorawan_http_token=HTTP_TOKEN,
            codecs=(codecs_in(directory),),
            egress_allow_private=True,
            **{**given, **settings},
        )
        async with serve(chosen, {LORAWAN}) as agents, network_server(server.url) as mqtt:
            made = Works(agents, http, mqtt, client)
            await eventually(made.ready if until_ready else lambda: True)
            yield made


class Queue:
    """A network server's HTTP interface for downlinks."""

    def __init__(self, status: int = 200, answer: Any = None) -> None:
        self.status = status
        self.answer = answer
        self.came: asyncio.Queue[tuple[str, Mapping[str, str], Any]] = asyncio.Queue()
        self.count = 0
        self.open = asyncio.Event()
        self.open.set()

    async def take(self, request: web.Request) -> web.Response:
        """Note a downlink and answer once `open` is set."""
        body = await request.json()
        self.count += 1
        self.came.put_nowait((request.path_qs, dict(request.headers), body))
        await self.open.wait()
        return web.json_response(self.answer, status=self.status)

    def app(self) -> web.Application:
        """Return what takes posts at any path."""
        app = web.Application()
        app.router.add_post("/{path:.*}", self.take)
        return app

    async def next(self) -> tuple[str, Mapping[str, str], Any]:
        """Return path, headers and body of the next downlink."""
        async with asyncio.timeout(PATIENCE):
            return await self.came.get()
