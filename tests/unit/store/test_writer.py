"""The writer: group commit, errors of one job and of a transaction."""

from __future__ import annotations

import asyncio
import gc
import sqlite3
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from broker.core.errors import AlreadyExists, InternalError, NgsiLdError, Overloaded
from broker.store.sqlite.connection import Readers, Writer, connect


class Recorder:
    """A transaction that remembers its fate."""

    def __init__(self) -> None:
        self.fates: list[str] = []

    def closing(self, cursor: sqlite3.Cursor) -> None:
        pass

    def committed(self) -> Callable[[], None] | None:
        self.fates.append("committed")
        return None

    def rolled_back(self) -> None:
        self.fates.append("rolled back")


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[tuple[Writer, Readers, Recorder]]:
    path = tmp_path / "store.db"
    connection = connect(path)
    connection.execute("CREATE TABLE number (value INTEGER PRIMARY KEY)")
    recorder = Recorder()
    writer = Writer(connection, recorder, max_queued=100)
    readers = Readers(path, 1)
    yield writer, readers, recorder
    await writer.stop()
    await readers.close()
    connection.close()


def insert(value: int) -> Callable[[sqlite3.Cursor], int]:
    def job(cursor: sqlite3.Cursor) -> int:
        cursor.execute("INSERT INTO number VALUES (?)", (value,))
        return value

    return job


def values(connection: sqlite3.Connection) -> list[int]:
    return [row[0] for row in connection.execute("SELECT value FROM number ORDER BY value")]


async def test_jobs_that_wait_share_one_transaction(
    opened: tuple[Writer, Readers, Recorder],
) -> None:
    writer, readers, recorder = opened
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(writer.write(insert(n))) for n in range(10)]
        await asyncio.sleep(0)  # all are queued before the thread starts

        writer.start()

    assert [task.result() for task in tasks] == list(range(10))
    assert recorder.fates == ["committed"]
    assert await readers.read(values) == list(range(10))


class Document:
    """What a request brought."""


async def test_a_refused_job_holds_on_to_nothing_of_its_request(
    opened: tuple[Writer, Readers, Recorder],
) -> None:
    writer, _, _ = opened
    writer.start()

    async def refused() -> weakref.ref[Document]:
        document = Document()

        def refuse(_: sqlite3.Cursor) -> None:
            raise AlreadyExists(f"there is one beside {document!r}")

        with pytest.raises(AlreadyExists):
            await writer.write(refuse)
        return weakref.ref(document)

    gc.disable()
    try:
        left = [await refused() for _ in range(3)]
        await writer.write(insert(1))  # the thread has let go of what came before

        assert [each() for each in left] == [None] * 3
    finally:
        gc.enable()


async def test_a_refused_job_leaves_the_others_of_its_transaction_alone(
    opened: tuple[Writer, Readers, Recorder],
) -> None:
    writer, readers, _ = opened

    def refuse(_: sqlite3.Cursor) -> None:
        raise AlreadyExists("there is one")

    async with asyncio.TaskGroup() as group:
        first = group.create_task(writer.write(insert(1)))
        refused = group.create_task(_error(writer.write(refuse)))
        last = group.create_task(writer.write(insert(2)))
        await asyncio.sleep(0)
        writer.start()

    assert (first.result(), last.result()) == (1, 2)
    assert isinstance(refused.result(), AlreadyExists)
    assert await readers.read(values) == [1, 2]


async def test_a_broken_job_is_rolled_back_and_its_neighbours_run_again(
    opened: tuple[Writer, Readers, Recorder],
) -> None:
    writer, readers, recorder = opened
    async with asyncio.TaskGroup() as group:
        first = group.create_task(writer.write(insert(1)))
        broken = group.create_task(_error(writer.write(insert(1))))
        last = group.create_task(writer.write(insert(2)))
        await asyncio.sleep(0)
        writer.start()

    assert (first.result(), last.result()) == (1, 2)
    assert isinstance(broken.result(), InternalError)
    assert recorder.fates == ["rolled back", "committed", "rolled back", "committed"]
    assert await readers.read(values) == [1, 2]


async def test_one_job_more_than_may_wait_is_refused(
    opened: tuple[Writer, Readers, Recorder],
) -> None:
    writer, _, _ = opened
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(writer.write(insert(n))) for n in range(100)]
        await asyncio.sleep(0)

        with pytest.raises(Overloaded) as refused:
            await writer.write(insert(100))

        writer.start()

    assert refused.value.members == {"retry_after": 1}
    assert len([task.result() for task in tasks]) == 100


async def test_what_waits_is_written_before_the_writer_stops(
    opened: tuple[Writer, Readers, Recorder],
) -> None:
    writer, readers, _ = opened
    async with asyncio.TaskGroup() as group:
        group.create_task(writer.write(insert(7)))
        await asyncio.sleep(0)

        writer.start()
        await writer.stop()

    assert await readers.read(values) == [7]


async def _error(write: Awaitable[object]) -> NgsiLdError | None:
    try:
        await write
    except NgsiLdError as error:
        return error
    return None
