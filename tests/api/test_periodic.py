"""Periodic notifications: on time, of what matches then, and over restarts."""

from __future__ import annotations

from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from broker.core.identifiers import DEFAULT_TENANT
from broker.core.timestamps import instant_key, parse_timestamp
from broker.subscriptions.registry import Entry
from broker.subscriptions.scheduler import Scheduler
from tests.support.clock import Clock
from tests.support.delivery import Delivering, delivering, now, opened, road
from tests.support.receiver import receiver

NOWHERE = "http://127.0.0.1:9/"


def scheduler(broker: Delivering, clock: Clock) -> Scheduler:
    return Scheduler(broker.registry, broker.store.entities, broker.store.outbox, clock)


async def subscribed(broker: Delivering, **members: Any) -> tuple[Entry, Clock]:
    """Subscribe and return a clock that stands at the creation."""
    entry = await broker.subscribe(NOWHERE, timeInterval=10, **members)
    return entry, Clock(parse_timestamp(entry.subscription.created_at, "createdAt"))


async def bodies(broker: Delivering) -> list[dict[str, Any]]:
    rows = await broker.store.outbox.pending(after=0, limit=1000)
    return [msgspec.json.decode(row.body) for row in rows]


async def test_all_that_matches_is_told_when_the_interval_is_over(tmp_path: Path) -> None:
    async with opened(tmp_path) as broker:
        entry, clock = await subscribed(broker, q="speed>20")
        made = scheduler(broker, clock)
        for number, speed in enumerate((10, 30, 50)):
            await broker.drive(number, speed)

        clock.pass_seconds(9.9)
        await made.make_due()
        early = await bodies(broker)
        clock.pass_seconds(0.1)
        await made.make_due()

        (told,) = await bodies(broker)
    assert early == []
    assert told["subscriptionId"] == entry.id
    assert [entity["id"] for entity in told["data"]] == [road(1), road(2)]


async def test_each_interval_tells_once_and_nothing_where_nothing_matches(tmp_path: Path) -> None:
    async with opened(tmp_path) as broker:
        _, clock = await subscribed(broker)
        made = scheduler(broker, clock)
        counts = []
        clock.pass_seconds(10)
        await made.make_due()
        counts.append(await broker.waiting())
        await broker.drive(1, 30)
        for _ in range(4):
            clock.pass_seconds(5)
            await made.make_due()
            counts.append(await broker.waiting())

    assert counts == [0, 0, 1, 1, 2]


async def test_a_late_look_does_not_move_the_moments_that_follow(tmp_path: Path) -> None:
    async with opened(tmp_path) as broker:
        entry, clock = await subscribed(broker)
        made = scheduler(broker, clock)
        await broker.drive(1, 30)

        clock.pass_seconds(37)
        await made.make_due()
        after_37 = await broker.waiting()
        clock.pass_seconds(3)
        await made.make_due()

        assert after_37 == 1
        assert await broker.waiting() == 2
        assert entry.delivery.last_period is not None


async def test_a_restart_neither_doubles_nor_forgets_a_moment(tmp_path: Path) -> None:
    async with opened(tmp_path) as broker:
        _, clock = await subscribed(broker)
        await broker.drive(1, 30)
        made = scheduler(broker, clock)
        clock.pass_seconds(10)
        await made.make_due()

    async with opened(tmp_path) as again:
        made = scheduler(again, clock)
        await made.make_due()
        at_once = await again.waiting()
        clock.pass_seconds(25)
        await made.make_due()
        later = await again.waiting()

    assert at_once == 1
    assert later == 2


@pytest.mark.parametrize("restarts", [False, True])
async def test_p27_a_clock_that_is_set_back_silences_nobody(
    tmp_path: Path,
    restarts: bool,  # noqa: FBT001 - a table's column
) -> None:
    counts = []
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(opened(tmp_path))
        _, clock = await subscribed(broker)
        await broker.drive(1, 30)
        made = scheduler(broker, clock)
        clock.pass_seconds(3600)
        await made.make_due()
        counts.append(await broker.waiting())
        clock.pass_seconds(-3570)
        if restarts:
            await stack.aclose()
            broker = await stack.enter_async_context(opened(tmp_path))
            made = scheduler(broker, clock)
        for _ in range(3):
            await made.make_due()
            counts.append(await broker.waiting())
            clock.pass_seconds(10)

    assert counts == [1, 1, 2, 3]


async def test_p27_a_clock_that_is_set_forward_tells_once(tmp_path: Path) -> None:
    async with opened(tmp_path) as broker:
        _, clock = await subscribed(broker)
        await broker.drive(1, 30)
        made = scheduler(broker, clock)
        clock.pass_seconds(3605)
        await made.make_due()
        once = await broker.waiting()
        clock.pass_seconds(5)
        await made.make_due()

        assert (once, await broker.waiting()) == (1, 2)


async def test_a_paused_subscription_is_told_at_its_next_moment_after_the_pause(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path) as broker:
        entry, clock = await subscribed(broker)
        made = scheduler(broker, clock)
        await broker.drive(1, 30)
        await broker.update(entry, {"isActive": False})
        clock.pass_seconds(25)
        await made.make_due()
        paused = await broker.waiting()
        await broker.update(entry, {"isActive": True})
        await made.make_due()
        resumed = await broker.waiting()
        clock.pass_seconds(5)
        await made.make_due()

        assert (paused, resumed, await broker.waiting()) == (0, 0, 1)


async def test_a_deleted_subscription_is_told_no_more(tmp_path: Path) -> None:
    async with opened(tmp_path) as broker:
        entry, clock = await subscribed(broker)
        made = scheduler(broker, clock)
        await broker.drive(1, 30)
        await broker.delete(entry)

        clock.pass_seconds(10)
        await made.make_due()

        assert await broker.waiting() == 0
        assert broker.registry.get(DEFAULT_TENANT, entry.id) is None


async def test_periodic_notifications_arrive_as_others_do(tmp_path: Path) -> None:
    async with receiver() as there, delivering(tmp_path) as broker:
        made = Scheduler(broker.registry, broker.store.entities, broker.store.outbox, now)
        async with made.running():
            await broker.drive(1, 30)
            await broker.subscribe(there.url(), timeInterval=0.05)

            found = await there.received(3)

    assert len({one.id for one in found}) == len(found)
    assert all(one.entities[0]["id"] == road(1) for one in found)


async def test_p14_a_day_with_restarts_and_late_looks_neither_drifts_nor_doubles(
    tmp_path: Path,
) -> None:
    random = Random(14)  # noqa: S311 - repeatable, not secret
    interval, passed, used = 600, 0.0, set()
    async with opened(tmp_path) as broker:
        entry, clock = await subscribed(broker)
        await broker.update(entry, {"timeInterval": interval})
        await broker.drive(1, 30)
        created = clock.now
    while passed < 86_400:
        async with opened(tmp_path) as broker:
            made = scheduler(broker, clock)
            for _ in range(10):
                passed += random.uniform(1, 1000)
                clock.now = created + timedelta(seconds=passed)
                await made.make_due()
                used.add(int(passed // interval))
            (entry,) = broker.registry
            told = await broker.waiting()

        last = instant_key(str(entry.delivery.last_period))
        assert last == pytest.approx(
            instant_key(str(entry.subscription.created_at)) + passed // interval * interval,
            abs=0.01,
        )
        assert told == len(used - {0})
