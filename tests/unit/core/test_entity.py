"""Checking and expanding entity documents (clauses 4.5, 4.6, 4.7, 5.5.4)."""

from __future__ import annotations

from typing import Any

import pytest

from broker.core import vocabulary
from broker.core.entity import (
    expand_attribute,
    expand_entity,
    expand_fragment,
    expand_simplified,
)
from broker.core.errors import BadRequestData
from broker.core.identifiers import Fragment, Iri
from broker.core.ld_context import CORE, build

ID = "urn:ngsi-ld:Building:1"
NULL = "urn:ngsi-ld:null"
VOCAB = "https://uri.etsi.org/ngsi-ld/default-context/"
TIME = "2026-05-01T12:00:00Z"
POINT = {"type": "Point", "coordinates": [2.29, 48.85]}
SPEED = Iri(VOCAB + "speed")


def entity(**members: Any) -> dict[str, Any]:
    return {"id": ID, "type": "Building", **members}


def speed(value: Any) -> Any:
    """Return what the attribute `speed` of a whole entity is read to."""
    return expand_entity(entity(speed=value), CORE)["attributes"][SPEED]


def fragment_of(value: Any) -> Any:
    """Return what the attribute `speed` of a fragment is read to."""
    return expand_fragment({"speed": value}, CORE)["attributes"][SPEED]


# What is taken


@pytest.mark.parametrize(
    ("value", "instance"),
    [
        pytest.param(
            {"type": "Property", "value": 5}, {"type": "Property", "value": 5}, id="4.5.2.2"
        ),
        pytest.param(
            {
                "type": "Property",
                "value": 5,
                "unitCode": "KMH",
                "observedAt": TIME,
                "expiresAt": TIME,
                "valueType": "Integer",
            },
            {
                "type": "Property",
                "value": 5,
                "unitCode": "KMH",
                "observedAt": TIME,
                "expiresAt": TIME,
                "valueType": VOCAB + "Integer",
            },
            id="4.5.2.2 members",
        ),
        pytest.param(
            {"type": "Property", "value": {"type": "Point", "id": 1}},
            {"type": "Property", "value": {"type": "Point", "id": 1}},
            id="4.5.2.2 opaque value",
        ),
        pytest.param(
            {"type": "https://uri.etsi.org/ngsi-ld/Property", "value": 5},
            {"type": "Property", "value": 5},
            id="4.4 type as IRI",
        ),
        pytest.param(
            {"@type": "Property", "value": 5}, {"type": "Property", "value": 5}, id="4.4 @type"
        ),
        pytest.param(
            {"type": "Relationship", "object": "urn:x:1", "objectType": "Person"},
            {"type": "Relationship", "object": "urn:x:1", "objectType": VOCAB + "Person"},
            id="4.5.3.2",
        ),
        pytest.param(
            {"type": "Relationship", "object": ["urn:x:1", "urn:x:2"], "objectType": ["A", "B"]},
            {
                "type": "Relationship",
                "object": ["urn:x:1", "urn:x:2"],
                "objectType": [VOCAB + "A", VOCAB + "B"],
            },
            id="4.5.3.2 several",
        ),
        pytest.param(
            {"type": "GeoProperty", "value": POINT},
            {"type": "GeoProperty", "value": POINT},
            id="4.7.1",
        ),
        pytest.param(
            {"type": "GeoProperty", "value": '{"type": "Point", "coordinates": [2.29, 48.85]}'},
            {"type": "GeoProperty", "value": POINT},
            id="4.7.2 text",
        ),
        pytest.param(
            {
                "type": "LanguageProperty",
                "languageMap": {"en": "yes", "fr-CH": ["oui"], "@none": "ja"},
                "valueType": "langString",
            },
            {
                "type": "LanguageProperty",
                "languageMap": {"en": "yes", "fr-CH": ["oui"], "@none": "ja"},
                "valueType": "http://www.w3.org/1999/02/22-rdf-syntax-ns#langString",
            },
            id="4.5.18.2",
        ),
        pytest.param(
            {"type": "VocabProperty", "vocab": "non-commercial"},
            {"type": "VocabProperty", "vocab": VOCAB + "non-commercial"},
            id="4.5.20.2",
        ),
        pytest.param(
            {"type": "VocabProperty", "vocab": ["a", "urn:x:b"]},
            {"type": "VocabProperty", "vocab": [VOCAB + "a", "urn:x:b"]},
            id="4.5.20.2 several",
        ),
        pytest.param(
            {"type": "JsonProperty", "json": {"speed": 3, "type": "raw", "null": None}},
            {"type": "JsonProperty", "json": {"speed": 3, "type": "raw", "null": None}},
            id="4.5.24.2",
        ),
        pytest.param(
            {"type": "JsonProperty", "json": [{"a": 1}, {"b": 2}]},
            {"type": "JsonProperty", "json": [{"a": 1}, {"b": 2}]},
            id="4.5.24.2 array",
        ),
        pytest.param(
            {"type": "ListProperty", "valueList": [1, "a", {"b": 2}], "unitCode": "MMT"},
            {"type": "ListProperty", "valueList": [1, "a", {"b": 2}], "unitCode": "MMT"},
            id="4.5.21.2",
        ),
        pytest.param(
            {"type": "ListRelationship", "objectList": ["urn:x:1", {"object": "urn:x:2"}]},
            {"type": "ListRelationship", "objectList": ["urn:x:1", "urn:x:2"]},
            id="4.5.22.2",
        ),
        pytest.param({"value": 5}, {"type": "Property", "value": 5}, id="4.5.2.3 value"),
        pytest.param(
            {"value": POINT, "observedAt": TIME},
            {"type": "GeoProperty", "value": POINT, "observedAt": TIME},
            id="4.5.2.3 geometry",
        ),
        pytest.param(
            {"object": "urn:x:1"}, {"type": "Relationship", "object": "urn:x:1"}, id="4.5.3.3"
        ),
        pytest.param(
            {"languageMap": {"en": "yes"}},
            {"type": "LanguageProperty", "languageMap": {"en": "yes"}},
            id="4.5.18.3",
        ),
        pytest.param(
            {"vocab": "a"}, {"type": "VocabProperty", "vocab": VOCAB + "a"}, id="4.5.20.3"
        ),
        pytest.param({"json": {"a": 1}}, {"type": "JsonProperty", "json": {"a": 1}}, id="4.5.24.3"),
        pytest.param({"valueList": [1]}, {"type": "ListProperty", "valueList": [1]}, id="4.5.21.3"),
        pytest.param(
            {"objectList": ["urn:x:1"]},
            {"type": "ListRelationship", "objectList": ["urn:x:1"]},
            id="4.5.22.3",
        ),
        pytest.param(55, {"type": "Property", "value": 55}, id="4.5.2.3 bare number"),
        pytest.param(False, {"type": "Property", "value": False}, id="4.5.2.3 bare false"),
        pytest.param(
            {"street": "Quai", "unitCode": "x"},
            {"type": "Property", "value": {"street": "Quai", "unitCode": "x"}},
            id="4.5.2.3 bare object",
        ),
        pytest.param(
            {"@type": "DateTime", "@value": TIME},
            {"type": "Property", "value": {"@type": "DateTime", "@value": TIME}},
            id="4.6.3 typed value",
        ),
        pytest.param([], {"type": "Property", "value": []}, id="4.5.2.3 bare array"),
        pytest.param(
            [1, {"a": 1}, [2]],
            {"type": "Property", "value": [1, {"a": 1}, [2]]},
            id="4.5.2.3 mixed array",
        ),
        pytest.param(POINT, {"type": "GeoProperty", "value": POINT}, id="4.7.3 bare geometry"),
        pytest.param(
            {
                "type": "Property",
                "value": 1,
                "createdAt": "x",
                "modifiedAt": 1,
                "deletedAt": None,
                "instanceId": "no",
            },
            {"type": "Property", "value": 1},
            id="5.2.2 read-only members are ignored",
        ),
        pytest.param(
            {"type": "Relationship", "object": "urn:x:1", "entity": {"id": "urn:x:1"}},
            {"type": "Relationship", "object": "urn:x:1"},
            id="5.2.6 an inline entity is ignored",
        ),
    ],
)
def test_an_attribute_instance_is_read_to_its_normalized_form(
    value: Any, instance: dict[str, Any]
) -> None:
    assert speed(value) == {"@none": instance}


