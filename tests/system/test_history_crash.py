"""Entity, history and outbox agree after a broker was killed in the middle of writes (P4)."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from pathlib import Path

import msgspec
import pytest
from aiohttp import ClientSession

from broker.client import BrokerUnreachable, Client
from tests.support.broker_process import broker_process

pytestmark = pytest.mark.system

ENTITIES = 6
WRITES = 150
NOWHERE = "http://127.0.0.1:9/"


class Writers:
    """Write to entities, one value after the other, and count what was acknowledged."""

    def __init__(self) -> None:
        self.acknowledged: Counter[str] = Counter()
        self.enough = asyncio.Event()
        self._wanted = WRITES

    async def write(self, client: Client, number: int) -> None:
        """Write until the broker is gone."""
        entity_id = f"urn:ngsi-ld:Road:{number}"
        try:
            for value in range(100_000):
                speed = {"type": "Property", "value": value}
                await client.upsert([{"id": entity_id, "type": "Road", "speed": speed}])
                self.acknowledged[entity_id] += 1
                if self.acknowledged.total() >= self._wanted:
                    self.enough.set()
        except BrokerUnreachable:
            return


async def written(directory: Path) -> Counter[str]:
    """Have a broker killed while it is written to; return the writes that it acknowledged."""
    writers = Writers()
    subscription = {
        "id": "urn:ngsi-ld:Subscription:roads",
        "type": "Subscription",
        "entities": [{"type": "Road"}],
        "notification": {"endpoint": {"uri": NOWHERE}},
    }
    async with ClientSession() as session, broker_process(directory) as broker:
        client = Client(session, broker.url)
        await client.create_subscription(subscription)
        async with asyncio.TaskGroup() as group:
            for number in range(ENTITIES):
                group.create_task(writers.write(client, number))
            await writers.enough.wait()
            await broker.kill()
    return writers.acknowledged


async def test_p4_every_version_has_its_instance_and_its_notification(tmp_path: Path) -> None:
    acknowledged = await written(tmp_path)

    connection = sqlite3.connect(tmp_path / "broker.db")
    entities = connection.execute("SELECT seq, id, version, body FROM entity").fetchall()
    assert len(entities) == ENTITIES
    for seq, entity_id, version, body in entities:
        history = connection.execute(
            "SELECT value FROM history WHERE entity = ? ORDER BY at, n", (seq,)
        ).fetchall()
        (told,) = connection.execute(
            "SELECT (SELECT count(*) FROM outbox WHERE order_key = ?1)"
            " + (SELECT count(*) FROM dead_letter WHERE order_key = ?1)",
            (entity_id,),
        ).fetchone()
        attributes = msgspec.json.decode(body)["attributes"]
        ((speed,),) = [instances.values() for instances in attributes.values()]
        assert [value for (value,) in history] == list(range(version))
        assert speed["value"] == version - 1
        assert told == version
        assert version >= acknowledged[entity_id]
    connection.close()
