"""`kill -9` under load: what was acknowledged arrives, whatever the moment."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import aiomqtt
import msgspec
from aiohttp import ClientError, ClientSession

from broker.core.timestamps import format_timestamp
from tests.support.agent_process import AgentProcess, agent_process
from tests.support.eventually import PATIENCE, eventually
from tests.support.mosquitto import free_port, mosquitto, needs_mosquitto
from tests.support.ngsi_receiver import NgsiReceiver, ngsi_receiver

DEVICES = 20
ROUNDS = 30
START = datetime(2026, 3, 1, 8, tzinfo=UTC)
Uplink = tuple[int, int]


def eui(device: int) -> str:
    return f"02000000000{device:05x}"


def time_of(f_cnt: int) -> str:
    return format_timestamp(START + timedelta(minutes=f_cnt))


async def provision(agent: AgentProcess) -> None:
    devices = [
        {
            "device_id": eui(device),
            "entity_type": "ParkingSpot",
            "entity_name": f"urn:ngsi-ld:ParkingSpot:{device}",
        }
        for device in range(DEVICES)
    ]
    headers = {"fiware-service": "city", "fiware-servicepath": "/"}
    async with (
        ClientSession() as http,
        http.post(agent.url + "/iot/devices", json={"devices": devices}, headers=headers) as answer,
    ):
        assert answer.status == 201


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[aiomqtt.Client]:
    address = urlsplit(url)
    assert address.hostname is not None
    assert address.port is not None
    async with aiomqtt.Client(address.hostname, address.port, timeout=PATIENCE) as client:
        client.pending_calls_threshold = 10_000
        yield client


async def publish(client: aiomqtt.Client, uplink: Uplink) -> None:
    device, f_cnt = uplink
    message = {
        "time": time_of(f_cnt),
        "deviceInfo": {"devEui": eui(device), "deviceProfileName": "tps110"},
        "devAddr": "01a2b3c4",
        "fCnt": f_cnt,
        "fPort": 1,
        "data": base64.b64encode(bytes([f_cnt % 2])).decode(),
    }
    topic = f"application/app/device/{eui(device)}/event/up"
    await client.publish(topic, msgspec.json.encode(message), qos=1)


async def publish_all(url: str, uplinks: Sequence[Uplink], acknowledged: set[Uplink]) -> None:
    """Publish device by device in order; what breaks off is left to the caller to send again."""
    try:
        async with connected(url) as client, asyncio.TaskGroup() as watch:
            disconnection = watch.create_task(_disconnection(client))
            async with asyncio.TaskGroup() as group:
                for device in range(DEVICES):
                    own = [uplink for uplink in uplinks if uplink[0] == device]
                    group.create_task(_publish_in_order(client, own, acknowledged))
            disconnection.cancel()
    except* aiomqtt.MqttError:
        pass


async def _disconnection(client: aiomqtt.Client) -> None:
    async for _ in client.messages:
        raise AssertionError("nothing was subscribed to")


async def _publish_in_order(
    client: aiomqtt.Client, uplinks: Sequence[Uplink], acknowledged: set[Uplink]
) -> None:
    for uplink in uplinks:
        await publish(client, uplink)
        acknowledged.add(uplink)


def arrived(receiver: NgsiReceiver) -> set[tuple[str, str]]:
    return {
        (entity["id"], entity["status"]["observedAt"])
        for entity in receiver.entities
        if "status" in entity
    }


def expected(uplinks: Sequence[Uplink] | set[Uplink]) -> set[tuple[str, str]]:
    return {(f"urn:ngsi-ld:ParkingSpot:{device}", time_of(f_cnt)) for device, f_cnt in uplinks}


async def all_arrived(receiver: NgsiReceiver, wanted: set[tuple[str, str]]) -> None:
    """Wait until all that is wanted has come, and then look whether anything else has."""
    async with asyncio.timeout(PATIENCE):
        while not wanted <= arrived(receiver):
            await receiver.received(len(receiver.entities) + 1)
    assert arrived(receiver) == wanted


def in_order(receiver: NgsiReceiver, device: int) -> bool:
    times = [
        entity["status"]["observedAt"]
        for entity in receiver.entities
        if entity["id"] == f"urn:ngsi-ld:ParkingSpot:{device}"
    ]
    firsts = sorted(set(times), key=times.index)
    return firsts == sorted(firsts)


UPLINKS = [(device, f_cnt) for f_cnt in range(ROUNDS) for device in range(DEVICES)]


async def test_what_the_embedded_broker_acknowledged_arrives_after_a_kill(tmp_path: Path) -> None:
    acknowledged: set[Uplink] = set()
    async with ngsi_receiver() as receiver:
        ports = {"broker_url": receiver.url, "mqtt_embedded_port": free_port()}
        async with agent_process(tmp_path, **ports) as agent:
            await provision(agent)
            async with asyncio.TaskGroup() as group:
                publishing = group.create_task(publish_all(agent.mqtt_url, UPLINKS, acknowledged))
                await receiver.received(DEVICES * ROUNDS // 4)
                await agent.kill()
                await publishing
        promised = expected(acknowledged)
        assert 0 < len(promised) < len(UPLINKS)

        async with agent_process(tmp_path, **ports) as agent:
            again = [uplink for uplink in UPLINKS if uplink not in acknowledged]
            await publish_all(agent.mqtt_url, again, acknowledged)
            await all_arrived(receiver, expected(UPLINKS))

        assert all(in_order(receiver, device) for device in range(DEVICES))


async def test_acknowledged_measures_wait_on_disk_for_a_broker_that_is_away(
    tmp_path: Path,
) -> None:
    port = free_port()
    ports = {"broker_url": f"http://127.0.0.1:{port}", "mqtt_embedded_port": free_port()}
    acknowledged: set[Uplink] = set()
    async with agent_process(tmp_path, **ports) as agent:
        await provision(agent)
        await publish_all(agent.mqtt_url, UPLINKS, acknowledged)
        await agent.kill()
    assert len(acknowledged) == len(UPLINKS)

    async with ngsi_receiver(port) as receiver, agent_process(tmp_path, **ports):
        await all_arrived(receiver, expected(UPLINKS))


async def test_what_waited_for_its_devices_arrives_after_a_kill_while_they_are_let_in(
    tmp_path: Path,
) -> None:
    acknowledged: set[Uplink] = set()
    wish = {
        "pattern": "02*",
        "device": {
            "entity_type": "ParkingSpot",
            "entity_name": "urn:ngsi-ld:ParkingSpot:{device_id}",
        },
    }
    headers = {"fiware-service": "city", "fiware-servicepath": "/"}
    async with ngsi_receiver() as receiver:
        ports = {"broker_url": receiver.url, "mqtt_embedded_port": free_port()}
        async with agent_process(tmp_path, **ports) as agent, ClientSession() as http:
            await publish_all(agent.mqtt_url, UPLINKS, acknowledged)
            assert len(acknowledged) == len(UPLINKS)
            async with asyncio.TaskGroup() as group:
                group.create_task(_refused_or_not(http, agent, wish, headers))
                await receiver.received(1)
                await agent.kill()
        before = len(arrived(receiver))
        assert before < len(UPLINKS)

        async with agent_process(tmp_path, **ports):
            numbers = {eui(device): device for device in range(DEVICES)}
            wanted = {
                (f"urn:ngsi-ld:ParkingSpot:{name}", time_of(f_cnt))
                for name in numbers
                for f_cnt in range(ROUNDS)
            }
            await all_arrived(receiver, wanted)


async def _refused_or_not(
    http: ClientSession, agent: AgentProcess, wish: object, headers: dict[str, str]
) -> None:
    try:
        async with http.post(
            agent.url + "/iot/waiting/accept", json=wish, headers=headers
        ) as answer:
            await answer.read()
    except ClientError:
        pass


@needs_mosquitto
async def test_what_mosquitto_holds_arrives_after_a_kill_of_the_agent(tmp_path: Path) -> None:
    acknowledged: set[Uplink] = set()
    async with mosquitto(tmp_path) as server, ngsi_receiver() as receiver:
        chosen = {"broker_url": receiver.url, "mqtt_url": server.url}
        async with agent_process(tmp_path, **chosen) as agent:
            await provision(agent)
            await subscribed(agent)
            async with asyncio.TaskGroup() as group:
                publishing = group.create_task(publish_all(server.url, UPLINKS, acknowledged))
                await receiver.received(DEVICES * ROUNDS // 4)
                await agent.kill()
                await publishing
        assert len(acknowledged) == len(UPLINKS)

        async with agent_process(tmp_path, **chosen):
            await all_arrived(receiver, expected(UPLINKS))

        assert all(in_order(receiver, device) for device in range(DEVICES))


async def subscribed(agent: AgentProcess) -> None:
    """Wait until the agent says that it is ready."""
    await eventually(agent.is_ready)
