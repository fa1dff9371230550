"""Devices that speak JSON or UltraLight, the agents and the broker behind them, all real."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiomqtt
import msgspec
from aiohttp import ClientSession

from broker.client import Client
from iot_agents.server import MQTT, RunningAgents, serve
from iot_agents.settings import Settings
from tests.support.eventually import PATIENCE, eventually

SERVICE = {"fiware-service": "city", "fiware-servicepath": "/parking"}


class Field:
    """A running agent, its devices' side and the broker's."""

    def __init__(
        self, agents: RunningAgents, http: ClientSession, mqtt: aiomqtt.Client, broker: Client
    ) -> None:
        self.agents = agents
        self.http = http
        self.mqtt = mqtt
        self.broker = broker

    @property
    def counters(self) -> Mapping[str, int]:
        """What the agent has counted."""
        return self.agents.metrics()

    async def north(
        self, method: str, path: str, body: Any = None, *, status: int | None = None
    ) -> Any:
        """Call the agent's administration and return the answer's JSON, if it has any."""
        url = self.agents.url + path
        async with self.http.request(method, url, json=body, headers=SERVICE) as answer:
            content = await answer.read()
            if status is not None:
                assert answer.status == status, content
            return msgspec.json.decode(content) if content else None

    async def publish(self, topic: str, payload: bytes | str) -> None:
        """Publish and wait until the agent has said that it has the message."""
        before = self.counters["acknowledged"]
        await self.mqtt.publish(topic, payload, qos=1)
        await eventually(lambda: self.counters["acknowledged"] > before)

    async def is_ready(self) -> bool:
        """Tell whether the agent says that measures can come in."""
        return bool((await self.north("GET", "/ready"))["ready"])

    async def is_unready(self) -> bool:
        """Tell whether the agent says that nothing can come in."""
        return not await self.is_ready()

    async def entity(self, entity_id: str) -> dict[str, Any]:
        """Return an entity of the broker, once nothing is on its way to it."""
        await self.agents.drained()
        found = await self.broker.retrieve_entity(entity_id)
        assert found is not None, entity_id
        return found

    async def shows(self, entity_id: str, attribute: str, value: Any) -> dict[str, Any]:
        """Wait until an attribute of an entity has a value, and return the entity."""
        found: dict[str, Any] = {}

        async def is_shown() -> bool:
            nonlocal found
            found = await self.broker.retrieve_entity(entity_id) or {}
            return bool(found.get(attribute, {}).get("value") == value)

        await eventually(is_shown)
        return found

    async def subscribe(self, topic: str) -> None:
        """Listen to a topic, as a device does."""
        await self.mqtt.subscribe(topic, qos=1)

    async def message(self) -> tuple[str, bytes]:
        """Return topic and payload of the next message to the device."""
        async with asyncio.timeout(PATIENCE):
            message = await anext(aiter(self.mqtt.messages))
        assert isinstance(message.payload, bytes)
        return message.topic.value, message.payload


@asynccontextmanager
async def field(
    directory: Path, broker_url: str, mqtt_url: str = "", **settings: Any
) -> AsyncIterator[Field]:
    """Run an agent in front of a broker."""
    now = settings.pop("now", None)
    chosen = Settings(
        port=0,
        http_port=0,
        data_dir=directory,
        broker_url=broker_url,
        mqtt_url=mqtt_url,
        mqtt_embedded_port=0,
        retry_first=0.05,
        **settings,
    )
    clock = (lambda: now) if now is not None else (lambda: datetime.now(UTC))
    async with (
        serve(chosen, {MQTT}, clock=clock) as agents,
        ClientSession() as http,
        Client.connect(broker_url, tenant="city") as broker,
    ):
        address = urlsplit(agents.mqtt_url)
        assert address.hostname is not None
        assert address.port is not None
        async with aiomqtt.Client(address.hostname, address.port) as mqtt:
            made = Field(agents, http, mqtt, broker)
            await eventually(made.is_ready)
            yield made


def merged(updates: Sequence[Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Return the entities that a sequence of updates leaves."""
    entities: dict[str, dict[str, Any]] = {}
    for update in updates:
        for entity in update:
            entities[entity["id"]] = {**entities.get(entity["id"], {}), **entity}
    return list(entities.values())
