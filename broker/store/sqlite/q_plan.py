"""Choose how a query is answered: which condition leads, and by which index.

How much each condition would find is counted, up to a limit:

- one that finds little: take all of that, sort it, and keep what passes the other conditions;
- all find much: walk through the entities in order of creation and stop when the page is full.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass

from broker.store.sqlite.q_conditions import Condition, Sql, filtered
from broker.store.sqlite.q_entities import Translated
from broker.store.sqlite.q_look_ups import Boxes

FEW = 2000
"""What a condition may find to be read whole for a page; more is walked through."""

FEW_TO_COUNT = 50_000
"""The same for a count, which has no page to stop at."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a query is answered with: a SELECT of `seq` in order of creation.

    Attributes:
        few: it finds little, all of which is read and sorted before the first comes out.
        resume: returns the SELECT of what comes after an entity.
    """

    select: Sql
    few: bool
    resume: Callable[[int], Sql]


class Planner:
    """Plans one query on one connection."""

    def __init__(self, connection: sqlite3.Connection, tenant: int, translated: Translated) -> None:
        self._connection = connection
        self._tenant = tenant
        self._translated = translated

    def plan(self, after: int | None, few: int = FEW) -> Plan:
        """Choose the condition that leads.

        Args:
            few: what the leading condition may find to be read whole.
        """
        leader, found = self._smallest(few)
        source = None if leader is None or found >= few else leader.source()
        if leader is None or source is None:
            return Plan(self.walk(after), few=False, resume=self.walk)
        others = self._others(leader)

        def gathered(after: int | None) -> Sql:
            return filtered(distinct(source, after), others)

        return Plan(gathered(after), few=True, resume=gathered)

    def walk(self, after: int | None) -> Sql:
        """Go through the entities in order of creation, by the index that leaves out most."""
        for leader in self._translated.conditions:
            found = leader.walk(after)
            if found is not None:
                return filtered(found, self._others(leader))
        start = "" if after is None else " AND seq > ?"
        all_of_them = Sql(
            f"SELECT seq FROM entity INDEXED BY entity_order WHERE tenant = ?{start} ORDER BY seq",
            (self._tenant,) if after is None else (self._tenant, after),
        )
        return filtered(all_of_them, self._translated.conditions)

    def _others(self, leader: Condition) -> list[Condition]:
        """Return what is to be checked on what a leading condition finds."""
        return [
            condition
            for condition in self._translated.conditions
            if condition is not leader
            and not (condition is self._translated.typed and self._translated.knows_types(leader))
        ]

    def _smallest(self, fewest: int) -> tuple[Condition | None, int]:
        best: Condition | None = None
        for condition in self._translated.conditions:
            source = condition.source()
            if source is None:
                continue
            # A place costs less to find and more to check than a value.
            weight = 2 if isinstance(condition, Boxes) else 1
            found = self.estimate(source, weight * fewest) // weight
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


def distinct(source: Sql, after: int | None = None) -> Sql:
    """Return each entity of a source once, in order of creation."""
    start = "" if after is None else " WHERE s.seq > ?"
    return Sql(
        f"SELECT DISTINCT s.seq AS seq FROM ({source.text}) AS s{start} ORDER BY s.seq",
        source.params if after is None else (*source.params, after),
    )
