"""The writer's side of entities: each change atomic, with its history and its notifications."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from math import inf
from typing import Any

import msgspec

from broker.core import fragments, moments
from broker.core.errors import NonexistentTenant
from broker.core.events import EntityChanged
from broker.core.expiry import earliest_expiry
from broker.core.identifiers import DEFAULT_TENANT, ExpandedEntity, Iri, Tenant
from broker.core.lateness import keep_newer as without_late
from broker.core.timestamps import format_timestamp, instant_key
from broker.store.interface import (
    Change,
    Commit,
    Delivery,
    Matcher,
    StoredEntity,
)
from broker.store.sqlite import history_types, index, usage
from broker.store.sqlite.cache import EntityCache, Held, Key
from broker.store.sqlite.history import History
from broker.store.sqlite.outbox import OutboxRows
from broker.store.sqlite.pages import PageCache
from broker.store.sqlite.streams import StreamLog

_encode = msgspec.json.encode
_decode = msgspec.json.decode


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
        before = None if held is None else alive(held.stored, now)
        after, answer = change(before)
        if keep_newer and held is not None and before is not None and after is not None:
            after, late = without_late(before, after)
            self.history.note_late(cursor, held.seq, late, moments.instant_of(now))
        if after is before:
            return answer
        if held is not None and before is not held.stored.entity:
            # What expired and was not swept yet goes first, as a change of its own.
            self._write(cursor, tenant, number, entity_id, held, held.stored.entity, before, now)
            held = self._pending[tenant, entity_id]
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
            if before is not None and before["type"] != after["type"]:
                type_set = self.terms.type_set(cursor, before["type"])
                history_types.note(cursor, number, type_set, seq)
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
            "SELECT seq, version, type_set FROM evolution WHERE tenant = ? AND id = ?",
            (number, entity_id),
        ).fetchone()
        if row is None:
            return self.new_seq(), 1
        seq, version, type_set = row
        cursor.execute("DELETE FROM evolution WHERE seq = ?", (seq,))
        if type_set != self.terms.type_set(cursor, after["type"]):
            history_types.note(cursor, number, type_set, seq)
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
        return None if held is None else alive(held.stored, self._clock())

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
        return None if row is None else held_of(row)

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


def held_of(row: Sequence[Any]) -> Held:
    """Return what is kept of a row: seq, version, body."""
    seq, version, body = row
    entity: ExpandedEntity = _decode(body)
    return Held(seq, StoredEntity(entity, version, earliest_expiry(entity)))


def alive(stored: StoredEntity, now: datetime) -> ExpandedEntity | None:
    """Return the entity as it stands now: without what expired, None when it did itself."""
    if stored.expires > now.timestamp():
        return stored.entity
    return fragments.drop_expired(stored.entity, format_timestamp(now))
