"""What entities were at a moment, by their history.

Of each series that is the row with the latest time not after the moment; a deletion is none. An
attribute's `createdAt` is that of the first instance after it was last deleted.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from broker.core import moments
from broker.core.errors import TooComplexQuery
from broker.core.identifiers import ExpandedEntity, Iri
from broker.core.query import evaluate, ordering
from broker.core.query.entity_query import EntityQuery
from broker.store.sqlite.history import COLUMNS, DELETED, SCOPE, TYPE, read_instance
from broker.store.sqlite.history_names import Names, Past
from broker.store.sqlite.history_search import Candidates, attributes_of
from broker.store.sqlite.history_window import series_of_entity
from broker.store.sqlite.index_terms import Terms

MOST_STATES: Final = 100_000
"""Entities whose state one query may have to make out."""

LAST = (
    f"SELECT {COLUMNS} FROM history WHERE entity = ? AND series = ? AND at <= ?"
    " ORDER BY at DESC, n DESC LIMIT 1"
)
_BORN = (
    "SELECT at + recorded FROM history WHERE entity = ?1 AND series = ?2 AND at >= ifnull("
    "(SELECT max(at) FROM history WHERE entity = ?1 AND series = ?2 AND at <= ?3 AND form & 64), 0)"
    " AND NOT form & 64 ORDER BY at, n LIMIT 1"
)


class States:
    """The entities of a tenant as they were at a moment, on one connection."""

    def __init__(self, connection: sqlite3.Connection, terms: Terms, tenant: int, at: int) -> None:
        self._connection = connection
        self._terms = terms
        self._names = Names(connection, terms)
        self._tenant = tenant
        self._at = at

    def of(self, entity_id: Iri) -> ExpandedEntity | None:
        """Return an entity; None if it was not there."""
        past = self._names.find(self._tenant, entity_id)
        return None if past is None else self._state(past, None)

    def matching(self, query: EntityQuery) -> Iterator[ExpandedEntity]:
        """Yield the entities that matched, in order of creation.

        Raises:
            TooComplexQuery: more entities would have to be looked at than one query may.
        """
        found = self._found(query)
        if not query.order:
            return found
        keys = [ordering.compile_key(term, query.dataset_ids) for term in query.order]
        keyed = [(tuple(key(entity) for key in keys), entity) for entity in found]
        return iter(ordering.sort_keyed(keyed, query.order))

    def _found(self, query: EntityQuery) -> Iterator[ExpandedEntity]:
        looked_at = query.attrs | (frozenset() if query.q is None else attributes_of(query.q))
        if query.geo is not None:
            looked_at |= {query.geo.geoproperty}
        # Members of the entity itself, such as modifiedAt, depend on all of its attributes.
        in_part = not query.by_membership and all(":" in name for name in looked_at)
        matches = evaluate.compile(query, linked=self.of)
        unordered = replace(query, order=())
        candidates = Candidates(self._connection, self._terms, self._tenant, unordered)
        for count, past in enumerate(candidates):
            if count == MOST_STATES:
                raise TooComplexQuery(
                    f"more than {MOST_STATES} entities would have to be looked at one by one;"
                    " narrow the query by type or id"
                )
            if in_part:
                part = self._state(past, looked_at)
                if part is None or not matches(part):
                    continue
            state = self._state(past, None)
            if state is not None and matches(state):
                yield state

    def _state(self, past: Past, only: frozenset[Iri] | None) -> ExpandedEntity | None:
        """Return an entity, with some of its attributes or all; None if it was not there."""
        if past.deleted is not None and moments.instant(past.deleted) <= self._at:
            return None
        series = series_of_entity(self._connection, past.seq)
        types, is_known = self._types(past, series)
        if types is None:
            return None
        times: list[int] = []
        attributes: dict[Iri, dict[str, Any]] = {}
        for number, attribute, dataset in self._names.attributes(series):
            if only is None or attribute in only:
                instance = self._instance(past.seq, number, times)
                if instance is not None:
                    attributes.setdefault(attribute, {})[dataset] = instance
        was_there = is_known or moments.instant(past.created) <= self._at
        if not was_there and only is None and not attributes:
            return None
        return self._entity(past, types, series, attributes, times)

    def _entity(
        self,
        past: Past,
        types: tuple[Iri, ...],
        series: list[int],
        attributes: dict[Iri, dict[str, Any]],
        times: list[int],
    ) -> ExpandedEntity:
        created = moments.instant(past.created)
        if created > self._at:
            born = [
                moments.instant(one["createdAt"])
                for instances in attributes.values()
                for one in instances.values()
            ]
            created = min(born, default=created)
        entity: dict[str, Any] = {
            "id": past.id,
            "type": list(types),
            "createdAt": moments.join(created),
            "attributes": attributes,
        }
        scopes = self._names.own_series(SCOPE)
        if scopes is not None and scopes in series:
            instance = self._instance(past.seq, scopes, times)
            if instance is not None:
                entity["scope"] = instance["value"]
        entity["modifiedAt"] = moments.join(max([created, *times]))
        return ExpandedEntity(entity)

    def _last(self, entity: int, series: int) -> Any:
        return self._connection.execute(LAST, (entity, series, self._at)).fetchone()

    def _instance(self, entity: int, series: int, times: list[int]) -> dict[str, Any] | None:
        """Return the instance of a series; when it was written, or deleted, is added to `times`."""
        row = self._last(entity, series)
        if row is None:
            return None
        at, _, form, recorded, modified, *_ = row
        times.append(at + recorded if modified is None else modified)
        if form & DELETED:
            return None
        instance = read_instance(entity, series, row)
        del instance["instanceId"]
        (born,) = self._connection.execute(_BORN, (entity, series, self._at)).fetchone()
        instance["createdAt"] = moments.join(born)
        return instance

    def _types(self, past: Past, series: list[int]) -> tuple[tuple[Iri, ...] | None, bool]:
        """Return the types that an entity had, None if it was deleted then, and if they are known.

        They are known of entities that were deleted or had other types once.
        """
        own = self._names.own_series(TYPE)
        if own is None or own not in series:
            return past.types, False
        row = self._last(past.seq, own)
        if row is not None:
            return (None if row[2] & DELETED else self._names.types(row[5])), True
        row = self._connection.execute(
            f"SELECT {COLUMNS} FROM history WHERE entity = ? AND series = ?"
            " AND value IS NOT NULL ORDER BY at, n LIMIT 1",
            (past.seq, own),
        ).fetchone()
        return (past.types if row is None else self._names.types(row[5])), False
