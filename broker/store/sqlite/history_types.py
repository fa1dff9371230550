"""Types that entities had once: the index by which their past is found under them.

What an entity has now is in `typed`, or in `evolution` when it is history only; here stand the sets
of types that it had besides, or that its evolution was given. Which those are, and since when, the
series of types in the history tells; a row here may outlive it, and is then of no effect.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from broker.store.sqlite.history import BITS, TYPE

DDL: Final = """
CREATE TABLE typed_once (
    tenant INTEGER NOT NULL,
    type_set INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    PRIMARY KEY (tenant, type_set, seq)
) WITHOUT ROWID;
"""

FOUND: Final = (
    "SELECT o.seq, coalesce(e.id, p.id) FROM typed_once o LEFT JOIN entity e ON e.seq = o.seq"
    " LEFT JOIN evolution p ON p.seq = o.seq"
    " WHERE o.tenant = ? AND o.type_set = ? AND o.seq > ? ORDER BY o.seq LIMIT ?"
)
"""Entities by a set of types that they had: number and id, which is NULL for what is forgotten."""

_FILLED = (
    "INSERT OR IGNORE INTO typed_once SELECT e.tenant, h.value, e.seq FROM"
    " (SELECT seq, tenant FROM entity UNION ALL SELECT seq, tenant FROM evolution) e"
    " JOIN history h ON h.entity = e.seq AND h.series = ?"
    " WHERE h.value IS NOT NULL"
)
_FORGET = (
    "DELETE FROM typed_once WHERE tenant = (SELECT tenant FROM evolution WHERE seq = ?1)"
    " AND type_set IN (SELECT value FROM history WHERE entity = ?1 AND series = ?2) AND seq = ?1"
)


def create(connection: sqlite3.Connection) -> None:
    """Make the index, with what the history tells, inside the transaction that is open."""
    connection.execute(DDL)
    row = connection.execute("SELECT id FROM term WHERE iri = ?", (TYPE,)).fetchone()
    if row is not None:
        connection.execute(_FILLED, (row[0] << BITS,))


def note(cursor: sqlite3.Cursor, tenant: int, type_set: int, seq: int) -> None:
    """Have an entity found under types that it has no more."""
    cursor.execute("INSERT OR IGNORE INTO typed_once VALUES (?, ?, ?)", (tenant, type_set, seq))


def forget(cursor: sqlite3.Cursor, seq: int, series: int) -> None:
    """Forget what is history only, before the rows of its types are deleted.

    Args:
        series: that of types.
    """
    cursor.execute(_FORGET, (seq, series))
