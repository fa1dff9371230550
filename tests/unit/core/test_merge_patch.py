"""Merging fragments to any depth (clauses 5.5.12, 5.6.17, RFC 7396)."""

from __future__ import annotations

from typing import Any

import pytest

from broker.core import fragments
from broker.core.entity import expand_entity, expand_fragment, expand_simplified
from broker.core.errors import BadRequestData
from broker.core.identifiers import ExpandedEntity, Iri
from broker.core.ld_context import CORE
from broker.core.merge_patch import merge_value
from broker.core.representations import Representation, render

ID = "urn:ngsi-ld:Building:1"
NULL = "urn:ngsi-ld:null"
BIRTH = "2026-01-01T00:00:00.000Z"
NOW = "2026-05-01T12:00:00.000Z"
LATER = "2027-01-01T00:00:00Z"
VOCAB = "https://uri.etsi.org/ngsi-ld/default-context/"
POINT = {"type": "Point", "coordinates": [2, 48]}
OTHER_POINT = {"type": "Point", "coordinates": [3, 49]}


def stored(**members: Any) -> ExpandedEntity:
    return fragments.create(expand_entity({"id": ID, "type": "Building", **members}, CORE), BIRTH)


def merged(entity: ExpandedEntity, **members: Any) -> ExpandedEntity:
    return fragments.merge(entity, expand_fragment(members, CORE), NOW)


def merged_simplified(
    entity: ExpandedEntity, lang: str | None = None, **members: Any
) -> ExpandedEntity:
    fragment = expand_simplified(members, CORE, whole=False)
    return fragments.merge(entity, fragment, NOW, lang=lang)


def a(entity: ExpandedEntity) -> Any:
    """Return the attribute `a` as it is served; None when it is not there."""
    document: dict[str, Any] = dict(render(entity, CORE, Representation()) or {})
    return document.get("a")


# RFC 7396, appendix A, with the NGSI-LD Null for null


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": NULL}, {}),
        ({"a": "b", "b": "c"}, {"a": NULL}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": NULL}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": NULL}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": NULL}}}, {"a": {"bb": {}}}),
    ],
)
def test_values_are_merged_as_rfc_7396_says(target: Any, patch: Any, result: Any) -> None:
    assert merge_value(target, patch) == result


def test_merging_values_leaves_the_target_alone() -> None:
    target = {"a": {"b": 1}}

    merge_value(target, {"a": {"b": 2}})

    assert target == {"a": {"b": 1}}


# Attributes


