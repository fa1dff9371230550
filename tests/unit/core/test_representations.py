"""Rendering entities (clauses 4.5.2–4.5.5, 4.5.18–4.5.24, 4.15, 4.21, 6.3.11)."""

from __future__ import annotations

from typing import Any

import pytest

from broker.core import fragments, projection
from broker.core.entity import expand_entity
from broker.core.identifiers import ExpandedEntity, Iri
from broker.core.ld_context import CORE, LdContext, build
from broker.core.representations import Representation, render

ID = "urn:ngsi-ld:Building:1"
BIRTH = "2026-01-01T00:00:00.000Z"
LATER = "2027-01-01T00:00:00Z"
POINT = {"type": "Point", "coordinates": [2, 48]}

NORMALIZED = Representation()
CONCISE = Representation(format="concise")
SIMPLIFIED = Representation(format="simplified")


def stored(document: dict[str, Any], ld_context: LdContext = CORE) -> ExpandedEntity:
    return fragments.create(expand_entity(document, ld_context), BIRTH)


def building(**members: Any) -> ExpandedEntity:
    return stored({"id": ID, "type": "Building", **members})


def shown(
    entity: ExpandedEntity, representation: Representation, **options: Any
) -> dict[str, Any] | None:
    document = render(entity, CORE, representation, **options)
    return None if document is None else dict(document)


EVERY_KIND: dict[str, Any] = {
    "id": ID,
    "type": "Building",
    "property": {"type": "Property", "value": 5},
    "compound": {"type": "Property", "value": {"street": "Quai", "country": None}},
    "measured": {"type": "Property", "value": 5, "unitCode": "CEL", "observedAt": LATER},
    "deep": {"type": "Property", "value": 5, "source": {"type": "Property", "value": "x"}},
    "typed": {"type": "Property", "value": 5, "valueType": "Integer"},
    "location": {"type": "GeoProperty", "value": POINT},
    "street": {"type": "LanguageProperty", "languageMap": {"fr": "Grand Place", "nl": "Markt"}},
    "category": {"type": "VocabProperty", "vocab": "private"},
    "categories": {"type": "VocabProperty", "vocab": ["private", "urn:x:public"]},
    "tickets": {"type": "JsonProperty", "json": {"id": 1, "type": "raw"}},
    "depths": {"type": "ListProperty", "valueList": [300, 6], "unitCode": "MMT"},
    "owner": {"type": "Relationship", "object": "urn:x:Bob", "objectType": "Person"},
    "guests": {"type": "Relationship", "object": ["urn:x:Ann"], "objectType": ["Person", "A"]},
    "route": {"type": "ListRelationship", "objectList": [{"object": "urn:x:A"}]},
    "speed": [
        {"type": "Property", "value": 55},
        {"type": "Property", "value": 54, "datasetId": "urn:d:gps"},
    ],
}


def test_the_normalized_representation_has_every_member() -> None:
    assert shown(stored(EVERY_KIND), NORMALIZED) == EVERY_KIND


def test_the_concise_representation_leaves_out_types_and_lone_values() -> None:
    assert shown(stored(EVERY_KIND), CONCISE) == {
        "id": ID,
        "type": "Building",
        "property": 5,
        "compound": {"street": "Quai", "country": None},
        "measured": {"value": 5, "unitCode": "CEL", "observedAt": LATER},
        "deep": {"value": 5, "source": "x"},
        "typed": {"value": 5, "valueType": "Integer"},
        "location": POINT,
        "street": {"languageMap": {"fr": "Grand Place", "nl": "Markt"}},
        "category": {"vocab": "private"},
        "categories": {"vocab": ["private", "urn:x:public"]},
        "tickets": {"json": {"id": 1, "type": "raw"}},
        "depths": {"valueList": [300, 6], "unitCode": "MMT"},
        "owner": {"object": "urn:x:Bob", "objectType": "Person"},
        "guests": {"object": ["urn:x:Ann"], "objectType": ["Person", "A"]},
        "route": {"objectList": ["urn:x:A"]},
        "speed": [{"value": 55}, {"value": 54, "datasetId": "urn:d:gps"}],
    }


