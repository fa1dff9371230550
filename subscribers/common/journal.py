"""What a role must remember: one SQLite file, used by one process and in one thread.

A commit is a list of statements and one transaction (`synchronous=FULL`): what was observed, what
follows from it, and what is to be written to the broker are durable together or not at all.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from subscribers.common.instants import Instant
from subscribers.common.stream_clock import Position

T = TypeVar("T")
Statement = tuple[str, Sequence[Any]]
"""SQL and its parameters."""

_LOCK_SECONDS: Final = 1.0

COMMON_TABLES: Final = """
CREATE TABLE clock (id INTEGER PRIMARY KEY CHECK (id = 1), stream INTEGER, wall INTEGER);
CREATE TABLE definitions (name TEXT PRIMARY KEY, digest TEXT NOT NULL);
CREATE TABLE outbox (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE, operation TEXT NOT NULL,
    body BLOB NOT NULL);
CREATE TABLE refused (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, operation TEXT NOT NULL, body BLOB NOT NULL,
    problem TEXT NOT NULL);
"""
"""The tables every role has; its first migration begins with them."""


class JournalUnusable(Exception):
    """The file belongs to another process or a newer version of the product, or is none of ours."""


class Journal:
    """An open file; `Journal.open` makes it."""

    def __init__(self, connection: sqlite3.Connection, thread: ThreadPoolExecutor) -> None:
        self._connection = connection
        self._thread = thread

    @classmethod
    @asynccontextmanager
    async def open(cls, path: Path, migrations: Sequence[str]) -> AsyncIterator[Self]:
        """Open a file, created or brought up to date by the scripts it has not seen yet.

        Raises:
            JournalUnusable: see there.
        """
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1, thread_name_prefix=path.stem) as thread:
            connection = await loop.run_in_executor(thread, _open, path, migrations)
            try:
                yield cls(connection, thread)
            finally:
                # Queued behind the work of a cancelled caller; `with` waits for it.
                thread.submit(connection.close)

    async def commit(self, statements: Iterable[Statement]) -> None:
        """Execute statements in one transaction and return when it is durable.

        Raises:
            sqlite3.Error: nothing was written.
        """
        await self.run(lambda connection: commit(connection, statements))

    async def run(self, job: Callable[[sqlite3.Connection], T]) -> T:
        """Return what a function of the connection returns; it runs in the file's thread."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, job, self._connection)


def read_position(connection: sqlite3.Connection) -> Position | None:
    """Return where the stream clock stood."""
    row = connection.execute("SELECT stream, wall FROM clock").fetchone()
    return None if row is None else Position(Instant(row[0]), Instant(row[1]))


def write_position(position: Position) -> Statement:
    """Keep where the stream clock stands."""
    return "REPLACE INTO clock VALUES (1, ?, ?)", (position.stream, position.wall)


def read_digests(connection: sqlite3.Connection) -> dict[str, str]:
    """Return the digests of the definitions that were used last."""
    return dict(connection.execute("SELECT name, digest FROM definitions"))


def write_digest(name: str, digest: str) -> Statement:
    """Remember which content of a definition the state belongs to."""
    return "REPLACE INTO definitions VALUES (?, ?)", (name, digest)


def commit(connection: sqlite3.Connection, statements: Iterable[Statement]) -> None:
    """Execute statements in one transaction; for use in the file's thread.

    Raises:
        sqlite3.Error: nothing was written.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        for sql, parameters in statements:
            connection.execute(sql, parameters)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _open(path: Path, migrations: Sequence[str]) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(
        path, timeout=_LOCK_SECONDS, isolation_level=None, check_same_thread=False
    )
    try:
        # Two processes with one state would each answer half of the notifications.
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        _migrate(connection, path, migrations)
    except sqlite3.DatabaseError as error:
        connection.close()
        hint = "; is another process using it?" if "locked" in str(error) else ""
        raise JournalUnusable(f"{path}: {error}{hint}") from error
    except BaseException:
        connection.close()
        raise
    return connection


def _migrate(connection: sqlite3.Connection, path: Path, migrations: Sequence[str]) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(migrations):
        raise JournalUnusable(f"{path}: made by a newer version ({version} > {len(migrations)})")
    missing = [statement for script in migrations[version:] for statement in script.split(";")]
    marker = f"PRAGMA user_version = {len(migrations)}"
    commit(connection, [(statement, ()) for statement in (*missing, marker)])