def test_sub_attributes_stand_under_their_own_member_at_any_depth() -> None:
    reading = {"type": "Property", "value": 1, "source": {"value": 2, "by": {"object": "urn:x:1"}}}

    instance = speed(reading)["@none"]

    by = {VOCAB + "by": {"@none": {"type": "Relationship", "object": "urn:x:1"}}}
    source = {"type": "Property", "value": 2, "attributes": by}
    assert instance["attributes"] == {VOCAB + "source": {"@none": source}}


def test_instances_are_keyed_by_dataset_id_and_the_default_one_by_none() -> None:
    instances = speed(
        [
            {"type": "Property", "value": 1},
            {"type": "Property", "value": 2, "datasetId": "urn:d:1"},
            {"value": 3, "datasetId": "urn:d:2"},
        ]
    )

    assert {key: one["value"] for key, one in instances.items()} == {
        "@none": 1,
        "urn:d:1": 2,
        "urn:d:2": 3,
    }
    assert all("datasetId" not in one for one in instances.values())


def test_a_single_instance_may_have_a_dataset_id_or_say_that_it_is_the_default_one() -> None:
    assert list(speed({"value": 1, "datasetId": "urn:d:1"})) == ["urn:d:1"]
    assert list(speed({"value": 1, "datasetId": "@none"})) == ["@none"]


def test_an_array_of_concise_objects_with_values_is_an_array_of_instances() -> None:
    assert list(speed([{"value": 1}, {"value": 2, "datasetId": "urn:d:1"}])) == ["@none", "urn:d:1"]


def test_the_members_of_an_entity_are_checked_and_brought_into_form() -> None:
    document = {
        "@id": ID,
        "@type": ["Building", "https://example.org/Tower", "Building"],
        "@context": "ignored here",
        "scope": ["Madrid/Gardens", "/Madrid/Gardens", "/Lyon"],
        "expiresAt": TIME,
        "createdAt": "ignored",
        "modifiedAt": "ignored",
        "deletedAt": "ignored",
    }

    fragment = expand_entity(document, CORE)

    assert fragment == {
        "id": ID,
        "type": [VOCAB + "Building", "https://example.org/Tower"],
        "scope": ["/Madrid/Gardens", "/Lyon"],
        "expiresAt": TIME,
        "attributes": {},
    }


