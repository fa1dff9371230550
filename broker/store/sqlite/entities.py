"""Entities: atomic updates in the writer, reads from the cache or a reader's connection."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from math import inf
from typing import Any

import msgspec

from broker.core import fragments, moments
from broker.core.errors import NgsiLdError, NonexistentTenant
from broker.core.events import EntityChanged
from broker.core.expiry import earliest_expiry
from broker.core.identifiers import DEFAULT_TENANT, ExpandedEntity, Iri, Tenant
from broker.core.lateness import keep_newer as without_late
from broker.core.query.entity_query import EntityQuery
from broker.core.timestamps import format_timestamp, instant_key
from broker.store.interface import (
    AttributeUse,
    Change,
    Commit,
    Delivery,
    EntityPage,
    Matcher,
    StoredEntity,
    TypeUse,
)
from broker.store.sqlite import index, q_sql, usage
from broker.store.sqlite.cache import EntityCache, Held, Key
from broker.store.sqlite.connection import Readers, Writer
from broker.store.sqlite.history import History
from broker.store.sqlite.outbox import OutboxRows
from broker.store.sqlite.pages import PageCache, Row
from broker.store.sqlite.scans import Scans
from broker.store.sqlite.streams import StreamLog

_encode = msgspec.json.encode
_decode = msgspec.json.decode
_ROWS_PER_READ = 500
_SCANS = 10_000


class EntityTransaction:
    """The writer's side: what the open transaction has written and not yet published."""

    def __init__(
        self,
        matcher: Matcher,
        cache: EntityCache,
        pages: PageCache,
        clock: Callable[[], datetime],
        listener: Callable[[Commit], None],
        waiting: OutboxRows,
    ) -> None:
        self._matcher = matcher
        self.cache = cache
        self.pages = pages
        self._clock = clock
        self._listener = listener
        self.streams = StreamLog()
        self._pending: dict[Key, Held | None] = {}
        self._events: list[EntityChanged] = []
        self.outbox = waiting
        self._deliveries: list[Delivery] = []
        self._new_tenants: dict[Tenant, int] = {}
        self._next_seq = 0
        self.terms = index.Terms()
        self._usage = usage.Usage(self.terms)
        self.history = History(self.terms)
        self.tenants: dict[Tenant, int] = {DEFAULT_TENANT: 1}

    def load(self, connection: sqlite3.Connection) -> None:
        """Read what the writer keeps in memory: tenants, terms, the next number of a row."""
        self.tenants = dict(connection.execute("SELECT name, id FROM tenant"))
        self.terms.load(connection)
        self.outbox.load(connection)
        (self._next_seq,) = connection.execute(
            "SELECT 1 + max((SELECT ifnull(max(seq), 0) FROM entity),"
            " (SELECT ifnull(max(seq), 0) FROM evolution))"
        ).fetchone()

    def closing(self, cursor: sqlite3.Cursor) -> None:
        """Write the history, the outbox, and the counts that the transaction changed."""
        self.history.flush(cursor)
        self._deliveries = self.outbox.write(cursor)
        self._usage.flush(cursor)

    def committed(self) -> Callable[[], None] | None:
        """Publish the transaction's entities; the listener is told on the event loop."""
        self.terms.committed()
        self.outbox.committed()
        self.tenants.update(self._new_tenants)
        events, deliveries = self._events, self._deliveries
        if events:
            self.cache.publish(self._pending)
            self.pages.changed(events)
        self._clear()
        streamed = self.streams.committed()
        if not (events or deliveries or streamed):
            return None
        return lambda: self._listener(Commit(events, deliveries, streamed))

    def rolled_back(self) -> None:
        """Forget what was not committed."""
        self.terms.rolled_back()
        self._usage.rolled_back()
        self.history.rolled_back()
        self.streams.committed()
        self.outbox.rolled_back()
        self._clear()

    def _clear(self) -> None:
        self._pending = {}
        self._events = []
        self._deliveries = []
        self._new_tenants = {}

    def tenant(self, cursor: sqlite3.Cursor, tenant: Tenant, *, creates: bool) -> int:
        """Return a tenant's number, creating it where the operation may.

        Raises:
            NonexistentTenant: it is not there and may not be created.
        """
        number = self.tenants.get(tenant) or self._new_tenants.get(tenant)
        if number is not None:
            return number
        if not creates:
            raise NonexistentTenant(f"tenant {tenant!r} does not exist; a create makes it")
        cursor.execute("INSERT INTO tenant (name) VALUES (?)", (tenant,))
        self._new_tenants[tenant] = number = int(cursor.lastrowid or 0)
        return number

    def apply(
        self,
        cursor: sqlite3.Cursor,
        tenant: Tenant,
        number: int,
        entity_id: Iri,
        change: Change,
        *,
        keep_newer: bool = False,
    ) -> Any:
        """Run one change: read, change, match, write."""
        now = self._clock()
        held = self._held(cursor, tenant, number, entity_id)
        before = None if held is None else _alive(held.stored, now)
        after, answer = change(before)
        if keep_newer and held is not None and before is not None and after is not None:
            after, late = without_late(before, after)
            self.history.note_late(cursor, held.seq, late, moments.instant_of(now))
        if after is before:
            return answer
        if held is not None and before is None:  # expired and not yet swept: gone all the same
            self._delete(cursor, tenant, number, held, now)
            held = None
        self._write(cursor, tenant, number, entity_id, held, before, after, now)
        return answer

    def _write(
        self,
        cursor: sqlite3.Cursor,
        tenant: Tenant,
        number: int,
        entity_id: Iri,
        held: Held | None,
        before: ExpandedEntity | None,
        after: ExpandedEntity | None,
        now: datetime,
    ) -> None:
        if after is None:
            if held is not None:
                self._delete(cursor, tenant, number, held, now)
            return
        at = after["modifiedAt"]
        expiry = earliest_expiry(after)
        expires = None if expiry == inf else expiry
        if held is None:
            seq, version = self._place(cursor, number, entity_id, after)
            cursor.execute(
                "INSERT INTO entity (seq, tenant, id, version, body, created, modified, expires)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (seq, number, entity_id, version, _encode(after), after["createdAt"], at, expires),
            )
        else:
            seq, version = held.seq, held.stored.version + 1
            cursor.execute(
                "UPDATE entity SET version = ?, body = ?, modified = ?, expires = ? WHERE seq = ?",
                (version, _encode(after), at, expires, seq),
            )
        index.write(cursor, self.terms, number, seq, before, after)
        self._usage.note(cursor, number, before, after)
        event = EntityChanged(tenant, entity_id, before, after, at, version)
        self._pending[tenant, entity_id] = Held(seq, StoredEntity(after, version, expiry))
        self._record(cursor, seq, event)

    def _place(
        self, cursor: sqlite3.Cursor, number: int, entity_id: Iri, after: ExpandedEntity
    ) -> tuple[int, int]:
        """Return the row number and the version of a new entity; it goes on with its history."""
        row = cursor.execute(
            "DELETE FROM evolution WHERE tenant = ? AND id = ? RETURNING seq, version",
            (number, entity_id),
        ).fetchone()
        if row is None:
            return self.new_seq(), 1
        seq, version = row
        at = moments.instant(after["createdAt"])
        self.history.note_types(cursor, seq, after["type"], at, version + 1)
        return seq, version + 1

    def new_seq(self) -> int:
        """Return a row number that no entity ever had."""
        seq = self._next_seq
        self._next_seq += 1
        return seq

    def _delete(
        self, cursor: sqlite3.Cursor, tenant: Tenant, number: int, held: Held, now: datetime
    ) -> None:
        stored = held.stored
        entity_id = stored.entity["id"]
        at = format_timestamp(now)
        cursor.execute("DELETE FROM entity WHERE seq = ?", (held.seq,))
        cursor.execute(
            "INSERT INTO evolution VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                held.seq,
                number,
                entity_id,
                self.terms.type_set(cursor, stored.entity["type"]),
                stored.version + 1,
                stored.entity["createdAt"],
                at,
            ),
        )
        index.write(cursor, self.terms, number, held.seq, stored.entity, None)
        self._usage.note(cursor, number, stored.entity, None)
        self._pending[tenant, entity_id] = None
        event = EntityChanged(tenant, entity_id, stored.entity, None, at, stored.version + 1)
        self._record(cursor, held.seq, event)

    def _record(self, cursor: sqlite3.Cursor, seq: int, event: EntityChanged) -> None:
        """Take down the history and the outbox of a change, in its transaction."""
        self.history.note(cursor, seq, event)
        self._events.append(event)
        deliveries = self._matcher.match(event, partial(self._seen, cursor, event.tenant))
        if deliveries and self.streams.open:
            deliveries = self.streams.write(cursor, deliveries, instant_key(event.at))
        self.outbox.add(deliveries)

    def _seen(
        self, cursor: sqlite3.Cursor, tenant: Tenant, entity_id: Iri
    ) -> ExpandedEntity | None:
        """Return an entity as the open transaction sees it."""
        number = self.tenant(cursor, tenant, creates=False)
        held = self._held(cursor, tenant, number, entity_id)
        return None if held is None else _alive(held.stored, self._clock())

    def _held(
        self, cursor: sqlite3.Cursor, tenant: Tenant, number: int, entity_id: Iri
    ) -> Held | None:
        key = (tenant, entity_id)
        if key in self._pending:
            return self._pending[key]
        held = self.cache.get(key)
        if held is not None or self.cache.knows(key):
            return held
        row = cursor.execute(
            "SELECT seq, version, body FROM entity WHERE tenant = ? AND id = ?", (number, entity_id)
        ).fetchone()
        return None if row is None else _held(row)

    def expire(self, cursor: sqlite3.Cursor, limit: int) -> int:
        """Delete entities and attribute instances whose time is over; return how many entities."""
        now = self._clock()
        names = {number: tenant for tenant, number in self.tenants.items()}
        rows = cursor.execute(
            "SELECT tenant, id FROM entity WHERE expires <= ? LIMIT ?", (now.timestamp(), limit)
        ).fetchall()
        for number, entity_id in rows:
            tenant = names[number]
            held = self._held(cursor, tenant, number, entity_id)
            if held is None:
                continue
            after = fragments.drop_expired(held.stored.entity, format_timestamp(now))
            self._write(cursor, tenant, number, entity_id, held, held.stored.entity, after, now)
        return len(rows)


def _held(row: Sequence[Any]) -> Held:
    seq, version, body = row
    entity: ExpandedEntity = _decode(body)
    return Held(seq, StoredEntity(entity, version, earliest_expiry(entity)))


def _alive(stored: StoredEntity, now: datetime) -> ExpandedEntity | None:
    """Return the entity as it stands now: without what expired, None when it did itself."""
    if stored.expires > now.timestamp():
        return stored.entity
    return fragments.drop_expired(stored.entity, format_timestamp(now))


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
                    answers.append(error)
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
            held = self._cache.fill(key, _held(row), since)
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
                found[place] = cache.fill(key, _held(bodies[entity_id]), since)
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
        entity = _alive(stored, self._clock())
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
