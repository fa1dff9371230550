"""A provisioning script as it is written for FIWARE's JSON agent, against `rigel up` unchanged.

The calls are those of the agent's documentation, with its ports and headers but for the numbers:
groups, a device, measures by HTTP and MQTT, a command by the broker, its result by MQTT. As there,
calls to the broker name the @context that the agent was set up with.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
from aiohttp import ClientSession

from rigel.demo.facts import Facts
from smart_data_models.context import CONTEXT_PATH
from tests.support.eventually import PATIENCE, eventually
from tests.support.rigel_process import Ports, rigel

pytestmark = pytest.mark.system

APIKEY = "4jggokgpepnvsb2uv4s40d59ov"
SERVICE = {"fiware-service": "openiot", "fiware-servicepath": "/"}
BELL = "urn:ngsi-ld:Bell:001"


class Script:
    """What such a script does: HTTP calls, and a device on MQTT."""

    def __init__(self, ports: Ports, http: ClientSession, device: aiomqtt.Client) -> None:
        self.agent = f"http://127.0.0.1:{ports.agents}"
        self.south = f"http://127.0.0.1:{ports.measures}"
        relation = 'rel="http://www.w3.org/ns/json-ld#context"; type="application/ld+json"'
        context = f"http://127.0.0.1:{ports.broker}{CONTEXT_PATH}"
        self.tenant = {"NGSILD-Tenant": "openiot", "Link": f"<{context}>; {relation}"}
        self.broker = f"http://127.0.0.1:{ports.broker}/ngsi-ld/v1"
        self.device = device
        self._http = http

    async def call(
        self, method: str, url: str, body: Any, headers: Mapping[str, str], status: int
    ) -> Any:
        async with self._http.request(method, url, json=body, headers=headers) as answer:
            text = await answer.text()
            assert answer.status == status, text
            return json.loads(text) if text else None

    async def provision(self) -> None:
        services = [
            {
                "apikey": APIKEY,
                "cbroker": "http://orion:1026",
                "entity_type": "Thing",
                "resource": "/iot/json",
            }
        ]
        await self.call("POST", f"{self.agent}/iot/services", {"services": services}, SERVICE, 201)
        bell = {
            "device_id": "bell001",
            "entity_name": BELL,
            "entity_type": "Bell",
            "protocol": "PDI-IoTA-JSON",
            "transport": "MQTT",
            "attributes": [{"object_id": "v", "name": "volume", "type": "Number"}],
            "commands": [{"name": "ring", "type": "command"}],
            "static_attributes": [
                {"name": "refStore", "type": "Relationship", "value": "urn:ngsi-ld:Store:001"}
            ],
        }
        motion = {
            "device_id": "motion001",
            "entity_name": "urn:ngsi-ld:Motion:001",
            "entity_type": "Motion",
            "timezone": "Europe/Berlin",
            "attributes": [{"object_id": "c", "name": "count", "type": "Integer"}],
        }
        await self.call(
            "POST", f"{self.agent}/iot/devices", {"devices": [bell, motion]}, SERVICE, 201
        )

    async def shown(self, entity: str, attribute: str, value: Any) -> Mapping[str, Any]:
        """Ask the broker until an attribute has a value."""
        found: dict[str, Any] = {}

        async def is_shown() -> bool:
            nonlocal found
            url = f"{self.broker}/entities/{entity}"
            async with self._http.get(url, headers=self.tenant) as answer:
                found = await answer.json() if answer.ok else {}
            shown = found.get(attribute, {})
            return bool(shown.get("value", shown.get("object")) == value)

        await eventually(is_shown)
        return found


@asynccontextmanager
async def started(directory: Path) -> AsyncIterator[Script]:
    ports = Ports()
    urls = [f"http://127.0.0.1:{n}" for n in (ports.broker, ports.agents, ports.subscribers)]
    async with (
        rigel("up", directory=directory, environment=ports.environment),
        ClientSession() as http,
    ):
        await Facts(http, *urls).ready(30)
        async with aiomqtt.Client("127.0.0.1", ports.mqtt) as device:
            yield Script(ports, http, device)


async def test_a_script_for_the_json_agent_works_unchanged(tmp_path: Path) -> None:
    async with started(tmp_path) as script:
        await script.provision()

        await script.call(
            "POST", f"{script.south}/iot/json?k={APIKEY}&i=motion001", {"c": 1}, {}, 200
        )
        await script.shown("urn:ngsi-ld:Motion:001", "count", 1)
        await script.device.publish(f"/json/{APIKEY}/bell001/attrs", json.dumps({"v": 5}), qos=1)
        entity = await script.shown(BELL, "volume", 5)
        assert entity["refStore"]["object"] == "urn:ngsi-ld:Store:001"

        await script.device.subscribe(f"/{APIKEY}/bell001/cmd", qos=1)
        await script.call(
            "PATCH",
            f"{script.broker}/entities/{BELL}/attrs/ring",
            {"type": "Property", "value": ""},
            script.tenant,
            204,
        )
        async with asyncio.timeout(PATIENCE):
            message = await anext(aiter(script.device.messages))
        assert isinstance(message.payload, bytes)
        assert json.loads(message.payload) == {"ring": ""}
        await script.device.publish(
            f"/json/{APIKEY}/bell001/cmdexe", json.dumps({"ring": "ring OK"}), qos=1
        )

        await script.shown(BELL, "ring_status", "OK")
        await script.shown(BELL, "ring_info", "ring OK")
        listed = await script.call("GET", f"{script.agent}/iot/devices", None, SERVICE, 200)
        assert listed["count"] == 2
