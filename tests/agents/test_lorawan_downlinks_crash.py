"""`kill -9` while a LoRaWAN device is commanded: no downlink twice, and its fate is known."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiomqtt
import msgspec
import pytest
from aiohttp import ClientSession

from broker.client import Client
from tests.support.agent_process import AgentProcess, agent_process
from tests.support.eventually import PATIENCE
from tests.support.http import serving
from tests.support.lorawan import uplink
from tests.support.mosquitto import mosquitto, needs_mosquitto
from tests.support.serve import running_broker
from tests.support.valves import (
    ENTITY,
    SERVICE,
    V4,
    Queue,
    network_server,
    next_downlink,
    shown,
    valve,
)

SECTION = {"application_id": "7", "codec": ""}
pytestmark = needs_mosquitto


@asynccontextmanager
async def town(directory: Path, **settings: Any) -> AsyncIterator[tuple[Any, Client, Any]]:
    """Run all but the agent; yields what starts it, the broker, and the network server."""
    async with (
        mosquitto(directory) as server,
        running_broker(directory / "broker") as broker,
        Client.connect(broker.url, tenant="city") as client,
        network_server(server.url) as mqtt,
    ):

        def agent() -> Any:
            return agent_process(
                directory / "agent",
                broker_url=broker.url,
                mqtt_url=server.url,
                egress_allow="127.0.0.1",
                **settings,
            )

        yield agent, client, mqtt


async def provision(agent: AgentProcess, **options: Any) -> None:
    body = {"devices": [valve(**options)]}
    async with (
        ClientSession() as http,
        http.post(f"{agent.url}/iot/devices", json=body, headers=SERVICE) as answer,
    ):
        assert answer.status == 201, await answer.text()


async def states(agent: AgentProcess) -> list[str]:
    async with (
        ClientSession() as http,
        http.get(f"{agent.url}/iot/commands", headers=SERVICE) as answer,
    ):
        return [each["state"] for each in (await answer.json())["commands"]]


async def publish(mqtt: aiomqtt.Client, event: str, message: Any) -> None:
    await mqtt.publish(f"{V4}/event/{event}", msgspec.json.encode(message), qos=1)


async def ask(client: Client) -> None:
    await client.update_attrs(ENTITY, {"open": {"type": "Property", "value": {"hex": "0102"}}})


async def test_a_kill_between_sending_and_acknowledgement_does_not_send_it_twice(
    tmp_path: Path,
) -> None:
    async with town(tmp_path) as (agent, client, mqtt):
        async with agent() as first:
            await provision(first, lorawan=SECTION)
            await ask(client)
            _, message = await next_downlink(mqtt)
            await shown(client, "SENT")
            await first.kill()
        async with agent() as second:
            await publish(mqtt, "ack", uplink(queueItemId=message["id"], acknowledged=True))
            await shown(client, "OK")
            after = await states(second)
            sent_again = len(mqtt.messages)

    assert after == ["done"]
    assert sent_again == 0


@pytest.mark.parametrize(
    ("metadata", "status", "times"),
    [({}, "ERROR", 1), ({"idempotent": {"value": True}}, "SENT", 2)],
    ids=["once", "again where it may be repeated"],
)
async def test_a_kill_while_the_network_server_has_not_answered(
    tmp_path: Path, metadata: dict[str, Any], status: str, times: int
) -> None:
    queue = Queue()
    queue.open.clear()
    async with (
        serving({"/ns": queue.app()}) as url,
        town(tmp_path, lorawan_downlinks=[f"chirpstack={url}/ns/"]) as (agent, client, mqtt),
    ):
        async with agent() as first:
            await provision(first, lorawan=SECTION, metadata=metadata)
            await ask(client)
            _, _, body = await queue.next()
            await first.kill()
        queue.open.set()
        async with agent():
            await shown(client, status)
            told = uplink(queueItemId=body["queueItem"]["id"], acknowledged=True)
            await publish(mqtt, "ack", told)
            async with asyncio.timeout(PATIENCE):
                await shown(client, "OK")

    assert queue.count == times
