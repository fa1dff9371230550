"""The embedded store as one object: everything the broker keeps, in one SQLite file."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from broker.store.interface import Commit, Matcher
from broker.store.sqlite.cache import EntityCache
from broker.store.sqlite.connection import Writer, open_file
from broker.store.sqlite.documents import SqliteDocuments
from broker.store.sqlite.entities import SqliteEntities
from broker.store.sqlite.outbox import OutboxRows, SqliteOutbox
from broker.store.sqlite.pages import PageCache
from broker.store.sqlite.streams import SqliteStreams
from broker.store.sqlite.subscriptions import SqliteSubscriptions
from broker.store.sqlite.temporal import SqliteTemporal
from broker.store.sqlite.transaction import EntityTransaction


@dataclass(frozen=True, slots=True)
class SqliteStore:
    """What `open_store` opens; each part is one of the store's interfaces."""

    entities: SqliteEntities
    temporal: SqliteTemporal
    documents: SqliteDocuments
    subscriptions: SqliteSubscriptions
    outbox: SqliteOutbox
    streams: SqliteStreams
    writer: Writer
    waiting: OutboxRows


@asynccontextmanager
async def open_store(
    path: Path,
    matcher: Matcher,
    listener: Callable[[Commit], None],
    clock: Callable[[], datetime],
    *,
    readers: int = 2,
    max_queued: int = 10_000,
    cached_entities: int = 20_000,
    cached_rows: int = 50_000,
    max_waiting: int = 1_000_000,
    max_dead: int = 100_000,
) -> AsyncIterator[SqliteStore]:
    """Open the store.

    Args:
        matcher: asked inside each write what is to be delivered.
        listener: told on the event loop what each transaction committed.
        readers: connections that read.
        max_queued: writes that may wait for the writer before more are refused.
        cached_entities: entities kept decoded.
        cached_rows: rows of result pages kept.
        max_waiting: notifications in the outbox at which writes are refused.
        max_dead: dead letters that are kept.

    Raises:
        NewerSchema: the file was written by a newer version.
    """
    waiting = OutboxRows(max_waiting, max_dead)
    transaction = EntityTransaction(
        matcher, EntityCache(cached_entities), PageCache(cached_rows), clock, listener, waiting
    )
    async with open_file(path, transaction, readers=readers, max_queued=max_queued) as opened:
        writer, pool = opened
        await pool.read(transaction.load)
        yield SqliteStore(
            entities=SqliteEntities(writer, pool, transaction, clock),
            temporal=SqliteTemporal(writer, pool, transaction, clock),
            documents=SqliteDocuments(writer, pool),
            subscriptions=SqliteSubscriptions(writer, pool, transaction, matcher),
            outbox=SqliteOutbox(writer, pool, clock, waiting, transaction.streams),
            streams=SqliteStreams(writer, pool, transaction.streams, matcher, clock),
            writer=writer,
            waiting=waiting,
        )
