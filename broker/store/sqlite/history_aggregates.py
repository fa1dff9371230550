"""Aggregate a series inside SQLite where it is all numbers, and in Python where it is not.

Variances are computed from differences to the first number of the period, so that a small spread
around a large value is not lost.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

from broker.core.errors import TooManyResults
from broker.core.identifiers import Iri
from broker.core.query import aggregation as rules
from broker.core.query.aggregation import Aggregation, Bucket
from broker.core.query.temporal import TemporalQuery
from broker.core.vocabulary import KINDS
from broker.store.sqlite.history import read_value
from broker.store.sqlite.history_window import Window

MOST_POINTS: Final = 1_000_000
"""Values of one series that are aggregated outside of SQLite."""

_COLUMNS: Final = {
    "distinctCount": ("count(DISTINCT value)",),
    "sum": ("sum(value)",),
    "avg": ("sum(value)",),
    "min": ("min(value)",),
    "max": ("max(value)",),
    "sumsq": ("sum(value * value)",),
    "stddev": (
        "total(value - origin)",
        "total((value - origin) * 1.0 * (value - origin))",
    ),
}

_RANKS = ("Relationship", "ListRelationship", "VocabProperty", *KINDS)
"""Kinds in order: of several in one series, one that only allows counting decides."""

Found = tuple[str, list[Bucket]]
"""The kind of an attribute, and what was found for each period."""


class Aggregates:
    """What is asked of each series of an answer."""

    def __init__(
        self, connection: sqlite3.Connection, window: Window, query: TemporalQuery
    ) -> None:
        if query.aggregation is None:
            raise ValueError("there is nothing to aggregate")
        self._connection = connection
        self._window = window
        self._query = query
        self._aggregation: Aggregation = query.aggregation
        columns = [c for method in self._aggregation.methods for c in _COLUMNS.get(method, ())]
        self._columns = list(dict.fromkeys(columns))
        named = (
            f"entity = :entity AND series = :series AND {window.key} >= :start"
            f" AND {window.key} < :end AND"
        )
        self._where = f"WHERE {named} {window.there}"
        self._source = f"FROM history {self._where}"

    def of(self, entity: int, series: int, name: Iri) -> Found | None:
        """Aggregate a series; None: it has nothing in the window.

        Raises:
            InvalidRequest: a method does not fit a value.
            TooManyResults: there are too many periods.
        """
        params = self._params(entity, series)
        key = self._window.key
        first = self._connection.execute(
            f"SELECT {key}, value {self._source} ORDER BY {key} LIMIT 1", params
        ).fetchone()
        if first is None:
            return None
        start, value = first
        if value.__class__ in (int, float):
            found = self._in_sqlite(params, start)
            if found is not None:
                return "Property", found
        return self._in_python(name, params)

    def _params(self, entity: int, series: int) -> dict[str, Any]:
        start = self._window.start
        if self._query.last_n is not None:
            start = self._window.backwards_from(
                self._connection, entity, series, self._query.last_n
            )
        return {"entity": entity, "series": series, "start": start, "end": self._window.end}

    def _in_sqlite(self, params: dict[str, Any], first: int) -> list[Bucket] | None:
        """Aggregate numbers; None: they are not all numbers, or not in the range of SQLite's."""
        key = self._window.key
        (last,) = self._connection.execute(
            f"SELECT {key} {self._source} ORDER BY {key} DESC LIMIT 1", params
        ).fetchone()
        try:
            if self._aggregation.period is None:
                rows = self._grouped(params, "0")
                edges = [rules.whole((self._query.start, self._query.end), first, last)]
            else:
                edges, rows = self._periodic(params, first, last)
        except sqlite3.OperationalError as error:
            if "overflow" in str(error):
                return None
            raise
        if any(row[1] for row in rows):
            return None
        return [self._bucket(edges[row[0]] if len(edges) > 1 else edges[0], row) for row in rows]

    def _periodic(
        self, params: dict[str, Any], first: int, last: int
    ) -> tuple[Any, list[Sequence[Any]]]:
        period = self._aggregation.period
        if period is not None and not period.months:
            micros = period.micros
            if (last - first) // micros >= rules.MAX_PERIODS:
                raise TooManyResults(f"aggrPeriodDuration: more than {rules.MAX_PERIODS} periods")
            rows = self._grouped(
                params | {"first": first, "micros": micros},
                f"({self._window.key} - :first) / :micros",
            )
            return _Regular(first, period), rows
        edges = rules.periods(self._aggregation, first, last)
        pairs = list(pairwise(edges))
        rows = []
        for place, (start, end) in enumerate(pairs):
            within = {"start": max(start, params["start"]), "end": min(end, params["end"])}
            rows += self._grouped(params | within, str(place))
        return pairs, rows

    def _grouped(self, params: dict[str, Any], group: str) -> list[Sequence[Any]]:
        columns = "".join(f", {column}" for column in self._columns)
        select = (
            f"SELECT {group} AS bucket, total(typeof(value) NOT IN ('integer', 'real')),"
            f" count(*){columns}"
        )
        if "stddev" not in self._aggregation.methods:
            sql = f"{select} {self._source}"
        else:
            # Beside min(), SQLite takes the other columns from the row that has the minimum.
            sql = (
                f"WITH origins AS MATERIALIZED (SELECT {group} AS place, min({self._window.key}),"
                f" value AS origin {self._source} GROUP BY place)"
                f" {select} FROM history JOIN origins ON place = {group} {self._where}"
            )
        return self._connection.execute(f"{sql} GROUP BY bucket ORDER BY bucket", params).fetchall()

    def _bucket(self, edges: tuple[int, int], row: Sequence[Any]) -> Bucket:
        count = row[2]
        got = dict(zip(self._columns, row[3:], strict=True))
        values = {
            method: count if method == "totalCount" else _value(method, count, got)
            for method in self._aggregation.methods
        }
        return Bucket(*edges, values)

    def _in_python(self, name: Iri, params: dict[str, Any]) -> Found:
        key = self._window.key
        cursor = self._connection.execute(
            f"SELECT {key}, value {self._source} ORDER BY {key}, n", params
        )
        kinds: set[str] = set()
        points: list[tuple[int, Any]] = []
        for time, content in cursor:
            kind, value = read_value(content)
            kinds.add(kind)
            points.append((time, value))
            if len(points) > MOST_POINTS:
                raise TooManyResults(
                    f"aggrMethods: more than {MOST_POINTS} values of {name:.200}, not all numbers"
                )
        bounds = self._query.start, self._query.end
        kind = min(kinds, key=_RANKS.index)
        return kind, rules.aggregate(self._aggregation, points, bounds, name, kind)


class _Regular:
    """The periods of one length, by their place."""

    def __init__(self, first: int, period: rules.Duration) -> None:
        self._first = first
        self._period = period

    def __len__(self) -> int:
        return rules.MAX_PERIODS

    def __getitem__(self, place: int) -> tuple[int, int]:
        after = self._period.after
        return after(self._first, place), after(self._first, place + 1)


def _value(method: str, count: int, got: dict[str, Any]) -> Any:
    found = [got[column] for column in _COLUMNS[method]]
    if method == "avg":
        return found[0] / count
    if method == "stddev":
        differences, squares = found
        return math.sqrt(max(0.0, squares - differences * differences / count) / count)
    return found[0]