@pytest.mark.parametrize(
    ("before", "patch", "after"),
    [
        pytest.param(
            {"value": 25, "unitCode": "CEL", "observedAt": BIRTH},
            {"type": "Property", "value": 100, "observedAt": NOW},
            {"type": "Property", "value": 100, "unitCode": "CEL", "observedAt": NOW},
            id="5.5.12 example 1",
        ),
        pytest.param(
            {"value": {"street": "Juni", "city": "Berlin", "country": "Germany"}},
            {"type": "Property", "value": {"street": "Platz", "country": NULL}},
            {"type": "Property", "value": {"street": "Platz", "city": "Berlin"}},
            id="5.5.12 example 2",
        ),
        pytest.param(
            {"value": {"x": {"y": 1}}},
            {"x": {"z": 2}},
            {"type": "Property", "value": {"x": {"y": 1, "z": 2}}},
            id="5.5.12 a bare object",
        ),
        pytest.param(
            {"value": {"x": 1}}, 5, {"type": "Property", "value": 5}, id="5.5.12 a bare number"
        ),
        pytest.param(
            None,
            {"value": {"x": {"y": NULL}, "z": 1}},
            {"type": "Property", "value": {"x": {}, "z": 1}},
            id="RFC 7396 nulls in what is new",
        ),
        pytest.param(
            None, {"x": NULL, "y": 1}, {"type": "Property", "value": {"y": 1}}, id="new bare object"
        ),
        pytest.param(None, {"value": NULL}, None, id="a null for what is not there"),
        pytest.param({"value": 1}, {"value": NULL}, None, id="5.6.17.4 null deletes"),
        pytest.param({"value": 1}, NULL, None, id="5.6.17.4 concise null deletes"),
        pytest.param(
            {"value": 1, "unitCode": "x", "observedAt": BIRTH},
            {"unitCode": NULL, "observedAt": NOW},
            {"type": "Property", "value": 1, "observedAt": NOW},
            id="5.5.12 members without a value",
        ),
        pytest.param(
            {"value": 1, "x": {"value": 2, "y": 3, "unitCode": "u"}, "z": 4},
            {"type": "Property", "x": {"value": 5, "y": NULL, "n": 6}, "z": NULL},
            {
                "type": "Property",
                "value": 1,
                "x": {
                    "type": "Property",
                    "value": 5,
                    "unitCode": "u",
                    "n": {"type": "Property", "value": 6},
                },
            },
            id="5.5.12 sub-attributes to any depth",
        ),
        pytest.param(
            {"value": 1, "x": 2},
            {"type": "Property", "x": NULL},
            {"type": "Property", "value": 1},
            id="the last sub-attribute",
        ),
        pytest.param(
            None,
            {"value": 1, "x": NULL, "unitCode": NULL},
            {"type": "Property", "value": 1},
            id="a new one without its nulls",
        ),
        pytest.param(
            {"languageMap": {"fr": "Place", "nl": "Markt"}},
            {"languageMap": {"fr": NULL, "en": "Square"}},
            {"type": "LanguageProperty", "languageMap": {"nl": "Markt", "en": "Square"}},
            id="5.5.12 languages",
        ),
        pytest.param(
            {"languageMap": {"fr": "Place"}},
            {"languageMap": {"fr": NULL}},
            None,
            id="no language is left",
        ),
        pytest.param(
            {"languageMap": {"fr": "Place"}},
            {"languageMap": {"@none": NULL}},
            None,
            id="4.6.5 null of a LanguageProperty",
        ),
        pytest.param(None, {"languageMap": {"fr": NULL}}, None, id="a new one without languages"),
        pytest.param(
            {"json": {"id": "x", "a": 1}},
            {"json": {"a": NULL, "b": None}},
            {"type": "JsonProperty", "json": {"id": "x", "b": None}},
            id="5.5.12 json",
        ),
        pytest.param(
            {"json": {"a": 1}},
            {"json": [{"b": 1}]},
            {"type": "JsonProperty", "json": [{"b": 1}]},
            id="json array",
        ),
        pytest.param(
            {"value": POINT},
            {"value": {**OTHER_POINT, "bbox": [0, 0, 1, 1]}},
            {"type": "GeoProperty", "value": {**OTHER_POINT, "bbox": [0, 0, 1, 1]}},
            id="a geometry is one value",
        ),
        pytest.param(
            {"valueList": [1, 2]},
            {"valueList": [3]},
            {"type": "ListProperty", "valueList": [3]},
            id="RFC 7396 arrays are replaced",
        ),
        pytest.param(
            {"object": "urn:x:1", "objectType": "A"},
            {"type": "Relationship", "object": "urn:x:2"},
            {"type": "Relationship", "object": "urn:x:2", "objectType": "A"},
            id="Relationship",
        ),
        pytest.param(
            {"vocab": "a"}, {"vocab": "b"}, {"type": "VocabProperty", "vocab": "b"}, id="vocab"
        ),
        pytest.param(
            {"value": 1, "unitCode": "x", "observedAt": BIRTH, "sub": 2},
            {"type": "Relationship", "object": "urn:x:1"},
            {
                "type": "Relationship",
                "object": "urn:x:1",
                "observedAt": BIRTH,
                "sub": {"type": "Property", "value": 2},
            },
            id="another type drops what has no place in it",
        ),
        pytest.param(
            {"value": {"x": 1}},
            {"value": POINT},
            {"type": "GeoProperty", "value": POINT},
            id="another type with the same value member",
        ),
    ],
)
def test_an_attribute_is_merged(before: Any, patch: Any, after: Any) -> None:
    members = {} if before is None else {"a": before}

    result = merged(stored(**members), a=patch)

    assert a(result) == after


def test_merging_keeps_the_expiry_and_the_creation_time() -> None:
    entity = merged(stored(a={"value": 1, "expiresAt": LATER}), a={"value": 2})

    instance = entity["attributes"][VOCAB + "a"]["@none"]
    assert instance["expiresAt"] == LATER
    assert (instance["createdAt"], instance["modifiedAt"]) == (BIRTH, NOW)
    assert (entity["createdAt"], entity["modifiedAt"]) == (BIRTH, NOW)


