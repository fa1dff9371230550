"""The outbox: notifications written with the change that made them, until they are settled."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from broker.core.errors import Overloaded
from broker.core.identifiers import Iri, Tenant
from broker.core.timestamps import format_timestamp
from broker.store.interface import Delivery, Standing
from broker.store.sqlite import dead_letters
from broker.store.sqlite.connection import Readers, Writer
from broker.store.sqlite.streams import StreamLog

_COLUMNS = "id, tenant, subscription, order_key, created, body"
_log = logging.getLogger(__name__)
_FULL_RETRY: Final = 5
_SIZES: Final = (32, 16, 8, 4, 2, 1)
_INSERTS: Final = {
    size: f"INSERT INTO outbox (seq, {_COLUMNS}) VALUES "
    + ", ".join(["(?, ?, ?, ?, ?, ?, ?)"] * size)
    for size in _SIZES
}


class OutboxRows:
    """The writer's side: the deliveries of the open transaction, written together at its end.

    Few statements for many rows: each one lets another thread go first. A number that was given in
    a transaction that failed is not given again.

    Attributes:
        count: how many rows the outbox has, by the last commit.
        dead: how many dead letters there are.
        refused: how many writes were refused because there were too many.
    """

    def __init__(self, most: int, most_dead: int) -> None:
        """Know of no rows yet.

        Args:
            most: rows at which nothing more is taken that might add to them.
            most_dead: dead letters that are kept.
        """
        self.count = 0
        self.dead = 0
        self.refused = 0
        self._most = most
        self._most_dead = most_dead
        self._is_full = False
        self._more = 0
        self._next = 1
        self._waiting: list[Delivery] = []

    def check_room(self) -> None:
        """Refuse a write while too many notifications wait; what waits already is not lost.

        Raises:
            Overloaded: there are as many as may be.
        """
        if self.count >= self._most:
            if not self._is_full:
                self._is_full = True
                _log.error("%s notifications wait for delivery: writes are refused", self.count)
            self.refused += 1
            raise Overloaded(
                f"{self.count} notifications wait for delivery, which is as many as may"
                " (max_waiting_notifications); nothing is written until there are less",
                retry_after=_FULL_RETRY,
            )

    def load(self, connection: sqlite3.Connection) -> None:
        """Read which sequences were given before, and how many rows wait."""
        (self.count,) = connection.execute("SELECT count(*) FROM outbox").fetchone()
        self.dead = dead_letters.counted(connection)
        last = connection.execute(
            "SELECT ifnull(max(seq), 0) FROM sqlite_sequence WHERE name = 'outbox'"
        )
        self._next = 1 + int(last.fetchone()[0])

    def add(self, deliveries: Iterable[Delivery]) -> None:
        """Take deliveries that are to be written."""
        self._waiting += deliveries

    def write(self, cursor: sqlite3.Cursor) -> list[Delivery]:
        """Write what there is and return it with the sequences it was given."""
        rows, self._waiting = self._waiting, []
        written = [
            Delivery(
                one.id,
                one.tenant,
                one.subscription_id,
                one.order_key,
                one.body,
                one.created_at,
                sequence,
            )
            for sequence, one in enumerate(rows, self._next)
        ]
        self._next += len(written)
        self._more += len(written)
        place = 0
        while place < len(written):
            size = next(size for size in _SIZES if size <= len(written) - place)
            values = [value for one in written[place : place + size] for value in _row(one)]
            cursor.execute(_INSERTS[size], values)
            place += size
        return written

    def delete(self, cursor: sqlite3.Cursor, sequences: Iterable[int]) -> None:
        """Delete rows that are settled."""
        cursor.executemany("DELETE FROM outbox WHERE seq BETWEEN ? AND ?", _runs(sequences))
        self._more -= cursor.rowcount

    def bury(
        self, cursor: sqlite3.Cursor, failed: Mapping[int, str], now: str
    ) -> dict[dead_letters.Key, int]:
        """Move rows to the dead letters, and return how many older ones were dropped of whom."""
        if not failed:
            return {}
        cursor.executemany(
            f"INSERT INTO dead_letter ({_COLUMNS}, failed, reason)"
            f" SELECT {_COLUMNS}, ?, ? FROM outbox WHERE seq = ?",
            [(now, reason, seq) for seq, reason in failed.items()],
        )
        dropped = dead_letters.trimmed(cursor, self._most_dead)
        self.dead = dead_letters.counted(cursor)
        return dropped

    def raise_up(
        self, cursor: sqlite3.Cursor, key: dead_letters.Key, ids: Sequence[Iri] | None, now: str
    ) -> list[Delivery]:
        """Take dead letters to be delivered after all, oldest first."""
        taken = dead_letters.taken(cursor, key, ids, now)
        self.add(taken)
        self.dead = dead_letters.counted(cursor)
        return taken

    def purge(
        self, cursor: sqlite3.Cursor, key: dead_letters.Key, ids: Sequence[Iri] | None
    ) -> int:
        """Delete dead letters and return how many there were."""
        purged = dead_letters.deleted(cursor, key, ids)
        self.dead = dead_letters.counted(cursor)
        return purged

    def forget(self, cursor: sqlite3.Cursor, tenant: Tenant, subscription_id: Iri) -> None:
        """Delete all of a subscription, also what the open transaction would add."""
        key = (tenant, subscription_id)
        self._waiting = [one for one in self._waiting if (one.tenant, one.subscription_id) != key]
        cursor.execute("DELETE FROM outbox WHERE tenant = ? AND subscription = ?", key)
        self._more -= cursor.rowcount

    def committed(self) -> None:
        """Count what the transaction did."""
        self.count += self._more
        self._more = 0
        if self._is_full and self.count < self._most:
            self._is_full = False
            _log.info("less notifications wait for delivery: writes are taken again")

    def rolled_back(self) -> None:
        """Forget what the transaction would have written."""
        self._waiting = []
        self._more = 0


def _row(one: Delivery) -> tuple[object, ...]:
    return (
        one.sequence,
        one.id,
        one.tenant,
        one.subscription_id,
        one.order_key,
        one.created_at,
        one.body,
    )


def _runs(sequences: Iterable[int]) -> list[tuple[int, int]]:
    """Return the first and the last of each run of sequences without a gap."""
    found: list[tuple[int, int]] = []
    for sequence in sorted(sequences):
        if found and sequence == found[-1][1] + 1:
            found[-1] = (found[-1][0], sequence)
        else:
            found.append((sequence, sequence))
    return found


class SqliteOutbox:
    """See `store.interface.Outbox`."""

    def __init__(
        self,
        writer: Writer,
        readers: Readers,
        clock: Callable[[], datetime],
        rows: OutboxRows,
        streams: StreamLog,
    ) -> None:
        self._writer = writer
        self._readers = readers
        self._clock = clock
        self._rows = rows
        self._streams = streams

    async def pending(self, *, after: int, limit: int) -> list[Delivery]:
        """See `Outbox.pending`."""
        rows = await self._readers.read(
            lambda connection: connection.execute(
                f"SELECT seq, {_COLUMNS} FROM outbox WHERE seq > ? ORDER BY seq LIMIT ?",
                (after, limit),
            ).fetchall()
        )
        return [
            Delivery(Iri(key), Tenant(tenant), Iri(subscription), order, body, created, seq)
            for seq, key, tenant, subscription, order, created, body in rows
        ]

    async def post(self, deliveries: Sequence[Delivery], stats: Mapping[str, Any]) -> None:
        """See `Outbox.post`."""
        key = (deliveries[0].tenant, deliveries[0].subscription_id)
        self._rows.check_room()
        members = msgspec.json.encode(stats)
        now = self._clock().timestamp()

        def job(cursor: sqlite3.Cursor) -> None:
            cursor.execute(
                "UPDATE subscription SET stats = ? WHERE tenant = ? AND id = ?", (members, *key)
            )
            if cursor.rowcount:
                self._rows.add(self._streams.write(cursor, deliveries, now))

        await self._writer.write(job)

    async def settle(
        self,
        delivered: Sequence[int],
        failed: Mapping[int, str],
        stats: Mapping[tuple[Tenant, Iri], Mapping[str, Any]],
    ) -> Mapping[tuple[Tenant, Iri], int]:
        """See `Outbox.settle`."""
        now = format_timestamp(self._clock())

        def job(cursor: sqlite3.Cursor) -> dict[dead_letters.Key, int]:
            dropped = self._rows.bury(cursor, failed, now)
            self._rows.delete(cursor, [*delivered, *failed])
            cursor.executemany(
                "UPDATE subscription SET stats = ? WHERE tenant = ? AND id = ?",
                [
                    (msgspec.json.encode(members), tenant, subscription)
                    for (tenant, subscription), members in stats.items()
                ],
            )
            return dropped

        return await self._writer.write(job)

    async def dead_letters(
        self, tenant: Tenant, subscription_id: Iri | None = None, *, limit: int, offset: int = 0
    ) -> list[dict[str, Any]]:
        """See `Outbox.dead_letters`."""
        return await self._readers.read(
            lambda connection: dead_letters.listed(
                connection, tenant, subscription_id, limit=limit, offset=offset
            )
        )

    async def standing(
        self, tenant: Tenant, subscription_id: Iri, ids: Sequence[Iri] = ()
    ) -> Standing:
        """See `Outbox.standing`."""
        key = (tenant, subscription_id)
        return await self._readers.read(
            lambda connection: dead_letters.standing(connection, key, ids)
        )

    async def replay(
        self, tenant: Tenant, subscription_id: Iri, ids: Sequence[Iri] | None = None
    ) -> list[Iri]:
        """See `Outbox.replay`."""
        now = format_timestamp(self._clock())

        def job(cursor: sqlite3.Cursor) -> list[Iri]:
            taken = self._rows.raise_up(cursor, (tenant, subscription_id), ids, now)
            return [delivery.id for delivery in taken]

        return await self._writer.write(job)

    async def purge(
        self, tenant: Tenant, subscription_id: Iri, ids: Sequence[Iri] | None = None
    ) -> int:
        """See `Outbox.purge`."""

        def job(cursor: sqlite3.Cursor) -> int:
            return self._rows.purge(cursor, (tenant, subscription_id), ids)

        return await self._writer.write(job)
