"""Names of what the history has numbers for, and the entities that it is of."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import msgspec

from broker.core.identifiers import DEFAULT_INSTANCE, Iri
from broker.store.sqlite.history import BITS, SCOPE, TYPE, numbers_of
from broker.store.sqlite.index_terms import Terms


@dataclass(frozen=True, slots=True)
class Past:
    """An entity that has a history.

    Attributes:
        seq: its number, in order of creation.
        modified: None for what is history only.
        deleted: None for what is there, or never was.
    """

    seq: int
    id: Iri
    types: tuple[Iri, ...]
    created: str
    modified: str | None = None
    deleted: str | None = None


class _Typed(msgspec.Struct):
    type: list[str]


decode_types = msgspec.json.Decoder(_Typed).decode

_ENTITY = "SELECT seq, body, created, modified FROM entity WHERE tenant = ? AND id = ?"
_TYPES = "SELECT value FROM history WHERE entity = ? AND series = ? AND value IS NOT NULL"
_MOST_TYPES: Final = 1000
_EVOLUTION = "SELECT seq, type_set, created, deleted FROM evolution WHERE tenant = ? AND id = ?"


class Names:
    """The terms as one reader sees them: what was committed a moment ago may not be in memory."""

    def __init__(self, connection: sqlite3.Connection, terms: Terms) -> None:
        self._connection = connection
        self._terms = terms
        self._series: dict[int, tuple[Iri, str]] = {}

    def iri(self, number: int) -> Iri:
        """Return the IRI of a number."""
        try:
            return Iri(self._terms.iri(number))
        except KeyError:
            row = self._connection.execute("SELECT iri FROM term WHERE id = ?", (number,))
            return Iri(row.fetchone()[0])

    def types(self, type_set: int) -> tuple[Iri, ...]:
        """Return the types of a set."""
        try:
            return tuple(map(Iri, sorted(self._terms.types_of(type_set))))
        except KeyError:
            row = self._connection.execute("SELECT types FROM type_set WHERE id = ?", (type_set,))
            return tuple(self.iri(int(term)) for term in row.fetchone()[0].split())

    def number(self, iri: str) -> int | None:
        """Return the number of an IRI, None if it has none."""
        return self._terms.find(iri)

    def series(self, number: int) -> tuple[Iri, str]:
        """Return the attribute and the datasetId of a series."""
        found = self._series.get(number)
        if found is None:
            attribute, dataset = numbers_of(number)
            name = self.iri(dataset) if dataset else DEFAULT_INSTANCE
            found = self._series[number] = self.iri(attribute), name
        return found

    def attributes(self, series: Iterable[int]) -> list[tuple[int, Iri, str]]:
        """Return those series that are attributes, with attribute and datasetId."""
        passed_over = (self.number(TYPE), self.number(SCOPE))
        return [
            (number, *self.series(number))
            for number in series
            if numbers_of(number)[0] not in passed_over
        ]

    def own_series(self, name: str) -> int | None:
        """Return the series of types or scopes; None if no entity has one."""
        number = self.number(name)
        return None if number is None else number << BITS

    def all_types(self, past: Past) -> tuple[Iri, ...]:
        """Return the types that an entity has, and those that it had or its evolution was given."""
        own = self.own_series(TYPE)
        if own is None:
            return past.types
        rows = self._connection.execute(_TYPES, (past.seq, own)).fetchmany(_MOST_TYPES)
        found = (name for (type_set,) in rows for name in self.types(type_set))
        return tuple(dict.fromkeys((*past.types, *found)))

    def find(self, tenant: int, entity_id: Iri) -> Past | None:
        """Return an entity that is there, or was."""
        row = self._connection.execute(_ENTITY, (tenant, entity_id)).fetchone()
        if row is not None:
            seq, body, created, modified = row
            types = tuple(map(Iri, decode_types(body).type))
            return Past(seq, entity_id, types, created, modified)
        row = self._connection.execute(_EVOLUTION, (tenant, entity_id)).fetchone()
        if row is None:
            return None
        seq, type_set, created, deleted = row
        return Past(seq, entity_id, self.types(type_set), created, deleted=deleted)
