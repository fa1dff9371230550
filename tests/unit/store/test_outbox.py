"""The outbox as the writer keeps it: numbers, room, and what goes with a subscription."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest

from broker.core.errors import Overloaded
from broker.core.identifiers import DEFAULT_TENANT, Iri, Tenant
from tests.support.delivery import Delivering, opened, road

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


async def give_up(broker: Delivering) -> list[Mapping[tuple[Tenant, Iri], int]]:
    """Make dead letters of what waits, one after the other, and return what was dropped."""
    rows = await broker.store.outbox.pending(after=0, limit=100)
    outbox = broker.store.outbox
    return [await outbox.settle([], {row.sequence: "gone"}, {}) for row in rows]


async def test_of_too_many_dead_letters_the_oldest_of_who_has_the_most_are_dropped(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path, max_dead=8) as broker:
        few = await broker.subscribe(NOWHERE)
        for number in range(2):
            await broker.drive(number, 1)
        await give_up(broker)
        await broker.delete(few)
        many = await broker.subscribe(NOWHERE)
        for number in range(2, 12):
            await broker.drive(number, 1)

    async with opened(tmp_path, max_dead=8) as broker:
        dropped = await give_up(broker)
        left = [letter["entityId"] for letter in await broker.dead()]
        count = broker.store.waiting.dead
        await broker.store.outbox.purge(DEFAULT_TENANT, many.id)
        await broker.store.outbox.replay(DEFAULT_TENANT, few.id)

        assert broker.store.waiting.dead == 0

    assert [one for one in dropped if one] == [{(DEFAULT_TENANT, many.id): 1}] * 4
    assert left == [road(number) for number in (11, 10, 9, 8, 7, 6, 1, 0)]
    assert count == 8
