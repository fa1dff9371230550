"""The index over attributes, scopes, types and places that queries are answered from.

The writer keeps it inside the transaction of every write. It has one row for each value that can
be compared with (`index_rows`), under two orders: by entity, to walk in order of creation or to
check one entity, and by value, to find few among many. Rows carry the entity's set of types, so
that a query on type and attribute reads one index only.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from typing import Any

from broker.core.identifiers import DEFAULT_INSTANCE, ExpandedEntity
from broker.store.sqlite import index_terms
from broker.store.sqlite.index_rows import (
    INSTANCE,
    ONLY,
    OPAQUE,
    Payload,
    RowKey,
    SqlValue,
    attribute_rows,
    bounds,
    encode_shape,
    ordered,
    plain_value,
    timed,
)
from broker.store.sqlite.index_terms import Terms

__all__ = ["DDL", "PLACES", "PLACES_DDL", "SCOPE", "THICKNESS", "Terms", "space", "write"]

SCOPE = "scope"
"""The term under which scopes are kept like the values of an attribute."""

PLACES = 1 << 16
"""Geometries that one entity may have."""

DDL = (
    index_terms.DDL
    + """
CREATE TABLE typed (
    tenant INTEGER NOT NULL,
    type_set INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    PRIMARY KEY (tenant, type_set, seq)
) WITHOUT ROWID;

-- One row for each value that can be compared with; see index_rows for path, n and value.
-- The times, in microseconds since the epoch, stand in the head of an instance only.
CREATE TABLE value (
    tenant INTEGER NOT NULL,
    attribute INTEGER NOT NULL,
    path INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    n INTEGER NOT NULL,
    value NOT NULL,
    type_set INTEGER NOT NULL,
    observed INTEGER,
    created INTEGER,
    modified INTEGER,
    place INTEGER,
    PRIMARY KEY (tenant, attribute, path, seq, n)
) WITHOUT ROWID;
CREATE INDEX value_order ON value (tenant, attribute, path, value, type_set);