def test_names_for_id_and_type_that_the_context_defines_are_understood() -> None:
    ld_context = build({"uid": "@id", "kind": "@type"})

    fragment = expand_entity({"uid": ID, "kind": "Building"}, ld_context)

    assert fragment["id"] == ID
    assert fragment["type"] == [VOCAB + "Building"]


def test_an_id_under_two_names_is_refused() -> None:
    ld_context = build({"uid": "@id"})

    with pytest.raises(BadRequestData, match="two names"):
        expand_entity({"uid": ID, "id": ID, "type": "Building"}, ld_context)


def test_unicode_letters_make_names_and_values_stay_as_they_are() -> None:
    fragment = expand_entity({"id": ID, "type": "Škola", "výška_1": "<žltý> 'kôň'"}, CORE)

    assert fragment["attributes"][VOCAB + "výška_1"]["@none"]["value"] == "<žltý> 'kôň'"


@pytest.mark.parametrize(("name", "local"), [("value", "hasValue"), ("vocab", "hasVocab")])
def test_names_of_value_members_are_taken_at_the_level_of_an_entity(name: str, local: str) -> None:
    fragment = expand_entity(entity(**{name: {"type": "Property", "value": 3}}), CORE)

    assert fragment["attributes"] == {
        f"https://uri.etsi.org/ngsi-ld/{local}": {"@none": {"type": "Property", "value": 3}}
    }


def test_a_proof_keeps_its_value_and_its_sealed_members() -> None:
    proof = {
        "type": "Property",
        "entityIdSealed": ID,
        "entityTypeSealed": "Building",
        "value": {"type": "DataIntegrityProof", "proofValue": "z3"},
    }

    instance = speed({"type": "Property", "value": 1, "ngsildproof": proof})["@none"]

    assert instance["attributes"]["https://uri.etsi.org/ngsi-ld/ngsildproof"]["@none"] == {
        "type": "Property",
        "entityIdSealed": ID,
        "entityTypeSealed": VOCAB + "Building",
        "value": {"type": "DataIntegrityProof", "proofValue": "z3"},
    }


# What is refused, and where the error says it is


