"""What a store owes the temporal API, shown for the SQLite store (`broker.store.temporal`)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from broker.core.errors import NonexistentTenant, ResourceNotFound, TooComplexQuery
from broker.core.evolution import PastInstance
from broker.core.identifiers import DEFAULT_TENANT, Tenant
from broker.core.ld_context import CORE
from broker.core.query import q, scope
from broker.core.query.temporal import TemporalQuery
from broker.store.sqlite import history_search
from broker.store.temporal import Retention, TemporalSelection
from tests.support.builders import prop
from tests.support.histories import (
    ALL,
    MINUTE,
    SENSORS,
    Past,
    at,
    iri,
    measure,
    minute,
    past,
    sensor,
)


@pytest_asyncio.fixture
async def store(tmp_path: Path) -> AsyncIterator[Past]:
    async with past(tmp_path) as opened:
        yield opened


def window(**given: Any) -> TemporalSelection:
    return replace(ALL, window=TemporalQuery(**{"is_strict": True, **given}))


async def test_every_write_adds_to_the_evolution(store: Past) -> None:
    await store.create(0, count=measure(1, 0, unitCode="CEL"), name=prop("a"))
    await store.update(5, count=measure(2.5, 5))

    first, second = await store.instances("count")

    assert (first["value"], first["unitCode"]) == (1, "CEL")
    assert (first["observedAt"], first["createdAt"]) == (minute(0), "2026-05-01T00:00:00.000Z")
    assert (second["value"], second["modifiedAt"]) == (2.5, "2026-05-01T00:05:00.000Z")
    assert first["instanceId"] != second["instanceId"]
    assert await store.values("name") == ["a"]


@pytest.mark.parametrize(
    "instance",
    [
        prop("text"),
        prop(2**70),
        prop(value=[1, "a"], unitCode="CEL"),
        prop(1, unitCode="CEL", valueType="xsd:int"),
        {"type": "Relationship", "object": "urn:a:b"},
        {"type": "LanguageProperty", "languageMap": {"es": "hola"}},
        measure(1, 3, accuracy=prop(0.1)),
        {**prop(1), "observedAt": "2026-05-01T00:00:00,123456789Z"},
        {**prop(1), "observedAt": "2026-05-01T00:00:00,5Z"},
    ],
)
async def test_an_instance_comes_back_as_it_was_written(
    store: Past, instance: dict[str, Any]
) -> None:
    await store.create(0, a=instance)
    current = await store.store.entities.get(DEFAULT_TENANT, sensor())

    (found,) = await store.instances("a")

    assert current is not None
    del found["instanceId"]
    assert found == current.entity["attributes"][iri("a")]["@none"]


async def test_an_instance_observed_at_the_same_time_replaces_the_one_before(store: Past) -> None:
    await store.create(0, count=measure(1, 0))
    await store.update(1, count=measure(2, 0))
    await store.add(count=[measure(3, 0)])

    assert await store.values("count") == [3]


async def test_instances_without_observed_at_are_all_kept(store: Past) -> None:
    await store.create(0, count=prop(1))
    await store.update(0, count=prop(2))
    await store.add(count=[prop(3), prop(4)])

    assert await store.values("count") == [1, 2, 3, 4]


async def test_a_late_measure_is_history_only_when_what_is_newer_is_to_be_kept(
    store: Past,
) -> None:
    await store.create(0, count=measure(1, 10), level=prop(0))
    await store.update(11, count=measure(2, 5), keep_newer=True)
    await store.update(12, count=measure(3, 6), level=prop(9), keep_newer=True)

    stored = await store.store.entities.get(DEFAULT_TENANT, sensor())

    assert stored is not None
    attributes = stored.entity["attributes"]
    assert attributes[iri("count")]["@none"]["value"] == 1
    assert attributes[iri("level")]["@none"]["value"] == 9
    assert stored.version == 2
    assert await store.values("count") == [2, 3, 1]


async def test_a_deleted_attribute_is_an_instance_with_null_and_its_time(store: Past) -> None:
    await store.create(
        0, count=measure(1, 0), name={"type": "LanguageProperty", "languageMap": {"es": "a"}}
    )
    await store.update(3, count=None)
    await store.delete(4)

    (gone,) = await store.instances("count", window(timeproperty="deletedAt"))
    (name,) = await store.instances("name", window(timeproperty="deletedAt"))
    evolution = await store.evolution()

    assert (gone["value"], gone["deletedAt"]) == ("urn:ngsi-ld:null", "2026-05-01T00:03:00.000Z")
    assert name["languageMap"] == {"@none": "urn:ngsi-ld:null"}
    assert not {"createdAt", "modifiedAt", "observedAt"} & gone.keys()
    assert await store.values("count") == [1]
    assert evolution is not None
    assert evolution["deletedAt"] == "2026-05-01T00:04:00.000Z"


async def test_scopes_have_an_evolution_of_their_own(store: Past) -> None:
    await store.create(0, scope="/a", count=prop(1))
    await store.update(2, scope=["/b", "/c"])

    evolution = await store.evolution()

    assert evolution is not None
    assert [one["value"] for one in evolution["scope"]] == [["/a"], ["/b", "/c"]]
    assert [one["observedAt"] for one in evolution["scope"]] == [
        "2026-05-01T00:00:00.000Z",
        "2026-05-01T00:02:00.000Z",
    ]


async def test_an_entity_that_was_made_again_has_one_evolution(store: Past) -> None:
    await store.create(0, count=measure(1, 0))
    await store.delete(1)
    await store.create(2, count=measure(2, 2))

    assert await store.values("count") == [1, 2]


@pytest.mark.parametrize(
    ("asked", "values"),
    [
        ({}, [0, 1, 2, 3, 4]),
        ({"start": at(1)}, [1, 2, 3, 4]),
        ({"end": at(1)}, [0]),
        ({"start": at(1), "end": at(3)}, [1, 2]),
        ({"last_n": 2}, [3, 4]),
        ({"end": at(3), "last_n": 2}, [1, 2]),
        ({"timeproperty": "createdAt", "start": at(104)}, [4]),
        ({"timeproperty": "modifiedAt", "end": at(101)}, [0]),
        ({"timeproperty": "deletedAt"}, []),
    ],
)
async def test_a_window_selects_instances_by_a_temporal_property(
    store: Past, asked: dict[str, Any], values: list[int]
) -> None:
    await store.create(100, count=measure(0, 0))
    for count in range(1, 5):
        await store.update(100 + count, count=measure(count, count))

    assert await store.values("count", window(**asked)) == values


@pytest.mark.parametrize(
    ("asked", "values", "others", "cut"),
    [
        ({}, [0, 1, 2], [], (at(0), at(2))),
        ({"start": at(1)}, [1, 2, 3], [], (at(1), at(3))),
        ({"last_n": 100}, [3, 4, 5], [10, 11, 12], (at(12), at(3))),
        ({"last_n": 100, "end": at(20)}, [3, 4, 5], [10, 11, 12], (at(20), at(3))),
        ({"last_n": 2}, [4, 5], [11, 12], None),
    ],
)
async def test_an_answer_with_too_many_instances_is_cut_at_one_moment(
    store: Past,
    asked: dict[str, Any],
    values: list[int],
    others: list[int],
    cut: tuple[int, int] | None,
) -> None:
    await store.add(
        count=[measure(number, number) for number in range(6)],
        level=[measure(number, number) for number in range(10, 13)],
    )
    selection = replace(window(**asked), instances=3)
    page = await store.store.temporal.evolution(DEFAULT_TENANT, sensor(), selection)

    found = page.evolutions[0]["attributes"]

    assert [one["value"] for one in found.get(iri("count"), [])] == values
    assert [one["value"] for one in found.get(iri("level"), [])] == others
    assert page.cut == cut


async def test_one_instance_of_each_of_many_series_is_not_cut(store: Past) -> None:
    for number in range(50):
        await store.add(number, count=[measure(1, 0), measure(2, 1)])

    selection = replace(window(last_n=1), instances=1)
    page = await store.store.temporal.evolutions(DEFAULT_TENANT, SENSORS, selection, limit=100)

    assert (len(page.evolutions), page.cut) == (50, None)


async def test_pages_are_in_order_of_creation_with_the_living_and_the_dead(store: Past) -> None:
    for number in (3, 1, 2):
        await store.create(number, number, count=measure(number, 0))
    await store.delete(9, 1)
    await store.add(4, count=[measure(4, 0)])

    temporal = store.store.temporal
    first = await temporal.evolutions(DEFAULT_TENANT, SENSORS, ALL, limit=3)
    second = await temporal.evolutions(DEFAULT_TENANT, SENSORS, ALL, limit=3, offset=3)

    assert [one["id"][-1] for one in first.evolutions] == ["3", "1", "2"]
    assert [one["id"][-1] for one in second.evolutions] == ["4"]
    assert (first.more, second.more) == (True, False)
    assert await temporal.count_evolutions(DEFAULT_TENANT, SENSORS, ALL) == 4


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("count>1", ["2"]),
        ("count==1", ["1"]),
        ("count>5", []),
        ("name", ["1"]),
        ("!name", ["2"]),
        ('count==1|name=="z"', ["1"]),
        ("count>=1;count<=2", ["1", "2"]),
    ],
)
async def test_q_looks_at_every_instance_of_the_window_and_at_no_other(
    store: Past, text: str, found: list[str]
) -> None:
    await store.add(1, count=[measure(9, 0), measure(1, 1)], name=[measure("a", 2)])
    await store.add(2, count=[measure(9, 0), measure(2, 2)])
    query = replace(SENSORS, q=q.parse(text, CORE.expand))
    temporal, selection = store.store.temporal, window(start=at(1))

    page = await temporal.evolutions(DEFAULT_TENANT, query, selection, limit=9)

    assert [one["id"][-1] for one in page.evolutions] == found
    assert await temporal.count_evolutions(DEFAULT_TENANT, query, selection) == len(found)


@pytest.mark.parametrize(
    ("asked", "found"),
    [({"start": at(1)}, "/a"), ({"start": at(6)}, "/b"), ({"end": at(4)}, "/a")],
)
async def test_a_scope_is_valid_until_it_is_replaced(
    store: Past, asked: dict[str, Any], found: str
) -> None:
    await store.create(0, scope="/a", count=measure(1, 0))
    await store.update(5, scope="/b")
    await store.update(7, count=measure(2, 7))
    temporal, selection = store.store.temporal, window(**asked)

    matches = {
        text: await temporal.count_evolutions(
            DEFAULT_TENANT, replace(SENSORS, scope=scope.parse(text)), selection
        )
        for text in ("/a", "/b", "/c")
    }

    assert matches[found] == 1
    assert matches["/c"] == 0


async def test_a_query_over_more_instances_than_may_be_looked_at_is_refused(
    store: Past, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history_search, "MOST_EXAMINED", 3)
    await store.add(count=[measure(number, number) for number in range(6)])
    query = replace(SENSORS, q=q.parse("count>2", CORE.expand))

    with pytest.raises(TooComplexQuery):
        await store.store.temporal.evolutions(DEFAULT_TENANT, query, ALL, limit=1)


async def test_what_is_added_creates_an_evolution_once_and_leaves_the_entity_alone(
    store: Past,
) -> None:
    created = await store.add(count=[measure(1, 0)])
    again = await store.add(count=[measure(2, 1)])

    assert (created, again) == (True, False)
    assert await store.store.entities.get(DEFAULT_TENANT, sensor()) is None
    assert await store.values("count") == [1, 2]


async def test_types_that_are_added_are_types_of_the_evolution_only(store: Past) -> None:
    await store.create(0, count=measure(1, 0))
    await store.add(type=["Meter"], count=[measure(2, 1)])

    evolution = await store.evolution()
    state = await store.store.temporal.as_of(DEFAULT_TENANT, sensor(), at(9))

    assert evolution is not None
    assert state is not None
    assert set(evolution["type"]) == {iri("Sensor"), iri("Meter")}
    assert state["type"] == [iri("Sensor")]


async def test_an_attribute_of_what_is_history_only_can_be_deleted(store: Past) -> None:
    await store.add(count=[measure(1, 0)], level=[measure(1, 0)])
    temporal = store.store.temporal
    store.minute = 9

    first = await temporal.note_deleted(DEFAULT_TENANT, sensor(), iri("count"), None)
    again = await temporal.note_deleted(DEFAULT_TENANT, sensor(), iri("count"), None)

    (gone,) = await store.instances("count", window(timeproperty="deletedAt"))
    assert (first, again) == (True, False)
    assert gone["deletedAt"] == "2026-05-01T00:09:00.000Z"


@pytest.mark.parametrize("changed", [measure(7, 0), measure(7, 5), prop(7)])
async def test_a_modified_instance_keeps_its_id_and_when_it_was_created(
    store: Past, changed: dict[str, Any]
) -> None:
    await store.create(0, count=measure(1, 0))
    (before,) = await store.instances("count")
    temporal, key = store.store.temporal, before["instanceId"]
    store.minute = 30

    for value in (6, 7):  # the second time by the id of what was moved
        change = {**changed, "value": value}
        await temporal.modify_instance(DEFAULT_TENANT, sensor(), iri("count"), key, change)
    (after,) = await store.instances("count")
    await temporal.remove_instance(DEFAULT_TENANT, sensor(), iri("count"), key)

    assert (after["value"], after["instanceId"]) == (7, key)
    assert after["observedAt"] == changed.get("observedAt", minute(0))
    assert after["createdAt"] == before["createdAt"]
    assert after["modifiedAt"] == "2026-05-01T00:30:00.000Z"
    assert await store.evolution() is None


async def test_an_instance_is_addressed_with_its_own_attribute_and_entity_only(
    store: Past,
) -> None:
    await store.create(0, count=measure(1, 0), level=measure(1, 0))
    await store.create(0, 2, count=measure(1, 0))
    (instance,) = await store.instances("count")
    key = instance["instanceId"]

    for number, name, named in (
        (1, "level", key),
        (2, "count", key),
        (1, "count", "urn:x:1"),
        (1, "count", key[:-1] + "f"),
        (3, "count", key),
    ):
        with pytest.raises(ResourceNotFound):
            await store.store.temporal.remove_instance(
                DEFAULT_TENANT, sensor(number), iri(name), named
            )

    assert await store.values("count") == [1]


async def test_an_attribute_is_deleted_from_the_evolution_by_dataset_or_whole(
    store: Past,
) -> None:
    await store.add(count=[measure(1, 0), measure(2, 0, datasetId="urn:d:1"), measure(3, 1)])
    temporal = store.store.temporal

    with pytest.raises(ResourceNotFound):
        await temporal.remove_attribute(
            DEFAULT_TENANT, sensor(), iri("count"), dataset_id="urn:d:2", delete_all=False
        )
    await temporal.remove_attribute(
        DEFAULT_TENANT, sensor(), iri("count"), dataset_id=None, delete_all=False
    )
    left = await store.instances("count")
    await temporal.remove_attribute(
        DEFAULT_TENANT, sensor(), iri("count"), dataset_id=None, delete_all=True
    )

    assert [(one["value"], one["datasetId"]) for one in left] == [(2, "urn:d:1")]
    assert await store.values("count") == []


async def test_a_deleted_evolution_leaves_the_entity_and_can_begin_again(store: Past) -> None:
    await store.create(0, count=measure(1, 0))
    await store.store.temporal.remove_evolution(DEFAULT_TENANT, sensor())

    assert await store.evolution() is None
    assert await store.store.entities.get(DEFAULT_TENANT, sensor()) is not None
    with pytest.raises(ResourceNotFound):
        await store.store.temporal.remove_evolution(DEFAULT_TENANT, sensor())
    assert await store.add(count=[measure(2, 1)])
    assert await store.values("count") == [2]


async def test_long_series_are_deleted_in_steps(
    store: Past, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.store.sqlite.temporal.STEP", 7)
    await store.add(count=[measure(number, number) for number in range(50)])

    await store.store.temporal.remove_evolution(DEFAULT_TENANT, sensor())

    assert await store.evolution() is None


async def test_unknown_tenants_have_no_history(store: Past) -> None:
    with pytest.raises(NonexistentTenant):
        await store.store.temporal.evolution(Tenant("city"), sensor(), ALL)


async def swept(store: Past, *policies: Retention) -> int:
    removed = 0
    for _ in range(4):  # once over the living and once over the rest, and again
        removed += await store.store.temporal.sweep(policies, 1000)
    return removed


async def test_of_what_is_kept_too_long_the_last_one_before_stays_with_the_living(
    store: Past,
) -> None:
    numbers = [measure(number, number) for number in range(10)]
    await store.create(0, count=prop(0))
    await store.add(count=numbers)
    await store.add(2, count=numbers)
    store.minute = 15

    removed = await swept(store, Retention(10 * MINUTE))

    assert removed == 5 + 5
    assert await store.values("count") == [4, 5, 6, 7, 8, 9]


@pytest.mark.parametrize(
    ("policy", "left"),
    [
        (Retention(10 * MINUTE, type=iri("Sensor")), [5, 6, 7]),
        (Retention(10 * MINUTE, type=iri("Meter")), list(range(8))),
        (Retention(10 * MINUTE, tenant=DEFAULT_TENANT), [5, 6, 7]),
        (Retention(10 * MINUTE, tenant=Tenant("city")), list(range(8))),
    ],
)
async def test_a_policy_is_for_a_tenant_and_a_type(
    store: Past, policy: Retention, left: list[int]
) -> None:
    await store.add(count=[measure(number, number) for number in range(8)])
    store.minute = 15

    await swept(store, policy)

    assert await store.values("count") == left


async def test_a_sweep_deletes_no_more_than_it_may_and_goes_on_the_next_time(
    store: Past,
) -> None:
    await store.add(count=[measure(number, number) for number in range(30)])
    store.minute = 1000
    policies = [Retention(MINUTE)]

    steps = [await store.store.temporal.sweep(policies, 7) for _ in range(9)]

    assert max(steps) <= 7
    assert sum(steps) == 30
    assert await store.evolution() is None


async def test_a_deleted_entity_is_forgotten_when_none_of_its_history_is_kept(
    store: Past,
) -> None:
    await store.create(0, count=measure(1, 0))
    await store.delete(1)
    store.minute = 1000

    await swept(store, Retention(MINUTE))
    await store.create(1001, count=measure(2, 1001))
    stored = await store.store.entities.get(DEFAULT_TENANT, sensor())

    assert stored is not None
    assert stored.version == 1


async def exported(store: Past) -> list[PastInstance]:
    pieces = store.store.temporal.export(DEFAULT_TENANT, SENSORS, ALL)
    return [row async for piece in pieces for row in piece]


async def test_what_is_exported_can_be_imported_and_imported_again(
    store: Past, tmp_path: Path
) -> None:
    await store.add(1, count=[measure(n, n) for n in range(5)], name=[measure("a", 1)])
    await store.add(2, count=[measure(1, 1, datasetId="urn:d:1", accuracy=prop(2))])
    rows = await exported(store)
    (tmp_path / "other").mkdir()

    async with past(tmp_path / "other") as other:
        for _ in range(2):
            await other.store.temporal.add_many(DEFAULT_TENANT, rows)
        again = await exported(other)

    def bare(row: PastInstance) -> Any:
        made = ("instanceId", "createdAt", "modifiedAt")
        instance = {name: item for name, item in row.instance.items() if name not in made}
        return row.entity_id, row.types, row.attribute, instance

    assert len(rows) == 7
    assert list(map(bare, again)) == list(map(bare, rows))
