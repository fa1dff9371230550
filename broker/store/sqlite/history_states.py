"""What entities were at a moment, by their history.

Of each series that is the row with the latest time not after the moment; a deletion is none. An
attribute's `createdAt` is that of the first instance after it was last deleted.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any, Final

from broker.core import moments
from broker.core.errors import TooComplexQuery
from broker.core.identifiers import ExpandedEntity, Iri
from broker.core.query import evaluate
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

        They are sought by the types they have now: one that lost the type since is not found.

        Raises:
            TooComplexQuery: more entities would have to be looked at than one query may.
        """
        looked_at = query.attrs | (frozenset() if query.q is None else attributes_of(query.q))
        if query.geo is not None:
            looked_at |= {query.geo.geoproperty}
        matches = evaluate.compile(query, linked=self.of)
        candidates = Candidates(self._connection, self._terms, self._tenant, query)
        for count, past in enumerate(candidates):
            if count == MOST_STATES:
                raise TooComplexQuery(
                    f"more than {MOST_STATES} entities would have to be looked at one by one;"
                    " narrow the query by type or id"
                )
            if query.by_membership or self._could(past, looked_at, matches):
                state = self._state(past, None)
                if state is not None and matches(state):
                    yield state

    def _could(self, past: Past, looked_at: Any, matches: Any) -> bool:
        """Tell by the attributes that the query looks at whether the whole entity can match."""
        state = self._state(past, looked_at)
        return state is not None and bool(matches(state))

    def _state(self, past: Past, only: frozenset[Iri] | None) -> ExpandedEntity | None:
        if past.deleted is not None and moments.instant(past.deleted) <= self._at:
            return None
        series = series_of_entity(self._connection, past.seq)
        types = self._types(past, series)
        if types is None:
            return None
        attributes: dict[Iri, dict[str, Any]] = {}
        for number, attribute, dataset in self._names.attributes(series):
            if only is None or attribute in only:
                instance = self._instance(past.seq, number)
                if instance is not None:
                    attributes.setdefault(attribute, {})[dataset] = instance
        created = moments.instant(past.created)
        if (
            created > self._at
            and not attributes
            and (only is None or not self._had_any(past, series))
        ):
            return None
        return self._entity(past, types, series, attributes)

    def _had_any(self, past: Past, series: list[int]) -> bool:
        return any(
            self._instance(past.seq, number) is not None
            for number, _, _ in self._names.attributes(series)
        )

    def _entity(
        self,
        past: Past,
        types: tuple[Iri, ...],
        series: list[int],
        attributes: dict[Iri, dict[str, Any]],
    ) -> ExpandedEntity:
        born = [one["createdAt"] for instances in attributes.values() for one in instances.values()]
        written = [
            one["modifiedAt"] for instances in attributes.values() for one in instances.values()
        ]
        created = past.created
        if moments.instant(created) > self._at:
            created = min(born, default=created)
        entity: dict[str, Any] = {
            "id": past.id,
            "type": list(types),
            "createdAt": created,
            "modifiedAt": max([created, *written]),
            "attributes": attributes,
        }
        scopes = self._names.own_series(SCOPE)
        row = self._last(past.seq, scopes) if scopes in series and scopes is not None else None
        if row is not None and not row[2] & DELETED:
            entity["scope"] = read_instance(past.seq, scopes or 0, row)["value"]
        return ExpandedEntity(entity)

    def _last(self, entity: int, series: int) -> Any:
        return self._connection.execute(LAST, (entity, series, self._at)).fetchone()

    def _instance(self, entity: int, series: int) -> dict[str, Any] | None:
        row = self._last(entity, series)
        if row is None or row[2] & DELETED:
            return None
        instance = read_instance(entity, series, row)
        del instance["instanceId"]
        (born,) = self._connection.execute(_BORN, (entity, series, self._at)).fetchone()
        instance["createdAt"] = moments.join(born)
        return instance

    def _types(self, past: Past, series: list[int]) -> tuple[Iri, ...] | None:
        """Return the types that an entity had; None if it was deleted then."""
        own = self._names.own_series(TYPE)
        if own is None or own not in series:
            return past.types
        row = self._last(past.seq, own)
        if row is None:
            row = self._connection.execute(
                f"SELECT {COLUMNS} FROM history WHERE entity = ? AND series = ?"
                " AND value IS NOT NULL ORDER BY at, n LIMIT 1",
                (past.seq, own),
            ).fetchone()
        if row is None:
            return past.types
        return None if row[2] & DELETED else self._names.types(row[5])
