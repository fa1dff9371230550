"""The LoRaWAN agent with the network server that sends to it, and what its broker got."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiomqtt
import msgspec
from aiohttp import ClientSession

from iot_agents.server import LORAWAN, RunningAgents, serve
from iot_agents.settings import Settings
from tests.support.eventually import eventually
from tests.support.ngsi_receiver import NgsiReceiver, ngsi_receiver

EUI = "0200000000000a11"
TOPIC = f"application/app/device/{EUI}/event/up"
HTTP_TOKEN = "http-token"


class City:
    """Running agents, the network server that publishes to them, and what the broker got."""

    def __init__(
        self,
        agents: RunningAgents,
        receiver: NgsiReceiver,
        http: ClientSession,
        mqtt: aiomqtt.Client,
    ) -> None:
        self.agents = agents
        self.receiver = receiver
        self.http = http
        self.mqtt = mqtt
        self._seen = 0

    @property
    def counters(self) -> Mapping[str, int]:
        return self.agents.metrics()

    async def provision(self, *devices: Mapping[str, Any], service: str = "city") -> None:
        headers = {"fiware-service": service, "fiware-servicepath": "/"}
        url = self.agents.url + "/iot/devices"
        async with self.http.post(url, json={"devices": devices}, headers=headers) as answer:
            assert answer.status == 201, await answer.text()

    async def provision_group(self, group: Mapping[str, Any]) -> None:
        headers = {"fiware-service": "city", "fiware-servicepath": "/"}
        url = self.agents.url + "/iot/groups"
        async with self.http.post(url, json={"groups": [group]}, headers=headers) as answer:
            assert answer.status == 201, await answer.text()

    async def post(self, network: str, message: Any, token: str = HTTP_TOKEN) -> int:
        """Post a message as a network server's integration does, and return the status."""
        payload = message if isinstance(message, bytes) else msgspec.json.encode(message)
        headers = {"Authorization": f"Bearer {token}"}
        url = f"{self.agents.url}/lorawan/{network}"
        async with self.http.post(url, data=payload, headers=headers) as answer:
            return answer.status

    async def letters(self) -> list[tuple[str, str]]:
        """Return device and reason of each dead letter, the oldest first."""
        found = (await self.get("/iot/dead-letters"))["deadLetters"]
        return [(letter["device"], letter["reason"]) for letter in reversed(found)]

    async def publish(self, message: Any, topic: str = TOPIC) -> None:
        """Publish and wait until the agent has said that it has the message."""
        before = self.counters["acknowledged"]
        payload = message if isinstance(message, bytes) else msgspec.json.encode(message)
        await self.mqtt.publish(topic, payload, qos=1)
        await eventually(lambda: self.counters["acknowledged"] > before)

    async def get(self, path: str) -> Any:
        async with self.http.get(self.agents.url + path) as answer:
            return await answer.json()

    async def updates(self) -> Sequence[Mapping[str, Any]]:
        """Return what reached the broker since the last call, once nothing is on its way."""
        await self.agents.drained()
        new = self.receiver.entities[self._seen :]
        self._seen += len(new)
        return new


@asynccontextmanager
async def city(directory: Path, **settings: Any) -> AsyncIterator[City]:
    async with ngsi_receiver() as receiver:
        chosen = Settings(
            port=0,
            data_dir=directory,
            broker_url=receiver.url,
            mqtt_embedded_port=0,
            retry_first=0.01,
            **{"lorawan_http_token": HTTP_TOKEN, **settings},
        )
        async with serve(chosen, {LORAWAN}) as agents, ClientSession() as http:
            address = urlsplit(agents.mqtt_url)
            assert address.hostname is not None
            assert address.port is not None
            async with aiomqtt.Client(address.hostname, address.port) as mqtt:
                yield City(agents, receiver, http, mqtt)


def sensor(**members: Any) -> dict[str, Any]:
    return {
        "device_id": EUI,
        "entity_type": "ParkingSpot",
        "entity_name": "urn:ngsi-ld:ParkingSpot:centre:017",
        **members,
    }


def uplink(f_cnt: int = 1, **members: Any) -> dict[str, Any]:
    return {
        "deduplicationId": f"id-{f_cnt}",
        "time": "2026-03-01T08:15:02.123456789+00:00",
        "deviceInfo": {"devEui": EUI, "deviceProfileName": "tps110", "deviceName": "spot-017"},
        "devAddr": "01a2b3c4",
        "fCnt": f_cnt,
        "fPort": 1,
        "data": base64.b64encode(b"\x01").decode(),
        "rxInfo": [{"gatewayId": "g", "rssi": -57, "snr": 9.5}],
        **members,
    }
