"""The schema of the SQLite file and the steps from each version of it to the next.

A step is a script or a function that runs once, in one transaction; `PRAGMA user_version` counts
the steps that were taken. A file written by a newer Rigel is refused rather than guessed at.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from broker.store.sqlite import history_conversion, history_types, index, usage

_ENTITIES = """
CREATE TABLE tenant (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
);
INSERT INTO tenant (id, name) VALUES (1, '');

-- seq is the order of creation and is never used again, so history can refer to it.
CREATE TABLE entity (
    seq INTEGER PRIMARY KEY,
    tenant INTEGER NOT NULL,
    id TEXT NOT NULL,
    version INTEGER NOT NULL,
    body BLOB NOT NULL,
    created TEXT NOT NULL,
    modified TEXT NOT NULL,
    expires REAL,
    UNIQUE (tenant, id)
);
CREATE INDEX entity_order ON entity (tenant, seq);
CREATE INDEX entity_expires ON entity (expires) WHERE expires IS NOT NULL;

CREATE TABLE deleted_entity (
    seq INTEGER PRIMARY KEY,
    tenant INTEGER NOT NULL,
    id TEXT NOT NULL,
    version INTEGER NOT NULL,
    deleted TEXT NOT NULL
);
CREATE INDEX deleted_entity_id ON deleted_entity (tenant, id);

-- One row for each attribute instance that a write created, changed or deleted (instance IS NULL).
CREATE TABLE history (
    entity INTEGER NOT NULL,
    attribute INTEGER NOT NULL,
    dataset TEXT NOT NULL,
    at REAL NOT NULL,
    version INTEGER NOT NULL,
    instance BLOB,
    PRIMARY KEY (entity, attribute, dataset, at, version)
) WITHOUT ROWID;
"""

_DOCUMENTS = """
CREATE TABLE document (
    seq INTEGER PRIMARY KEY,
    tenant TEXT NOT NULL,
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    body BLOB NOT NULL,
    UNIQUE (tenant, kind, key)
);

CREATE TABLE subscription (
    seq INTEGER PRIMARY KEY,
    tenant TEXT NOT NULL,
    id TEXT NOT NULL,
    body BLOB NOT NULL,
    stats BLOB,
    UNIQUE (tenant, id)
);
"""

_OUTBOX = """
CREATE TABLE outbox (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL,
    tenant TEXT NOT NULL,
    subscription TEXT NOT NULL,
    order_key TEXT NOT NULL,
    created TEXT NOT NULL,
    body BLOB NOT NULL
);
CREATE INDEX outbox_subscription ON outbox (tenant, subscription);

CREATE TABLE dead_letter (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL,
    tenant TEXT NOT NULL,
    subscription TEXT NOT NULL,
    order_key TEXT NOT NULL,
    created TEXT NOT NULL,
    body BLOB NOT NULL,
    failed TEXT NOT NULL,
    reason TEXT NOT NULL
);
CREATE INDEX dead_letter_subscription ON dead_letter (tenant, subscription);
"""

# AUTOINCREMENT: a sequence that a reader was told of must never be that of another event.
_STREAMS = """
CREATE TABLE stream (
    tenant TEXT NOT NULL,
    id TEXT NOT NULL,
    document BLOB,
    floor INTEGER NOT NULL,
    used REAL NOT NULL,
    PRIMARY KEY (tenant, id)
) WITHOUT ROWID;

CREATE TABLE stream_event (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant TEXT NOT NULL,
    stream TEXT NOT NULL,
    at REAL NOT NULL,
    body BLOB NOT NULL
);
CREATE INDEX stream_event_stream ON stream_event (tenant, stream, seq);
CREATE INDEX stream_event_at ON stream_event (at);
"""

_FIRST_PLACES = """
CREATE VIRTUAL TABLE place USING rtree (id, west, east, south, north, low, high, +shape BLOB);
"""

_PLACES_BY_TYPE = f"""
ALTER TABLE place RENAME TO old_place;
{index.PLACES_DDL}
INSERT INTO place
    SELECT p.id, p.west, p.east, p.south, p.north, p.low, p.high,
        v.type_set, v.type_set + {index.THICKNESS}, p.shape
    FROM value AS v CROSS JOIN old_place AS p ON p.id = v.place
    WHERE v.place IS NOT NULL;
DROP TABLE old_place;
"""

Step = str | Callable[[sqlite3.Connection], None]

STEPS: tuple[Step, ...] = (
    _ENTITIES + index.DDL + _FIRST_PLACES + usage.DDL + _DOCUMENTS + _OUTBOX,
    _STREAMS,
    history_conversion.convert,
    _PLACES_BY_TYPE,
    history_types.create,
)


class NewerSchema(Exception):
    """The file was written by a newer version of Rigel."""


def migrate(connection: sqlite3.Connection, steps: tuple[Step, ...] = STEPS) -> None:
    """Bring a file to the newest schema.

    Raises:
        NewerSchema: the file is ahead of this program.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(steps):
        raise NewerSchema(
            f"the store has schema {version}, this program knows {len(steps)}: run a newer Rigel"
        )
    for number, step in enumerate(steps[version:], start=version + 1):
        taken = f"PRAGMA user_version = {number}"
        if isinstance(step, str):
            connection.executescript(f"BEGIN IMMEDIATE; {step} {taken}; COMMIT;")
            continue
        connection.execute("BEGIN IMMEDIATE")
        try:
            step(connection)
            connection.execute(taken)
            connection.execute("COMMIT")
        except BaseException:
            connection.rollback()
            raise
