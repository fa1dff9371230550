"""A stream outlives a broker that is killed: nothing that was acknowledged is missing (P17)."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random

import pytest
from aiohttp import ClientError, ClientSession

from broker.client import BrokerUnreachable, Client
from tests.support.api import ROOT
from tests.support.broker_process import broker_process
from tests.support.child_process import ChildProcess
from tests.support.sse import EventStream, stream

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]

ROUNDS = 4
ROAD = "urn:ngsi-ld:Road:7"


class Watcher:
    """Reads a stream, comes back with the last id, and remembers what it saw."""

    def __init__(self) -> None:
        self.values: list[int] = []
        self.gaps = 0
        self._last: str | None = None

    async def watch(self, session: ClientSession, url: str, until: int | None = None) -> None:
        """Read until the broker is gone or a value has come."""
        headers = {} if self._last is None else {"Last-Event-ID": self._last}
        try:
            async with stream(session, f"{url}{ROOT}/stream?type=Road", headers=headers) as events:
                while until is None or until not in self.values:
                    await self._see(events)
        except (EOFError, ClientError):
            return

    async def begin(self, session: ClientSession, url: str) -> None:
        """Open the stream for the first time, and leave it."""
        async with stream(session, f"{url}{ROOT}/stream?type=Road") as events:
            await self._see(events)

    async def _see(self, events: EventStream) -> None:
        event = await events.next()
        self._last = events.last_id
        self.gaps += event.name == "gap"
        if event.name == "message":
            self.values.append(event.data["data"][0]["speed"]["value"])


async def write(broker: ChildProcess, client: Client, begin: int, count: int) -> int:
    """Write rising values, kill the broker after some were acknowledged, and return the next."""
    for value in range(begin, begin + count):
        speed = {"type": "Property", "value": value}
        await client.upsert([{"id": ROAD, "type": "Road", "speed": speed}])
    next_value = begin + count
    async with asyncio.TaskGroup() as group:  # one write is under way while the broker is killed
        group.create_task(_try(client, next_value))
        group.create_task(broker.kill())
    return next_value + 1


async def _try(client: Client, value: int) -> None:
    speed = {"type": "Property", "value": value}
    try:
        await client.upsert([{"id": ROAD, "type": "Road", "speed": speed}])
    except BrokerUnreachable:
        return


async def test_a_stream_goes_on_after_kills_without_a_gap(tmp_path: Path) -> None:
    random = Random(11)  # noqa: S311 - which moment to kill at is no secret
    watcher, value, acknowledged = Watcher(), 1, set[int]()
    async with ClientSession() as session:
        for _ in range(ROUNDS):
            async with broker_process(tmp_path) as broker, asyncio.TaskGroup() as group:
                client = Client(session, broker.url)
                if value == 1:
                    await watcher.begin(session, broker.url)
                group.create_task(watcher.watch(session, broker.url))
                count = random.randint(20, 100)
                acknowledged |= set(range(value, value + count))
                value = await write(broker, client, value, count)
        async with broker_process(tmp_path) as broker:
            await Client(session, broker.url).upsert(
                [{"id": ROAD, "type": "Road", "speed": {"type": "Property", "value": value}}]
            )
            await watcher.watch(session, broker.url, until=value)

    assert watcher.gaps == 0
    assert watcher.values == sorted(set(watcher.values))
    assert acknowledged <= set(watcher.values)
