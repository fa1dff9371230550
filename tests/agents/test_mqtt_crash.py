"""JSON devices and their commands while servers restart and the agent is killed with `kill -9`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiomqtt
import msgspec
import pytest
from aiohttp import ClientSession, web

from broker.client import Client
from broker.core.timestamps import format_timestamp
from iot_agents.server import MQTT
from tests.support.agent_process import AgentProcess, agent_process
from tests.support.devices import SERVICE
from tests.support.eventually import PATIENCE, eventually
from tests.support.mosquitto import Mosquitto, free_port, mosquitto, needs_mosquitto
from tests.support.ngsi_receiver import NgsiReceiver, ngsi_receiver
from tests.support.relay import relaying
from tests.support.serve import running_broker

DEVICES = 10
START = datetime(2026, 3, 1, 8, tzinfo=UTC)
Sent = tuple[int, int]
"""A device, and the number of one of its measures."""


def time_of(number: int) -> str:
    return format_timestamp(START + timedelta(minutes=number))


def part(first: int, last: int) -> list[Sent]:
    return [(device, number) for number in range(first, last) for device in range(DEVICES)]


async def north(agent: AgentProcess, path: str, body: Any) -> None:
    async with (
        ClientSession() as http,
        http.post(agent.url + path, json=body, headers=SERVICE) as answer,
    ):
        assert answer.status == 201, await answer.text()


async def publish(server: Mosquitto, measures: Collection[Sent]) -> None:
    """Publish in order, as a gateway does that sends again what was not acknowledged."""
    left = list(measures)
    async with asyncio.timeout(PATIENCE):
        while left:
            try:
                async with aiomqtt.Client("127.0.0.1", server.port, timeout=5) as client:
                    while left:
                        device, number = left[0]
                        body = {"n": number, "TimeInstant": time_of(number)}
                        topic = f"/json/key/d{device}/attrs"
                        await client.publish(topic, msgspec.json.encode(body), qos=1)
                        left.pop(0)
            except aiomqtt.MqttError:
                continue


def arrived(receiver: NgsiReceiver) -> set[tuple[str, int, str]]:
    return {
        (entity["id"], entity["n"]["value"], entity["n"]["observedAt"])
        for entity in receiver.entities
        if "n" in entity
    }


def expected(measures: Collection[Sent]) -> set[tuple[str, int, str]]:
    return {(f"urn:ngsi-ld:Meter:d{device}", n, time_of(n)) for device, n in measures}


async def all_arrived(receivers: Collection[NgsiReceiver], wanted: Collection[Sent]) -> None:
    newest = list(receivers)[-1]
    async with asyncio.timeout(PATIENCE):
        while not expected(wanted) <= set().union(*map(arrived, receivers)):
            await newest.received(len(newest.entities) + 1)
    assert set().union(*map(arrived, receivers)) == expected(wanted)


def in_order(receivers: Collection[NgsiReceiver], device: int) -> bool:
    numbers = [
        entity["n"]["value"]
        for receiver in receivers
        for entity in receiver.entities
        if entity["id"].endswith(f":d{device}") and "n" in entity
    ]
    firsts = list(dict.fromkeys(numbers))
    return firsts == sorted(firsts)


@needs_mosquitto
@pytest.mark.timeout(180)
async def test_restarts_of_all_parts_lose_and_double_nothing(tmp_path: Path) -> None:
    (tmp_path / "mosquitto").mkdir()
    port = free_port()
    async with mosquitto(tmp_path / "mosquitto") as server:
        chosen = {
            "broker_url": f"http://127.0.0.1:{port}",
            "mqtt_url": server.url,
            "http_port": 0,
            "retry_limit": 0.5,
        }
        async with (
            ngsi_receiver(port) as before,
            agent_process(tmp_path, role=MQTT, **chosen) as agent,
        ):
            group = {"apikey": "key", "resource": "/iot/json", "entity_type": "Meter"}
            await north(agent, "/iot/groups", {"groups": [group]})
            await eventually(agent.is_ready)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(publish(server, part(0, 30)))
                await before.received(DEVICES * 5)
                await agent.kill()

        # No broker from here on: what comes in waits on disk, and survives another kill.
        async with agent_process(tmp_path, role=MQTT, **chosen) as agent:
            await eventually(agent.is_ready)
            await publish(server, part(30, 50))
            await agent.kill()

        async with agent_process(tmp_path, role=MQTT, **chosen) as agent:
            await eventually(agent.is_ready)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(publish(server, part(50, 80)))
                await server.stop()
                await server.start()
            async with ngsi_receiver(port) as after:
                await all_arrived((before, after), part(0, 80))

                assert all(in_order((before, after), device) for device in range(DEVICES))


async def sent_all(agent: AgentProcess) -> bool:
    """Tell whether it has a measure that came last, and nothing left to send."""
    async with ClientSession() as http, http.get(agent.url + "/metrics") as answer:
        text = await answer.text()
    named = 'total{agent="mqtt"} 0.0'
    return f"spooled_{named}" not in text and 'pending{agent="mqtt"} 0.0' in text


@needs_mosquitto
@pytest.mark.timeout(180)
async def test_untimed_measures_that_come_again_after_a_kill_count_once(tmp_path: Path) -> None:
    (tmp_path / "mosquitto").mkdir()
    async with (
        mosquitto(tmp_path / "mosquitto") as server,
        relaying(server.url) as relay,
        ngsi_receiver() as receiver,
    ):
        chosen = {
            "broker_url": receiver.url,
            "mqtt_url": relay.url.replace("http:", "mqtt:"),
            "http_port": 0,
        }
        async with (
            aiomqtt.Client("127.0.0.1", server.port) as device,
            agent_process(tmp_path, role=MQTT, **chosen) as agent,
        ):
            group = {"apikey": "key", "resource": "/iot/json", "entity_type": "Meter"}
            await north(agent, "/iot/groups", {"groups": [group]})
            await eventually(agent.is_ready)
            # All on disk, and the server does not hear of it.
            relay.deaf = True
            for _ in range(7):
                await device.publish("/json/key/d0/attrs", b'[{"n":1},{"n":1}]', qos=1)
            await receiver.received(14)
            await eventually(lambda: sent_all(agent))
            await agent.kill()
            # The same again, which are new.
            for _ in range(5):
                await device.publish("/json/key/d0/attrs", b'[{"n":1},{"n":1}]', qos=1)

        relay.deaf = False
        for number in range(2):
            async with agent_process(tmp_path, role=MQTT, **chosen) as agent:
                await eventually(agent.is_ready)
                await publish(server, [(1, number)])
                await eventually(lambda: sent_all(agent))
                assert ("urn:ngsi-ld:Meter:d1", number, time_of(number)) in arrived(receiver)
                await agent.kill()

    assert sum(entity["id"].endswith(":d0") for entity in receiver.entities) == 24


class Gate:
    """A device that takes a command by HTTP and answers when it is let."""

    def __init__(self) -> None:
        self.came: asyncio.Queue[bytes] = asyncio.Queue()
        self.answer = asyncio.Event()
        self.count = 0

    async def take(self, request: web.Request) -> web.Response:
        self.count += 1
        self.came.put_nowait(await request.read())
        await self.answer.wait()
        return web.json_response({"open": "up"})

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        app = web.Application()
        app.router.add_post("/", self.take)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
        finally:
            await runner.cleanup()


@pytest.mark.parametrize(
    ("metadata", "status", "times"),
    [({}, "ERROR", 1), ({"idempotent": {"value": True}}, "OK", 2)],
    ids=["once", "again where it may be repeated"],
)
async def test_a_kill_while_a_command_is_sent_does_not_send_it_twice(
    tmp_path: Path, metadata: dict[str, Any], status: str, times: int
) -> None:
    gate = Gate()
    async with gate.listening() as endpoint, running_broker(tmp_path / "broker") as broker:
        chosen = {
            "broker_url": broker.url,
            "http_port": 0,
            "mqtt_embedded_port": 0,
            "egress_allow": "127.0.0.1",
        }
        device = {
            "device_id": "g1",
            "entity_type": "Gate",
            "endpoint": endpoint,
            "commands": [{"name": "open", "metadata": metadata}],
        }
        async with agent_process(tmp_path, role=MQTT, **chosen) as agent:
            await north(agent, "/iot/devices", {"devices": [device]})
            async with Client.connect(broker.url, tenant="city") as client:
                body = {"open": {"type": "Property", "value": "now"}}
                await client.update_attrs("urn:ngsi-ld:Gate:g1", body)
            async with asyncio.timeout(PATIENCE):
                await gate.came.get()
            await agent.kill()
        gate.answer.set()

        async with (
            agent_process(tmp_path, role=MQTT, **chosen),
            Client.connect(broker.url, tenant="city") as client,
        ):

            async def is_shown() -> bool:
                entity = await client.retrieve_entity("urn:ngsi-ld:Gate:g1") or {}
                return bool(entity.get("open_status", {}).get("value") == status)

            await eventually(is_shown)

    assert gate.count == times
