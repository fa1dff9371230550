"""One SQLite file with one writer thread and group commit.

Jobs are functions of the connection. The thread takes all that wait into one transaction, so that
many small durable writes share one fsync (`synchronous=FULL`); a job's future resolves after the
commit. When a transaction fails, its jobs run again one by one, so that only the one at fault
fails: a job must do nothing but read and write the connection it is given.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

T = TypeVar("T")
Job = Callable[[sqlite3.Connection], T]

_log = logging.getLogger(__name__)
_JOBS_PER_COMMIT = 1000


@dataclass(frozen=True, slots=True)
class _Queued:
    job: Job[Any]
    future: asyncio.Future[Any]


class NewerFile(Exception):
    """The file was written by a newer version of the product."""


class FileInUse(Exception):
    """Another process has the file for itself."""


class Database:
    """A file opened by `Database.open`; its jobs run in the order they were submitted."""

    def __init__(self, connection: sqlite3.Connection, name: str) -> None:
        self._connection = connection
        self._queue: queue.SimpleQueue[_Queued | None] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name=f"{name}-writer", daemon=True)

    @classmethod
    @asynccontextmanager
    async def open(
        cls, path: Path, migrations: Sequence[str], *, shared: bool = False
    ) -> AsyncIterator[Self]:
        """Open a file, made or brought up to date by the scripts it has not seen yet.

        Args:
            shared: other processes may have the file open too.

        Raises:
            NewerFile: it has seen more scripts than there are.
            FileInUse: another process has it, and one of both does not share.
        """
        connection = await asyncio.to_thread(_connect, path, migrations, shared)
        try:
            database = cls(connection, path.stem)
            database._thread.start()
            try:
                yield database
            finally:
                database._queue.put(None)
                await asyncio.to_thread(database._thread.join)
        finally:
            connection.close()

    def submit(self, job: Job[T]) -> asyncio.Future[T]:
        """Queue a job; the future holds what it returned once its transaction is durable."""
        future: asyncio.Future[T] = self._loop.create_future()
        self._queue.put(_Queued(job, future))
        return future

    def _run(self) -> None:
        stopping = False
        while not stopping:
            batch: list[_Queued] = []
            queued = self._queue.get()
            while queued is not None:
                batch.append(queued)
                if len(batch) == _JOBS_PER_COMMIT or self._queue.empty():
                    break
                queued = self._queue.get()
            stopping = queued is None
            if batch:
                self._commit(batch)

    def _commit(self, batch: Sequence[_Queued]) -> None:
        connection = self._connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            results = [queued.job(connection) for queued in batch]
            connection.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 - handed to whoever waits for the job
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            if len(batch) > 1:
                for queued in batch:
                    self._commit([queued])
                return
            self._loop.call_soon_threadsafe(_fail, batch[0].future, error)
        else:
            self._loop.call_soon_threadsafe(_succeed, batch, results)


def _succeed(batch: Sequence[_Queued], results: Sequence[Any]) -> None:
    for queued, result in zip(batch, results, strict=True):
        if not queued.future.done():  # its caller may have gone; the write stands all the same
            queued.future.set_result(result)


def _fail(future: asyncio.Future[Any], error: Exception) -> None:
    if future.done():
        _log.error("a write failed after its caller had gone", exc_info=error)
    else:
        future.set_exception(error)


def _connect(path: Path, migrations: Sequence[str], shared: bool) -> sqlite3.Connection:  # noqa: FBT001 - run in a thread
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        if shared:
            connection.execute("PRAGMA busy_timeout = 10000")
        else:
            connection.execute("PRAGMA busy_timeout = 200")
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        _migrate(connection, path, migrations)
    except sqlite3.OperationalError as error:
        connection.close()
        raise FileInUse(f"{path}: {error}; does another process use it?") from error
    except BaseException:
        connection.close()
        raise
    return connection


def _migrate(connection: sqlite3.Connection, path: Path, migrations: Sequence[str]) -> None:
    # The transaction is what takes the lock, also where there is nothing to do.
    connection.execute("BEGIN IMMEDIATE")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(migrations):
        connection.execute("ROLLBACK")
        raise NewerFile(f"{path}: has version {version}, this program knows {len(migrations)}")
    for script in migrations[version:]:
        for statement in script.split(";"):
            connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {len(migrations)}")
    connection.execute("COMMIT")
