"""Read what a query finds with as few steps as possible.

Between two rows of a result, Python gives up its lock and has to get it back, which under load
costs more than the row. So the rows of a statement come as one, joined by SQLite.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import msgspec

from broker.core.identifiers import Iri
from broker.store.sqlite.q_conditions import Sql
from broker.store.sqlite.q_look_ups import Placed

Row = tuple[int, Iri]
"""An entity's row number and id."""

_BETWEEN = b"\x1e"
"""Between joined bodies; in JSON a control character is escaped."""

_FEW = 32
_MANY = 4096
_BYTES = 1 << 20

_rows = msgspec.json.Decoder(list[Row]).decode


def rows(connection: sqlite3.Connection, select: Sql, limit: int, offset: int) -> list[Row]:
    """Return a page of the entities in a SELECT of `seq`."""
    sql = (
        "SELECT json_group_array(json_array(e.seq, e.id))"
        f" FROM ({select.text} LIMIT ? OFFSET ?) AS c CROSS JOIN entity AS e ON e.seq = c.seq"
    )
    (found,) = connection.execute(sql, (*select.params, limit, offset)).fetchone()
    return _rows(found)


@dataclass(frozen=True, slots=True)
class Reading:
    """A SELECT of `seq` whose entities are looked at more closely, until enough have passed.

    Attributes:
        wanted: how many have to pass; None if all are to be looked at.
        resume: returns the SELECT of what comes after an entity; without it, what was read is
            skipped.
    """

    select: Sql
    wanted: int | None = None
    resume: Callable[[int], Sql] | None = None

    def numbers(self, connection: sqlite3.Connection) -> Iterator[list[int]]:
        """Yield some more than are wanted, and on, and on."""
        select, offset = self.select, 0
        limit = -1 if self.wanted is None else _FEW // 2 + self.wanted + self.wanted // 2
        while True:
            sql = f"SELECT group_concat(c.seq) FROM ({select.text} LIMIT ? OFFSET ?) AS c"
            (joined,) = connection.execute(sql, (*select.params, limit, offset)).fetchone()
            found = [int(number) for number in joined.split(",")] if joined else []
            yield found
            if limit < 0 or len(found) < limit:
                return
            if self.resume is not None:
                select = self.resume(found[-1])
                limit = min(2 * limit, _MANY)
            else:
                offset += limit
                limit = _MANY if offset < _MANY else -1


def bodies(
    connection: sqlite3.Connection, tenant: int, reading: Reading
) -> Iterator[tuple[int, bytes]]:
    """Yield entities with their bodies."""
    sql = (
        "SELECT CAST(group_concat(e.seq || ' ' || CAST(e.body AS TEXT), char(30)) AS BLOB)"
        " FROM json_each(?) AS j CROSS JOIN entity AS e ON e.seq = j.value AND e.tenant = ?"
    )
    size = _FEW
    for numbers in reading.numbers(connection):
        start = 0
        while start < len(numbers):
            asked = numbers[start : start + size]
            (joined,) = connection.execute(sql, (_json(asked), tenant)).fetchone()
            for part in joined.split(_BETWEEN) if joined else ():
                number, _, body = part.partition(b" ")
                yield int(number), body
            start += len(asked)
            size = max(_FEW, min(_MANY, _BYTES * len(asked) // max(1, len(joined or b""))))


def shapes(
    connection: sqlite3.Connection, placed: Placed, reading: Reading
) -> Iterator[tuple[int, Iri, bytes]]:
    """Yield the geometries of entities."""
    places = placed.places("v.seq = e.seq")
    sql = (
        "SELECT CAST(group_concat(e.seq || ' ' || e.id || ' ' || hex(p.shape), char(30)) AS BLOB)"
        " FROM json_each(?) AS j CROSS JOIN entity AS e ON e.seq = j.value"
        f" CROSS JOIN {places.text.removeprefix('FROM ')}"
    )
    for numbers in reading.numbers(connection):
        for start in range(0, len(numbers), _MANY):
            asked = _json(numbers[start : start + _MANY])
            (joined,) = connection.execute(sql, (asked, *places.params)).fetchone()
            for part in joined.split(_BETWEEN) if joined else ():
                number, entity_id, shape = part.split(b" ")
                yield int(number), Iri(entity_id.decode()), bytes.fromhex(shape.decode())


def _json(numbers: list[int]) -> str:
    return msgspec.json.encode(numbers).decode()