def test_merging_gives_new_parts_their_times() -> None:
    entity = merged(stored(a=1), a={"value": 2, "sub": 3}, b=4)

    sub = entity["attributes"][VOCAB + "a"]["@none"]["attributes"][VOCAB + "sub"]["@none"]
    new = entity["attributes"][VOCAB + "b"]["@none"]
    assert [one["createdAt"] for one in (sub, new)] == [NOW, NOW]


def test_merging_touches_only_the_instance_with_the_dataset_id() -> None:
    before = stored(a=[{"value": 1}, {"value": 2, "datasetId": "urn:d:1"}])

    after = merged(
        before, a=[{"value": 3, "datasetId": "urn:d:1"}, {"value": 4, "datasetId": "urn:d:2"}]
    )

    instances = after["attributes"][VOCAB + "a"]
    assert instances["@none"] is before["attributes"][VOCAB + "a"]["@none"]
    assert [one["value"] for one in instances.values()] == [1, 3, 4]


def test_merging_a_null_deletes_only_the_instance_with_the_dataset_id() -> None:
    before = stored(a=[{"value": 1}, {"value": 2, "datasetId": "urn:d:1"}])

    after = merged(before, a={"value": NULL, "datasetId": "urn:d:1"})

    assert list(after["attributes"][VOCAB + "a"]) == ["@none"]


def test_merging_adds_types_replaces_the_scope_and_sets_an_expiry() -> None:
    after = merged(
        stored(scope="/a"), type="Tower", scope=["/b", "/c"], expiresAt="2020-01-01T00:00:00Z"
    )

    assert after["type"] == [VOCAB + "Building", VOCAB + "Tower"]
    assert after["scope"] == ["/b", "/c"]
    assert after["expiresAt"] == "2020-01-01T00:00:00Z"


def test_merging_deletes_scope_and_expiry_given_as_null() -> None:
    after = merged(stored(scope="/a", expiresAt=LATER), scope=NULL, expiresAt=NULL)

    assert "scope" not in after
    assert "expiresAt" not in after


def test_merging_nothing_returns_the_entity_itself() -> None:
    entity = stored(a=1)

    assert merged(entity) is entity
    assert merged(entity, id=ID, type="Building") is entity


@pytest.mark.parametrize(
    ("patch", "message"),
    [
        pytest.param({"type": "Relationship"}, "expected a type and a value", id="type alone"),
        pytest.param({"objectType": "A"}, "has no place in a Property", id="member of another"),
    ],
)
def test_merging_refuses_what_does_not_fit_the_attribute(patch: Any, message: str) -> None:
    with pytest.raises(BadRequestData, match=message):
        merged(stored(a=1), a=patch)


def test_merging_members_into_an_attribute_that_is_not_there_is_refused() -> None:
    with pytest.raises(BadRequestData, match="expected a type and a value"):
        merged(stored(), a={"observedAt": NOW})


# A common observedAt and a common language (5.6.17.4)


@pytest.mark.parametrize(
    ("before", "patch", "observed_at"),
    [
        pytest.param({"value": 1, "observedAt": BIRTH}, {"value": 2}, NOW, id="had one"),
        pytest.param({"value": 1, "observedAt": BIRTH}, 2, NOW, id="had one, bare"),
        pytest.param(
            {"value": 1, "observedAt": BIRTH}, {"value": 2, "observedAt": LATER}, LATER, id="own"
        ),
        pytest.param({"value": 1}, {"value": 2}, None, id="had none"),
        pytest.param(
            {"value": 1, "observedAt": BIRTH}, {"value": 2, "observedAt": NULL}, None, id="deleted"
        ),
    ],
)
def test_a_common_observed_at_is_for_attributes_that_had_one(
    before: Any, patch: Any, observed_at: str | None
) -> None:
    fragment = expand_fragment({"a": patch}, CORE)

    after = fragments.merge(stored(a=before), fragment, NOW, observed_at=NOW)

    assert a(after).get("observedAt") == observed_at


def test_a_common_observed_at_is_not_for_new_attributes_nor_for_sub_attributes() -> None:
    entity = stored(a={"value": 1, "sub": {"value": 1, "observedAt": BIRTH}})
    fragment = expand_fragment({"a": {"value": 2, "sub": {"value": 2}}, "b": 3}, CORE)

    after = fragments.merge(entity, fragment, NOW, observed_at=NOW)

    assert a(after)["sub"]["observedAt"] == BIRTH
    assert "observedAt" not in after["attributes"][VOCAB + "b"]["@none"]


