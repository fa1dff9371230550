"""Measures through mosquitto, an agent and the broker: how many a second, how late, how many lost.

Sensors are provisioned devices that publish with QoS 1, ChirpStack uplinks for the LoRaWAN agent or
plain JSON for the other; each measure makes one entity of two observed attributes. The publisher
writes MQTT 3.1.1 by itself, so that it costs next to nothing beside what is measured.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec
from aiohttp import ClientSession, web

from bench.load import LOAD_CORE, free_port, process, processor, resident_mib

_DEVICES = 1000
_PAGE = 100
_DRAIN_SECONDS = 60
_UNANSWERED = 2000
_BACKLOG = 2000
_HEADERS = {"fiware-service": "bench", "fiware-servicepath": "/"}
_TENANT = {"NGSILD-Tenant": "bench"}
_MOSQUITTO = """\
listener {port} 127.0.0.1
allow_anonymous true
max_inflight_messages 0
max_queued_messages 0
log_type error
"""
_CONNECT = b"\x10\x11\x00\x04MQTT\x04\x02\x00\x00\x00\x05bench"


@dataclass(frozen=True, slots=True)
class Agent:
    """The agent that is measured, with the broker behind it."""

    url: str
    pid: int
    broker_url: str
    broker_pid: int
    mqtt_port: int
    write: Callable[[int, int], tuple[str, bytes]]
    """Gives topic and payload of the measure of a number, in a run."""


@dataclass(frozen=True, slots=True)
class Throughput:
    """What came of measures sent as fast as they were taken.

    Attributes:
        rate: committed measures per second, from the first one sent to the last one committed.
        lost: measures that were sent and are not in the broker.
        agent_us: processor time of the agent per measure, in microseconds; `broker_us` likewise.
        memory: resident memory of the agent afterwards, in MiB.
    """

    rate: float
    lost: int
    agent_us: float
    broker_us: float
    memory: float


@dataclass(frozen=True, slots=True)
class Delay:
    """Measures at a rate: those lost, and the p99 from publishing to being notified, in ms."""

    rate: float
    lost: int
    p99: float


@contextmanager
def agent_beside(role: str, broker_url: str, broker_pid: int, workdir: Path) -> Iterator[Agent]:
    """Run mosquitto and an agent, on the core that the broker does not have."""
    binary = shutil.which("mosquitto") or shutil.which("/usr/sbin/mosquitto")
    if binary is None:
        sys.exit("the bench needs mosquitto (Debian package mosquitto)")
    port, mqtt_port = free_port(), free_port()
    config = workdir / "mosquitto.conf"
    config.write_text(_MOSQUITTO.format(port=mqtt_port))
    url, mqtt_url = f"http://127.0.0.1:{port}", f"mqtt://127.0.0.1:{mqtt_port}"
    command = [sys.executable, "-m", "bench.agent", role, str(port), mqtt_url, broker_url]
    command.append(str(workdir / f"agent-{role}"))
    with (
        process([binary, "-c", str(config)], f"tcp:{mqtt_port}", core=LOAD_CORE),
        process(command, url + "/ready", core=LOAD_CORE) as agent,
    ):
        asyncio.run(_provision(url))
        yield Agent(url, agent.pid, broker_url, broker_pid, mqtt_port, _WRITERS[role])


async def throughput(agent: Agent, count: int) -> Throughput:
    """Send measures, with a bounded number of them on their way."""
    before = await _counters(agent.url)
    used = processor(agent.pid), processor(agent.broker_pid)
    delivered = before["delivered"]
    started = time.perf_counter()
    async with _publisher(agent) as publish, asyncio.TaskGroup() as tasks:
        arrived = tasks.create_task(_delivered(agent, before, count))
        for first in range(0, count, _BACKLOG):
            for number in range(first, min(first + _BACKLOG, count)):
                await publish(number)
        await arrived
    took = time.perf_counter() - started
    delivered = (await _counters(agent.url))["delivered"] - delivered
    lost = count - int(delivered) + await _stale(agent, count)
    costs = (processor(agent.pid) - used[0], processor(agent.broker_pid) - used[1])
    return Throughput(
        rate=count / took,
        lost=lost,
        agent_us=costs[0] / count * 1e6,
        broker_us=costs[1] / count * 1e6,
        memory=resident_mib(agent.pid),
    )


async def delay(agent: Agent, *, seconds: int, rate: int) -> Delay:
    """Send measures at a rate, each of which a subscription of the broker tells us of."""
    arrived: dict[int, float] = {}
    more = asyncio.Event()
    sent: dict[int, float] = {}
    async with (
        _receiver(arrived, more) as endpoint,
        ClientSession(headers={"Content-Type": "application/json", **_TENANT}) as session,
        _publisher(agent) as publish,
    ):
        subscription = await _subscribe(session, agent.broker_url, endpoint)
        started = time.perf_counter()
        for number in range(seconds * rate):
            wait = started + number / rate - time.perf_counter()
            if wait > 0:
                await asyncio.sleep(wait)
            sent[number] = time.perf_counter()
            await publish(number)
        took = time.perf_counter() - started
        with suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN_SECONDS):
                while len(arrived) < len(sent):
                    more.clear()
                    await more.wait()
        async with session.delete(agent.broker_url + subscription) as response:
            response.raise_for_status()
    delays = sorted((at - sent[n]) * 1000 for n, at in arrived.items() if n in sent)
    p99 = delays[int(len(delays) * 0.99)] if delays else float("inf")
    return Delay(rate=len(sent) / took, lost=len(sent) - len(delays), p99=p99)


def _eui(number: int) -> str:
    return f"02be{number:012x}"


async def _provision(url: str) -> None:
    attributes = [
        {"object_id": "occupied", "name": "status", "type": "Text",
         "expression": "occupied|mapper([true,false],['occupied','free'])"},
        {"object_id": "count", "name": "count", "type": "Number",
         "metadata": {"unitCode": {"type": "Text", "value": "C62"}}},
    ]  # fmt: skip
    group = {"apikey": "bench", "resource": "", "entity_type": "CountedSpot"}
    devices = [
        {"device_id": _eui(number), "apikey": "bench", "entity_type": "CountedSpot",
         "entity_name": f"urn:ngsi-ld:CountedSpot:{number}"}
        for number in range(_DEVICES)
    ]  # fmt: skip
    async with ClientSession(headers=_HEADERS) as session:
        groups = {"services": [{**group, "attributes": attributes}]}
        async with session.post(f"{url}/iot/services", json=groups) as response:
            response.raise_for_status()
        for first in range(0, _DEVICES, _PAGE):
            page = {"devices": devices[first : first + _PAGE]}
            async with session.post(f"{url}/iot/devices", json=page) as response:
                response.raise_for_status()


def _uplink(number: int, run: int) -> tuple[str, bytes]:
    eui = _eui(number % _DEVICES)
    document = {
        "deduplicationId": "3ac7e3c4-4401-4b8d-9386-a5c902f9202d",
        "time": _now(),
        "deviceInfo": {
            "tenantName": "bench", "applicationName": "parking", "applicationId": "a",
            "deviceProfileName": "bench", "deviceName": f"bay-{number % _DEVICES}", "devEui": eui,
            "tags": {"spot": f"old-town:{number % _DEVICES}"},
        },
        "devAddr": f"{run:08x}", "adr": True, "dr": 5, "fCnt": number, "fPort": 2,
        "confirmed": False, "data": "ARY=",
        "object": {"occupied": number % 2 == 0, "count": number},
        "rxInfo": [
            {"gatewayId": f"02a000000000000{n}", "uplinkId": 4217106255 + n, "rssi": -57 - n,
             "snr": 10, "location": {"latitude": 46.58, "longitude": 0.34}, "crcStatus": "CRC_OK"}
            for n in range(2)
        ],
        "txInfo": {"frequency": 868100000, "modulation": {"lora": {"bandwidth": 125000,
                   "spreadingFactor": 7, "codeRate": "CR_4_5"}}},
    }  # fmt: skip
    return f"application/a/device/{eui}/event/up", msgspec.json.encode(document)


def _json(number: int, _run: int) -> tuple[str, bytes]:
    measures = {"occupied": number % 2 == 0, "count": number, "TimeInstant": _now()}
    return f"/json/bench/{_eui(number % _DEVICES)}/attrs", msgspec.json.encode(measures)


def _now() -> str:
    return datetime.now(UTC).isoformat()


_WRITERS: Final = {"lorawan": _uplink, "mqtt": _json}

Publish = Callable[[int], Coroutine[None, None, None]]
"""Sends the measure of a number."""


@asynccontextmanager
async def _publisher(agent: Agent) -> AsyncIterator[Publish]:
    reader, writer = await asyncio.open_connection("127.0.0.1", agent.mqtt_port)
    writer.write(_CONNECT)
    await reader.readexactly(4)
    run = int(time.time()) & 0xFFFFFFFF
    unanswered: deque[int] = deque()
    room = asyncio.Event()

    async def publish(number: int) -> None:
        topic, payload = agent.write(number, run)
        name, packet_id = topic.encode(), number % 65_535 + 1
        body = len(name).to_bytes(2) + name + packet_id.to_bytes(2) + payload
        writer.write(b"\x32" + _length(len(body)) + body)
        unanswered.append(number)
        while len(unanswered) >= _UNANSWERED:
            room.clear()
            await room.wait()

    async def answers() -> None:
        while True:
            await reader.readexactly(4)
            unanswered.popleft()
            room.set()

    async with asyncio.TaskGroup() as tasks:
        reading = tasks.create_task(answers())
        try:
            yield publish
            while unanswered:
                room.clear()
                await room.wait()
        finally:
            reading.cancel()
            writer.close()


def _length(length: int) -> bytes:
    encoded = bytearray()
    while length > 0x7F:
        encoded.append(length & 0x7F | 0x80)
        length >>= 7
    encoded.append(length)
    return bytes(encoded)


async def _delivered(agent: Agent, before: dict[str, float], count: int) -> None:
    limit = time.perf_counter() + _DRAIN_SECONDS
    while time.perf_counter() < limit:
        now = await _counters(agent.url)
        gone = ("delivered", "rejected", "waiting", "duplicates", "dropped")
        if sum(now[name] - before[name] for name in gone) >= count:
            return
        await asyncio.sleep(0.1)


async def _counters(url: str) -> dict[str, float]:
    async with ClientSession() as session, session.get(f"{url}/metrics") as response:
        text = await response.text()
    found = re.findall(r"^rigel_agent_(\w+?)(?:_total)?{.*} (\S+)$", text, re.MULTILINE)
    return {name: float(value) for name, value in found}


async def _stale(agent: Agent, count: int) -> int:
    """Count the devices whose entity does not tell what they sent last."""
    last = {number % _DEVICES: number for number in range(max(0, count - _DEVICES), count)}
    path = f"{agent.broker_url}/ngsi-ld/v1/entities"
    found: dict[int, int] = {}
    async with ClientSession(headers=_TENANT) as session:
        for offset in range(0, _DEVICES, _PAGE):
            params = {"type": "CountedSpot", "limit": str(_PAGE), "offset": str(offset)}
            async with session.get(path, params={**params, "format": "simplified"}) as response:
                for entity in await response.json():
                    found[int(entity["id"].rpartition(":")[2])] = int(entity["count"])
    return sum(found.get(device) != number for device, number in last.items())


@asynccontextmanager
async def _receiver(arrived: dict[int, float], more: asyncio.Event) -> AsyncIterator[str]:
    async def receive(request: web.Request) -> web.Response:
        now = time.perf_counter()
        for entity in msgspec.json.decode(await request.read())["data"]:
            arrived.setdefault(int(entity["count"]["value"]), now)
        more.set()
        return web.Response()

    app = web.Application()
    app.router.add_post("/", receive)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


async def _subscribe(session: ClientSession, url: str, endpoint: str) -> str:
    """Return the path of the new subscription."""
    subscription = {
        "type": "Subscription",
        "entities": [{"type": "CountedSpot"}],
        "watchedAttributes": ["count"],
        "notification": {"attributes": ["count"], "endpoint": {"uri": endpoint}},
    }
    path = f"{url}/ngsi-ld/v1/subscriptions"
    async with session.post(path, data=msgspec.json.encode(subscription)) as response:
        response.raise_for_status()
        return response.headers["Location"]
