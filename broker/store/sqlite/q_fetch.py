"""Read what a query finds with as few steps as possible.

Between two rows of a result, Python gives up its lock and has to get it back, which under load
costs more than the row. So the rows of a statement come as one, joined by SQLite.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import msgspec

from broker.core.identifiers import Iri
from broker.store.sqlite.q_conditions import Sql
from broker.store.sqlite.q_look_ups import Placed

Row = tuple[int, Iri]
"""An entity's row number and id."""

_BETWEEN = b"\x1e"
"""Between joined bodies; in JSON a control character is escaped."""

_FIRST, _LARGEST, _GROWTH = 32, 1024, 4
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


def bodies(connection: sqlite3.Connection, tenant: int, select: Sql) -> Iterator[tuple[int, bytes]]:
    """Yield the entities in a SELECT of `seq` with their bodies, reading on as they are taken."""
    sql = (
        "SELECT CAST(group_concat(e.seq || ' ' || CAST(e.body AS TEXT), char(30)) AS BLOB)"
        f" FROM ({select.text} LIMIT ? OFFSET ?) AS c"
        " CROSS JOIN entity AS e ON e.seq = c.seq AND e.tenant = ?"
    )
    size, offset = _FIRST, 0
    while True:
        params = (*select.params, size, offset, tenant)
        (joined,) = connection.execute(sql, params).fetchone()
        if joined is None:
            return
        found = joined.split(_BETWEEN)
        for part in found:
            number, _, body = part.partition(b" ")
            yield int(number), body
        if len(found) < size:
            return
        offset += size
        size = max(1, min(size * _GROWTH, _LARGEST, _BYTES * len(found) // len(joined)))


def shapes(
    connection: sqlite3.Connection, placed: Placed, select: Sql
) -> Iterator[tuple[int, Iri, bytes]]:
    """Yield the geometries of the entities in a SELECT of `seq`, as they are taken."""
    places = placed.places("v.seq = c.seq")
    sql = (
        "SELECT CAST(group_concat(e.seq || ' ' || e.id || ' ' || hex(p.shape), char(30)) AS BLOB)"
        f" FROM ({select.text} LIMIT ? OFFSET ?) AS c CROSS JOIN entity AS e ON e.seq = c.seq"
        f" CROSS JOIN {places.text.removeprefix('FROM ')}"
    )
    size, offset = _FIRST, 0
    while True:
        params = (*select.params, size, offset, *places.params)
        (joined,) = connection.execute(sql, params).fetchone()
        if joined is None:
            return
        for part in joined.split(_BETWEEN):
            number, entity_id, shape = part.split(b" ")
            yield int(number), Iri(entity_id.decode()), bytes.fromhex(shape.decode())
        offset += size
        size = min(size * _GROWTH, _LARGEST * _GROWTH)