@pytest.mark.parametrize(
    ("value", "where"),
    [
        pytest.param(None, "speed: expected an attribute", id="5.2.1 JSON null"),
        pytest.param({"type": "Property"}, "speed: expected the value", id="4.5.2.2 no value"),
        pytest.param(
            {"type": "Property", "value": None}, "speed.value: expected", id="5.2.1 null value"
        ),
        pytest.param({"type": "Relationship"}, "speed: expected the value", id="4.5.3.2 no object"),
        pytest.param(
            {"type": "LanguageProperty"}, "speed: expected the value", id="4.5.18.2 no languageMap"
        ),
        pytest.param({"type": "Foo", "value": 1}, "speed.type: expected one of", id="unknown type"),
        pytest.param({"type": 5, "value": 1}, "speed.type: expected one of", id="type a number"),
        pytest.param(
            {"type": ["Property"], "value": 1}, "speed.type: expected one of", id="type an array"
        ),
        pytest.param(
            {"type": "PostalAddress", "street": "x"},
            "speed.type: expected one of",
            id="4.5.2.3 an object with a type is normalized",
        ),
        pytest.param({"type": "type", "value": 1}, "speed.type: ", id="type a keyword"),
        pytest.param(
            {"@context": {}, "a": 1},
            "speed.@context: an @context stands at the top",
            id="4.5.1 embedded @context",
        ),
        *(
            pytest.param(
                {"type": "Property", "value": 1, member: value},
                f"speed.{member}: has no place in a Property",
                id=f"4.5.2.2 {member}",
            )
            for member, value in {
                "object": "urn:x:1",
                "languageMap": {"en": "x"},
                "json": {},
                "vocab": "a",
                "valueList": [1],
                "objectList": ["urn:x:1"],
                "entity": {},
                "entityList": [],
                "previousValue": 0,
                "previousJson": {},
                "entityIdSealed": ID,
                "entityTypeSealed": "Building",
                "objectType": "A",
                "scope": "/a",
                "@context": {},
            }.items()
        ),
        *(
            pytest.param(
                {"type": "Relationship", "object": "urn:x:1", member: value},
                f"speed.{member}: has no place in a Relationship",
                id=f"4.5.3.2 {member}",
            )
            for member, value in {
                "value": 1,
                "unitCode": "MTR",
                "valueType": "x",
                "languageMap": {"en": "x"},
                "previousObject": "urn:x:0",
                "entityList": [],
            }.items()
        ),
        *(
            pytest.param(
                {"type": kind, **value, "unitCode": "MTR"},
                f"speed.unitCode: has no place in a {kind}",
                id=f"{clause} unitCode",
            )
            for clause, kind, value in (
                ("4.5.18.2", "LanguageProperty", {"languageMap": {"en": "x"}}),
                ("4.5.20.2", "VocabProperty", {"vocab": "a"}),
                ("4.5.24.2", "JsonProperty", {"json": {}}),
                ("4.5.22.2", "ListRelationship", {"objectList": ["urn:x:1"]}),
            )
        ),
        pytest.param(
            {"type": "ListProperty", "valueList": [1], "value": 3},
            "speed.value: has no place in a ListProperty",
            id="4.5.21.2 value",
        ),
        pytest.param(
            {"value": 1, "object": "urn:x:1"},
            "speed.object: has no place in a Property",
            id="4.5.2.3 two values",
        ),
        pytest.param(
            {"type": "Property", "value": 1, "observedAt": "2026-05-01T12:00:00+02:00"},
            "speed.observedAt: expected a UTC date-time",
            id="4.6.3 offset",
        ),
        pytest.param(
            {"type": "Property", "value": 1, "observedAt": {"type": "Property", "value": TIME}},
            "speed.observedAt: expected a UTC date-time",
            id="4.8 reified time",
        ),
        pytest.param(
            {"type": "Property", "value": 1, "expiresAt": "2026-13-45T00:00:00Z"},
            "speed.expiresAt: expected a UTC date-time",
            id="4.22 impossible time",
        ),
        pytest.param(
            {"type": "Property", "value": 1, "unitCode": 7},
            "speed.unitCode: expected a unit code",
            id="5.2.5 unitCode",
        ),
        pytest.param(
            {"type": "Property", "value": 1, "valueType": "no name"},
            "speed.valueType: 'no name' is no name",
            id="5.2.5 valueType",
        ),
        pytest.param(
            {"type": "Property", "value": 1, "valueType": 5},
            "speed.valueType: 5 is no text",
            id="5.2.5 valueType a number",
        ),
        pytest.param(
            {"type": "Property", "value": 1, "datasetId": "no uri"},
            "speed.datasetId: expected a URI",
            id="4.5.5 datasetId",
        ),
        pytest.param(
            {"type": "Property", "value": 1, "datasetId": NULL},
            "speed.datasetId: a datasetId cannot be deleted",
            id="5.5.8 datasetId null",
        ),
        pytest.param(
            {"type": "Property", "value": 1, "datasetId": None},
            "speed.datasetId: expected a URI",
            id="5.2.1 datasetId JSON null",
        ),
        pytest.param(
            {"datasetId": "urn:d:1", "street": "x"},
            "speed: expected the value",
            id="4.5.5 datasetId without a value",
        ),
        pytest.param(
            [{"value": 1}, {"value": 2}],
            "speed[1]: the default instance is there twice",
            id="4.5.5 two defaults",
        ),
        pytest.param(
            [{"value": 1}, {"value": 2, "datasetId": "@none"}],
            "speed[1]: the default instance is there twice",
            id="4.5.5 two defaults, one named",
        ),
        pytest.param(
            [{"value": 1, "datasetId": "urn:d:1"}, {"value": 2, "datasetId": "urn:d:1"}],
            "speed[1]: datasetId urn:d:1 is there twice",
            id="4.5.5 two of a datasetId",
        ),
        pytest.param(
            [{"type": "Property", "value": 1}, 5],
            "speed[1]: expected an attribute instance",
            id="4.5.5 an item that is none",
        ),
        pytest.param(
            [{"value": 1, "datasetId": "urn:d:1"}, {"value": 2, "observedAt": "x"}],
            "speed[1].observedAt: expected a UTC date-time",
            id="the path has the place",
        ),
        pytest.param(
            {"type": "Relationship", "object": "poi_226"},
            "speed.object: expected a URI",
            id="4.5.3.2 no URI",
        ),
        pytest.param(
            {"type": "Relationship", "object": ["urn:x:1", 5]},
            "speed.object[1]: expected a URI",
            id="4.5.3.2 no URI in an array",
        ),
        pytest.param(
            {"type": "Relationship", "object": []},
            "speed.object: expected 1 to",
            id="4.5.3.2 empty",
        ),
        pytest.param(
            {"type": "Relationship", "object": "urn:x:1", "objectType": []},
            "speed.objectType: expected 1 to",
            id="4.5.23 no types",
        ),
        pytest.param(
            {"type": "ListRelationship", "objectList": "urn:x:1"},
            "speed.objectList: expected an array",
            id="4.5.22.2 no array",
        ),
        pytest.param(
            {"type": "ListRelationship", "objectList": [{"object": "x"}]},
            "speed.objectList[0].object: expected a URI",
            id="4.5.22.2 no URI",
        ),
        pytest.param(
            {"type": "ListRelationship", "objectList": [{"object": "urn:x:1", "a": 1}]},
            "speed.objectList[0]: expected a URI",
            id="4.5.22.2 more members",
        ),
        pytest.param(
            {"type": "ListProperty", "valueList": 5},
            "speed.valueList: expected an array",
            id="4.5.21.2 no array",
        ),
        pytest.param(
            {"type": "LanguageProperty", "languageMap": {"en": 5}},
            "speed.languageMap.en: expected a text",
            id="4.6.5 number",
        ),
        pytest.param(
            {"type": "LanguageProperty", "languageMap": {"en": ["a", 5]}},
            "speed.languageMap.en: expected a text",
            id="4.6.5 mixed array",
        ),
        pytest.param(
            {"type": "LanguageProperty", "languageMap": {"": "x"}},
            "speed.languageMap: expected a language tag",
            id="4.5.18.2 empty tag",
        ),
        pytest.param(
            {"type": "LanguageProperty", "languageMap": {"en_US": "x"}},
            "speed.languageMap: expected a language tag",
            id="RFC 5646 underscore",
        ),
        pytest.param(
            {"type": "LanguageProperty", "languageMap": {}},
            "speed.languageMap: expected an object of languages",
            id="4.5.18.2 empty map",
        ),
        pytest.param(
            {"type": "LanguageProperty", "languageMap": {"en": "x"}, "valueType": "xsd:string"},
            "speed.valueType: expected langString",
            id="5.2.32 valueType",
        ),
        pytest.param(
            {"type": "VocabProperty", "vocab": 5}, "speed.vocab: expected a text", id="4.5.20.2"
        ),
        pytest.param(
            {"type": "VocabProperty", "vocab": ["a", "type"]},
            "speed.vocab[1]: 'type' is no name",
            id="4.5.20.2 keyword",
        ),
        pytest.param(
            {"type": "JsonProperty", "json": 5}, "speed.json: expected an object", id="4.5.24.2"
        ),
        pytest.param(
            {"type": "JsonProperty", "json": [{}, 1]},
            "speed.json: expected an object",
            id="4.5.24.2 array of others",
        ),
        pytest.param(
            {"type": "GeoProperty", "value": "not a geometry"},
            "speed.value: expected a GeoJSON geometry",
            id="4.7.2 no JSON",
        ),
        pytest.param(
            {"type": "GeometryCollection", "geometries": []},
            "speed.type: expected one of Point",
            id="4.6.3 GeometryCollection",
        ),
        pytest.param(
            {"value": 1, "my sub": 2}, "speed: 'my sub' is no name", id="4.6.2 sub-attribute"
        ),
        pytest.param(
            {"value": 1, "a": 1, VOCAB + "a": 2},
            f"speed.{VOCAB}a: attribute {VOCAB}a is there twice",
            id="a sub-attribute under two names",
        ),
        pytest.param(
            {"value": 1, "https://uri.etsi.org/ngsi-ld/unitCode": "x"},
            "speed.https://uri.etsi.org/ngsi-ld/unitCode: is a term of the core model",
            id="4.5.1 a core term as IRI",
        ),
        pytest.param(
            {"value": 1, "https://uri.etsi.org/ngsi-ld/hasValue": 2},
            "speed.https://uri.etsi.org/ngsi-ld/hasValue: is a term of the core model",
            id="4.5.2.2 a second value as IRI",
        ),
        pytest.param(
            {"value": 1, "ngsildproof": {"value": "text"}},
            "speed.ngsildproof.value: expected a proof object",
            id="4.5.2.2 proof value",
        ),
        pytest.param(
            {"value": 1, "ngsildproof": {"value": {}, "entityTypeSealed": 42}},
            "speed.ngsildproof.entityTypeSealed: 42 is no text",
            id="4.5.2.2 sealed type",
        ),
        pytest.param(
            {"value": 1, "ngsildproof": {"value": {}, "entityIdSealed": "x"}},
            "speed.ngsildproof.entityIdSealed: expected a URI",
            id="4.5.2.2 sealed id",
        ),
        pytest.param(
            {"value": 1, "ngsildproof": {"object": "urn:x:1"}},
            "speed.ngsildproof.type: expected Property",
            id="4.5.2.2 proof is a Property",
        ),
    ],
)
def test_a_wrong_attribute_is_refused_at_its_path(value: Any, where: str) -> None:
    with pytest.raises(BadRequestData) as error:
        speed(value)

    assert error.value.detail.startswith(where)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(NULL, id="5.5.4 first level"),
        pytest.param({"type": "Property", "value": NULL}, id="5.5.4 value"),
        pytest.param({"type": "GeoProperty", "value": NULL}, id="5.5.4 geometry"),
        pytest.param({"type": "Relationship", "object": NULL}, id="5.5.4 object"),
        pytest.param({"type": "Relationship", "object": ["urn:x:1", NULL]}, id="5.2.1 objects"),
        pytest.param({"type": "LanguageProperty", "languageMap": {"@none": NULL}}, id="4.6.5"),
        pytest.param({"type": "LanguageProperty", "languageMap": {"en": NULL}}, id="4.6.5 one"),
        pytest.param({"type": "LanguageProperty", "languageMap": {"en": [NULL]}}, id="4.6.5 array"),
        pytest.param({"type": "VocabProperty", "vocab": NULL}, id="5.2.1 vocab"),
        pytest.param({"type": "JsonProperty", "json": NULL}, id="5.2.1 json"),
        pytest.param({"type": "JsonProperty", "json": {"a": {"b": NULL}}}, id="5.2.1 in json"),
        pytest.param({"type": "ListProperty", "valueList": [NULL]}, id="4.5.21.2"),
        pytest.param({"type": "ListProperty", "valueList": [1, NULL]}, id="5.2.1 in valueList"),
        pytest.param({"type": "ListRelationship", "objectList": [NULL]}, id="4.5.22.2"),
        pytest.param({"type": "ListRelationship", "objectList": [{"object": NULL}]}, id="4.5.22"),
        pytest.param({"type": "Property", "value": {"a": {"b": NULL}}}, id="5.5.4 in a value"),
        pytest.param({"a": [{"b": NULL}]}, id="5.5.4 in a bare value"),
        pytest.param({"type": "Property", "value": 1, "unitCode": NULL}, id="5.2.1 unitCode"),
        pytest.param({"type": "Property", "value": 1, "observedAt": NULL}, id="5.2.1 observedAt"),
        pytest.param({"type": "Property", "value": 1, "expiresAt": NULL}, id="5.2.1 expiresAt"),
        pytest.param({"type": "Property", "value": 1, "valueType": NULL}, id="5.2.1 valueType"),
        pytest.param({"object": "urn:x:1", "objectType": NULL}, id="5.2.1 objectType"),
        pytest.param({"type": "Property", "value": 1, "sub": NULL}, id="5.2.1 sub-attribute"),
        pytest.param({"value": 1, "sub": {"value": NULL}}, id="5.2.1 sub-attribute's value"),
        pytest.param({"value": 1, "ngsildproof": {"value": NULL}}, id="5.2.1 proof"),
    ],
)
def test_a_null_has_no_place_in_a_whole_entity(value: Any) -> None:
    with pytest.raises(BadRequestData, match=NULL):
        speed(value)


