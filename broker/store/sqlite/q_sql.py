"""Answer a query over entities from the index, with the evaluator for what it leaves open.

The conditions of a query become SQL (`q_entities`, `q_leaves`), a plan is chosen (`q_plan`), and
what comes out is read with few steps (`q_fetch`). No plan reads the table, and no query may take
more than `MAX_OPERATIONS` steps of SQLite's.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import islice
from math import inf
from typing import TypeVar

import msgspec

from broker.core.errors import TooComplexQuery
from broker.core.fragments import drop_expired
from broker.core.identifiers import ExpandedEntity, Iri
from broker.core.query import evaluate, geo, ordering
from broker.core.query.distances import haversine, measure_from
from broker.core.query.entity_query import EntityQuery
from broker.core.timestamps import format_timestamp
from broker.store.sqlite import q_fetch
from broker.store.sqlite.index_rows import decode_shape
from broker.store.sqlite.index_terms import Terms
from broker.store.sqlite.q_conditions import Sql, filtered
from broker.store.sqlite.q_entities import translate
from broker.store.sqlite.q_fetch import Reading, Row
from broker.store.sqlite.q_look_ups import Placed, Typed
from broker.store.sqlite.q_order import Order
from broker.store.sqlite.q_plan import FEW, FEW_TO_COUNT, Plan, Planner, distinct

MAX_OPERATIONS = 100_000_000
"""Steps of SQLite's virtual machine that one query may take."""

MAX_EVALUATED = 100_000
"""Entities that one query may have the evaluator look at."""

MAX_MEASURED = 500_000
"""Geometries that one query may have looked at, where nothing else is left to decide."""

_OPERATIONS_PER_CALL = 1_000_000

_FIRST_CIRCLE, _NEXT_CIRCLE, _LAST_CIRCLE = 250.0, 4.0, 20_000_000.0
"""Metres of the radius in which the nearest are sought first, how it grows, and when to give up."""

T = TypeVar("T")

_decode = msgspec.json.Decoder(ExpandedEntity).decode


def page(
    connection: sqlite3.Connection,
    terms: Terms,
    tenant: int,
    query: EntityQuery,
    *,
    limit: int,
    offset: int = 0,
    after: int | None = None,
    now: datetime | None = None,
) -> list[Row]:
    """Return a page of the entities that match.

    Args:
        now: leave out what has expired by then and has not been swept yet.
        after: the row number of the last entity before this page, where the order is that of
            creation: `offset` counts from there, and the page costs no more than the first one.

    Raises:
        TooComplexQuery: the query would cost more than one query may.
    """
    with bounded(connection):
        search = Search(connection, terms, tenant, query, now)
        if query.order:
            return search.in_order(limit, offset)
        return search.in_creation_order(limit, offset, after)


def count(
    connection: sqlite3.Connection,
    terms: Terms,
    tenant: int,
    query: EntityQuery,
    *,
    now: datetime | None = None,
) -> int:
    """Count the entities that match, but not what has expired by `now`.

    Raises:
        TooComplexQuery: see `page`.
    """
    with bounded(connection):
        return Search(connection, terms, tenant, query, now).count()


@contextmanager
def bounded(connection: sqlite3.Connection, operations: int = MAX_OPERATIONS) -> Iterator[None]:
    """Let a query see one state of the store, and stop it when it takes too many steps.

    Raises:
        TooComplexQuery: it did.
    """
    left = operations // _OPERATIONS_PER_CALL

    def spend() -> bool:
        nonlocal left
        left -= 1
        return left < 0

    begins = not connection.in_transaction
    if begins:
        connection.execute("BEGIN")
    connection.set_progress_handler(spend, _OPERATIONS_PER_CALL)
    try:
        yield
    except sqlite3.OperationalError as error:
        if left >= 0:
            raise
        raise TooComplexQuery(
            f"the query takes more than {operations} steps; narrow it by type, id or a"
            " condition on an attribute that fewer entities meet"
        ) from error
    finally:
        connection.set_progress_handler(None, 0)
        if begins:
            connection.rollback()


