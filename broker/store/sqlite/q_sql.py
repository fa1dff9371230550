"""Answer a query over entities from the index, with the evaluator for what it leaves open.

The conditions of a query become SQL (`q_leaves`, `q_conditions`). Which of them leads is decided by
counting how much each would find, up to a limit:

- one that finds little: take all of that, keep what passes the other conditions, sort, cut;
- all find much: walk through the entities in the order asked for and stop when the page is full.

Neither reads the table, and no statement may take more than `MAX_OPERATIONS` steps of SQLite's.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

import msgspec

from broker.core.errors import TooComplexQuery
from broker.core.fragments import drop_expired
from broker.core.identifiers import ExpandedEntity, Iri
from broker.core.query import evaluate, ordering
from broker.core.query.entity_query import EntityQuery
from broker.core.timestamps import format_timestamp
from broker.store.sqlite.index_terms import Terms
from broker.store.sqlite.q_conditions import Condition, Sql, filtered
from broker.store.sqlite.q_entities import translate
from broker.store.sqlite.q_look_ups import Typed
from broker.store.sqlite.q_order import Order

FEW = 2000
"""What a condition may find to be read whole for a page; more is walked through."""

FEW_TO_COUNT = 50_000
"""The same for a count, which has no page to stop at."""

MAX_OPERATIONS = 100_000_000
"""Steps of SQLite's virtual machine that one query may take."""

MAX_EVALUATED = 100_000
"""Entities that one query may have the evaluator look at."""

_OPERATIONS_PER_CALL = 1_000_000

_FIRST_CIRCLE, _NEXT_CIRCLE, _LAST_CIRCLE = 250.0, 4.0, 20_000_000.0
"""Metres of the radius in which the nearest are sought first, how it grows, and when to give up."""

Row = tuple[int, Iri]
"""An entity's row number and id."""

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
        return search.fetch(search.plan(after).select, limit, offset)


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


