"""The file of a role: whole transactions, versions, one owner."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from subscribers.common.instants import Instant
from subscribers.common.journal import (
    COMMON_TABLES,
    Journal,
    JournalUnusable,
    read_digests,
    read_position,
    write_digest,
    write_position,
)
from subscribers.common.stream_clock import Position

SECOND = "CREATE TABLE later (x INTEGER); INSERT INTO later VALUES (7);"


async def test_what_was_committed_is_there_again(tmp_path: Path) -> None:
    file = tmp_path / "new" / "role.db"
    position = Position(Instant(5), Instant(7))
    async with Journal.open(file, (COMMON_TABLES,)) as journal:
        before = await journal.run(read_position)
        await journal.commit([write_position(position), write_digest("rule", "abc")])
    async with Journal.open(file, (COMMON_TABLES,)) as journal:
        after = await journal.run(read_position)
        digests = await journal.run(read_digests)

    assert (before, after) == (None, position)
    assert digests == {"rule": "abc"}


async def test_a_transaction_that_fails_leaves_nothing(tmp_path: Path) -> None:
    async with Journal.open(tmp_path / "role.db", (COMMON_TABLES,)) as journal:
        with pytest.raises(sqlite3.OperationalError, match="no such table"):
            await journal.commit([write_digest("rule", "abc"), ("DELETE FROM nowhere", ())])

        assert await journal.run(read_digests) == {}


async def test_a_file_is_brought_up_to_date_once(tmp_path: Path) -> None:
    file = tmp_path / "role.db"
    async with Journal.open(file, (COMMON_TABLES,)):
        pass
    async with Journal.open(file, (COMMON_TABLES, SECOND)):
        pass
    async with Journal.open(file, (COMMON_TABLES, SECOND)) as journal:
        rows = await journal.run(lambda c: c.execute("SELECT x FROM later").fetchall())

    assert rows == [(7,)]


async def test_a_file_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "role.db"
    async with Journal.open(file, (COMMON_TABLES, SECOND)):
        pass

    with pytest.raises(JournalUnusable, match="made by a newer version"):
        async with Journal.open(file, (COMMON_TABLES,)):
            pass


async def test_what_is_no_database_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "role.db"
    file.write_text("my diary, do not touch" * 100)

    with pytest.raises(JournalUnusable, match="not a database"):
        async with Journal.open(file, (COMMON_TABLES,)):
            pass
    assert file.read_text().startswith("my diary")