@pytest.mark.parametrize(
    "patch", ["Grand Place", {"value": "Grand Place"}], ids=["bare", "concise"]
)
def test_a_text_in_a_common_language_replaces_that_language(patch: Any) -> None:
    entity = stored(a={"languageMap": {"fr": "Place", "nl": "Markt"}})
    fragment = expand_fragment({"a": patch}, CORE)

    after = fragments.merge(entity, fragment, NOW, lang="fr")

    assert a(after) == {
        "type": "LanguageProperty",
        "languageMap": {"fr": "Grand Place", "nl": "Markt"},
    }


def test_texts_in_a_common_language_replace_that_language() -> None:
    after = merged_simplified(stored(a={"languageMap": {"en": "x"}}), lang="en", a=["y", "z"])

    assert a(after)["languageMap"] == {"en": ["y", "z"]}


def test_a_text_without_a_language_is_in_the_default_language() -> None:
    after = merged_simplified(stored(a={"languageMap": {"en": "x"}}), a="y")

    assert a(after)["languageMap"] == {"en": "x", "@none": "y"}


# Simplified fragments keep the types (5.6.17.4, table 6.5.3.4-1)


@pytest.mark.parametrize(
    ("before", "value", "after"),
    [
        pytest.param(1, 2, {"type": "Property", "value": 2}, id="Property"),
        pytest.param(
            {"object": "urn:x:1"},
            "urn:x:2",
            {"type": "Relationship", "object": "urn:x:2"},
            id="Relationship",
        ),
        pytest.param(
            {"object": "urn:x:1"},
            ["urn:x:2", "urn:x:3"],
            {"type": "Relationship", "object": ["urn:x:2", "urn:x:3"]},
            id="Relationship to several",
        ),
        pytest.param(
            {"vocab": "a"}, "b", {"type": "VocabProperty", "vocab": "b"}, id="VocabProperty"
        ),
        pytest.param(POINT, OTHER_POINT, {"type": "GeoProperty", "value": OTHER_POINT}, id="Geo"),
        pytest.param(
            {"type": "Property", "value": POINT},
            OTHER_POINT,
            {"type": "Property", "value": OTHER_POINT},
            id="Property that holds a geometry",
        ),
        pytest.param(
            {"json": {"a": 1}},
            {"b": 2},
            {"type": "JsonProperty", "json": {"a": 1, "b": 2}},
            id="JsonProperty",
        ),
        pytest.param(
            {"valueList": [1]}, [2, 3], {"type": "ListProperty", "valueList": [2, 3]}, id="List"
        ),
        pytest.param(
            {"objectList": ["urn:x:1"]},
            ["urn:x:2"],
            {"type": "ListRelationship", "objectList": [{"object": "urn:x:2"}]},
            id="ListRelationship",
        ),
        pytest.param(None, POINT, {"type": "GeoProperty", "value": POINT}, id="new"),
    ],
)
def test_a_simplified_value_takes_the_type_that_is_there(
    before: Any, value: Any, after: Any
) -> None:
    members = {} if before is None else {"a": before}

    assert a(merged_simplified(stored(**members), a=value)) == after


@pytest.mark.parametrize(
    ("before", "value"),
    [
        pytest.param({"object": "urn:x:1"}, "no uri", id="Relationship"),
        pytest.param(POINT, 5, id="GeoProperty"),
        pytest.param({"languageMap": {"en": "x"}}, 5, id="LanguageProperty"),
        pytest.param({"json": {"a": 1}}, 5, id="JsonProperty"),
        pytest.param({"valueList": [1]}, 5, id="ListProperty"),
        pytest.param(1, {"vocab": "a"}, id="another type"),
    ],
)
def test_a_simplified_value_that_does_not_fit_the_type_is_refused(before: Any, value: Any) -> None:
    with pytest.raises(BadRequestData):
        merged_simplified(stored(a=before), a=value)


def test_merging_shares_what_it_leaves_alone() -> None:
    before = stored(a=1, b=2)

    after = merged(before, a=3)

    b = Iri(VOCAB + "b")
    assert after["attributes"][b] is before["attributes"][b]
    assert a(before)["value"] == 1
