"""Entities in an SQLite database in memory, with the index but without the store around it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from datetime import datetime

import msgspec

from broker.core.identifiers import ExpandedEntity
from broker.core.query.entity_query import EntityQuery
from broker.store.sqlite import index, q_sql
from broker.store.sqlite.migrations import migrate

FIRST_TENANT = 1


class Indexed:
    """Writes entities with their index rows, and asks queries.

    Attributes:
        entities: what has been written, by row number.
    """

    def __init__(self, entities: Iterable[ExpandedEntity] = ()) -> None:
        self.connection = sqlite3.connect(":memory:", isolation_level=None)
        migrate(self.connection)
        self.cursor = self.connection.cursor()
        self.terms = index.Terms()
        self.terms.load(self.connection)
        self.entities: dict[int, ExpandedEntity] = {}
        for number, entity in enumerate(entities, start=1):
            self.write(number, entity)

    def write(
        self,
        seq: int,
        entity: ExpandedEntity | None,
        *,
        tenant: int = FIRST_TENANT,
        expires: float | None = None,
    ) -> None:
        """Create, change or delete (None) the entity of a row."""
        before = self.entities.pop(seq, None)
        self.cursor.execute("DELETE FROM entity WHERE seq = ?", (seq,))
        if entity is not None:
            body = msgspec.json.encode(entity)
            created, modified = entity["createdAt"], entity["modifiedAt"]
            self.cursor.execute(
                "INSERT INTO entity (seq, tenant, id, version, body, created, modified, expires)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (seq, tenant, entity["id"], 1, body, created, modified, expires),
            )
            self.entities[seq] = entity
        index.write(self.cursor, self.terms, tenant, seq, before, entity)
        self.terms.committed()

    def page(
        self,
        query: EntityQuery,
        limit: int = 1000,
        offset: int = 0,
        *,
        after: int | None = None,
        now: datetime | None = None,
    ) -> list[int]:
        """Return the row numbers of a page."""
        rows = q_sql.page(
            self.connection,
            self.terms,
            FIRST_TENANT,
            query,
            limit=limit,
            offset=offset,
            after=after,
            now=now,
        )
        assert [entity_id for _, entity_id in rows] == [self.entities[n]["id"] for n, _ in rows]
        return [number for number, _ in rows]

    def count(self, query: EntityQuery, *, now: datetime | None = None) -> int:
        """Count what matches."""
        return q_sql.count(self.connection, self.terms, FIRST_TENANT, query, now=now)

    def search(self, query: EntityQuery) -> q_sql.Search:
        """Prepare a query without asking it."""
        return q_sql.Search(self.connection, self.terms, FIRST_TENANT, query)

    def rows(self) -> list[tuple[object, ...]]:
        """Return all rows of the index with names instead of numbers, sorted."""
        places = dict(
            self.connection.execute(
                "SELECT id, west || ' ' || east || ' ' || south || ' ' || north || ' '"
                " || id / 65536 || hex(shape) FROM place"
            )
        )
        values = [
            (tenant, self.terms.iri(attribute), *key, self._types(types), *times, places.get(place))
            for tenant, attribute, *key, types, o, c, m, place in self.connection.execute(
                "SELECT tenant, attribute, path, seq, n, value, type_set, observed, created,"
                " modified, place FROM value"
            )
            for times in [(o, c, m)]
        ]
        typed = [
            (tenant, "type", self._types(types), seq)
            for tenant, types, seq in self.connection.execute("SELECT * FROM typed")
        ]
        return sorted([*values, *typed, (len(places),)], key=repr)

    def _types(self, type_set: int) -> tuple[str, ...]:
        return tuple(sorted(self.terms.types_of(type_set)))
