"""Entities: atomic updates in the writer, reads from the cache or a reader's connection."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from math import inf
from typing import Any

from broker.core.errors import NgsiLdError, NonexistentTenant
from broker.core.expiry import earliest_expiry
from broker.core.identifiers import Iri, Tenant
from broker.core.query.entity_query import EntityQuery
from broker.store.interface import (
    AttributeUse,
    Change,
    EntityPage,
    StoredEntity,
    TypeUse,
)
from broker.store.sqlite import q_sql, usage
from broker.store.sqlite.cache import Held
from broker.store.sqlite.connection import Readers, Writer
from broker.store.sqlite.pages import Row
from broker.store.sqlite.scans import Scans
from broker.store.sqlite.transaction import EntityTransaction, alive, held_of

_ROWS_PER_READ = 500
_SCANS = 10_000


class SqliteEntities:
    """See `store.interface.EntityStore`."""

    def __init__(
        self,
        writer: Writer,
        readers: Readers,
        transaction: EntityTransaction,
        clock: Callable[[], datetime],
    ) -> None:
        self._writer = writer
        self._readers = readers
        self._transaction = transaction
        self._cache = transaction.cache
        self._pages = transaction.pages
        self._scans = Scans(_SCANS, time.monotonic)
        self._clock = clock

    async def update(
        self,
        tenant: Tenant,
        entity_id: Iri,
        change: Change,
        *,
        creates: bool = False,
        keep_newer: bool = False,
    ) -> Any:
        """See `EntityStore.update`."""
        transaction = self._transaction
        transaction.outbox.check_room()

        def job(cursor: sqlite3.Cursor) -> Any:
            number = transaction.tenant(cursor, tenant, creates=creates)
            return transaction.apply(
                cursor, tenant, number, entity_id, change, keep_newer=keep_newer
            )

        return await self._writer.write(job)

    async def update_many(
        self,
        tenant: Tenant,
        changes: Sequence[tuple[Iri, Change]],
        *,
        creates: bool = False,
        keep_newer: bool = False,
    ) -> list[Any | NgsiLdError]:
        """See `EntityStore.update_many`."""
        transaction = self._transaction
        transaction.outbox.check_room()

        def job(cursor: sqlite3.Cursor) -> list[Any | NgsiLdError]:
            number = transaction.tenant(cursor, tenant, creates=creates)
            answers: list[Any | NgsiLdError] = []
            for entity_id, change in changes:
                try:
                    answer = transaction.apply(
                        cursor, tenant, number, entity_id, change, keep_newer=keep_newer
                    )
                    answers.append(answer)
                except NgsiLdError as error:
                    answers.append(error.with_traceback(None))
            return answers

        return await self._writer.write(job)

    def generation(self, tenant: Tenant) -> int:
        """See `EntityStore.generation`."""
        return self._pages.writes(tenant)

    async def get(self, tenant: Tenant, entity_id: Iri) -> StoredEntity | None:
        """See `EntityStore.get`."""
        key = (tenant, entity_id)
        held = self._cache.get(key)
        if held is None:
            number = self._number(tenant)
            if self._cache.knows(key):
                return None
            since = self._cache.published
            row = await self._readers.read(
                lambda connection: connection.execute(
                    "SELECT seq, version, body FROM entity WHERE tenant = ? AND id = ?",
                    (number, entity_id),
                ).fetchone()
            )
            if row is None:
                return None
            held = self._cache.fill(key, held_of(row), since)
        return self._current(held.stored)

    async def query(
        self,
        tenant: Tenant,
        query: EntityQuery,
        *,
        limit: int,
        offset: int = 0,
        reader: str | None = None,
    ) -> EntityPage:
        """See `EntityStore.query`."""
        after = None
        if reader is not None and offset and not query.order:
            after = self._scans.row_before(reader, tenant, query, offset)
        rows = await self._page(tenant, query, limit, offset, after)
        more = len(rows) > limit
        if reader is not None and more and limit and not query.order:
            self._scans.announce(reader, tenant, query, offset + limit, rows[limit - 1][0])
        found = await self._load(tenant, rows[:limit])
        entities = [one for held in found if (one := self._current(held.stored)) is not None]
        return EntityPage(entities, more)

    async def _page(
        self, tenant: Tenant, query: EntityQuery, limit: int, offset: int, after: int | None
    ) -> Sequence[Row]:
        """Return the rows of a page and the one behind it, if there is one."""
        number = self._number(tenant)
        key = (query, limit, offset, after)
        rows = self._pages.get(tenant, key)
        if rows is not None:
            return rows
        generation = self._pages.generation(tenant, query)
        terms, now = self._transaction.terms, self._clock()
        skipped = offset if after is None else 0
        rows = await self._readers.read(
            lambda connection: q_sql.page(
                connection,
                terms,
                number,
                query,
                limit=limit + 1,
                offset=skipped,
                after=after,
                now=now,
            )
        )
        self._pages.put(tenant, key, generation, rows)
        return rows

    async def _load(self, tenant: Tenant, rows: Sequence[Row]) -> list[Held]:
        """Return the entities of some rows, from the cache where they are kept."""
        cache = self._cache
        found = [cache.get((tenant, entity_id)) for _, entity_id in rows]
        missing = [row for row, held in zip(rows, found, strict=True) if held is None]
        if not missing:
            return [held for held in found if held is not None]
        since = cache.published
        bodies = await self._readers.read(lambda connection: _bodies(connection, missing))
        for place, (_, entity_id) in enumerate(rows):
            if found[place] is None and entity_id in bodies:
                key = (tenant, entity_id)
                found[place] = cache.fill(key, held_of(bodies[entity_id]), since)
        return [held for held in found if held is not None]

    async def count(self, tenant: Tenant, query: EntityQuery) -> int:
        """See `EntityStore.count`."""
        number = self._number(tenant)
        terms, now = self._transaction.terms, self._clock()
        return await self._readers.read(
            lambda connection: q_sql.count(connection, terms, number, query, now=now)
        )

    async def types(self, tenant: Tenant) -> list[TypeUse]:
        """See `EntityStore.types`."""
        number = self._number(tenant)
        return await self._readers.read(
            lambda connection: usage.types(connection, self._transaction.terms, number)
        )

    async def attributes(self, tenant: Tenant) -> list[AttributeUse]:
        """See `EntityStore.attributes`."""
        number = self._number(tenant)
        return await self._readers.read(
            lambda connection: usage.attributes(connection, self._transaction.terms, number)
        )

    async def tenants(self) -> list[Tenant]:
        """See `EntityStore.tenants`."""
        return list(self._transaction.tenants)

    async def sweep(self, limit: int = 500) -> int:
        """Delete what has expired, in steps of `limit` entities; return how many in this step."""
        return await self._writer.write(lambda cursor: self._transaction.expire(cursor, limit))

    def _number(self, tenant: Tenant) -> int:
        number = self._transaction.tenants.get(tenant)
        if number is None:
            raise NonexistentTenant(f"tenant {tenant!r} does not exist; a create makes it")
        return number

    def _current(self, stored: StoredEntity) -> StoredEntity | None:
        if stored.expires == inf:
            return stored
        entity = alive(stored, self._clock())
        if entity is None:
            return None
        if entity is stored.entity:
            return stored
        return StoredEntity(entity, stored.version, earliest_expiry(entity))


def _bodies(
    connection: sqlite3.Connection, rows: Sequence[Row]
) -> dict[Iri, tuple[int, int, bytes]]:
    found = {}
    for start in range(0, len(rows), _ROWS_PER_READ):
        numbers = [seq for seq, _ in rows[start : start + _ROWS_PER_READ]]
        marks = ",".join("?" * len(numbers))
        sql = f"SELECT id, seq, version, body FROM entity WHERE seq IN ({marks})"
        for entity_id, seq, version, body in connection.execute(sql, numbers):
            found[Iri(entity_id)] = (seq, version, body)
    return found
