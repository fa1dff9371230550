"""Bring the history of a file from before the temporal API into the rows of today.

It had one row for each instance, as JSON or NULL for a deletion, under the number of the entity,
and an entity that was created again had another number: those of one id become one.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Any

import msgspec

from broker.core import moments
from broker.store.sqlite import history
from broker.store.sqlite.index_terms import Terms

_decode = msgspec.json.decode
_ROWS_AT_ONCE = 10_000

_NUMBERS = """
CREATE TEMP TABLE known AS
    SELECT seq AS old, tenant, id, 1 AS lives FROM entity
    UNION ALL SELECT seq, tenant, id, 0 FROM deleted_entity;
CREATE TEMP TABLE number AS
    SELECT old, tenant, id,
        first_value(old) OVER of_id AS new, first_value(lives) OVER of_id AS lives
    FROM known WINDOW of_id AS (PARTITION BY tenant, id ORDER BY lives DESC, old DESC);
CREATE INDEX temp.number_old ON number (old);
"""


def convert(connection: sqlite3.Connection) -> None:
    """Replace the tables `history` and `deleted_entity`, inside the transaction that is open."""
    cursor = connection.cursor()
    cursor.execute("ALTER TABLE history RENAME TO old_history")
    for table in (history.DDL, _NUMBERS):
        for statement in table.split(";\n"):
            if statement.strip():
                cursor.execute(statement)
    terms = Terms()
    terms.load(connection)
    _convert_rows(connection, terms, cursor)
    _convert_scopes(connection, terms, cursor)
    _convert_deleted(terms, cursor)
    for table in ("old_history", "deleted_entity", "temp.known", "temp.number"):
        cursor.execute(f"DROP TABLE {table}")


def _convert_rows(connection: sqlite3.Connection, terms: Terms, cursor: sqlite3.Cursor) -> None:
    rows = connection.execute(
        "SELECT n.new, h.attribute, h.dataset, h.at, h.version, h.instance FROM old_history h"
        " JOIN temp.number n ON n.old = h.entity"
        " ORDER BY h.entity, h.attribute, h.dataset, h.version"
    )
    names: dict[str, int] = {}
    converted: list[history.HistoryRow] = []
    for (seq, attribute, dataset), group in groupby(rows, key=lambda row: row[:3]):
        if dataset not in names:
            names[dataset] = history.dataset_number(terms, cursor, dataset)
        series = history.series_range(attribute)[0] | names[dataset]
        converted += _convert_series(seq, series, group)
        if len(converted) >= _ROWS_AT_ONCE:
            cursor.executemany(history.REPLACE, converted)
            converted = []
    cursor.executemany(history.REPLACE, converted)


def _convert_series(seq: int, series: int, rows: Iterator[Any]) -> Iterator[history.HistoryRow]:
    last: Mapping[str, Any] = {}
    for *_, at, version, body in rows:
        if body is None:
            yield history.tombstone_row(seq, series, last, round(at * 1_000_000), version)
            continue
        last = _decode(body)
        written = moments.instant(last["modifiedAt"])
        yield history.instance_row(seq, series, last, written, version)


def _convert_scopes(connection: sqlite3.Connection, terms: Terms, cursor: sqlite3.Cursor) -> None:
    notes = history.History(terms)
    for seq, body in connection.execute("SELECT seq, body FROM entity"):
        entity = _decode(body)
        if "scope" in entity:
            at = moments.instant(entity["createdAt"])
            notes.note_scopes(cursor, seq, entity["scope"], at, 1)
    notes.flush(cursor)


def _convert_deleted(terms: Terms, cursor: sqlite3.Cursor) -> None:
    """Keep what is left of deleted entities: what types they had, the file does not say."""
    cursor.execute(
        "INSERT INTO evolution SELECT n.new, n.tenant, n.id, ?, d.version, d.deleted, d.deleted"
        " FROM temp.number n JOIN deleted_entity d ON d.seq = n.old"
        " WHERE n.old = n.new AND NOT n.lives",
        (terms.type_set(cursor, ()),),
    )
