"""A file from before the temporal API keeps its history."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import msgspec

from broker.core.identifiers import DEFAULT_TENANT
from broker.core.query.temporal import TemporalQuery
from broker.store.sqlite.migrations import STEPS, migrate
from broker.store.temporal import TemporalSelection
from tests.support.histories import at, iri, measure, minute, past, sensor

COUNT, SENSOR = iri("count"), iri("Sensor")


def instance(value: Any, written: int, **members: Any) -> dict[str, Any]:
    times = {"createdAt": minute(0), "modifiedAt": minute(written)}
    return {"type": "Property", "value": value, **times, **members}


def old_file(path: Path) -> None:
    """Write an entity that was created twice, and one that was deleted."""
    connection = sqlite3.connect(path, isolation_level=None)
    migrate(connection, STEPS[:2])
    body = {
        "id": sensor(1),
        "type": [SENSOR],
        "scope": ["/a"],
        "createdAt": minute(10),
        "modifiedAt": minute(10),
        "attributes": {COUNT: {"@none": instance(3, 10)}},
    }
    rows: list[tuple[int, str, int, int, dict[str, Any] | None]] = [
        (1, "@none", 0, 1, instance(1, 0, observedAt="2026-05-01T00:00:00,50Z", unitCode="CEL")),
        (1, "urn:d:1", 1, 2, instance("x", 1)),
        (1, "@none", 5, 3, None),
        (2, "@none", 7, 1, instance(2, 7)),
        (2, "@none", 8, 2, None),
        (3, "@none", 10, 1, instance(3, 10)),
    ]
    connection.execute("INSERT INTO term VALUES (7, ?)", (COUNT,))
    connection.execute(
        "INSERT INTO entity VALUES (3, 1, ?, 1, ?, ?, ?, NULL)",
        (sensor(1), msgspec.json.encode(body), minute(10), minute(10)),
    )
    connection.execute("INSERT INTO deleted_entity VALUES (1, 1, ?, 3, ?)", (sensor(1), minute(5)))
    connection.execute("INSERT INTO deleted_entity VALUES (2, 1, ?, 2, ?)", (sensor(2), minute(8)))
    connection.executemany(
        "INSERT INTO history VALUES (?, 7, ?, ?, ?, ?)",
        [
            (seq, dataset, at(time) / 1e6, version, one and msgspec.json.encode(one))
            for seq, dataset, time, version, one in rows
        ],
    )
    connection.close()


async def test_the_history_of_an_older_file_is_there(tmp_path: Path) -> None:
    old_file(tmp_path / "broker.db")
    deletions = TemporalSelection(TemporalQuery(timeproperty="deletedAt", is_strict=True))

    async with past(tmp_path) as store:
        instances = await store.instances("count")
        (gone,) = await store.instances("count", deletions)
        evolution = await store.evolution()
        other = await store.evolution(deletions, 2)
        store.minute = 30
        await store.create(30, 2, count=measure(4, 30))
        again = await store.store.entities.get(DEFAULT_TENANT, sensor(2))

    assert [one["value"] for one in instances] == [1, "x", 3]
    assert instances[0]["observedAt"] == "2026-05-01T00:00:00,50Z"
    assert instances[0]["unitCode"] == "CEL"
    assert instances[1]["datasetId"] == "urn:d:1"
    assert instances[1]["createdAt"] == "2026-05-01T00:01:00.000Z"
    assert gone["deletedAt"] == "2026-05-01T00:05:00.000Z"
    assert evolution is not None
    assert evolution["scope"][0]["value"] == ["/a"]
    assert other is not None
    assert other["deletedAt"] == minute(8)
    assert again is not None
    assert again.version == 3


async def test_an_older_file_is_converted_once_and_leaves_nothing_behind(tmp_path: Path) -> None:
    old_file(tmp_path / "broker.db")
    connection = sqlite3.connect(tmp_path / "broker.db", isolation_level=None)

    migrate(connection)
    migrate(connection)

    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    (count,) = connection.execute("SELECT count(*) FROM history").fetchone()
    connection.close()
    assert not {"old_history", "deleted_entity"} & tables
    assert count == 7