def test_the_simplified_representation_has_values_only() -> None:
    assert shown(stored(EVERY_KIND), SIMPLIFIED) == {
        "id": ID,
        "type": "Building",
        "property": 5,
        "compound": {"street": "Quai", "country": None},
        "measured": 5,
        "deep": 5,
        "typed": 5,
        "location": POINT,
        "street": {"languageMap": {"fr": "Grand Place", "nl": "Markt"}},
        "category": {"vocab": "private"},
        "categories": {"vocab": ["private", "urn:x:public"]},
        "tickets": {"json": {"id": 1, "type": "raw"}},
        "depths": [300, 6],
        "owner": "urn:x:Bob",
        "guests": ["urn:x:Ann"],
        "route": ["urn:x:A"],
        "speed": {"dataset": {"@none": 55, "urn:d:gps": 54}},
    }


@pytest.mark.parametrize(
    ("instance", "concise"),
    [
        pytest.param({"type": "Property", "value": {"type": "X"}}, {"value": {"type": "X"}}),
        pytest.param({"type": "Property", "value": {"@type": "X"}}, {"value": {"@type": "X"}}),
        pytest.param({"type": "Property", "value": {"value": 1}}, {"value": {"value": 1}}),
        pytest.param({"type": "Property", "value": {"unitCode": 1}}, {"value": {"unitCode": 1}}),
        pytest.param({"type": "Property", "value": [{"value": 1}]}, {"value": [{"value": 1}]}),
        pytest.param({"type": "Property", "value": [{"a": 1}]}, [{"a": 1}]),
        pytest.param({"type": "Property", "value": []}, []),
        pytest.param({"type": "Property", "value": POINT}, {"type": "Property", "value": POINT}),
        pytest.param(
            {"type": "Property", "value": 1, "datasetId": "urn:d:1"},
            {"value": 1, "datasetId": "urn:d:1"},
        ),
        pytest.param(
            {"type": "GeoProperty", "value": POINT, "observedAt": LATER},
            {"value": POINT, "observedAt": LATER},
        ),
    ],
)
def test_a_concise_value_stands_bare_only_where_it_is_read_back_the_same(
    instance: dict[str, Any], concise: Any
) -> None:
    entity = building(a=instance)

    document = shown(entity, CONCISE)

    assert document is not None
    assert document["a"] == concise
    assert (
        expand_entity(document, CORE)["attributes"]
        == expand_entity({"id": ID, "type": "Building", "a": instance}, CORE)["attributes"]
    )


def test_times_are_shown_only_when_they_are_asked_for() -> None:
    entity = building(
        expiresAt=LATER, a={"value": 1, "expiresAt": LATER, "sub": {"value": 2}}, scope="/a"
    )

    plain = shown(entity, NORMALIZED)
    full = shown(entity, Representation(sys_attrs=True))

    sub = {"type": "Property", "value": 2}
    assert plain == {
        "id": ID,
        "type": "Building",
        "scope": "/a",
        "a": {"type": "Property", "value": 1, "sub": sub},
    }
    both = {"createdAt": BIRTH, "modifiedAt": BIRTH}
    times = {**both, "expiresAt": LATER}
    assert full == {
        "id": ID,
        "type": "Building",
        "scope": "/a",
        **times,
        "a": {"type": "Property", "value": 1, **times, "sub": {**sub, **both}},
    }


def test_a_concise_value_with_times_does_not_stand_bare() -> None:
    document = shown(building(a=1), Representation(format="concise", sys_attrs=True))

    assert document is not None
    assert document["a"] == {"value": 1, "createdAt": BIRTH, "modifiedAt": BIRTH}


def test_several_types_and_scopes_are_arrays() -> None:
    entity = stored({"id": ID, "type": ["A", "B"], "scope": ["/a", "/b"]})

    assert shown(entity, NORMALIZED) == {"id": ID, "type": ["A", "B"], "scope": ["/a", "/b"]}


def test_names_are_those_of_the_context_and_otherwise_iris() -> None:
    ld_context = build({"Tower": "https://example.org/Tower", "height": "https://example.org/h"})
    entity = stored({"id": ID, "type": "Tower", "height": 1}, ld_context)

    with_context = render(entity, ld_context, SIMPLIFIED)
    without = render(entity, CORE, SIMPLIFIED)

    assert with_context == {"id": ID, "type": "Tower", "height": 1}
    assert without == {
        "id": ID,
        "type": "https://example.org/Tower",
        "https://example.org/h": 1,
    }


