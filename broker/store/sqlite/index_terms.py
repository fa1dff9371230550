"""Small numbers for IRIs and for the sets of types that entities have.

The writer adds to them inside its transaction; everyone else sees what has been committed. There
are few of either, so all of them are kept in memory.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence

from broker.core.query.evaluate import has_types
from broker.core.query.nodes import TypeNode

DDL = """
CREATE TABLE term (
    id INTEGER PRIMARY KEY,
    iri TEXT NOT NULL UNIQUE
);

-- A set of types: the ids of their terms in ascending order.
CREATE TABLE type_set (
    id INTEGER PRIMARY KEY,
    types TEXT NOT NULL UNIQUE
);
"""

_MAX_SELECTIONS = 256


class Terms:
    """The terms and type sets of a store.

    `load` and the methods with a cursor are the writer's, which tells with `committed` and
    `rolled_back` what has become of its transaction.
    """

    def __init__(self) -> None:
        self._ids: dict[str, int] = {}
        self._iris: dict[int, str] = {}
        self._sets: dict[tuple[str, ...], int] = {}
        self._types: dict[int, frozenset[str]] = {}
        self._new_ids: dict[str, int] = {}
        self._new_sets: dict[tuple[str, ...], int] = {}
        self._selections: dict[TypeNode, tuple[int, ...]] = {}

    def load(self, connection: sqlite3.Connection) -> None:
        """Read what has been committed so far."""
        self._ids = {iri: number for number, iri in connection.execute("SELECT id, iri FROM term")}
        self._iris = {number: iri for iri, number in self._ids.items()}
        self._sets, self._types = {}, {}
        self._publish_sets(
            {
                tuple(sorted(self._iris[int(term)] for term in types.split())): number
                for number, types in connection.execute("SELECT id, types FROM type_set")
            }
        )

    def intern(self, cursor: sqlite3.Cursor, iri: str) -> int:
        """Return the number of an IRI, giving it one if it has none."""
        number = self._ids.get(iri)
        if number is None:
            number = self._new_ids.get(iri)
        if number is None:
            number = self._new_ids[iri] = _number(
                cursor,
                "SELECT id FROM term WHERE iri = ?",
                "INSERT INTO term (iri) VALUES (?)",
                iri,
            )
        return number

    def type_set(self, cursor: sqlite3.Cursor, types: Sequence[str]) -> int:
        """Return the number of a set of types, giving it one if it has none."""
        key = (types[0],) if len(types) == 1 else tuple(sorted(types))
        number = self._sets.get(key)
        if number is None:
            number = self._new_sets.get(key)
        if number is None:
            terms = sorted(self.intern(cursor, iri) for iri in key)
            number = self._new_sets[key] = _number(
                cursor,
                "SELECT id FROM type_set WHERE types = ?",
                "INSERT INTO type_set (types) VALUES (?)",
                " ".join(map(str, terms)),
            )
        return number

    def find(self, iri: str) -> int | None:
        """Return the number of an IRI; None if nothing in the store has that name."""
        return self._ids.get(iri)

    def iri(self, number: int) -> str:
        """Return the IRI of a number."""
        return self._iris[number]

    def types_of(self, type_set: int) -> frozenset[str]:
        """Return the types of a set."""
        return self._types[type_set]

    def selected(self, node: TypeNode) -> tuple[int, ...]:
        """Return the type sets that a type selection means."""
        selections = self._selections  # before the types: what they are older than is dropped
        found = selections.get(node)
        if found is None:
            known = self._types
            found = tuple(number for number, types in known.items() if has_types(node, types))
            if len(selections) < _MAX_SELECTIONS:
                selections[node] = found
        return found

    def committed(self) -> None:
        """Show everyone what the transaction added."""
        if self._new_ids:
            self._ids.update(self._new_ids)
            self._iris.update((number, iri) for iri, number in self._new_ids.items())
            self._new_ids = {}
        if self._new_sets:
            self._publish_sets(self._new_sets)
            self._new_sets = {}

    def rolled_back(self) -> None:
        """Forget what the transaction would have added."""
        self._new_ids = {}
        self._new_sets = {}

    def _publish_sets(self, added: Mapping[tuple[str, ...], int]) -> None:
        self._sets.update(added)
        # A new dict rather than a changed one: readers may be going through the old one.
        self._types = {
            **self._types,
            **{number: frozenset(types) for types, number in added.items()},
        }
        self._selections = {}


def _number(cursor: sqlite3.Cursor, select: str, insert: str, text: str) -> int:
    row = cursor.execute(select, (text,)).fetchone()
    if row is not None:
        return int(row[0])
    cursor.execute(insert, (text,))
    return int(cursor.lastrowid or 0)
