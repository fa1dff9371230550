"""A reader knows the names of what was committed before they are in memory."""

from __future__ import annotations

import sqlite3

from broker.store.sqlite import history
from broker.store.sqlite.history_names import Names
from broker.store.sqlite.index_terms import Terms
from broker.store.sqlite.migrations import migrate


def test_names_that_are_not_in_memory_yet_are_read_from_the_file() -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrate(connection)
    writers = Terms()
    writers.load(connection)
    cursor = connection.cursor()
    series = history.series_of(writers, cursor, "urn:a:1", "urn:d:1")
    type_set = writers.type_set(cursor, ("urn:t:2", "urn:t:1"))

    names = Names(connection, Terms())

    assert names.series(series) == ("urn:a:1", "urn:d:1")
    assert set(names.types(type_set)) == {"urn:t:1", "urn:t:2"}
    connection.close()
