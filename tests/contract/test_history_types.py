"""An entity is found in its past by the types that it had then (clauses 4.5.6, 5.7.4.4)."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from broker.core.identifiers import DEFAULT_TENANT
from broker.core.query.entity_query import EntityQuery, EntitySelector
from broker.core.query.nodes import AnyOf, TypeIs
from broker.store.sqlite import history_types
from broker.store.sqlite.migrations import STEPS
from tests.support.histories import ALL, METERS, SENSORS, Past, at, iri, measure, past, sensor

EITHER = EntityQuery(
    selectors=(
        EntitySelector(types=AnyOf(tuple(TypeIs(iri(name)) for name in ("Sensor", "Meter")))),
    )
)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Past]:
    async with past(tmp_path) as made:
        yield made


async def evolutions(store: Past, query: EntityQuery) -> list[str]:
    page = await store.store.temporal.evolutions(DEFAULT_TENANT, query, ALL, limit=10)
    return [evolution["id"] for evolution in page.evolutions]


async def states(store: Past, query: EntityQuery, minute: int) -> list[str]:
    page = await store.store.temporal.query_as_of(DEFAULT_TENANT, query, at(minute), limit=10)
    return [one.entity["id"] for one in page.entities]


async def make_again(store: Past, number: int = 1) -> None:
    """Have a sensor that becomes a meter in minute 2."""
    await store.create(0, number, count=measure(1, 0))
    await store.delete(1, number)
    await store.create(2, number, type="Meter", count=measure(2, 2))


async def test_what_was_made_again_with_another_type_is_found_by_both(store: Past) -> None:
    await make_again(store)

    for query in (SENSORS, METERS, EITHER):
        assert await evolutions(store, query) == [sensor()]
    assert await states(store, SENSORS, 0) == [sensor()]
    assert await states(store, METERS, 0) == []
    assert await states(store, SENSORS, 3) == []
    assert await states(store, METERS, 3) == [sensor()]


async def test_it_is_found_when_it_is_gone_again(store: Past) -> None:
    await make_again(store)
    await store.delete(3)

    assert await evolutions(store, SENSORS) == await evolutions(store, METERS) == [sensor()]
    assert await states(store, SENSORS, 0) == [sensor()]
    assert await states(store, EITHER, 4) == []


async def test_a_type_that_was_added_leaves_the_state_before_without_it(store: Past) -> None:
    await store.create(0, count=measure(1, 0))
    await store.update(2, type=["Meter"])

    assert await states(store, METERS, 1) == []
    assert await states(store, SENSORS, 1) == [sensor()]
    assert await states(store, METERS, 2) == await states(store, SENSORS, 2) == [sensor()]


async def test_an_evolution_is_found_by_a_type_that_it_alone_was_given(store: Past) -> None:
    await store.create(0, count=measure(1, 0))
    await store.add(type=["Meter"], count=[measure(2, 1)])

    assert await evolutions(store, METERS) == [sensor()]
    assert await states(store, METERS, 5) == []


async def test_pages_are_in_order_of_creation_whichever_type_leads_to_them(store: Past) -> None:
    await make_again(store, 1)
    await store.create(4, 2, count=measure(1, 4))
    await make_again(store, 3)

    assert await evolutions(store, SENSORS) == [sensor(1), sensor(2), sensor(3)]


async def test_of_what_is_forgotten_nothing_is_found(store: Past, tmp_path: Path) -> None:
    await make_again(store)
    await store.delete(3)

    await store.store.temporal.remove_evolution(DEFAULT_TENANT, sensor())

    assert await evolutions(store, EITHER) == []
    with sqlite3.connect(tmp_path / "broker.db") as connection:
        assert connection.execute("SELECT * FROM typed_once").fetchall() == []


async def test_a_file_from_before_finds_them_too(tmp_path: Path) -> None:
    async with past(tmp_path) as before:
        await make_again(before)
        await before.add(2, type=["Sensor"], count=[measure(2, 1)])
    with sqlite3.connect(tmp_path / "broker.db") as connection:
        version = STEPS.index(history_types.create)
        connection.executescript(f"DROP TABLE typed_once; PRAGMA user_version = {version}")

    async with past(tmp_path) as after:
        assert await evolutions(after, SENSORS) == [sensor(1), sensor(2)]
        assert await states(after, SENSORS, 0) == [sensor(1)]