@pytest.mark.parametrize(
    ("document", "where"),
    [
        pytest.param([], "expected an entity", id="no object"),
        pytest.param({"type": "A"}, "id: expected a URI", id="4.5.1 no id"),
        pytest.param({"id": ID}, "type: expected the name", id="4.5.1 no type"),
        pytest.param({"id": ID, "type": None}, "type: expected the name", id="4.5.1 null type"),
        pytest.param({"id": "no uri", "type": "A"}, "id: expected a URI", id="4.5.1 id"),
        pytest.param({"id": "urn:a:\u202eb", "type": "A"}, "id: expected a URI", id="4.5.1 bidi"),
        pytest.param({"id": NULL, "type": "A"}, f"id: {NULL} is no id", id="5.5.4 null id"),
        pytest.param({"id": ID, "@id": ID, "type": "A"}, "@id: the entity has two", id="two ids"),
        pytest.param({"id": ID, "type": []}, "type: expected 1 to", id="4.5.1 no types"),
        pytest.param({"id": ID, "type": 5}, "type: 5 is no text", id="type a number"),
        pytest.param({"id": ID, "type": ["A", "9B"]}, "type[1]: '9B' is no name", id="4.6.2 type"),
        pytest.param({"id": ID, "type": "type"}, "type: 'type' is no name", id="4.4 keyword"),
        pytest.param({"id": ID, "type": NULL}, f"type: '{NULL}'", id="5.5.4 null type"),
        pytest.param(entity(**{"my attr": 1}), "entity: 'my attr' is no name", id="4.6.2 blank"),
        pytest.param(entity(**{"": 1}), "entity: '' is no name", id="4.6.2 empty"),
        pytest.param(entity(**{"..": 1}), "entity: '..' is no name", id="4.6.2 dots"),
        pytest.param(entity(**{"a:b c": 1}), "entity: 'a:b c' is no name", id="4.6.2 prefix"),
        pytest.param(entity(**{"a" * 300: 1}), "entity: 'aaa", id="a long name"),
        pytest.param(entity(**{"urn:" + "a" * 3000: 1}), "entity: 'urn:aaa", id="a long IRI"),
        pytest.param(entity(a=1, **{VOCAB + "a": 2}), f"{VOCAB}a: attribute", id="twice"),
        pytest.param(entity(scope="9bad"), "scope: expected a scope", id="4.18 digit"),
        pytest.param(entity(scope="/a//b"), "scope: expected a scope", id="4.18 empty level"),
        pytest.param(entity(scope="a-b"), "scope: expected a scope", id="4.18 dash"),
        pytest.param(entity(scope="/"), "scope: expected a scope", id="4.18 no level"),
        pytest.param(entity(scope=5), "scope: expected a scope", id="4.18 number"),
        pytest.param(entity(scope=["/ok", "9bad"]), "scope: expected a scope", id="4.18 one of"),
        pytest.param(entity(scope=[]), "scope: expected 1 to", id="4.18 none"),
        pytest.param(entity(scope=NULL), f"scope: {NULL}", id="4.18 null"),
        pytest.param(entity(expiresAt="soon"), "expiresAt: expected a UTC date", id="4.22"),
        pytest.param(entity(expiresAt=NULL), f"expiresAt: {NULL}", id="4.22 null"),
        pytest.param(
            entity(location={"type": "Property", "value": 7}),
            "location.type: expected GeoProperty, got Property",
            id="4.7.1 location",
        ),
        pytest.param(entity(location=7), "location.type: expected GeoProperty", id="4.7.1 bare"),
        *(
            pytest.param(
                entity(**{name: {"type": "Property", "value": 1}}),
                f"{name}: is a term of the core model",
                id=f"4.5.1 {name}",
            )
            for name in ("datasetId", "instanceId", "observedAt", "unitCode", "previousValue")
        ),
        pytest.param(
            entity(**{"https://uri.etsi.org/ngsi-ld/datasetId": 1}),
            "https://uri.etsi.org/ngsi-ld/datasetId: is a term of the core model",
            id="4.5.1 as IRI",
        ),
    ],
)
def test_a_wrong_entity_is_refused_at_its_path(document: Any, where: str) -> None:
    with pytest.raises(BadRequestData) as error:
        expand_entity(document, CORE)

    assert error.value.detail.startswith(where)


