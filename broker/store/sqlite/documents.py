"""Small documents by tenant, kind and key: contexts, registrations."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any

import msgspec

from broker.core.identifiers import Tenant
from broker.store.sqlite.connection import Readers, Writer


class SqliteDocuments:
    """See `store.interface.DocumentStore`."""

    def __init__(self, writer: Writer, readers: Readers) -> None:
        self._writer = writer
        self._readers = readers

    async def put(self, tenant: Tenant, kind: str, key: str, document: Mapping[str, Any]) -> None:
        """See `DocumentStore.put`."""
        body = msgspec.json.encode(document)

        def job(cursor: sqlite3.Cursor) -> None:
            cursor.execute(
                "INSERT INTO document (tenant, kind, key, body) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (tenant, kind, key) DO UPDATE SET body = excluded.body",
                (tenant, kind, key, body),
            )

        await self._writer.write(job)

    async def remove(self, tenant: Tenant, kind: str, key: str) -> bool:
        """See `DocumentStore.remove`."""

        def job(cursor: sqlite3.Cursor) -> bool:
            cursor.execute(
                "DELETE FROM document WHERE tenant = ? AND kind = ? AND key = ?",
                (tenant, kind, key),
            )
            return cursor.rowcount > 0

        return await self._writer.write(job)

    async def all(self, kind: str) -> list[tuple[Tenant, str, dict[str, Any]]]:
        """See `DocumentStore.all`."""
        rows = await self._readers.read(
            lambda connection: connection.execute(
                "SELECT tenant, key, body FROM document WHERE kind = ? ORDER BY seq", (kind,)
            ).fetchall()
        )
        return [(Tenant(tenant), key, msgspec.json.decode(body)) for tenant, key, body in rows]
