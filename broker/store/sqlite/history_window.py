"""Reading one series in a window of time: the statements that seek in the history.

Only `observedAt` (or the moment of writing, for what has none) is the order in which rows lie; for
the other Temporal Properties the rows of one series are gone through.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

from broker.core.query.temporal import TemporalQuery
from broker.store.sqlite.history import COLUMNS

_LARGEST: Final = (1 << 63) - 1
_KEYS: Final = {
    "observedAt": "at",
    "createdAt": "at + recorded",
    "modifiedAt": "ifnull(modified, at + recorded)",
    "deletedAt": "at + recorded",
}

SERIES = """
WITH RECURSIVE found (series) AS (
    SELECT min(series) FROM history WHERE entity = ?1
    UNION ALL
    SELECT (SELECT min(series) FROM history WHERE entity = ?1 AND series > found.series)
    FROM found WHERE found.series IS NOT NULL
)
SELECT series FROM found WHERE series IS NOT NULL
"""
"""All series of an entity, by one look into the history for each."""

Row = Sequence[Any]
"""The time that a window looks at, then `history.COLUMNS`."""


def series_of_entity(connection: sqlite3.Connection, entity: int) -> list[int]:
    """Return the series that an entity has."""
    return [series for (series,) in connection.execute(SERIES, (entity,))]


class Window:
    """The rows of a series that a temporal query means."""

    def __init__(self, query: TemporalQuery) -> None:
        key = _KEYS[query.timeproperty]
        if query.timeproperty == "deletedAt":
            there = "form & 64"
        elif query.timeproperty == "observedAt" and query.is_strict:
            there = "form & 32"
        else:
            there = "NOT form & 64"
        self.key, self.there = key, there
        self.start = -_LARGEST if query.start is None else query.start
        self.end = _LARGEST if query.end is None else query.end
        self.source = (
            f"history WHERE entity = ? AND series = ? AND {there} AND {key} >= ? AND {key} < ?"
        )
        self._select = f"SELECT {key}, {COLUMNS} FROM {self.source} ORDER BY "
        self.exists_sql = f"SELECT 1 FROM {self.source}"

    def params(self, entity: int, series: int) -> tuple[int, ...]:
        """Return the values for the marks in `source`."""
        return entity, series, self.start, self.end

    def has(
        self,
        connection: sqlite3.Connection,
        entity: int,
        series: int,
        condition: str = "",
        values: tuple[Any, ...] = (),
    ) -> bool:
        """Tell whether there is a row, one for which a condition holds if it is given."""
        sql = f"{self.exists_sql}{condition} LIMIT 1"
        found = connection.execute(sql, (*self.params(entity, series), *values))
        return found.fetchone() is not None

    def first_value(self, connection: sqlite3.Connection, entity: int, series: int) -> Any:
        """Return what stands in the column `value` of some row; None: there is no row."""
        sql = f"SELECT value FROM {self.source} LIMIT 1"
        row = connection.execute(sql, self.params(entity, series)).fetchone()
        return None if row is None else row[0]

    def rows(
        self,
        connection: sqlite3.Connection,
        entity: int,
        series: int,
        *,
        most: int,
        backwards: bool = False,
        until: int | None = None,
    ) -> list[Row]:
        """Return rows in order of time.

        Args:
            most: how many.
            backwards: the latest first.
            until: the last time that is wanted.
        """
        start, end = self.start, self.end
        if until is not None:
            start, end = (max(start, until), end) if backwards else (start, min(end, until + 1))
        way = "DESC" if backwards else "ASC"
        sql = f"{self._select}{self.key} {way}, n {way} LIMIT ?"
        return connection.execute(sql, (entity, series, start, end, most)).fetchall()

    def backwards_from(
        self, connection: sqlite3.Connection, entity: int, series: int, count: int
    ) -> int:
        """Return the time of the row that is the `count`th from the end, or the window's start."""
        sql = f"SELECT {self.key} FROM {self.source} ORDER BY {self.key} DESC LIMIT 1 OFFSET ?"
        row = connection.execute(sql, (*self.params(entity, series), count - 1)).fetchone()
        return self.start if row is None else int(row[0])
