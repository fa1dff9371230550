"""The outbox as the writer keeps it: numbers, room, and what goes with a subscription."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from broker.core.errors import Overloaded
from broker.core.identifiers import DEFAULT_TENANT
from tests.support.delivery import opened

NOWHERE = "http://127.0.0.1:9/"


async def test_a_number_is_never_given_twice(tmp_path: Path) -> None:
    async with opened(tmp_path) as broker:
        entry = await broker.subscribe(NOWHERE)
        for number in range(40):
            await broker.drive(number, 1)
        before = await broker.store.outbox.pending(after=0, limit=100)
        await broker.store.outbox.settle([row.sequence for row in before], {}, {})

    async with opened(tmp_path) as broker:
        await broker.drive(1, 2)
        (after,) = await broker.store.outbox.pending(after=0, limit=100)

    assert [row.sequence for row in before] == list(range(1, 41))
    assert after.sequence == 41
    assert after.subscription_id == entry.id


async def test_a_subscription_takes_with_it_what_the_same_transaction_would_have_told(
    tmp_path: Path,
) -> None:
    held = threading.Event()
    async with opened(tmp_path) as broker:
        entry = await broker.subscribe(NOWHERE)
        async with asyncio.TaskGroup() as group:
            group.create_task(broker.store.writer.write(lambda _: held.wait(5)))
            await asyncio.sleep(0)
            group.create_task(broker.drive(1, 30))
            await asyncio.sleep(0)
            deleting = broker.store.subscriptions.delete_subscription(DEFAULT_TENANT, entry.id)
            group.create_task(deleting)
            await asyncio.sleep(0)
            held.set()

        assert await broker.waiting() == 0
        assert broker.store.waiting.count == 0


async def test_p15_writes_are_refused_before_a_notification_is_dropped(tmp_path: Path) -> None:
    async with opened(tmp_path, max_waiting=3) as broker:
        await broker.subscribe(NOWHERE)
        for number in range(3):
            await broker.drive(number, 1)
        with pytest.raises(Overloaded) as refused:
            await broker.drive(4, 1)

    async with opened(tmp_path, max_waiting=3) as broker:
        with pytest.raises(Overloaded):
            await broker.drive(4, 1)
        rows = await broker.store.outbox.pending(after=0, limit=10)
        await broker.store.outbox.settle([rows[1].sequence], {rows[2].sequence: "gone"}, {})

        await broker.drive(4, 1)

        assert broker.store.waiting.count == 2
        assert broker.store.waiting.refused == 1
    assert refused.value.members == {"retry_after": 5}
