"""Subscriptions: written, and told to the matcher, in the order of commits."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any

import msgspec

from broker.core.errors import AlreadyExists, ResourceNotFound
from broker.core.identifiers import Iri, Tenant
from broker.store.interface import Matcher
from broker.store.sqlite.connection import Readers, Writer
from broker.store.sqlite.transaction import EntityTransaction


class SqliteSubscriptions:
    """See `store.interface.SubscriptionStore`."""

    def __init__(
        self,
        writer: Writer,
        readers: Readers,
        transaction: EntityTransaction,
        matcher: Matcher,
    ) -> None:
        self._writer = writer
        self._readers = readers
        self._transaction = transaction
        self._matcher = matcher

    async def put_subscription(
        self,
        tenant: Tenant,
        subscription_id: Iri,
        document: Mapping[str, Any],
        compiled: Any,
        *,
        creates: bool,
    ) -> None:
        """See `SubscriptionStore.put_subscription`."""
        body = msgspec.json.encode(document)

        def job(cursor: sqlite3.Cursor) -> None:
            self._transaction.tenant(cursor, tenant, creates=creates)
            if creates:
                try:
                    cursor.execute(
                        "INSERT INTO subscription (tenant, id, body) VALUES (?, ?, ?)",
                        (tenant, subscription_id, body),
                    )
                except sqlite3.IntegrityError as error:
                    raise AlreadyExists(f"subscription {subscription_id} exists") from error
            else:
                cursor.execute(
                    "UPDATE subscription SET body = ? WHERE tenant = ? AND id = ?",
                    (body, tenant, subscription_id),
                )
                if cursor.rowcount == 0:
                    raise ResourceNotFound(f"there is no subscription {subscription_id}")
            self._matcher.put(tenant, subscription_id, compiled)

        await self._writer.write(job)

    async def delete_subscription(self, tenant: Tenant, subscription_id: Iri) -> bool:
        """See `SubscriptionStore.delete_subscription`."""

        def job(cursor: sqlite3.Cursor) -> bool:
            self._transaction.tenant(cursor, tenant, creates=False)
            key = (tenant, subscription_id)
            cursor.execute("DELETE FROM subscription WHERE tenant = ? AND id = ?", key)
            found = cursor.rowcount > 0
            self._transaction.outbox.forget(cursor, *key)
            self._transaction.streams.close(cursor, key)
            self._matcher.discard(tenant, subscription_id)
            return found

        return await self._writer.write(job)

    async def subscriptions(self) -> list[tuple[Tenant, Iri, dict[str, Any]]]:
        """See `SubscriptionStore.subscriptions`."""
        rows = await self._readers.read(
            lambda connection: connection.execute(
                "SELECT tenant, id, body, stats FROM subscription ORDER BY seq"
            ).fetchall()
        )
        found = []
        for tenant, subscription_id, body, stats in rows:
            document = msgspec.json.decode(body)
            if stats is not None:
                document["notification"] = {
                    **document.get("notification", {}),
                    **msgspec.json.decode(stats),
                }
            found.append((Tenant(tenant), Iri(subscription_id), document))
        return found