@dataclass(frozen=True, slots=True)
class Plan:
    """What a query is answered with: a SELECT of `seq` in order of creation.

    Attributes:
        few: it finds little, all of which is read and sorted before the first comes out.
    """

    select: Sql
    few: bool


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

    def _has_expired(self, moment: float) -> bool:
        """Tell whether anything waits to be swept; it seldom does, and then not for long."""
        (found,) = self._connection.execute(
            "SELECT EXISTS (SELECT 1 FROM entity WHERE expires <= ?)", (moment,)
        ).fetchone()
        return bool(found)

    @property
    def is_sure(self) -> bool:
        """Whether what the conditions let pass needs no second look."""
        return self.translated.exact and not self._expiring

    def fetch(self, select: Sql, limit: int, offset: int) -> list[Row]:
        """Return a page of what a SELECT of `seq` finds and the evaluator, if needed, lets pass."""
        if not self.is_sure:
            passing = ((seq, entity["id"]) for seq, entity in self._matching(select))
            return list(islice(passing, offset, offset + limit))
        sql = (
            f"SELECT e.seq, e.id FROM ({select.text} LIMIT ? OFFSET ?) AS c"
            " CROSS JOIN entity AS e ON e.seq = c.seq"
        )
        return list(self._connection.execute(sql, (*select.params, limit, offset)))

    def in_order(self, limit: int, offset: int, few: int | None = None) -> list[Row]:
        """Return a page in the order asked for; `few` as in `plan`."""
        order = self._order()
        plan = self.plan(None, few)
        if order.terms is None:
            return self._sorted_here(plan.select, limit, offset)
        if not order.terms:
            return self.fetch(plan.select, limit, offset)
        if plan.few:
            return self.fetch(order.sorted(plan.select), limit, offset)
        walk = self.ordered_walk()
        if walk is not None:
            return self.fetch(walk, limit, offset)
        nearest = self._nearest(order, limit, offset)
        return self.fetch(order.sorted(plan.select), limit, offset) if nearest is None else nearest

    def _order(self) -> Order:
        return Order(self._terms, self._tenant, self._query, self.translated, self._leaves)

    def ordered_walk(self) -> Sql | None:
        """Return a SELECT through an index in the order asked for, if there is such an index.

        It goes on with the entities that lack the value which comes first in the order.
        """
        order = self._order()
        walks = order.walks(self._walk(None))
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

    def _nearest(self, order: Order, limit: int, offset: int) -> list[Row] | None:
        """Look for the nearest in growing circles; None if they come to the whole globe."""
        metres = _FIRST_CIRCLE
        while metres < _LAST_CIRCLE:
            around = order.around(metres)
            if around is None:
                return None
            boxes, within = around
            source = boxes.source()
            metres *= _NEXT_CIRCLE
            if source is None or self.estimate(source, offset + limit) < offset + limit:
                continue
            ordered = Sql(
                f"SELECT DISTINCT s.seq AS seq FROM ({source.text}) AS s ORDER BY s.seq",
                source.params,
            )
            select = filtered(ordered, [within, *self.translated.conditions])
            found = self.fetch(order.sorted(select), offset + limit, 0)
            if len(found) == offset + limit:
                return found[offset:]
        return None

    def _sorted_here(self, select: Sql, limit: int, offset: int) -> list[Row]:
        """Sort by what the index does not know."""
        query = self._query
        keys = [ordering.compile_key(term, query.dataset_ids) for term in query.order]
        keyed = [
            (tuple(key(entity) for key in keys), (seq, entity["id"]))
            for seq, entity in self._matching(select)
        ]
        return ordering.sort_keyed(keyed, query.order)[offset : offset + limit]

    def count(self) -> int:
        """Count what matches."""
        if not self.is_sure:
            return sum(1 for _ in self._matching(self.plan(None, FEW_TO_COUNT).select))
        conditions = self.translated.conditions
        only = conditions[0].source() if len(conditions) == 1 else None
        if isinstance(conditions[0] if conditions else None, Typed) and only is not None:
            select = only
        else:
            select = self.plan(None, FEW_TO_COUNT).select
        sql = f"SELECT count(*) FROM ({select.text})"
        (number,) = self._connection.execute(sql, select.params).fetchone()
        return int(number)

    def plan(self, after: int | None, few: int | None = None) -> Plan:
        """Choose the condition that leads.

        Args:
            few: what the leading condition may find to be read whole; `FEW` unless told.
        """
        few = FEW if few is None else few
        leader, found = self._smallest(few)
        source = None if leader is None or found >= few else leader.source()
        if leader is None or source is None:
            return Plan(self._walk(after), few=False)
        start = "" if after is None else " WHERE s.seq > ?"
        ordered = Sql(
            f"SELECT DISTINCT s.seq AS seq FROM ({source.text}) AS s{start} ORDER BY s.seq",
            source.params if after is None else (*source.params, after),
        )
        return Plan(filtered(ordered, self._others(leader)), few=True)

    def _walk(self, after: int | None) -> Sql:
        """Go through the entities in order of creation, by the index that leaves out most."""
        for leader in self.translated.conditions:
            found = leader.walk(after)
            if found is not None:
                return filtered(found, self._others(leader))
        start = "" if after is None else " AND seq > ?"
        all_of_them = Sql(
            f"SELECT seq FROM entity INDEXED BY entity_order WHERE tenant = ?{start} ORDER BY seq",
            (self._tenant,) if after is None else (self._tenant, after),
        )
        return filtered(all_of_them, self.translated.conditions)

    def _others(self, leader: Condition) -> list[Condition]:
        """Return what is to be checked on what a leading condition finds."""
        return [
            condition
            for condition in self.translated.conditions
            if condition is not leader
            and not (condition is self.translated.typed and self.translated.knows_types(leader))
        ]

    def _smallest(self, fewest: int) -> tuple[Condition | None, int]:
        best: Condition | None = None
        for condition in self.translated.conditions:
            source = condition.source()
            if source is None:
                continue
            found = self.estimate(source, fewest)
            if found < fewest:
                best, fewest = condition, found
            if fewest == 0:
                break
        return best, fewest

    def estimate(self, source: Sql, limit: int) -> int:
        """Count what a source finds, up to a limit."""
        sql = f"SELECT count(*) FROM (SELECT 1 FROM ({source.text}) LIMIT ?)"
        (found,) = self._connection.execute(sql, (*source.params, limit)).fetchone()
        return int(found)

    def _matching(self, select: Sql) -> Iterator[tuple[int, ExpandedEntity]]:
        """Yield what passes the evaluator, lazily, in the order of a SELECT of `seq`."""
        matches = evaluate.compile(self._query, linked=self._linked())
        sql = (
            f"SELECT e.seq, e.body FROM ({select.text} LIMIT -1) AS c"
            " CROSS JOIN entity AS e ON e.seq = c.seq AND e.tenant = ?"
        )
        rows = self._connection.execute(sql, (*select.params, self._tenant))
        for looked_at, (seq, body) in enumerate(rows):
            if looked_at == MAX_EVALUATED:
                raise TooComplexQuery(
                    f"more than {MAX_EVALUATED} entities would have to be looked at one by one;"
                    " narrow the query by type, id or a condition other than a pattern"
                )
            entity = self._alive(_decode(body))
            if entity is not None and matches(entity):
                yield seq, entity

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
