"""Queries answered by the index: what they find, and how."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.errors import TooComplexQuery
from broker.core.identifiers import ExpandedEntity, Iri
from broker.core.query import evaluate, geo, ordering, q, scope, types
from broker.core.query.entity_query import EntityQuery, EntitySelector
from broker.core.query.nodes import Geometry
from broker.store.sqlite import q_sql
from broker.store.sqlite.q_conditions import Sql
from broker.store.sqlite.q_look_ups import Boxes
from tests.support.indexed import Indexed
from tests.support.queries import entity, expand, q_entities, q_node, q_vectors, title
from tests.support.strategies import entities, orders, queries

_WALK, _GATHER = 0, 10_000
"""Limits for what is few: nothing, so that all is walked through, or everything."""

_VECTORS = Indexed(q_entities().values())
_NUMBERS = {name: number for number, name in enumerate(q_entities(), start=1)}
_VEHICLES = (EntitySelector(types=types.parse("Vehicle", expand)),)
_CENTRE = Geometry("Point", (5.0, 5.0))


def _selected(store: Indexed, query: EntityQuery, few: int) -> list[int]:
    search = store.search(query)
    return [number for number, _ in search.in_creation_order(1000, 0, None, few)]


@pytest.mark.parametrize("row", q_vectors()["queries"], ids=title)
def test_a_query_finds_the_entities_of_its_vector(row: dict[str, Any]) -> None:
    query = EntityQuery(q=q_node(row))
    expected = [_NUMBERS[name] for name in row["matches"]]

    assert _VECTORS.page(query) == expected
    assert _VECTORS.count(query) == len(expected)
    assert _selected(_VECTORS, query, _WALK) == expected
    assert _selected(_VECTORS, query, _GATHER) == expected


_SCOPES = ["/A", "/A/#", "/#", "/A/+", "/A/+/C", "/+/B/#", "(/A;/B)|/A/B", "/Z"]
_GEOQUERIES = [
    geo.parse("near;maxDistance==300000", "Point", [5, 5], expand("a")),
    geo.parse("near;minDistance==300000", "Point", [5, 5], expand("a")),
    geo.parse("within", "Polygon", [[[0, 0], [5, 0], [5, 5], [0, 5], [0, 0]]], expand("a")),
    geo.parse("intersects", "LineString", [[0, 0], [10, 10]], expand("b")),
    geo.parse("disjoint", "Point", [5, 5], expand("a")),
]
_SELECTORS = [
    (),
    (EntitySelector(types=types.parse("T", expand)),),
    (EntitySelector(types=types.parse("(T;U)|V", expand)),),
    (EntitySelector(ids=(Iri("urn:ngsi-ld:1"), Iri("urn:ngsi-ld:3"))),),
    (EntitySelector(id_pattern="^urn:ngsi-ld:[12]"),),
    (
        EntitySelector(types=types.parse("U", expand), id_pattern="1$"),
        EntitySelector(ids=(Iri("urn:ngsi-ld:2"),)),
    ),
    (
        EntitySelector(types=types.parse("T", expand)),
        EntitySelector(types=types.parse("V", expand)),
    ),
]


@st.composite
def _entity_queries(draw: st.DrawFn) -> EntityQuery:
    def sometimes(strategy: st.SearchStrategy[Any], otherwise: Any = None) -> Any:
        return draw(strategy) if draw(st.integers(0, 3)) == 0 else otherwise

    text = draw(st.none() | queries())
    return EntityQuery(
        selectors=draw(st.sampled_from(_SELECTORS)),
        attrs=sometimes(st.frozensets(st.sampled_from(["ex:a", "ex:z"])), frozenset()),
        q=None if text is None else q.parse(text, expand),
        geo=sometimes(st.sampled_from(_GEOQUERIES)),
        scope=sometimes(st.sampled_from(_SCOPES).map(scope.parse)),
        dataset_ids=sometimes(st.just(frozenset({"urn:d:1"})), frozenset()),
    )


_SOME_ENTITIES = st.tuples(*(entities(str(number)) for number in range(1, 6))).map(list)


@given(_SOME_ENTITIES, st.lists(_entity_queries(), min_size=3, max_size=6))
def test_the_evaluator_agrees_with_sql(
    some: list[ExpandedEntity], asked: list[EntityQuery]
) -> None:
    store = Indexed(some)
    by_id = {one["id"]: one for one in some}

    for query in asked:
        matches = evaluate.compile(query, linked=by_id.get)
        expected = [number for number, one in store.entities.items() if matches(one)]
        assert _selected(store, query, _WALK) == expected
        assert _selected(store, query, _GATHER) == expected
        assert store.count(query) == len(expected)


def _comparable(key: ordering.SortKey | None) -> object:
    """Leave of a key what the index knows: the start of a text."""
    if key is None:
        return None
    group, (rank, value) = key
    return group, rank, value[:255] if isinstance(value, str) else value


def _has_long_containers(one: ExpandedEntity) -> bool:
    return "k70" in str(one) or "69" in str(one)


@given(_SOME_ENTITIES, orders(), st.sampled_from(_SELECTORS[:2]), st.none() | queries())
def test_the_order_of_sql_is_that_of_the_ordering_language(
    some: list[ExpandedEntity],
    text: str,
    selectors: tuple[EntitySelector, ...],
    condition: str | None,
) -> None:
    some = [one for one in some if not _has_long_containers(one)]
    store = Indexed(some)
    order = ordering.parse(text, expand, distance_from=_CENTRE, collation="und")
    node = None if condition is None else q.parse(condition, expand)
    query = EntityQuery(selectors, q=node, order=order)
    matches = evaluate.compile(query, linked={one["id"]: one for one in some}.get)
    keys = [ordering.compile_key(term) for term in order]
    expected = ordering.sort([one for one in some if matches(one)], order)

    found = [store.entities[number] for number in store.page(query)]

    assert len(found) == len(expected)
    assert [[_comparable(key(one)) for key in keys] for one in found] == [
        [_comparable(key(one)) for key in keys] for one in expected
    ]
    assert store.page(query, 2, 1) == store.page(query)[1:3]


_TIDY = Indexed(
    entity(
        f"{n}",
        {
            "speed": {"value": n % 100, "observedAt": f"2026-05-01T00:{n % 60:02}:00Z"},
            "name": {"value": f"name {n % 7}"},
            "address": {"value": {"city": f"city {n % 5}"}},
            "ref": {"object": f"urn:ngsi-ld:{n % 10}"},
            "location": {"geometry": {"type": "Point", "coordinates": [n / 100, n / 100]}},
        },
        ["Vehicle" if n % 3 else "Building"],
        [f"/City/District{n % 4}"],
    )
    for n in range(300)
)


@pytest.mark.parametrize(
    "text",
    [
        "speed>50",
        "speed<50|name==x",
        "speed>10;speed<20",
        'name=="name 1"',
        'name!="name 1"',
        'name~="^name 1"',
        'name~="1$"',
        "speed",
        "!speed",
        'address[city]=="city 1"',
        "speed.observedAt>2026-05-01T00:30:00Z",
        "ref==urn:ngsi-ld:1",
        "ref{speed}>50",
        "modifiedAt>2026-01-01T00:00:00Z",
        "id==urn:ngsi-ld:1",
        'scope=="/City/District1"',
    ],
)
@pytest.mark.parametrize("few", [_WALK, _GATHER], ids=["walk", "gather"])
def test_no_condition_scans_a_table(text: str, few: int) -> None:
    query = EntityQuery(_VEHICLES, q=q.parse(text, expand))

    assert _scans(_TIDY.search(query).planner.plan(None, few).select) == []


def test_what_is_checked_on_an_entity_is_looked_up_by_entity() -> None:
    text = 'speed>=0;name=="name 1";address[city]=="city 1";ref{speed}>=0'
    plan = _plan(
        _TIDY.search(EntityQuery(_VEHICLES, q=q.parse(text, expand))).planner.plan(None, 0).select
    )

    checks = plan[plan.index("SCAN c") :]
    assert [step for step in checks if step.startswith("SEARCH v") and "seq=?" not in step] == []
    assert len([step for step in checks if step.startswith("SEARCH v")]) == 3


@pytest.mark.parametrize(
    "query",
    [
        EntityQuery(),
        EntityQuery(_VEHICLES),
        EntityQuery((EntitySelector(ids=(Iri("urn:ngsi-ld:1"),)),)),
        EntityQuery((EntitySelector(id_pattern="^urn:ngsi-ld:1"),)),
        EntityQuery((replace(_VEHICLES[0], id_pattern="1$"),)),
        EntityQuery(attrs=frozenset({expand("speed"), expand("name")})),
        EntityQuery(scope=scope.parse("/City/#")),
        EntityQuery(scope=scope.parse("/+/District1|/City/District2")),
        EntityQuery(geo=geo.parse("near;maxDistance==9000", "Point", [1, 1], expand("location"))),
        EntityQuery(geo=geo.parse("disjoint", "Point", [1, 1], expand("location"))),
    ],
    ids=[
        "all",
        "type",
        "id",
        "id prefix",
        "id pattern",
        "attrs",
        "scope",
        "scopes",
        "near",
        "disjoint",
    ],
)
@pytest.mark.parametrize("few", [_WALK, _GATHER], ids=["walk", "gather"])
def test_no_kind_of_query_scans_a_table(query: EntityQuery, few: int) -> None:
    assert _scans(_TIDY.search(query).planner.plan(None, few).select) == []


@pytest.mark.parametrize(
    "text",
    [
        "speed",
        "speed;desc",
        "name,speed;desc",
        "id;desc",
        "createdAt",
        "modifiedAt;desc",
        "address[city]",
        "scope",
    ],
)
def test_an_order_walks_through_an_index(text: str) -> None:
    order = ordering.parse(text, expand)
    search = _TIDY.search(EntityQuery(_VEHICLES, order=order))

    walk = search.ordered_walk()

    assert walk is not None
    assert _scans(walk) == []
    assert "USE TEMP B-TREE FOR ORDER BY" not in _until_union(_plan(walk))


def _until_union(plan: list[str]) -> list[str]:
    """Return the part of a plan for the entities that have a value to sort by."""
    return plan[: plan.index("UNION ALL")] if "UNION ALL" in plan else plan


def _plan(select: Sql) -> list[str]:
    rows = _TIDY.connection.execute("EXPLAIN QUERY PLAN " + select.text, select.params)
    return [row[3] for row in rows]


def _scans(select: Sql) -> list[str]:
    """Return the steps of a plan that read a whole table or a whole index of it."""
    table = re.compile(r"SCAN (entity|value|typed|[emprtvw])\b(?!.*VIRTUAL TABLE)")
    return [step for step in _plan(select) if table.match(step)]


def test_pages_at_any_offset_make_up_the_whole() -> None:
    query = EntityQuery(_VEHICLES, q=q.parse("speed>20", expand))
    whole = _TIDY.page(query)

    pages = [_TIDY.page(query, 7, offset) for offset in range(0, len(whole) + 7, 7)]

    assert [number for page in pages for number in page] == whole
    assert len(whole) == _TIDY.count(query) > 100


@pytest.mark.parametrize("text", ["speed>20", 'name=="name 3"', "ref{speed}>5", None])
def test_a_page_goes_on_after_the_last_entity_of_the_one_before(text: str | None) -> None:
    query = EntityQuery(_VEHICLES, q=None if text is None else q.parse(text, expand))
    whole = _TIDY.page(query)

    assert _TIDY.page(query, 5, after=whole[9]) == whole[10:15]
    assert _TIDY.page(query, 5, 2, after=whole[9]) == whole[12:17]


def test_a_crowd_of_another_type_costs_nothing_where_places_are_looked_up() -> None:
    crowd = [(number, "Crowd") for number in range(50)]
    store = Indexed(
        entity(
            f"{number}",
            {"location": {"geometry": {"type": "Point", "coordinates": [1 + number / 1e6, 1]}}},
            [kind],
        )
        for number, kind in [*crowd, (50, "Vehicle"), (51, "Vehicle")]
    )
    near = geo.parse("near;maxDistance==100", "Point", [1, 1], expand("location"))
    query = EntityQuery(_VEHICLES, geo=near)
    search = store.search(query)
    (boxes,) = (one for one in search.translated.conditions if isinstance(one, Boxes))
    source = boxes.source()

    assert source is not None
    assert search.planner.estimate(source, 1000) == 2
    assert store.page(query) == [51, 52]
    assert len(store.page(EntityQuery(geo=near))) == 52


def test_nothing_of_another_tenant_is_found() -> None:
    other = 2
    store = Indexed()
    place = {"geometry": {"type": "Point", "coordinates": [1.0, 1.0]}}
    for tenant in (1, other):
        one = entity(f"{tenant}", {"a": {"value": 1}, "location": place}, ["T"], ["/A"])
        store.write(tenant, one, tenant=tenant)
    near = geo.parse("near;maxDistance==9", "Point", [1, 1], expand("location"))

    for query in (
        EntityQuery(),
        EntityQuery(_SELECTORS[1]),
        EntityQuery(q=q.parse("a==1", expand)),
        EntityQuery(scope=scope.parse("/A")),
        EntityQuery(geo=near),
        EntityQuery(order=ordering.parse("a", expand)),
    ):
        assert store.page(query) == [1]
        assert store.count(query) == 1


def test_what_has_expired_is_left_out_before_it_is_swept() -> None:
    past, now = "2026-05-01T00:00:00Z", datetime(2026, 5, 2, tzinfo=UTC)
    gone = ExpandedEntity({**entity("1", {"a": {"value": 1}}), "expiresAt": past})
    part = entity("2", {"a": {"value": 1, "expiresAt": past}, "b": {"value": 1}})
    store = Indexed()
    for number, one in enumerate((gone, part, entity("3", {"a": {"value": 1}})), start=1):
        store.write(number, one, expires=None if number == 3 else now.timestamp() - 1)

    assert store.page(EntityQuery(), now=now) == [2, 3]
    assert store.page(EntityQuery(q=q.parse("a==1", expand)), now=now) == [3]
    assert store.count(EntityQuery(), now=now) == 2
    assert store.page(EntityQuery()) == [1, 2, 3]


@pytest.mark.parametrize("text", ["a==1", "!a", "ref{a}", 'a~="x"', "a.b.c", "a[b]"])
def test_a_store_without_such_names_finds_nothing_or_everything(text: str) -> None:
    query = EntityQuery(q=q.parse(text, expand))

    assert Indexed().page(query) == []
    assert Indexed([entity("1")]).page(query) == ([1] if text == "!a" else [])


def test_a_query_that_takes_too_many_steps_is_stopped() -> None:
    endless = (
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    )

    with (
        pytest.raises(TooComplexQuery, match="more than 3000000 steps"),
        q_sql.bounded(_TIDY.connection, 3_000_000),
    ):
        _TIDY.connection.execute(endless)

    assert _TIDY.count(EntityQuery()) == 300


def test_a_query_that_has_too_much_evaluated_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(q_sql, "MAX_EVALUATED", 10)
    query = EntityQuery(q=q.parse('speed.unitCode=="x"', expand))

    with pytest.raises(TooComplexQuery, match="more than 10 entities"):
        _TIDY.page(query)


def test_the_nearest_come_first_from_far_away_too() -> None:
    for reference in (Geometry("Point", (1.0, 1.0)), Geometry("Point", (-170.0, -60.0))):
        order = ordering.parse("location;dist-asc", expand, distance_from=reference)
        query = EntityQuery(_VEHICLES, order=order)
        some = [one for one in _TIDY.entities.values() if one["type"] == ["ex:Vehicle"]]
        expected = [one["id"] for one in ordering.sort(some, order)]
        search = _TIDY.search(query)

        found = search.in_order(10, 3, few=_WALK)

        assert [entity_id for _, entity_id in found] == expected[3:13]