class Search:
    """One query on one connection."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        terms: Terms,
        tenant: int,
        query: EntityQuery,
        now: datetime | None = None,
    ) -> None:
        self._connection = connection
        self._terms = terms
        self._tenant = tenant
        self._query = query
        self._expiring = now is not None and self._has_expired(now.timestamp())
        self._now = "" if now is None else format_timestamp(now)
        self.translated, self._leaves = translate(connection, terms, tenant, query)
        self.planner = Planner(connection, tenant, self.translated)

        geometry_decides = self.translated.placed is not None
        self._bodies_decide = self._expiring or not self.translated.exact
        self._is_sure = not self._bodies_decide and not geometry_decides

    def _has_expired(self, moment: float) -> bool:
        """Tell whether anything waits to be swept; it seldom does, and then not for long."""
        (found,) = self._connection.execute(
            "SELECT EXISTS (SELECT 1 FROM entity WHERE expires <= ?)", (moment,)
        ).fetchone()
        return bool(found)

    def in_creation_order(
        self, limit: int, offset: int, after: int | None, few: int = FEW
    ) -> list[Row]:
        """Return a page in order of creation; `few` as in `Planner.plan`."""
        plan = self.planner.plan(after, few)
        return self._fetch(plan.select, limit, offset, plan.resume)

    def _fetch(
        self,
        select: Sql,
        limit: int,
        offset: int,
        resume: Callable[[int], Sql] | None = None,
    ) -> list[Row]:
        """Return a page of what a SELECT of `seq` finds and passes a closer look, if needed."""
        if self._is_sure:
            return q_fetch.rows(self._connection, select, limit, offset)
        reading = Reading(select, limit + offset, resume)
        return list(islice(self._passing(reading), offset, offset + limit))

    def in_order(self, limit: int, offset: int, few: int = FEW) -> list[Row]:
        """Return a page in the order asked for; `few` as in `Planner.plan`."""
        order = self._order()
        plan = self.planner.plan(None, few)
        if order.terms is None:
            nearest = self._by_distance(order, plan, offset + limit)
            found = self._sorted_here(plan.select) if nearest is None else nearest
            return found[offset : offset + limit]
        if not order.terms:
            return self._fetch(plan.select, limit, offset, plan.resume)
        walk = None if plan.few else self.ordered_walk()
        return self._fetch(walk or order.sorted(plan.select), limit, offset)

    def _order(self) -> Order:
        return Order(self._terms, self._tenant, self._query, self.translated, self._leaves)

    def ordered_walk(self) -> Sql | None:
        """Return a SELECT through an index in the order asked for, if there is such an index.

        It goes on with the entities that lack the value which comes first in the order.
        """
        order = self._order()
        walks = order.walks(self.planner.walk(None))
        if walks is None:
            return None
        there, absent = walks
        others = [
            condition
            for condition in self.translated.conditions
            if not (condition is self.translated.typed and order.knows_types())
        ]
        first = filtered(there, others)
        if absent is None:
            return first
        return Sql(
            f"SELECT seq FROM ({first.text} LIMIT -1)"
            f" UNION ALL SELECT seq FROM ({absent.text} LIMIT -1)",
            first.params + absent.params,
        )

    def _by_distance(self, order: Order, plan: Plan, needed: int) -> list[Row] | None:
        """Sort by distance alone, what is nearest in growing circles; None if that does not do."""
        placed = order.by_distance()
        if placed is None:
            return None
        metres = inf if plan.few else _FIRST_CIRCLE
        while metres < _LAST_CIRCLE:
            around = order.around(metres)
            source = None if around is None else around.source()
            if source is None:
                break
            if self.planner.estimate(source, needed) == needed:
                select = filtered(distinct(source), self.translated.conditions)
                found = self._measured(select, placed, metres)
                if len(found) >= needed:
                    return found
            metres *= _NEXT_CIRCLE
        found = self._measured(plan.select, placed, inf)
        return found if len(found) >= needed else None

    def _measured(self, select: Sql, placed: Placed, metres: float) -> list[Row]:
        """Return what is within a distance, in its order."""
        term = self._query.order[0]
        if term.distance_from is None:
            return []
        distance = measure_from(geo.draw(term.distance_from), haversine)
        passing = (
            None if self._is_sure else {number for number, _ in self._passing(Reading(select))}
        )
        found = []
        for number, entity_id, shape in self._shapes(placed, Reading(select)):
            geometry = decode_shape(shape)
            away = distance(geo.point_of(geometry) or geo.read(geometry))
            if away <= metres and (passing is None or number in passing):
                found.append((-away if term.descending else away, (number, entity_id)))
        found.sort()
        return [row for _, row in found]

    def _sorted_here(self, select: Sql) -> list[Row]:
        """Sort by what the index does not know."""
        query = self._query
        keys = [ordering.compile_key(term, query.dataset_ids) for term in query.order]
        keyed = [
            (tuple(key(entity) for key in keys), (number, Iri(entity["id"])))
            for number, entity in self._matching(Reading(select))
        ]
        return ordering.sort_keyed(keyed, query.order)

    def count(self) -> int:
        """Count what matches."""
        if not self._is_sure:
            return sum(
                1 for _ in self._passing(Reading(self.planner.plan(None, FEW_TO_COUNT).select))
            )
        conditions = self.translated.conditions
        only = conditions[0].source() if len(conditions) == 1 else None
        if isinstance(conditions[0] if conditions else None, Typed) and only is not None:
            select = only
        else:
            select = self.planner.plan(None, FEW_TO_COUNT).select
        sql = f"SELECT count(*) FROM ({select.text})"
        (number,) = self._connection.execute(sql, select.params).fetchone()
        return int(number)

    def _passing(self, reading: Reading) -> Iterator[Row]:
        """Yield what passes a closer look, in the order of what is read."""
        if self._bodies_decide:
            for number, entity in self._matching(reading):
                yield number, entity["id"]
        elif self._query.geo is not None and self.translated.placed is not None:
            relation = geo.compile_relation(self._query.geo)
            last = 0
            for number, entity_id, shape in self._shapes(self.translated.placed, reading):
                if number != last and relation(decode_shape(shape)):
                    last = number
                    yield number, entity_id

    def _matching(self, reading: Reading) -> Iterator[tuple[int, ExpandedEntity]]:
        """Yield what passes the evaluator, in the order of what is read."""
        matches = evaluate.compile(self._query, linked=self._linked())
        found = q_fetch.bodies(self._connection, self._tenant, reading)
        for number, body in _at_most(MAX_EVALUATED, found):
            entity = self._alive(_decode(body))
            if entity is not None and matches(entity):
                yield number, entity

    def _shapes(self, placed: Placed, reading: Reading) -> Iterator[tuple[int, Iri, bytes]]:
        return _at_most(MAX_MEASURED, q_fetch.shapes(self._connection, placed, reading))

    def _alive(self, entity: ExpandedEntity) -> ExpandedEntity | None:
        return drop_expired(entity, self._now) if self._expiring else entity

    def _linked(self) -> Callable[[Iri], ExpandedEntity | None]:
        known: dict[Iri, ExpandedEntity | None] = {}

        def find(entity_id: Iri) -> ExpandedEntity | None:
            if entity_id not in known:
                row = self._connection.execute(
                    "SELECT body FROM entity WHERE tenant = ? AND id = ?",
                    (self._tenant, entity_id),
                ).fetchone()
                known[entity_id] = None if row is None else self._alive(_decode(row[0]))
            return known[entity_id]

        return find


def _at_most(limit: int, items: Iterator[T]) -> Iterator[T]:
    for count, item in enumerate(items):
        if count == limit:
            raise TooComplexQuery(
                f"more than {limit} entities would have to be looked at one by one; narrow the"
                " query by type, id or a condition on an attribute that fewer entities meet"
            )
        yield item