# Bounds


def nested_attribute(depth: int) -> dict[str, Any]:
    attribute: dict[str, Any] = {"value": 1}
    for _ in range(depth):
        attribute = {"value": 1, "sub": attribute}
    return attribute


def nested_value(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = {"a": value}
    return value


def test_sub_attributes_are_nested_up_to_the_limit() -> None:
    speed(nested_attribute(vocabulary.MAX_ATTRIBUTE_DEPTH))

    with pytest.raises(BadRequestData, match="nested deeper than"):
        speed(nested_attribute(vocabulary.MAX_ATTRIBUTE_DEPTH + 1))


def test_values_are_nested_up_to_the_limit() -> None:
    speed({"value": nested_value(vocabulary.MAX_VALUE_DEPTH)})

    with pytest.raises(BadRequestData, match="nested deeper than"):
        speed({"value": nested_value(vocabulary.MAX_VALUE_DEPTH + 2)})


@pytest.mark.parametrize(
    "members",
    [
        pytest.param({f"a{n}": n for n in range(vocabulary.MAX_ATTRIBUTES)}, id="attributes"),
        pytest.param(
            {"a": {"value": 1, **{f"b{n}": n for n in range(vocabulary.MAX_ATTRIBUTES + 1)}}},
            id="sub-attributes",
        ),
        pytest.param(
            {
                "a": [
                    {"value": n, "datasetId": f"urn:d:{n}"}
                    for n in range(vocabulary.MAX_INSTANCES + 1)
                ]
            },
            id="instances",
        ),
        pytest.param(
            {"a": {"object": ["urn:x:1"] * (vocabulary.MAX_OBJECTS + 1)}},
            id="objects",
        ),
        pytest.param(
            {"a": {"objectList": ["urn:x:1"] * (vocabulary.MAX_OBJECTS + 1)}},
            id="object list",
        ),
        pytest.param({"scope": ["/a"] * (vocabulary.MAX_SCOPES + 1)}, id="scopes"),
        pytest.param({"type": ["A"] * (vocabulary.MAX_TYPES + 1)}, id="types"),
        pytest.param({"a": {"value": 1, "unitCode": "x" * 300}}, id="unit code"),
        pytest.param({"a": {"languageMap": {"a-" * 200 + "b": "x"}}}, id="language tag"),
    ],
)
def test_what_is_too_much_is_refused(members: dict[str, Any]) -> None:
    with pytest.raises(BadRequestData):
        expand_entity(entity(**members), CORE)


# Fragments


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(NULL, id="4.5.3.3"),
        pytest.param([NULL], id="4.5.0 array"),
        pytest.param({"type": "Property", "value": NULL}, id="4.5.2.2"),
        pytest.param({"value": NULL}, id="4.5.2.3"),
        pytest.param({"type": "GeoProperty", "value": NULL}, id="4.5.2.2 GeoProperty"),
        pytest.param({"type": "Relationship", "object": NULL}, id="4.5.3.2"),
        pytest.param({"type": "Relationship", "object": [NULL]}, id="4.5.0"),
        pytest.param({"type": "LanguageProperty", "languageMap": {"@none": NULL}}, id="4.5.18.2"),
        pytest.param({"type": "VocabProperty", "vocab": NULL}, id="4.5.20"),
        pytest.param({"type": "JsonProperty", "json": NULL}, id="4.5.24"),
        pytest.param({"type": "ListProperty", "valueList": [NULL]}, id="4.5.21.2"),
        pytest.param({"type": "ListRelationship", "objectList": [NULL]}, id="4.5.22.2"),
    ],
)
def test_a_null_in_a_fragment_deletes_the_attribute(value: Any) -> None:
    assert fragment_of(value) == {"@none": None}


