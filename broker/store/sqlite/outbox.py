"""The outbox: notifications written with the change that made them, until they are settled."""

from __future__ import annotations

import dataclasses
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from broker.core.identifiers import Iri, Tenant
from broker.core.timestamps import format_timestamp
from broker.store.interface import Delivery, Standing
from broker.store.sqlite import dead_letters
from broker.store.sqlite.connection import Readers, Writer

_COLUMNS = "id, tenant, subscription, order_key, created, body"


def insert(cursor: sqlite3.Cursor, deliveries: Sequence[Delivery]) -> list[Delivery]:
    """Write deliveries in the open transaction and return them with their sequence."""
    written = []
    for delivery in deliveries:
        cursor.execute(
            f"INSERT INTO outbox ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)",
            (
                delivery.id,
                delivery.tenant,
                delivery.subscription_id,
                delivery.order_key,
                delivery.created_at,
                delivery.body,
            ),
        )
        written.append(dataclasses.replace(delivery, sequence=int(cursor.lastrowid or 0)))
    return written


class SqliteOutbox:
    """See `store.interface.Outbox`."""

    def __init__(
        self,
        writer: Writer,
        readers: Readers,
        clock: Callable[[], datetime],
        announce: Callable[[Sequence[Delivery]], None],
    ) -> None:
        """Bind to a file.

        Args:
            announce: tells the listener, once the open transaction is durable, of deliveries that
                no change of an entity made.
        """
        self._writer = writer
        self._readers = readers
        self._clock = clock
        self._announce = announce

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
                self._announce(insert(cursor, deliveries))

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
                "DELETE FROM outbox WHERE seq = ?", [(seq,) for seq in (*delivered, *failed)]
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
            self._announce(insert(cursor, taken))
            return [delivery.id for delivery in taken]

        return await self._writer.write(job)

    async def purge(
        self, tenant: Tenant, subscription_id: Iri, ids: Sequence[Iri] | None = None
    ) -> int:
        """See `Outbox.purge`."""

        def job(cursor: sqlite3.Cursor) -> int:
            return dead_letters.deleted(cursor, (tenant, subscription_id), ids)

        return await self._writer.write(job)
