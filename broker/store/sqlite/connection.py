"""One writer thread with group commit, a few readers, over one SQLite file in WAL mode.

Writers queue jobs; the thread takes all that wait into one transaction, so that many small durable
writes share one fsync (`synchronous=FULL`). A job that raises an `NgsiLdError` has written nothing
and the others go on; any other error rolls the transaction back, and its jobs run again one by one,
so that only the one at fault fails.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from types import NoneType
from typing import Any, NamedTuple, Protocol, TypeVar

from broker.core.errors import NgsiLdError, Overloaded, unforeseen
from broker.store.sqlite.migrations import migrate

R = TypeVar("R")
Job = Callable[[sqlite3.Cursor], Any]

_log = logging.getLogger(__name__)
_MAX_JOBS_PER_COMMIT = 512
_CACHE_KIB = 32_768
_WAL_PAGES = 4000
"""Pages after which the log is written back (16 MiB): what changes often, less often."""


# They need none, but without an adapter sqlite3 looks for one at length, for each parameter.
sqlite3.register_adapter(bytes, bytes)
sqlite3.register_adapter(NoneType, lambda none: none)


class Transaction(Protocol):
    """What must follow the fate of a transaction: told when it committed or was rolled back."""

    def closing(self, cursor: sqlite3.Cursor) -> None:
        """Write what was gathered, as the last thing before the commit."""
        ...

    def committed(self) -> Callable[[], None] | None:
        """Publish what the transaction wrote; what it returns runs on the event loop."""
        ...

    def rolled_back(self) -> None:
        """Forget what the transaction would have written."""
        ...


class _Queued(NamedTuple):
    job: Job
    future: asyncio.Future[Any]


def connect(path: Path, *, readonly: bool = False) -> sqlite3.Connection:
    """Open the file as this store uses it."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA busy_timeout = 10000")
    connection.execute(f"PRAGMA wal_autocheckpoint = {_WAL_PAGES}")
    connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    connection.execute("PRAGMA temp_store = MEMORY")
    if readonly:
        connection.execute("PRAGMA query_only = ON")
    return connection


class Writer:
    """The one thread that writes.

    Args:
        max_queued: jobs that may wait; one more is refused with `Overloaded`.
    """

    def __init__(
        self, connection: sqlite3.Connection, transaction: Transaction, *, max_queued: int
    ) -> None:
        self._connection = connection
        self._cursor = connection.cursor()
        self._transaction = transaction
        self._max_queued = max_queued
        self._queue: queue.SimpleQueue[_Queued | None] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    async def stop(self) -> None:
        """Write what waits, then end the thread."""
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    @property
    def queued(self) -> int:
        """How many jobs wait now."""
        return self._queue.qsize()

    async def write(self, job: Callable[[sqlite3.Cursor], R]) -> R:
        """Run a job in the next transaction and return what it returned, once that is durable.

        Raises:
            Overloaded: too many jobs wait.
        """
        if self._queue.qsize() >= self._max_queued:
            raise Overloaded(
                f"{self._max_queued} writes wait already; try again in a second", retry_after=1
            )
        future: asyncio.Future[R] = self._loop.create_future()
        self._queue.put(_Queued(job, future))
        try:
            return await future
        finally:
            # A refusal's traceback has this frame, which would keep the refusal and its request.
            del future

    def _run(self) -> None:
        stopping = False
        while not stopping:
            first = self._queue.get()
            batch = []
            while first is not None:
                batch.append(first)
                if len(batch) == _MAX_JOBS_PER_COMMIT or self._queue.empty():
                    break
                first = self._queue.get()
            stopping = first is None
            if batch:
                self._commit(batch)

    def _commit(self, batch: Sequence[_Queued]) -> None:
        try:
            results = self._attempt(batch)
            after = self._transaction.committed()
        except Exception as error:  # noqa: BLE001 - a failing job must not end the writer
            self._abandon()
            if len(batch) > 1:
                for queued in batch:
                    self._commit([queued])
                return
            failure = unforeseen()
            reference = failure.members["reference"]
            _log.exception("a write failed and was rolled back, reference %s", reference)
            failure.__cause__ = error
            results, after = [failure], None
        self._loop.call_soon_threadsafe(_answer, batch, results, after)

    def _attempt(self, batch: Sequence[_Queued]) -> list[Any]:
        cursor = self._cursor
        results: list[Any] = []
        cursor.execute("BEGIN IMMEDIATE")
        for queued in batch:
            try:
                results.append(queued.job(cursor))
            except NgsiLdError as error:
                results.append(error.with_traceback(None))
        self._transaction.closing(cursor)
        cursor.execute("COMMIT")
        return results

    def _abandon(self) -> None:
        if self._connection.in_transaction:
            self._connection.rollback()
        self._transaction.rolled_back()


def _answer(
    batch: Sequence[_Queued], results: Sequence[Any], after: Callable[[], None] | None
) -> None:
    if after is not None:
        after()
    for queued, result in zip(batch, results, strict=True):
        if queued.future.done():  # its caller has gone; the write stands all the same
            continue
        if isinstance(result, NgsiLdError):
            queued.future.set_exception(result)
        else:
            queued.future.set_result(result)


class Readers:
    """A few connections that read committed states, each in a thread of its own."""

    def __init__(self, path: Path, count: int) -> None:
        self._path = path
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._executor = ThreadPoolExecutor(count, thread_name_prefix="store-reader")

    async def read(self, job: Callable[[sqlite3.Connection], R]) -> R:
        """Run a job on a read-only connection and return what it returned."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, self._run, job)

    def _run(self, job: Callable[[sqlite3.Connection], R]) -> R:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = connect(self._path, readonly=True)
            self._connections.append(connection)
        return job(connection)

    async def close(self) -> None:
        """End the threads and close the connections."""
        await asyncio.to_thread(self._executor.shutdown)
        for connection in self._connections:
            connection.close()


@asynccontextmanager
async def open_file(
    path: Path, transaction: Transaction, *, readers: int, max_queued: int
) -> AsyncIterator[tuple[Writer, Readers]]:
    """Open a store's file, migrated, with its writer started."""
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = await asyncio.to_thread(connect, path)
    try:
        await asyncio.to_thread(migrate, connection)
        writer = Writer(connection, transaction, max_queued=max_queued)
        pool = Readers(path, readers)
        writer.start()
        try:
            yield writer, pool
        finally:
            await writer.stop()
            await pool.close()
    finally:
        connection.close()