def test_a_null_with_a_dataset_id_deletes_that_instance() -> None:
    assert fragment_of({"value": NULL, "datasetId": "urn:d:1"}) == {"urn:d:1": None}


def test_a_fragment_may_leave_out_type_and_value() -> None:
    assert fragment_of({"observedAt": TIME, "unitCode": NULL}) == {
        "@none": {"observedAt": TIME, "unitCode": None}
    }


def test_a_fragment_may_delete_members_and_sub_attributes() -> None:
    instance = fragment_of({"type": "Property", "observedAt": NULL, "sub": NULL})["@none"]

    assert instance == {
        "type": "Property",
        "observedAt": None,
        "attributes": {VOCAB + "sub": {"@none": None}},
    }


def test_a_fragment_says_where_a_null_stands_inside_a_value() -> None:
    fragment = expand_fragment({"speed": {"value": {"a": {"b": NULL}}}}, CORE)

    assert fragment["nestedNull"] == "speed.value.a.b"


def test_a_null_inside_an_array_of_a_fragment_deletes_nothing_and_is_refused() -> None:
    with pytest.raises(BadRequestData, match=r"speed\.value\.a\[0\]\.b: .* deletes nothing"):
        fragment_of({"value": {"a": [{"b": NULL}]}})


def test_a_fragment_of_another_entity_is_refused() -> None:
    with pytest.raises(BadRequestData, match="id: expected urn:x:2"):
        expand_fragment({"id": ID}, CORE, entity_id=Iri("urn:x:2"))


def test_a_fragment_may_delete_scope_and_expiry() -> None:
    fragment = expand_fragment({"scope": NULL, "expiresAt": NULL}, CORE)

    assert fragment == {"scope": None, "expiresAt": None, "attributes": {}}


def test_a_fragment_of_location_must_be_a_geometry() -> None:
    with pytest.raises(BadRequestData, match="location: expected a GeoJSON geometry"):
        expand_fragment({"location": 5}, CORE)