def test_a_proof_is_shown_with_the_name_of_the_sealed_type() -> None:
    proof = {
        "type": "Property",
        "value": {"type": "DataIntegrityProof"},
        "entityIdSealed": ID,
        "entityTypeSealed": "Building",
    }
    entity = building(ngsildproof=proof, a={"value": 1, "ngsildproof": proof})

    document = shown(entity, NORMALIZED)

    assert document is not None
    assert document["ngsildproof"] == proof
    assert document["a"]["ngsildproof"] == proof


def test_rendering_leaves_the_entity_alone() -> None:
    entity = stored(EVERY_KIND)

    for representation in (NORMALIZED, CONCISE, SIMPLIFIED, Representation(lang="fr")):
        render(entity, CORE, representation)

    assert entity == stored(EVERY_KIND)


# Languages


@pytest.mark.parametrize(
    ("form", "street"),
    [
        ("normalized", {"type": "Property", "value": "Grand Place", "lang": "fr"}),
        ("concise", {"value": "Grand Place", "lang": "fr"}),
        ("simplified", "Grand Place"),
    ],
)
def test_a_language_filter_reduces_a_language_property_to_one_text(form: Any, street: Any) -> None:
    entity = building(street={"languageMap": {"fr": "Grand Place", "nl": "Markt"}})

    document = shown(entity, Representation(format=form, lang="fr"))

    assert document is not None
    assert document["street"] == street


# Instances (4.5.5)


@pytest.mark.parametrize(
    ("wanted", "left"),
    [
        pytest.param({"@none"}, {"a": 1, "b": 3}, id="default"),
        pytest.param({"urn:d:1"}, {"a": 2}, id="named"),
        pytest.param(
            {"@none", "urn:d:1"}, {"a": {"dataset": {"@none": 1, "urn:d:1": 2}}, "b": 3}, id="both"
        ),
        pytest.param({"urn:d:9"}, {}, id="none"),
    ],
)
def test_instances_are_filtered_by_dataset_id(wanted: set[str], left: dict[str, Any]) -> None:
    entity = building(a=[{"value": 1}, {"value": 2, "datasetId": "urn:d:1"}], b=3)

    document = shown(entity, Representation(format="simplified", dataset_ids=frozenset(wanted)))

    assert document == {"id": ID, "type": "Building", **left}


# Projections


@pytest.mark.parametrize(
    ("asked", "left"),
    [
        pytest.param({"pick": "id,a"}, {"id": ID, "a": 1}, id="pick"),
        pytest.param({"pick": "a|b"}, {"a": 1, "b": 2}, id="pick attributes only"),
        pytest.param({"pick": "scope"}, {"scope": "/x"}, id="pick scope"),
        pytest.param({"omit": "type,a"}, {"id": ID, "scope": "/x", "b": 2}, id="omit"),
        pytest.param({"pick": "id,a,b", "omit": "scope"}, {"id": ID, "a": 1, "b": 2}, id="both"),
        pytest.param(
            {"attrs": "a"}, {"id": ID, "type": "Building", "scope": "/x", "a": 1}, id="attrs"
        ),
        pytest.param(
            {"attrs": "z"}, {"id": ID, "type": "Building", "scope": "/x"}, id="attrs, none there"
        ),
        pytest.param({"pick": "unknown"}, None, id="nothing is left of pick"),
        pytest.param({"omit": "id,type,scope,a,b"}, None, id="nothing is left of omit"),
    ],
)
def test_an_entity_is_projected(asked: dict[str, Any], left: dict[str, Any] | None) -> None:
    entity = building(scope="/x", a=1, b=2)
    chosen = Representation(format="simplified", projection=projection.parse(CORE, **asked))

    assert shown(entity, chosen) == left


def test_times_of_the_entity_can_be_picked() -> None:
    chosen = Representation(sys_attrs=True, projection=projection.parse(CORE, pick="createdAt"))

    assert shown(building(a=1), chosen) == {"createdAt": BIRTH}


# Linked entities (4.5.23)

