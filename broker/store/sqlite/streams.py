"""Streams: notifications kept for a while, so that a reader who was away misses none.

A row is written in the transaction of the change, for each open channel that the change is matched
for. What a channel can give is everything after its floor: the sequence at which it was opened, or
the last that was forgotten since.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from broker.core.errors import NonexistentTenant, Overloaded
from broker.core.identifiers import Iri, Tenant
from broker.store.interface import Channel, Delivery, Matcher, Span, StreamEvent
from broker.store.sqlite.connection import Readers, Writer

Key = tuple[Tenant, Iri]

_OF_ONE: Final = "tenant = ? AND stream = ?"
_INSERT: Final = "INSERT INTO stream_event (tenant, stream, at, body) VALUES (?, ?, ?, ?)"
_CLOSED_RETRY: Final = 60


class StreamLog:
    """The writer's side: which channels are open, and what the open transaction wrote.

    Attributes:
        open: the open channels, and whether a subscription's endpoint is told besides.
    """

    def __init__(self) -> None:
        self.open: dict[Key, bool] = {}
        self._written: list[StreamEvent] = []

    def write(
        self, cursor: sqlite3.Cursor, deliveries: Sequence[Delivery], at: float
    ) -> list[Delivery]:
        """Write what open channels are to show, and return what is for the outbox."""
        left = []
        for delivery in deliveries:
            key = (delivery.tenant, delivery.subscription_id)
            has_endpoint = self.open.get(key)
            if has_endpoint is not None:
                cursor.execute(_INSERT, (*key, at, delivery.body))
                self._written.append(StreamEvent(int(cursor.lastrowid or 0), *key, delivery.body))
            if has_endpoint is not False:
                left.append(delivery)
        return left

    def committed(self) -> list[StreamEvent]:
        """Return what the transaction wrote and begin anew, as after a roll-back too."""
        written, self._written = self._written, []
        return written

    def close(self, cursor: sqlite3.Cursor, key: Key) -> None:
        """Close a channel and forget its events."""
        self.open.pop(key, None)
        cursor.execute("DELETE FROM stream WHERE tenant = ? AND id = ?", key)
        cursor.execute(f"DELETE FROM stream_event WHERE {_OF_ONE}", key)


class SqliteStreams:
    """See `store.interface.StreamStore`."""

    def __init__(
        self,
        writer: Writer,
        readers: Readers,
        log: StreamLog,
        matcher: Matcher,
        clock: Callable[[], datetime],
    ) -> None:
        self._writer = writer
        self._readers = readers
        self._log = log
        self._matcher = matcher
        self._clock = clock

    async def open(self, channel: Channel, compiled: Any, *, most: int) -> Span:
        """See `StreamStore.open`."""
        key = (channel.tenant, channel.id)
        now = self._clock().timestamp()

        def job(cursor: sqlite3.Cursor) -> Span:
            cursor.execute("UPDATE stream SET used = ? WHERE tenant = ? AND id = ?", (now, *key))
            if cursor.rowcount == 0:
                self._create(cursor, channel, now, most)
            self.restore(channel, compiled)
            (floor,) = cursor.execute(
                "SELECT floor FROM stream WHERE tenant = ? AND id = ?", key
            ).fetchone()
            return Span(floor, _last(cursor))

        return await self._writer.write(job)

    def _create(self, cursor: sqlite3.Cursor, channel: Channel, now: float, most: int) -> None:
        key = (channel.tenant, channel.id)
        if len(self._log.open) >= most:
            raise Overloaded(f"{most} streams are open already", retry_after=_CLOSED_RETRY)
        known = cursor.execute("SELECT 1 FROM tenant WHERE name = ?", (channel.tenant,)).fetchone()
        if known is None:
            raise NonexistentTenant(f"tenant {channel.tenant!r} does not exist; a create makes it")
        # A sequence that no event has parts what was before from what can be had: a reader of the
        # same channel in earlier days may hold the last sequence that was given.
        cursor.execute(_INSERT, (*key, now, b""))
        floor = int(cursor.lastrowid or 0)
        cursor.execute("DELETE FROM stream_event WHERE seq = ?", (floor,))
        document = None if channel.document is None else msgspec.json.encode(channel.document)
        cursor.execute(
            "INSERT INTO stream (tenant, id, document, floor, used) VALUES (?, ?, ?, ?, ?)",
            (*key, document, floor, now),
        )

    def restore(self, channel: Channel, compiled: Any) -> None:
        """See `StreamStore.restore`."""
        key = (channel.tenant, channel.id)
        is_new = key not in self._log.open
        self._log.open[key] = channel.document is None
        if compiled is not None and is_new:
            self._matcher.put(channel.tenant, channel.id, compiled)

    async def events(
        self, channel: Channel, *, after: int, limit: int
    ) -> tuple[int | None, list[StreamEvent]]:
        """See `StreamStore.events`."""
        key = (channel.tenant, channel.id)

        def job(connection: sqlite3.Connection) -> tuple[int | None, list[StreamEvent]]:
            rows = connection.execute(
                f"SELECT seq, body FROM stream_event WHERE {_OF_ONE} AND seq > ?"
                " ORDER BY seq LIMIT ?",
                (*key, after, limit),
            ).fetchall()
            # Read second: what is forgotten between the two raises the floor.
            floor = connection.execute(
                "SELECT floor FROM stream WHERE tenant = ? AND id = ?", key
            ).fetchone()
            return (
                None if floor is None else int(floor[0]),
                [StreamEvent(seq, *key, body) for seq, body in rows],
            )

        return await self._readers.read(job)

    async def tidy(self, used: Sequence[Channel], *, window: float) -> list[Channel]:
        """See `StreamStore.tidy`."""
        now = self._clock().timestamp()

        def job(cursor: sqlite3.Cursor) -> list[Channel]:
            cursor.executemany(
                "UPDATE stream SET used = ? WHERE tenant = ? AND id = ?",
                [(now, channel.tenant, channel.id) for channel in used],
            )
            _forget(cursor, now - window)
            rows = cursor.execute(
                "SELECT tenant, id, document FROM stream WHERE used < ?", (now - window,)
            ).fetchall()
            unused = [_channel(row) for row in rows]
            for channel in unused:
                self._log.close(cursor, (channel.tenant, channel.id))
                if channel.document is not None:
                    self._matcher.discard(channel.tenant, channel.id)
            return unused

        return await self._writer.write(job)

    async def forget(self, channel: Channel) -> None:
        """See `StreamStore.forget`."""
        await self._writer.write(
            lambda cursor: self._log.close(cursor, (channel.tenant, channel.id))
        )

    async def channels(self) -> list[Channel]:
        """See `StreamStore.channels`."""
        rows = await self._readers.read(
            lambda connection: connection.execute(
                "SELECT tenant, id, document FROM stream ORDER BY tenant, id"
            ).fetchall()
        )
        return [_channel(row) for row in rows]


def _last(cursor: sqlite3.Cursor) -> int:
    row = cursor.execute("SELECT seq FROM sqlite_sequence WHERE name = 'stream_event'").fetchone()
    return 0 if row is None else int(row[0])


def _forget(cursor: sqlite3.Cursor, before: float) -> None:
    """Delete events older than a moment, and raise the floors of their channels."""
    (last,) = cursor.execute("SELECT max(seq) FROM stream_event WHERE at < ?", (before,)).fetchone()
    if last is None:
        return
    cursor.execute(
        "UPDATE stream SET floor = max(floor, ifnull((SELECT max(seq) FROM stream_event AS event"
        " WHERE event.tenant = stream.tenant AND event.stream = stream.id AND seq <= ?), 0))",
        (last,),
    )
    cursor.execute("DELETE FROM stream_event WHERE seq <= ?", (last,))


def _channel(row: Sequence[Any]) -> Channel:
    tenant, channel_id, document = row
    read = None if document is None else msgspec.json.decode(document)
    return Channel(Tenant(tenant), Iri(channel_id), read)
