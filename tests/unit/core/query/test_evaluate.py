"""The evaluator: what a query selects, one entity at a time."""

from __future__ import annotations

from typing import Any

import pytest

from broker.core.identifiers import ExpandedEntity, Iri
from broker.core.query import evaluate, geo, q, scope, types
from broker.core.query.entity_query import EntityQuery, EntitySelector
from broker.core.query.evaluate import compile as compile_query
from tests.support.queries import entity, expand, q_entities, q_node, q_vectors, title

_ENTITIES = q_entities()
_BY_ID = {one["id"]: one for one in _ENTITIES.values()}


def _selected(query: EntityQuery) -> list[str]:
    matches = compile_query(query, linked=_BY_ID.get)
    return [name for name, one in _ENTITIES.items() if matches(one)]


@pytest.mark.parametrize("row", q_vectors()["queries"], ids=title)
def test_a_query_selects_the_entities_of_its_vector(row: dict[str, Any]) -> None:
    assert _selected(EntityQuery(q=q_node(row))) == row["matches"]


def test_an_empty_query_means_every_entity() -> None:
    assert _selected(EntityQuery()) == list(_ENTITIES)
    assert EntityQuery().by_membership


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Vehicle", ["car", "bus"]),
        ("Vehicle|Park", ["car", "bus", "park"]),
        ("Vehicle,Park", ["car", "bus", "park"]),
        ("(Vehicle;Shuttle)", ["bus"]),
        ("(Vehicle;Shuttle),Park", ["bus", "park"]),
        ("Shuttle;Vehicle|WeatherStation", ["bus", "station"]),
        ("Unknown", []),
    ],
)
def test_a_type_selection_selects(text: str, expected: list[str]) -> None:
    selector = EntitySelector(types=types.parse(text, expand))

    assert _selected(EntityQuery(selectors=(selector,))) == expected
    assert EntityQuery(selectors=(selector,)).by_membership


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/Madrid/Centre", ["car"]),
        ("/Madrid", []),
        ("/Madrid/#", ["car", "bus"]),
        ("/Madrid/Centre/#", ["car", "bus"]),
        ("/Madrid/+", ["car"]),
        ("/+/+/Sol", ["bus"]),
        ("/+/#", ["car", "bus", "station"]),
        ("/#", ["car", "bus", "station"]),
        ("/Paris,/CompanyA", ["bus", "station"]),
        ("/Paris|/CompanyA", ["bus", "station"]),
        ("(/Madrid/Centre/Sol;/CompanyA)", ["bus"]),
        ("/Paris;/CompanyA", []),
        ("(/Paris;/CompanyA)|/Madrid/Centre", ["car"]),
    ],
)
def test_a_scope_query_selects(text: str, expected: list[str]) -> None:
    assert _selected(EntityQuery(scope=scope.parse(text))) == expected


@pytest.mark.parametrize(
    ("selectors", "expected"),
    [
        ((EntitySelector(ids=(Iri("urn:ngsi-ld:car"), Iri("urn:x:1"))),), ["car"]),
        ((EntitySelector(id_pattern="^urn:.*:(bus|park)$"),), ["bus", "park"]),
        ((EntitySelector(ids=(Iri("urn:ngsi-ld:car"),), id_pattern="bus"),), ["car"]),
        (
            (
                EntitySelector(types=types.parse("Park", expand)),
                EntitySelector(types=types.parse("Vehicle", expand), id_pattern="r$"),
            ),
            ["car", "park"],
        ),
    ],
    ids=["ids", "pattern", "ids beat the pattern", "several selectors"],
)
def test_selectors_are_alternatives(
    selectors: tuple[EntitySelector, ...], expected: list[str]
) -> None:
    assert _selected(EntityQuery(selectors=selectors)) == expected


def test_one_of_the_attributes_has_to_exist() -> None:
    attrs = frozenset({expand("sensor"), expand("route"), expand("nothing")})

    assert _selected(EntityQuery(attrs=attrs)) == ["car", "bus", "station"]


def test_only_instances_of_the_chosen_datasets_count() -> None:
    gps = frozenset({"urn:ngsi-ld:Dataset:gps"})
    default = frozenset({"@none"})

    assert _selected(EntityQuery(q=q.parse("speed>50", expand), dataset_ids=gps)) == ["bus"]
    assert _selected(EntityQuery(q=q.parse("speed>50", expand), dataset_ids=default)) == ["car"]
    assert _selected(EntityQuery(attrs=frozenset({expand("speed")}), dataset_ids=gps)) == ["bus"]
    assert _selected(EntityQuery(q=q.parse("!speed", expand), dataset_ids=gps)) == [
        "car",
        "station",
        "park",
    ]


def test_a_geoquery_selects_by_its_geoproperty() -> None:
    near = geo.parse("near;maxDistance==5000", "Point", [-3.7, 40.42], expand("location"))

    assert _selected(EntityQuery(geo=near)) == ["car"]
    assert not EntityQuery(geo=near).by_membership


def test_all_conditions_have_to_be_met() -> None:
    query = EntityQuery(
        selectors=(EntitySelector(types=types.parse("Vehicle", expand)),),
        scope=scope.parse("/Madrid/#"),
        q=q.parse("speed>50", expand),
        attrs=frozenset({expand("electric")}),
    )

    assert _selected(query) == ["car", "bus"]


def test_without_a_way_to_find_linked_entities_no_relationship_leads_anywhere() -> None:
    query = EntityQuery(q=q.parse("managedBy{brandName}", expand))

    assert not any(evaluate.matches(query, one) for one in _ENTITIES.values())
    assert evaluate.matches(query, _ENTITIES["station"], linked=_BY_ID.get)


def test_relationships_in_a_circle_end_with_the_path() -> None:
    first = entity("1", {"next": {"object": "urn:ngsi-ld:2"}})
    second = entity("2", {"next": {"object": "urn:ngsi-ld:1"}, "name": {"value": "x"}})
    circle: dict[str, ExpandedEntity] = {one["id"]: one for one in (first, second)}

    query = EntityQuery(q=q.parse('next{next{next{name}}}=="x"', expand))

    assert evaluate.matches(query, first, linked=circle.get)
    assert not evaluate.matches(query, second, linked=circle.get)
