"""How many entities have which types, attributes and kinds of attributes: what discovery answers.

The counts are kept with every write, so that a list of types costs the same with ten entities as
with a million. The changes of a transaction are gathered and written once, before it commits.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from broker.core.identifiers import ExpandedEntity, Iri
from broker.store.interface import AttributeUse, TypeUse
from broker.store.sqlite.index_terms import Terms

DDL = """
-- The row with attribute 0 counts the entities of the set of types.
CREATE TABLE usage (
    tenant INTEGER NOT NULL,
    type_set INTEGER NOT NULL,
    attribute INTEGER NOT NULL,
    kind TEXT NOT NULL,
    entities INTEGER NOT NULL,
    PRIMARY KEY (tenant, type_set, attribute, kind)
) WITHOUT ROWID;
"""

_ENTITY = 0
_Shape = tuple[tuple[str, str], ...]
"""The attributes of an entity, each with its kind; more than once if its instances differ."""


class Usage:
    """What the open transaction changes about the counts."""

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._entities: Counter[tuple[int, int, _Shape]] = Counter()
        self._attributes: Counter[tuple[int, int, str, str]] = Counter()

    def note(
        self,
        cursor: sqlite3.Cursor,
        tenant: int,
        before: ExpandedEntity | None,
        after: ExpandedEntity | None,
    ) -> None:
        """Take note of a change of one entity; None is no entity."""
        if before is not None and after is not None and before["type"] == after["type"]:
            self._note_attributes(cursor, tenant, before, after)
            return
        for entity, step in ((before, -1), (after, 1)):
            if entity is not None:
                types = self._terms.type_set(cursor, entity["type"])
                self._entities[tenant, types, _shape(entity)] += step

    def flush(self, cursor: sqlite3.Cursor) -> None:
        """Write what was noted."""
        if not self._entities and not self._attributes:
            return
        intern = self._terms.intern
        changes: Counter[tuple[int, int, int, str]] = Counter()
        for (tenant, types, shape), step in self._entities.items():
            changes[tenant, types, _ENTITY, ""] += step
            for name, kind in shape:
                changes[tenant, types, intern(cursor, name), kind] += step
        for (tenant, types, name, kind), step in self._attributes.items():
            changes[tenant, types, intern(cursor, name), kind] += step
        cursor.executemany(
            "INSERT INTO usage VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET entities = entities + excluded.entities",
            [(*key, step) for key, step in changes.items() if step],
        )
        self.rolled_back()

    def rolled_back(self) -> None:
        """Forget what was noted."""
        self._entities.clear()
        self._attributes.clear()

    def _note_attributes(
        self, cursor: sqlite3.Cursor, tenant: int, before: ExpandedEntity, after: ExpandedEntity
    ) -> None:
        old, new = before["attributes"], after["attributes"]
        changed = [(name, old.get(name), now) for name, now in new.items()]
        changed += [(name, was, None) for name, was in old.items() if name not in new]
        for name, was, now in changed:
            if was is now or _kinds(was) == _kinds(now):
                continue
            types = self._terms.type_set(cursor, after["type"])
            for kind in _kinds(was):
                self._attributes[tenant, types, name, kind] -= 1
            for kind in _kinds(now):
                self._attributes[tenant, types, name, kind] += 1


def _shape(entity: ExpandedEntity) -> _Shape:
    return tuple(
        [
            (name, kind)
            for name, instances in entity["attributes"].items()
            for kind in _kinds(instances)
        ]
    )


def _kinds(instances: Mapping[str, Any] | None) -> Collection[str]:
    if not instances:
        return ()
    if len(instances) == 1:
        return [instance["type"] for instance in instances.values()]
    return sorted({instance["type"] for instance in instances.values()})


_Row = tuple[frozenset[str], Iri | None, str, int]


def _rows(connection: sqlite3.Connection, terms: Terms, tenant: int) -> Iterable[_Row]:
    """Yield types, attribute (None: the entities themselves), kind and number of entities."""
    found = connection.execute(
        "SELECT type_set, attribute, kind, entities FROM usage WHERE tenant = ? AND entities > 0",
        (tenant,),
    )
    for types, attribute, kind, entities in found:
        try:
            name = None if attribute == _ENTITY else Iri(terms.iri(attribute))
            yield terms.types_of(types), name, kind, entities
        except KeyError:
            continue  # of a commit that has not been published, so not been answered either


def types(connection: sqlite3.Connection, terms: Terms, tenant: int) -> list[TypeUse]:
    """Return the types that entities have, by name."""
    counts: Counter[str] = Counter()
    kinds: dict[str, dict[Iri, set[str]]] = {}
    for names, attribute, kind, entities in _rows(connection, terms, tenant):
        for name in names:
            of_type = kinds.setdefault(name, {})
            if attribute is None:
                counts[name] += entities
            else:
                of_type.setdefault(attribute, set()).add(kind)
    return [
        TypeUse(
            Iri(name), counts[name], {attr: frozenset(found) for attr, found in kinds[name].items()}
        )
        for name in sorted(kinds)
    ]


def attributes(connection: sqlite3.Connection, terms: Terms, tenant: int) -> list[AttributeUse]:
    """Return the attributes that entities have, by name."""
    counts: Counter[Iri] = Counter()
    kinds: dict[Iri, set[str]] = {}
    names: dict[Iri, set[Iri]] = {}
    for type_names, attribute, kind, entities in _rows(connection, terms, tenant):
        if attribute is not None:
            counts[attribute] += entities
            kinds.setdefault(attribute, set()).add(kind)
            names.setdefault(attribute, set()).update(Iri(name) for name in type_names)
    return [
        AttributeUse(name, counts[name], frozenset(kinds[name]), frozenset(names[name]))
        for name in sorted(counts)
    ]
