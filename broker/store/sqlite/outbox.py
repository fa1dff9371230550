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
from broker.store.interface import Delivery
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
        written: Callable[[list[Delivery]], None],
    ) -> None:
        """Share the store's connections.

        Args:
            written: told inside the transaction what was added, to be published with its commit.
        """
        self._writer = writer
        self._written = written
        self._readers = readers
        self._clock = clock

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
                self._written(insert(cursor, deliveries))

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
        self, tenant: Tenant, *, limit: int, offset: int = 0
    ) -> list[dict[str, Any]]:
        """See `Outbox.dead_letters`."""
        rows = await self._readers.read(
            lambda connection: connection.execute(
                "SELECT id, subscription, created, failed, reason, body FROM dead_letter"
                " WHERE tenant = ? ORDER BY seq DESC LIMIT ? OFFSET ?",
                (tenant, limit, offset),
            ).fetchall()
        )
        return [
            {
                "id": key,
                "subscriptionId": subscription,
                "createdAt": created,
                "failedAt": failed,
                "reason": reason,
                "notification": msgspec.Raw(body),
            }
            for key, subscription, created, failed, reason, body in rows
        ]
