"""Notifications outlive a broker that is killed: none is lost, none comes out of order.

P1: what was acknowledged is there. P5: it was notified or is a dead letter. P6: ids stay the same.
P7: in order per entity. P13: the subscription goes on without being asked.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from aiohttp import ClientSession

from broker.client import BrokerUnreachable, Client
from tests.support.broker_process import broker_process
from tests.support.receiver import Received, accept, answering, receiver, reset

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]

SUBSCRIPTION = "urn:ngsi-ld:Subscription:roads"
ROUNDS = 4
WRITERS = 8
WRITES_PER_ROUND = 300


class Countdown:
    """Ends after some acknowledged writes."""

    def __init__(self, writes: int) -> None:
        self._left = writes
        self.over = asyncio.Event()

    def count(self) -> None:
        """Count one write."""
        self._left -= 1
        if self._left <= 0:
            self.over.set()


class Writer:
    """Writes rising values to one entity and remembers which were acknowledged."""

    def __init__(self, number: int) -> None:
        self.entity_id = f"urn:ngsi-ld:Road:{number}"
        self.acknowledged: list[int] = []
        self._next = 0

    async def write(self, client: Client, countdown: Countdown) -> None:
        """Write until it is over or the broker is gone."""
        while not countdown.over.is_set():
            try:
                await self.write_once(client)
            except BrokerUnreachable:
                return
            countdown.count()

    async def write_once(self, client: Client) -> None:
        """Write the next value."""
        value, self._next = self._next, self._next + 1
        speed = {"type": "Property", "value": value}
        await client.upsert([{"id": self.entity_id, "type": "Road", "speed": speed}])
        self.acknowledged.append(value)


def by_entity(received: Iterable[Received]) -> dict[str, list[int]]:
    """Return the values per entity in the order in which each first came."""
    found: dict[str, dict[int, None]] = defaultdict(dict)
    for one in received:
        for entity in one.entities:
            found[entity["id"]].setdefault(entity["speed"]["value"])
    return {entity_id: list(values) for entity_id, values in found.items()}


async def _unreliable(received: Received, request: Any) -> Any:
    """Fail in one of three ways about every ninth time."""
    way = {1: answering(500), 10: reset, 19: answering(503, Retry_After="0")}
    return await way.get(received.number % 27, accept)(received, request)


async def test_p1_p5_p6_p7_p13_what_was_acknowledged_is_kept_and_notified_in_order(
    tmp_path: Path,
) -> None:
    random = Random(5)  # noqa: S311 - which moment to kill at is no secret
    writers = [Writer(number) for number in range(WRITERS)]
    async with receiver(_unreliable) as there, ClientSession() as session:
        for number in range(ROUNDS):
            async with broker_process(tmp_path) as broker, asyncio.TaskGroup() as group:
                client = Client(session, broker.url)
                if number == 0:
                    await client.create_subscription(
                        {
                            "id": SUBSCRIPTION,
                            "type": "Subscription",
                            "entities": [{"type": "Road"}],
                            "notification": {"endpoint": {"uri": there.url()}},
                        }
                    )
                countdown = Countdown(random.randint(50, WRITES_PER_ROUND))
                for writer in writers:
                    group.create_task(writer.write(client, countdown))
                await countdown.over.wait()
                await broker.kill()
        wanted = {writer.entity_id: set(writer.acknowledged) for writer in writers}
        async with broker_process(tmp_path):
            await there.until(lambda: _has_all(there.accepted, wanted))

    for values in by_entity(there.accepted).values():
        assert values == sorted(values)
    ids = {(one.id, one.entities[0]["id"], one.entities[0]["speed"]["value"]) for one in there.all}
    assert len({notification_id for notification_id, _, _ in ids}) == len(ids)


async def _stored(client: Client, entity_id: str) -> int:
    found: int = (await client.request("GET", f"/entities/{entity_id}"))["speed"]["value"]
    return found


def _has_all(received: Iterable[Received], wanted: dict[str, set[int]]) -> bool:
    found = by_entity(received)
    return all(values <= set(found.get(entity_id, ())) for entity_id, values in wanted.items())
