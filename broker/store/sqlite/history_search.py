"""Find the entities whose history in a window matches a query (clause 5.7.4.4).

Deviates: the clause can be read as leaving out the instances that do not meet `q` or the geoquery.
As the official tests have it, an entity that matches comes with all its instances in the window.

Entities come from the indexes of the types that they have or had, or by their ids, in order of
creation. Whether one has
instances in the window, and whether one of them can meet a simple condition on a number or a text,
SQLite tells by looking at the place; what is left is decided by the evaluator, on an entity that
has every instance of the window as an alternative.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from heapq import merge
from typing import Any, Final

from broker.core.errors import TooComplexQuery
from broker.core.identifiers import ExpandedEntity, Iri
from broker.core.query import evaluate
from broker.core.query.entity_query import EntityQuery, EntitySelector
from broker.core.query.nodes import Absent, AllOf, AnyOf, Compares, Exists, QNode
from broker.core.query.nodes import Kind as LiteralKind
from broker.store.sqlite import history_types
from broker.store.sqlite.history import COLUMNS, SCOPE, read_instance, series_range
from broker.store.sqlite.history_names import Names, Past
from broker.store.sqlite.history_window import Window, series_of_entity
from broker.store.sqlite.index_terms import Terms
from broker.store.temporal import TemporalSelection

MOST_EXAMINED: Final = 1_000_000
"""Instances that one query may have the evaluator look at."""

_AT_ONCE = 256
_LIVING = (
    "SELECT t.seq, e.id, e.created, e.modified, NULL FROM typed t JOIN entity e ON e.seq = t.seq"
    " WHERE t.tenant = ? AND t.type_set = ? AND t.seq > ? ORDER BY t.seq LIMIT ?"
)
_PASSED = (
    "SELECT seq, id, created, NULL, deleted FROM evolution"
    " WHERE tenant = ? AND type_set = ? AND seq > ? ORDER BY seq LIMIT ?"
)

Decode = Callable[[Any], dict[str, Any]]


class Candidates:
    """The entities of a tenant, present and past, that a query selects by type and id."""

    def __init__(
        self, connection: sqlite3.Connection, terms: Terms, tenant: int, query: EntityQuery
    ) -> None:
        self._connection = connection
        self._terms = terms
        self.names = Names(connection, terms)
        self._tenant = tenant
        self._query = query

    def __iter__(self) -> Iterator[Past]:
        selectors = self._query.selectors
        if selectors and all(selector.ids for selector in selectors):
            found = self._by_id(selectors)
        else:
            found = self._by_type(selectors)
        selected = evaluate.compile(EntityQuery(selectors=selectors))
        found = (
            past
            for past in found
            if selected(_of_types(past, past.types))
            or selected(_of_types(past, self.names.all_types(past)))
        )
        order = self._query.order
        if order and order[0].path.names == ("id",):
            return iter(sorted(found, key=lambda past: past.id, reverse=order[0].descending))
        return found

    def _by_id(self, selectors: Iterable[EntitySelector]) -> Iterator[Past]:
        ids = dict.fromkeys(entity_id for selector in selectors for entity_id in selector.ids)
        found = [self.names.find(self._tenant, entity_id) for entity_id in ids]
        return iter(sorted((past for past in found if past is not None), key=_seq))

    def _by_type(self, selectors: Iterable[EntitySelector]) -> Iterator[Past]:
        nodes = [selector.types for selector in selectors]
        if not nodes or None in nodes:
            rows = self._connection.execute("SELECT id FROM type_set")
            numbers, once = sorted(number for (number,) in rows), []
        else:
            numbers = sorted(
                {
                    number
                    for node in nodes
                    if node is not None
                    for number in self._terms.selected(node)
                }
            )
            once = [self._once(number) for number in numbers]
        ways = [self._of(sql, number) for number in numbers for sql in (_LIVING, _PASSED)]
        return _each_once(merge(*ways, *once, key=_seq))

    def _once(self, type_set: int) -> Iterator[Past]:
        """Yield what had these types, and may have others now."""
        after = 0
        while True:
            rows = self._connection.execute(
                history_types.FOUND, (self._tenant, type_set, after, _AT_ONCE)
            ).fetchall()
            for _, entity_id in rows:
                past = None if entity_id is None else self.names.find(self._tenant, Iri(entity_id))
                if past is not None:
                    yield past
            if len(rows) < _AT_ONCE:
                return
            after = rows[-1][0]

    def _of(self, sql: str, type_set: int) -> Iterator[Past]:
        after, types = 0, self.names.types(type_set)
        while True:
            rows = self._connection.execute(
                sql, (self._tenant, type_set, after, _AT_ONCE)
            ).fetchall()
            for seq, entity_id, *times in rows:
                yield Past(seq, Iri(entity_id), types, *times)
            if len(rows) < _AT_ONCE:
                return
            after = rows[-1][0]


def _seq(past: Past) -> int:
    return past.seq


def _of_types(past: Past, types: tuple[Iri, ...]) -> ExpandedEntity:
    return ExpandedEntity({"id": past.id, "type": types, "attributes": {}})


def _each_once(found: Iterable[Past]) -> Iterator[Past]:
    """Leave out what comes again, which is next to itself."""
    last = None
    for past in found:
        if past.seq != last:
            last = past.seq
            yield past


class Search:
    """A query on one connection."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        terms: Terms,
        tenant: int,
        query: EntityQuery,
        selection: TemporalSelection,
    ) -> None:
        self._connection = connection
        self._candidates = Candidates(connection, terms, tenant, query)
        self.names = self._candidates.names
        self._query = query
        self._window = Window(selection.window)
        self._datasets = selection.dataset_ids
        looked_at = set() if query.q is None else attributes_of(query.q)
        if query.geo is not None:
            looked_at.add(query.geo.geoproperty)
        self._looked_at = frozenset(looked_at)
        self._matches = evaluate.compile(EntityQuery(q=query.q, geo=query.geo))
        self._in_scope = evaluate.compile(EntityQuery(scope=query.scope))
        self._needed = list(_needed(query.q))
        self._examined = 0

    def __iter__(self) -> Iterator[Past]:
        """Yield what matches; of that all instances in the window are meant."""
        for past in self._candidates:
            series = self.names.attributes(series_of_entity(self._connection, past.seq))
            if not self._is_there(past.seq, series):
                continue
            if self._query.scope is not None and not self._was_in_scope(past.seq):
                continue
            if not self._looked_at or (
                self._could(past.seq, series) and self._is_meant(past, series)
            ):
                yield past

    def _is_there(self, seq: int, series: list[tuple[int, Iri, str]]) -> bool:
        """Tell whether an entity has something in the window of what is asked for."""
        attrs, datasets = self._query.attrs, self._datasets
        return any(
            self._window.has(self._connection, seq, number)
            for number, attribute, dataset in series
            if (not attrs or attribute in attrs) and (datasets is None or dataset in datasets)
        )

    def _could(self, seq: int, series: list[tuple[int, Iri, str]]) -> bool:
        """Tell whether every condition that must hold can, by what SQLite knows of the values."""
        for name, condition, values in self._needed:
            if not any(
                self._window.has(self._connection, seq, number, condition, values)
                for number, attribute, _ in series
                if attribute == name
            ):
                return False
        return True

    def _is_meant(self, past: Past, series: list[tuple[int, Iri, str]]) -> bool:
        """Tell whether an entity matches, with all instances in the window as alternatives."""
        attributes: dict[Iri, dict[str, Any]] = {}
        for number, attribute, dataset in series:
            datasets = self._query.dataset_ids
            if attribute not in self._looked_at or (datasets and dataset not in datasets):
                continue
            found = attributes.setdefault(attribute, {})
            for row in self._window.rows(
                self._connection, past.seq, number, most=MOST_EXAMINED + 1
            ):
                found[f"{dataset} {len(found)}"] = read_instance(past.seq, number, row[1:])
                self._spend()
        entity = {"id": past.id, "type": past.types, "attributes": attributes}
        return self._matches(ExpandedEntity(entity))

    def _spend(self) -> None:
        self._examined += 1
        if self._examined > MOST_EXAMINED:
            raise TooComplexQuery(
                f"more than {MOST_EXAMINED} instances would have to be looked at one by one;"
                " narrow the query by type, id or time"
            )

    def _was_in_scope(self, seq: int) -> bool:
        """Tell whether a scope fits that the entity had at some time in the window (C.5.16)."""
        series = self.names.own_series(SCOPE)
        if series is None:
            return False
        start, end = self._window.start, self._window.end
        rows = self._connection.execute(
            f"SELECT {COLUMNS} FROM history WHERE entity = ?1 AND series = ?2 AND at < ?4 AND at >="
            " ifnull((SELECT max(at) FROM history"
            " WHERE entity = ?1 AND series = ?2 AND at <= ?3), ?3)",
            (seq, series, start, end),
        )
        for row in rows:
            value = read_instance(seq, series, row)["value"]
            scoped = {"id": "", "type": [], "scope": value, "attributes": {}}
            if isinstance(value, list) and self._in_scope(ExpandedEntity(scoped)):
                return True
        return False


def attributes_of(node: QNode) -> set[Iri]:
    """Return the attributes that a query looks at."""
    if isinstance(node, AllOf | AnyOf):
        return {name for operand in node.operands for name in attributes_of(operand)}
    return {Iri(node.path.names[0])}


def _needed(node: QNode | None) -> Iterator[tuple[Iri, str, tuple[Any, ...]]]:
    """Yield attributes that have to be there, and a condition that has to hold for one value."""
    if isinstance(node, AllOf):
        for operand in node.operands:
            yield from _needed(operand)
    elif node is not None and not isinstance(node, AnyOf | Absent):
        name = Iri(node.path.names[0])
        plain = len(node.path.names) == 1 and not node.path.trailing and node.path.link is None
        if plain and isinstance(node, Compares) and node.literal.kind is LiteralKind.NUMBER:
            condition = (
                f" AND (typeof(value) NOT IN ('integer', 'real') OR value {node.operator} ?)"
            )
            yield name, condition, (node.literal.value,)
        elif isinstance(node, Exists) or plain:
            yield name, "", ()


__all__ = ["Candidates", "Search", "attributes_of", "series_range"]