CREATE INDEX entity_created ON entity (tenant, created);
CREATE INDEX entity_modified ON entity (tenant, modified);
"""
)

PLACES_DDL = """
-- Bounds of geometries. The third dimension is the space, one for each tenant and GeoProperty, and
-- the fourth is the set of types, so that where one type crowds another is found as fast. Both have
-- some thickness, for an R*Tree of flat boxes is badly balanced. The id without its lower 16 bits
-- is the entity's seq; see index_rows for shape.
CREATE VIRTUAL TABLE place USING rtree (
    id, west, east, south, north, low, high, type_low, type_high, +shape BLOB
);
"""
THICKNESS = 0.5
"""What a place reaches from the number of its space, and of its set of types, to the next."""

_KEY = "tenant = ? AND attribute = ? AND path = ? AND seq = ? AND n = ?"
_INSERT = "INSERT INTO value VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_UPDATE = f"UPDATE value SET value = ?, observed = ?, created = ?, modified = ? WHERE {_KEY}"
_UPDATE_TIMES = f"UPDATE value SET observed = ?, created = ?, modified = ? WHERE {_KEY}"
_DELETE = f"DELETE FROM value WHERE {_KEY}"
_PLACE = f"(SELECT place FROM value WHERE {_KEY})"
_INSERT_PLACE = "INSERT INTO place VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_UPDATE_PLACE = (
    f"UPDATE place SET west = ?, east = ?, south = ?, north = ?, shape = ? WHERE id = {_PLACE}"
)
_DELETE_PLACE = f"DELETE FROM place WHERE id = {_PLACE}"

_Instances = Mapping[str, Mapping[str, Any]]
_Key = tuple[int, int, int, int, int]
_Place = tuple[float, float, float, float, bytes]


def write(
    cursor: sqlite3.Cursor,
    terms: Terms,
    tenant: int,
    seq: int,
    before: ExpandedEntity | None,
    after: ExpandedEntity | None,
) -> None:
    """Bring the index from one state of an entity to the next; None is no entity.

    Attributes that are the same object in both are left alone.
    """
    if before is None or after is None or not _same_types(before, after):
        if before is not None:
            _Entity(cursor, terms, tenant, seq, before).remove()
        if after is not None:
            _Entity(cursor, terms, tenant, seq, after).add()
        return
    old, new = before["attributes"], after["attributes"]
    others = []
    for name, instances in new.items():
        previous = old.get(name)
        if previous is instances:
            continue
        value = plain_value(instances)
        was = None if previous is None else plain_value(previous)
        if value is None or was is None or value is OPAQUE or was is OPAQUE:
            others.append((name, previous, instances))
        else:
            key = (tenant, terms.intern(cursor, name), 0, seq, 0)
            _change(cursor, key, was, timed(value, instances[DEFAULT_INSTANCE]))
    others += [(name, gone, None) for name, gone in old.items() if name not in new]
    scoped = before.get("scope") != after.get("scope")
    if others or scoped:
        entity = _Entity(cursor, terms, tenant, seq, after)
        for name, previous, instances in others:
            entity.change_attribute(name, previous, instances)
        if scoped:
            entity.remove_scopes(before)
            entity.add_scopes()
        entity.flush()


def _change(cursor: sqlite3.Cursor, key: _Key, old: SqlValue, payload: Payload) -> None:
    """Write over the row of a value."""
    value, *moments = payload
    if old.__class__ is value.__class__ and old == value:
        cursor.execute(_UPDATE_TIMES, (*moments, *key))
    else:
        cursor.execute(_UPDATE, (*payload, *key))


def space(tenant: int, attribute: str) -> str:
    """Return the name under which the space of a GeoProperty has its number among the terms."""
    return f"{tenant} {attribute}"


def _same_types(before: ExpandedEntity, after: ExpandedEntity) -> bool:
    old, new = before["type"], after["type"]
    return old is new or old == new or set(old) == set(new)


class _Entity:
    """The rows of one entity; what is added is collected and written at the end."""

    __slots__ = ("_added", "_cursor", "_seq", "_tenant", "_terms", "_type_set", "_value")

    def __init__(
        self,
        cursor: sqlite3.Cursor,
        terms: Terms,
        tenant: int,
        seq: int,
        value: ExpandedEntity,
    ) -> None:
        self._cursor = cursor
        self._terms = terms
        self._tenant = tenant
        self._seq = seq
        self._value = value
        self._type_set = terms.type_set(cursor, value["type"])
        self._added: list[tuple[SqlValue | None, ...]] = []

    def add(self) -> None:
        self._cursor.execute(
            "INSERT INTO typed VALUES (?, ?, ?)", (self._tenant, self._type_set, self._seq)
        )
        self.add_scopes()
        for name, instances in self._value["attributes"].items():
            self.add_attribute(name, instances)
        self.flush()

    def remove(self) -> None:
        self._cursor.execute(
            "DELETE FROM typed WHERE tenant = ? AND type_set = ? AND seq = ?",
            (self._tenant, self._type_set, self._seq),
        )
        self.remove_scopes(self._value)
        for name, instances in self._value["attributes"].items():
            self.remove_attribute(name, instances)

    def flush(self) -> None:
        """Write the rows that were added."""
        if self._added:
            self._cursor.executemany(_INSERT, self._added)
            self._added = []

    def add_scopes(self) -> None:
        scopes = _scopes(self._value)
        if scopes:
            attribute = self._terms.intern(self._cursor, SCOPE)
            for n, scope in enumerate(scopes):
                self._add(attribute, (0, n), Payload(scope))

    def remove_scopes(self, before: ExpandedEntity) -> None:
        scopes = _scopes(before)
        if scopes:
            attribute = self._terms.intern(self._cursor, SCOPE)
            self._delete(attribute, [(0, n) for n, _ in enumerate(scopes)])

    def add_attribute(self, name: str, instances: _Instances) -> None:
        attribute = self._terms.intern(self._cursor, name)
        value = plain_value(instances)
        if value is not None and value is not OPAQUE:
            self._add(attribute, ONLY, timed(value, instances[DEFAULT_INSTANCE]))
            return
        places = self._added_places(name, instances)
        for key, payload in attribute_rows(instances).items():
            self._add(attribute, key, payload, places.get(key))

    def remove_attribute(self, name: str, instances: _Instances) -> None:
        attribute = self._terms.intern(self._cursor, name)
        for n, _ in _places(instances):
            self._cursor.execute(_DELETE_PLACE, self._key(attribute, (0, n)))
        self._delete(attribute, list(attribute_rows(instances)))

    def change_attribute(
        self, name: str, before: _Instances | None, after: _Instances | None
    ) -> None:
        if before is None or after is None:
            if before is not None:
                self.remove_attribute(name, before)
            if after is not None:
                self.add_attribute(name, after)
            return
        attribute = self._terms.intern(self._cursor, name)
        old_places, new_places = dict(_places(before)), dict(_places(after))
        if old_places.keys() != new_places.keys():
            self.remove_attribute(name, before)
            self.add_attribute(name, after)
            return
        for n, place in new_places.items():
            if place != old_places[n]:
                self._cursor.execute(_UPDATE_PLACE, (*place, *self._key(attribute, (0, n))))
        self._change_rows(attribute, attribute_rows(before), attribute_rows(after))

    def _change_rows(
        self, attribute: int, before: dict[RowKey, Payload], after: dict[RowKey, Payload]
    ) -> None:
        for key, payload in after.items():
            old = before.pop(key, None)
            if old is None:
                self._add(attribute, key, payload)
            elif old != payload:
                _change(self._cursor, self._key(attribute, key), old.value, payload)
        self._delete(attribute, list(before))

    def _add(self, attribute: int, key: RowKey, payload: Payload, place: int | None = None) -> None:
        path, n = key
        value, observed, created, modified = payload
        self._added.append(
            (
                self._tenant,
                attribute,
                path,
                self._seq,
                n,
                value,
                self._type_set,
                observed,
                created,
                modified,
                place,
            )
        )

    def _delete(self, attribute: int, keys: list[RowKey]) -> None:
        if keys:
            self._cursor.executemany(_DELETE, [self._key(attribute, key) for key in keys])

    def _added_places(self, name: str, instances: _Instances) -> dict[RowKey, int]:
        found = {}
        for n, (west, east, south, north, shape) in _places(instances):
            number = self._terms.intern(self._cursor, space(self._tenant, name))
            deep = (number, number + THICKNESS, self._type_set, self._type_set + THICKNESS)
            found[0, n] = self._insert_place(
                31 * number + n // INSTANCE, (west, east, south, north, *deep, shape)
            )
        return found

    def _insert_place(self, start: int, columns: tuple[SqlValue, ...]) -> int:
        """Insert a place under the first free one of the entity's ids; return the id."""
        for slot in range(start, start + PLACES):
            place = self._seq * PLACES | slot % PLACES
            try:
                self._cursor.execute(_INSERT_PLACE, (place, *columns))
            except sqlite3.IntegrityError:
                continue
            return place
        raise OverflowError(f"an entity has at most {PLACES} geometries")

    def _key(self, attribute: int, key: RowKey) -> _Key:
        return self._tenant, attribute, key[0], self._seq, key[1]


def _scopes(entity: ExpandedEntity) -> list[str]:
    scopes = entity.get("scope") or []
    return list(dict.fromkeys([scopes] if isinstance(scopes, str) else scopes))


def _places(instances: _Instances) -> Iterator[tuple[int, _Place]]:
    """Yield the heads of geometries with their bounds and shapes."""
    for count, instance in enumerate(ordered(instances)):
        if instance["type"] == "GeoProperty":
            geometry = instance["value"]
            box = bounds(geometry)
            if box is not None:
                yield count * INSTANCE, (*box, encode_shape(geometry))
