"""Nothing goes through the whole history: every statement over it seeks by entity and series."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from broker.core.identifiers import DEFAULT_TENANT
from broker.core.ld_context import CORE
from broker.core.query import q, scope
from broker.core.query.aggregation import Aggregation, Duration
from broker.core.query.temporal import TemporalQuery
from broker.store.temporal import Retention
from tests.support.builders import prop
from tests.support.histories import ALL, MINUTE, SENSORS, Past, at, iri, measure, past, sensor

WINDOWS = {
    "all": TemporalQuery(),
    "between": TemporalQuery(start=at(1), end=at(9), is_strict=True),
    "lastN": TemporalQuery(end=at(9), is_strict=True, last_n=2),
    "createdAt": TemporalQuery(timeproperty="createdAt", start=at(1), is_strict=True),
    "modifiedAt": TemporalQuery(timeproperty="modifiedAt", start=at(1), is_strict=True),
    "deletedAt": TemporalQuery(timeproperty="deletedAt", start=at(1), is_strict=True),
    "aggregation": TemporalQuery(
        aggregation=Aggregation(("avg", "stddev"), Duration(0, MINUTE)), is_strict=True
    ),
    "months": TemporalQuery(aggregation=Aggregation(("totalCount",), Duration(1)), last_n=3),
}


class Traced:
    """A store with a history, and the statements that it ran over it."""

    def __init__(self, store: Past, path: Path) -> None:
        self.store = store
        self.statements: list[str] = []
        self._path = path

    async def listen(self) -> None:
        temporal = self.store.store.temporal
        self.statements.clear()
        await temporal._readers.read(lambda one: one.set_trace_callback(self.statements.append))
        await temporal._writer.write(
            lambda cursor: cursor.connection.set_trace_callback(self.statements.append)
        )

    def scans(self) -> list[tuple[str, str]]:
        """Return the statements that go through the history, with the step that does."""
        over = {sql for sql in self.statements if " history" in sql}
        assert over
        connection = sqlite3.connect(self._path)
        plans = [
            (sql, str(detail))
            for sql in over
            for *_, detail in connection.execute(f"EXPLAIN QUERY PLAN {sql}")
        ]
        connection.close()
        return [
            (sql, detail)
            for sql, detail in plans
            # A step by min() is called a search even where it goes through everything.
            if "history" in detail and not ("SEARCH" in detail and "(entity=?" in detail)
        ]


@pytest_asyncio.fixture
async def traced(tmp_path: Path) -> AsyncIterator[Traced]:
    async with past(tmp_path) as store:
        for number in (1, 2):
            await store.create(number, number, scope="/a", count=measure(1, 0), name=prop("a"))
            await store.update(number + 1, number, count=measure(2, 5), name=None)
        yield Traced(store, tmp_path / "broker.db")


@pytest.mark.parametrize("window", WINDOWS.values(), ids=WINDOWS)
async def test_a_read_seeks(traced: Traced, window: TemporalQuery) -> None:
    temporal, selection = traced.store.store.temporal, replace(ALL, window=window)
    query = replace(SENSORS, q=q.parse("count>=1;count", CORE.expand), scope=scope.parse("/a"))
    await traced.listen()

    await temporal.evolution(DEFAULT_TENANT, sensor(), selection)
    await temporal.evolutions(DEFAULT_TENANT, query, selection, limit=5)

    assert traced.scans() == []


async def test_a_state_is_sought(traced: Traced) -> None:
    query = replace(SENSORS, q=q.parse("count>=1", CORE.expand))
    await traced.listen()

    state = await traced.store.store.temporal.as_of(DEFAULT_TENANT, sensor(), at(4))
    await traced.store.store.temporal.query_as_of(DEFAULT_TENANT, query, at(4), limit=2)

    assert state is not None
    assert traced.scans() == []


async def test_a_change_seeks(traced: Traced) -> None:
    temporal = traced.store.store.temporal
    (instance, *_) = await traced.store.instances("count")
    key = instance["instanceId"]
    await traced.listen()

    await traced.store.update(9, count=measure(3, 9))
    await traced.store.add(count=[measure(4, 10), prop(1)])
    for value in (5, 6):
        await temporal.modify_instance(
            DEFAULT_TENANT, sensor(), iri("count"), key, measure(value, 7)
        )
    await temporal.remove_instance(DEFAULT_TENANT, sensor(), iri("count"), key)
    await temporal.sweep([Retention(MINUTE)], 10)
    await temporal.remove_attribute(
        DEFAULT_TENANT, sensor(), iri("count"), dataset_id=None, delete_all=True
    )
    await traced.store.delete(20)
    await temporal.remove_evolution(DEFAULT_TENANT, sensor())

    assert traced.scans() == []


async def test_an_export_seeks(traced: Traced) -> None:
    await traced.listen()

    rows = [
        row
        async for piece in traced.store.store.temporal.export(DEFAULT_TENANT, SENSORS, ALL)
        for row in piece
    ]

    assert len(rows) == 6
    assert traced.scans() == []
