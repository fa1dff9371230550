"""Files of earlier versions are brought to the schema of today."""

from __future__ import annotations

import sqlite3

from broker.store.sqlite.migrations import STEPS, migrate
from tests.support.indexed import Indexed
from tests.support.queries import entity

_COPIED = ("term", "type_set", "typed", "value", "entity")


def test_places_of_an_older_file_are_found_by_type() -> None:
    store = Indexed(
        entity(str(number), {"location": {"geometry": {"type": "Point", "coordinates": where}}}, of)
        for number, (where, of) in enumerate(
            [([1.0, 2.0], ["T"]), ([-3.5, 4.25], ["T", "U"]), ([179.9, -89.0], ["U"])]
        )
    )
    places = store.connection.execute("SELECT * FROM place ORDER BY id").fetchall()
    old = sqlite3.connect(":memory:", isolation_level=None)
    migrate(old, STEPS[:3])
    for table in _COPIED:
        rows = store.connection.execute(f"SELECT * FROM {table}").fetchall()  # noqa: S608 - ours
        old.executemany(
            f"INSERT OR REPLACE INTO {table} VALUES ({','.join('?' * len(rows[0]))})",  # noqa: S608 - ours
            rows,
        )
    old.executemany(
        "INSERT INTO place VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [(*bounds, shape) for *bounds, _, _, shape in places],
    )

    migrate(old)

    assert len(places) == 3
    assert old.execute("SELECT * FROM place ORDER BY id").fetchall() == places
    assert old.execute("SELECT name FROM sqlite_schema WHERE name LIKE 'old%'").fetchall() == []
