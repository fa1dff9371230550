"""The spool on a real file: order, durability, duplicates, limits, and what a restart finds."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from iot_agents.common.counters import Counters
from iot_agents.common.database import FileInUse, NewerFile
from iot_agents.common.dead_letters import DeadLetter, DeadLetters
from iot_agents.common.deliveries import Delivery
from iot_agents.common.spool import Entry, Limits, Operation, Spool, SpoolFull
from tests.support.eventually import PATIENCE

START = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)


class Clock:
    """A clock that moves when told to."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **delta: float) -> None:
        self.now += timedelta(**delta)


class Bench:
    """A spool's file with what belongs to it, opened again and again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = Clock()
        self.counters = Counters()

    @asynccontextmanager
    async def spool(self, **limits: float) -> AsyncIterator[Spool]:
        """Open the spool."""
        async with Spool.open(
            self.path,
            counters=self.counters,
            clock=self.clock,
            limits=Limits(**limits),  # type: ignore[arg-type]
        ) as spool:
            yield spool


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "spool.db")


def entry(number: int, **members: object) -> Entry:
    entity = {"id": f"urn:ngsi-ld:Device:{number}", "type": "Device"}
    return Entry("city", f"device-{number}", (entity,), **members)  # type: ignore[arg-type]


async def test_what_was_put_is_found_in_order_after_a_restart(bench: Bench) -> None:
    async with bench.spool() as spool:
        tickets = [spool.put(entry(number)) for number in range(200)]
        assert [await ticket for ticket in tickets] == [True] * 200

    async with bench.spool() as spool:
        rows = await spool.load(0, 1000)

        assert [row.device for row in rows] == [f"device-{number}" for number in range(200)]
        assert spool.pending == 200


async def test_a_spool_belongs_to_one_process(bench: Bench) -> None:
    async with bench.spool():
        with pytest.raises(FileInUse, match="another process"):
            async with bench.spool():
                pass


async def test_settled_rows_are_gone_after_a_restart(bench: Bench) -> None:
    async with bench.spool() as spool:
        for number in range(3):
            await spool.put(entry(number))
        rows = await spool.load(0, 10)
        await spool.settle([rows[0].seq, rows[2].seq])

    async with bench.spool() as spool:
        assert [row.device for row in await spool.load(0, 10)] == ["device-1"]
        assert bench.counters.delivered == 2


async def test_a_key_that_came_before_brings_nothing_also_after_a_restart(bench: Bench) -> None:
    first = entry(1, key="eui/addr/7", moment=100.0)
    async with bench.spool() as spool:
        assert await spool.put(first) is True
        assert await spool.put(first) is False

    async with bench.spool() as spool:
        assert await spool.put(first) is False
        assert spool.pending == 1
        assert bench.counters.spooled == 1


async def test_the_same_key_at_quite_another_moment_is_a_counter_that_began_again(
    bench: Bench,
) -> None:
    async with bench.spool(same_moment=600.0) as spool:
        await spool.put(entry(1, key="eui/addr/0", moment=1000.0))

        again = await spool.put(entry(1, key="eui/addr/0", moment=1000.0 + 601.0))

        assert again is True


async def test_a_key_is_forgotten_after_its_window(bench: Bench) -> None:
    async with bench.spool(key_window=3600.0) as spool:
        await spool.put(entry(1, key="k"))
        bench.clock.advance(seconds=3599)
        await spool.expire()
        assert await spool.put(entry(1, key="k")) is False

        bench.clock.advance(seconds=2)
        await spool.expire()

        assert await spool.put(entry(1, key="k")) is True


async def test_a_full_spool_refuses_and_takes_again_when_there_is_room(bench: Bench) -> None:
    async with bench.spool(max_measures=2) as spool:
        await spool.put(entry(1))
        await spool.put(entry(2))
        with pytest.raises(SpoolFull):
            spool.put(entry(3))
        rows = await spool.load(0, 10)

        async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
            waiting = group.create_task(spool.room())
            await spool.settle([rows[0].seq])
            await waiting

        assert await spool.put(entry(3)) is True


async def test_the_limit_holds_after_a_restart(bench: Bench) -> None:
    async with bench.spool() as spool:
        await spool.put(entry(1))

    async with bench.spool(max_measures=1) as spool:
        with pytest.raises(SpoolFull):
            spool.put(entry(2))


async def test_what_is_too_old_is_dropped_oldest_first_and_counted(bench: Bench) -> None:
    async with bench.spool(max_age=3600.0) as spool:
        await spool.put(entry(1))
        await spool.put(entry(2))
        bench.clock.advance(minutes=30)
        await spool.put(entry(3))

        bench.clock.advance(minutes=31)
        newest = await spool.expire()

        rows = await spool.load(0, 10)
        assert [row.device for row in rows] == ["device-3"]
        assert newest == rows[0].seq - 1
        assert bench.counters.dropped == 2
        assert spool.pending == 1


async def test_state_is_kept_with_the_measure_it_belongs_to(bench: Bench) -> None:
    async with bench.spool() as spool:
        await spool.put(entry(1, state={"location/1": b"new"}, key="k"))
        await spool.put(entry(1, state={"location/1": b"of a duplicate"}, key="k"))

    async with bench.spool() as spool:
        assert await spool.state("location/1") == b"new"
        await spool.put(Entry("city", "d", state={"location/1": None}))
        assert await spool.state("location/1") is None
        assert spool.pending == 1


async def test_a_write_that_fails_does_not_take_its_neighbours_with_it(bench: Bench) -> None:
    async with bench.spool() as spool:
        good = spool.put(entry(1))
        bad = spool.put(entry(2, state={"k": object()}))
        also_good = spool.put(entry(3))

        assert await good is True
        assert await also_good is True
        with pytest.raises(sqlite3.Error):
            await bad
        assert [row.device for row in await spool.load(0, 10)] == ["device-1", "device-3"]
        assert spool.pending == 2


async def test_a_caller_that_goes_away_does_not_undo_the_write(bench: Bench) -> None:
    async with bench.spool() as spool:
        ticket = spool.put(entry(1))
        ticket.cancel()
        await spool.put(entry(2))

        assert len(await spool.load(0, 10)) == 2
        assert bench.counters.spooled == 2


async def test_refused_entities_become_dead_letters_with_their_reason(bench: Bench) -> None:
    letter = DeadLetter("city", "device-1", "2026-03-01T08:00:00.000Z", "entity", "no id", b"{}")
    async with bench.spool() as spool:
        await spool.put(entry(1))
        (row,) = await spool.load(0, 10)
        await spool.settle([row.seq], [letter])

    async with bench.spool() as spool:
        letters = DeadLetters(spool.database, limit=10, counters=bench.counters)
        assert list(await letters.newest()) == [letter]
        assert bench.counters.dead_letters == 1


async def test_of_too_many_dead_letters_the_oldest_go(bench: Bench) -> None:
    async with bench.spool() as spool:
        letters = DeadLetters(spool.database, limit=2, counters=bench.counters)
        for number in range(5):
            await letters.add(DeadLetter("", "d", "", "measure", str(number), b""))

        await letters.trim()

        assert [letter.reason for letter in await letters.newest()] == ["4", "3"]
        assert await letters.count() == 2
        assert bench.counters.dropped == 3


async def test_a_deletion_is_spooled_like_an_update(bench: Bench) -> None:
    async with bench.spool() as spool:
        await spool.put(entry(1, operation=Operation.DELETE))

        (row,) = await spool.load(0, 10)

        assert row.operation is Operation.DELETE
        assert row.ids == ("urn:ngsi-ld:Device:1",)


async def test_a_file_of_a_newer_version_is_left_alone(bench: Bench) -> None:
    connection = sqlite3.connect(bench.path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()

    with pytest.raises(NewerFile):
        async with bench.spool():
            pass


def delivered(number: int, packet_id: int, *, since: int | None = None, part: int = 0) -> Delivery:
    return Delivery("agent", number, packet_id, since, number - 20, part=part, digest=b"same")


@pytest.mark.parametrize(
    ("again", "new"),
    [
        (delivered(31, 5, since=1), False),
        (delivered(31, 5, since=5), False),
        (delivered(31, 5), True),
        (delivered(31, 5, since=6), True),
        (delivered(31, 6, since=1), True),
        (delivered(31, 5, since=1, part=1), True),
        (replace(delivered(31, 5, since=1), digest=b"other"), True),
        (replace(delivered(31, 5, since=1), session="other"), True),
    ],
    ids=["again", "oldest", "unmarked", "too old", "packet id", "part", "payload", "session"],
)
async def test_a_delivery_is_known_again_by_its_mark_and_its_place_in_the_session(
    bench: Bench, again: Delivery, *, new: bool
) -> None:
    async with bench.spool() as spool:
        await spool.put(entry(0, delivery=delivered(5, 5)))

    async with bench.spool() as spool:
        assert await spool.last_number("agent") == 5
        assert await spool.put(entry(1, delivery=again)) is new
        assert spool.pending == 1 + new


async def test_a_delivery_that_comes_a_third_time_is_known_and_old_ones_are_forgotten(
    bench: Bench,
) -> None:
    async with bench.spool() as spool:
        await spool.put(entry(0, delivery=delivered(5, 5)))
        assert not await spool.put(entry(0, delivery=delivered(15, 5, since=1)))
        assert not await spool.put(entry(0, delivery=delivered(20, 5, since=10)))
        for number in range(21, 61):
            await spool.put(entry(number, delivery=delivered(number, number)))

    with sqlite3.connect(bench.path) as connection:
        (kept,) = connection.execute("SELECT count(*) FROM delivery").fetchone()
    assert kept == 21