CITY = "urn:ngsi-ld:City:Paris"
COUNTRY = "urn:ngsi-ld:Country:France"


def linked() -> dict[Iri, ExpandedEntity]:
    city = {
        "id": CITY,
        "type": "City",
        "name": "Paris",
        "country": {"object": COUNTRY},
        "back": {"object": ID},
    }
    country = {"id": COUNTRY, "type": "Country", "name": "France", "size": 5}
    return {Iri(CITY): stored(city), Iri(COUNTRY): stored(country)}


def test_an_inline_join_puts_the_linked_entity_beside_the_object() -> None:
    entity = building(at={"object": CITY, "by": {"object": CITY}})

    document = shown(entity, NORMALIZED, linked=linked())

    assert document is not None
    assert document["at"] == {
        "type": "Relationship",
        "object": CITY,
        "by": {"type": "Relationship", "object": CITY},
        "entity": {
            "id": CITY,
            "type": "City",
            "name": {"type": "Property", "value": "Paris"},
            "country": {"type": "Relationship", "object": COUNTRY},
            "back": {"type": "Relationship", "object": ID},
        },
    }


def test_an_inline_join_goes_as_deep_as_asked_and_never_in_a_circle() -> None:
    entity = building(at={"object": CITY})

    document = shown(entity, SIMPLIFIED, linked={**linked(), Iri(ID): entity}, join_level=5)

    assert document == {
        "id": ID,
        "type": "Building",
        "at": {
            "id": CITY,
            "type": "City",
            "name": "Paris",
            "country": {"id": COUNTRY, "type": "Country", "name": "France", "size": 5},
            "back": ID,
        },
    }


def test_an_inline_join_leaves_out_what_was_met_before() -> None:
    entity = building(at={"object": CITY})

    document = shown(
        entity, SIMPLIFIED, linked=linked(), contained_by=frozenset({Iri(CITY)}), join_level=1
    )

    assert document == {"id": ID, "type": "Building", "at": CITY}


def test_an_inline_join_of_several_objects_shows_those_that_are_there() -> None:
    entity = building(
        many={"object": [CITY, "urn:x:gone"]},
        listed={"objectList": [COUNTRY, "urn:x:gone"]},
        gone={"object": "urn:x:gone"},
        gone_list={"objectList": ["urn:x:gone"]},
    )

    normalized = shown(entity, NORMALIZED, linked=linked())
    simplified = shown(entity, SIMPLIFIED, linked=linked())

    assert normalized is not None
    assert simplified is not None
    assert [one["id"] for one in normalized["many"]["entity"]] == [CITY]
    assert [one["id"] for one in normalized["listed"]["entityList"]] == [COUNTRY]
    assert "entity" not in normalized["gone"]
    assert "entityList" not in normalized["gone_list"]
    assert simplified["many"][0]["id"] == CITY
    assert simplified["many"][1] == "urn:x:gone"
    assert simplified["listed"][0]["name"] == "France"
    assert simplified["gone"] == "urn:x:gone"


@pytest.mark.parametrize(
    ("asked", "at"),
    [
        pytest.param(
            {"pick": "at{id,name}"}, {"id": CITY, "name": "Paris"}, id="5.7.1 pick in braces"
        ),
        pytest.param(
            {"pick": "at{id,country{name}}"}, {"id": CITY, "country": {"name": "France"}}, id="deep"
        ),
        pytest.param(
            {"omit": "at{type,back,country{size,id}}"},
            {"id": CITY, "name": "Paris", "country": {"type": "Country", "name": "France"}},
            id="omit in braces",
        ),
        pytest.param(
            {"pick": "at{id,name}", "omit": "at{size}|at{type}"},
            {"id": CITY, "name": "Paris"},
            id="both in braces",
        ),
        pytest.param({"pick": "at{unknown}"}, CITY, id="nothing is left of the linked entity"),
    ],
)
def test_linked_entities_are_projected_by_what_stands_in_braces(
    asked: dict[str, Any], at: Any
) -> None:
    chosen = projection.parse(CORE, join_level=2, **asked)

    document = shown(
        building(at={"object": CITY}),
        Representation(format="simplified", projection=chosen),
        linked=linked(),
        join_level=2,
    )

    assert document is not None
    assert document["at"] == at