# Fragments of one attribute


def attribute_of(document: Any) -> Fragment:
    return expand_attribute(document, SPEED, CORE)


def test_an_attribute_fragment_has_sub_attributes_where_an_entity_would_have_a_value() -> None:
    fragment = attribute_of({"source": {"value": 1}})

    source = {VOCAB + "source": {"@none": {"type": "Property", "value": 1}}}
    assert fragment == {"attributes": {SPEED: {"@none": {"attributes": source}}}}


def test_an_attribute_fragment_may_be_an_array_of_instances() -> None:
    fragment = attribute_of([{"value": 1}, {"value": 2, "datasetId": "urn:d:1"}])

    assert list(fragment["attributes"][SPEED]) == ["@none", "urn:d:1"]


@pytest.mark.parametrize(
    ("document", "where"),
    [
        pytest.param({}, "speed: expected an attribute object", id="5.5.4 empty"),
        pytest.param([], "speed: expected an attribute object", id="5.5.4 empty array"),
        pytest.param(5, "speed: expected an attribute object", id="no object"),
        pytest.param([{"value": 1}, 5], "speed[1]: expected an attribute object", id="an item"),
        pytest.param([{"value": 1}, {"value": 2}], "speed[1].datasetId: @none", id="4.5.5"),
        pytest.param({"datasetId": NULL}, "speed.datasetId: a datasetId", id="5.5.8"),
        pytest.param({"type": "Foo"}, "speed.type: expected one of", id="type"),
    ],
)
def test_a_wrong_attribute_fragment_is_refused(document: Any, where: str) -> None:
    with pytest.raises(BadRequestData) as error:
        attribute_of(document)

    assert error.value.detail.startswith(where)


@pytest.mark.parametrize("name", ["scope", "datasetId", "createdAt", "expiresAt"])
def test_core_terms_are_no_attributes_to_be_written_one_by_one(name: str) -> None:
    with pytest.raises(BadRequestData, match="is a term of the core model"):
        expand_attribute({"value": 1}, CORE.expand(name), CORE)


def test_a_proof_may_be_replaced_on_its_own() -> None:
    fragment = expand_attribute(
        {"value": {"a": 1}, "entityTypeSealed": "A"}, CORE.expand("ngsildproof"), CORE
    )

    (instances,) = fragment["attributes"].values()
    assert instances["@none"]["entityTypeSealed"] == VOCAB + "A"


# Simplified representation


@pytest.mark.parametrize(
    ("value", "instances"),
    [
        pytest.param(5, {"@none": {"type": "Property", "value": 5}}, id="Property"),
        pytest.param(
            "urn:x:1", {"@none": {"type": "Property", "value": "urn:x:1"}}, id="a URI is a text"
        ),
        pytest.param(
            {"type": "PostalAddress", "street": "x"},
            {"@none": {"type": "Property", "value": {"type": "PostalAddress", "street": "x"}}},
            id="an object with a type",
        ),
        pytest.param(POINT, {"@none": {"type": "GeoProperty", "value": POINT}}, id="GeoProperty"),
        pytest.param(
            {"languageMap": {"en": "yes"}},
            {"@none": {"type": "LanguageProperty", "languageMap": {"en": "yes"}}},
            id="LanguageProperty",
        ),
        pytest.param(
            {"vocab": "a"},
            {"@none": {"type": "VocabProperty", "vocab": VOCAB + "a"}},
            id="VocabProperty",
        ),
        pytest.param(
            {"json": {"a": None}},
            {"@none": {"type": "JsonProperty", "json": {"a": None}}},
            id="JsonProperty",
        ),
        pytest.param(
            {"dataset": {"@none": 1, "urn:d:1": {"vocab": "a"}}},
            {
                "@none": {"type": "Property", "value": 1},
                "urn:d:1": {"type": "VocabProperty", "vocab": VOCAB + "a"},
            },
            id="several instances",
        ),
        pytest.param(
            {"dataset": {}}, {"@none": {"type": "Property", "value": {"dataset": {}}}}, id="none"
        ),
    ],
)
def test_a_simplified_attribute_is_read_by_its_looks(value: Any, instances: Any) -> None:
    fragment = expand_simplified(entity(speed=value), CORE)

    assert fragment["attributes"] == {SPEED: instances}


def test_simplified_and_partial_documents_have_no_more_instances_than_others() -> None:
    keys = [f"urn:d:{number}" for number in range(vocabulary.MAX_INSTANCES + 1)]

    with pytest.raises(BadRequestData, match="more than"):
        expand_simplified(entity(speed={"dataset": dict.fromkeys(keys, 1)}), CORE)
    with pytest.raises(BadRequestData, match="more than"):
        attribute_of([{"value": 1, "datasetId": key} for key in keys])


def test_a_simplified_entity_needs_id_and_type_and_its_own_id() -> None:
    with pytest.raises(BadRequestData, match="type: expected"):
        expand_simplified({"id": ID}, CORE)
    with pytest.raises(BadRequestData, match="id: expected urn:x:2"):
        expand_simplified(entity(), CORE, entity_id=Iri("urn:x:2"))


def test_a_simplified_fragment_keeps_the_types_of_attributes() -> None:
    fragment = expand_simplified({"speed": NULL}, CORE, whole=False)

    assert fragment == {"attributes": {SPEED: {"@none": None}}, "keepsKinds": True}
