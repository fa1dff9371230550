"""The outbox: notifications written with the change that made them, until they are settled."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from broker.core.identifiers import Iri, Tenant
from broker.core.timestamps import format_timestamp
from broker.store.interface import Delivery, Standing
from broker.store.sqlite import dead_letters
from broker.store.sqlite.connection import Readers, Writer

_COLUMNS = "id, tenant, subscription, order_key, created, body"
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
    """

    def __init__(self) -> None:
        self._next = 1
        self._waiting: list[Delivery] = []

    def load(self, connection: sqlite3.Connection) -> None:
        """Read which sequences were given before."""
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
        place = 0
        while place < len(written):
            size = next(size for size in _SIZES if size <= len(written) - place)
            values = [value for one in written[place : place + size] for value in _row(one)]
            cursor.execute(_INSERTS[size], values)
            place += size
        return written

    def clear(self) -> None:
        """Forget what the transaction would have written."""
        self._waiting = []


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
    ) -> None:
        self._writer = writer
        self._readers = readers
        self._clock = clock
        self._rows = rows

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
        members = msgspec.json.encode(stats)

        def job(cursor: sqlite3.Cursor) -> None:
            cursor.execute(
                "UPDATE subscription SET stats = ? WHERE tenant = ? AND id = ?", (members, *key)
            )
            if cursor.rowcount:
                self._rows.add(deliveries)

        await self._writer.write(job)

    async def settle(
        self,
        delivered: Sequence[int],
        failed: Mapping[int, str],
        stats: Mapping[tuple[Tenant, Iri], Mapping[str, Any]],
    ) -> None:
        """See `Outbox.settle`."""
        now = format_timestamp(self._clock())

        def job(cursor: sqlite3.Cursor) -> None:
            cursor.executemany(
                f"INSERT INTO dead_letter ({_COLUMNS}, failed, reason)"
                f" SELECT {_COLUMNS}, ?, ? FROM outbox WHERE seq = ?",
                [(now, reason, seq) for seq, reason in failed.items()],
            )
            cursor.executemany(
                "DELETE FROM outbox WHERE seq BETWEEN ? AND ?", _runs([*delivered, *failed])
            )
            cursor.executemany(
                "UPDATE subscription SET stats = ? WHERE tenant = ? AND id = ?",
                [
                    (msgspec.json.encode(members), tenant, subscription)
                    for (tenant, subscription), members in stats.items()
                ],
            )

        await self._writer.write(job)

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
            taken = dead_letters.taken(cursor, (tenant, subscription_id), ids, now)
            self._rows.add(taken)
            return [delivery.id for delivery in taken]

        return await self._writer.write(job)

    async def purge(
        self, tenant: Tenant, subscription_id: Iri, ids: Sequence[Iri] | None = None
    ) -> int:
        """See `Outbox.purge`."""

        def job(cursor: sqlite3.Cursor) -> int:
            return dead_letters.deleted(cursor, (tenant, subscription_id), ids)

        return await self._writer.write(job)
