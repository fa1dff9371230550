"""Reading and showing temporal evolutions (clauses 4.5.6–4.5.9, 4.5.19, 5.6.11–5.6.14)."""

from __future__ import annotations

from typing import Any

import pytest

from broker.core import moments
from broker.core.errors import BadRequestData
from broker.core.evolution import (
    Evolution,
    deleted_instance,
    expand_evolution,
    expand_instance,
    expand_instances,
    is_deletion,
)
from broker.core.evolution_forms import EvolutionForm, render
from broker.core.identifiers import Iri
from broker.core.ld_context import CORE
from broker.core.projection import parse as parse_projection
from broker.core.query.aggregation import Bucket
from broker.core.vocabulary import KINDS

ID = Iri("urn:ngsi-ld:Vehicle:1")
SPEED = CORE.expand("speed")
AT = "2026-05-01T12:00:00Z"
LATER = "2026-05-01T13:00:00Z"


def vehicle(**members: Any) -> dict[str, Any]:
    return {"id": ID, "type": "Vehicle", **members}


def prop(value: Any, at: str = AT, **members: Any) -> dict[str, Any]:
    return {"type": "Property", "value": value, "observedAt": at, **members}


def read(**members: Any) -> Evolution:
    return expand_evolution(vehicle(**members), CORE)


def shown(evolution: Evolution, **form: Any) -> dict[str, Any]:
    return render(evolution, CORE, EvolutionForm(**form))


def test_instances_of_one_dataset_stand_beside_each_other() -> None:
    evolution = read(speed=[prop(1), prop(2, LATER), prop(3, datasetId="urn:d:1")])

    assert [one["value"] for one in evolution["attributes"][SPEED]] == [1, 2, 3]
    assert evolution["attributes"][SPEED][2]["datasetId"] == "urn:d:1"


def test_one_instance_needs_no_array() -> None:
    assert len(read(speed=prop(1))["attributes"][SPEED]) == 1


def test_a_fragment_needs_neither_id_nor_type() -> None:
    evolution = expand_instances({"speed": [prop(1)]}, CORE, ID)

    assert evolution["attributes"][SPEED][0]["value"] == 1


def test_a_null_is_a_deletion_of_the_past() -> None:
    evolution = read(speed=[{"type": "Property", "value": "urn:ngsi-ld:null", "deletedAt": AT}])

    assert evolution["attributes"][SPEED] == [deleted_instance("Property", AT)]


@pytest.mark.parametrize("kind", list(KINDS))
def test_every_kind_has_a_deletion_that_is_known_as_one(kind: str) -> None:
    assert is_deletion(deleted_instance(kind, AT))


def test_scopes_have_a_history_of_their_own() -> None:
    evolution = read(
        scope=[
            {"type": "Property", "value": "/a", "observedAt": AT},
            {"type": "Property", "value": ["/b", "/c"], "observedAt": LATER},
        ]
    )

    assert [one["value"] for one in evolution["scope"]] == [["/a"], ["/b", "/c"]]


def test_plain_scopes_are_one_instance() -> None:
    assert read(scope=["/a", "/b"])["scope"] == [{"type": "Property", "value": ["/a", "/b"]}]


@pytest.mark.parametrize(
    ("members", "where"),
    [
        ({"speed": []}, "speed: expected 1 to"),
        ({"speed": [1]}, r"speed\[0\]: expected an attribute instance"),
        ({"speed": [{"type": "Property"}]}, r"speed\[0\]: expected a type and a value"),
        ({"speed": [prop(1, instanceId="no uri")]}, r"speed\[0\].instanceId"),
        ({"speed": [prop(1, at="2026-05-01")]}, r"speed\[0\].observedAt"),
        ({"scope": [{"value": "/a"}]}, r"scope\[0\]: expected a Property"),
        ({"scope": []}, "scope: expected 1 to"),
        ({"speed": [prop(1, deletedAt="x") | {"value": "urn:ngsi-ld:null"}]}, "deletedAt"),
    ],
)
def test_what_is_wrong_is_named(members: dict[str, Any], where: str) -> None:
    with pytest.raises(BadRequestData, match=where):
        read(**members)


def test_a_whole_evolution_has_a_type() -> None:
    with pytest.raises(BadRequestData, match="type"):
        expand_evolution({"id": ID, "speed": prop(1)}, CORE)


@pytest.mark.parametrize(
    "document",
    [prop(5), [prop(5)], {"speed": [prop(5)]}, {"speed": prop(5)}],
    ids=["instance", "array", "fragment", "fragment with one"],
)
def test_an_instance_is_changed_by_any_form_of_it(document: Any) -> None:
    assert expand_instance(document, SPEED, CORE)["value"] == 5


@pytest.mark.parametrize("document", [[prop(1), prop(2)], {"height": [prop(1)]}, {}, 5])
def test_an_instance_is_changed_by_exactly_one(document: Any) -> None:
    with pytest.raises(BadRequestData, match="speed"):
        expand_instance(document, SPEED, CORE)


def test_system_times_show_when_asked_for() -> None:
    instance = prop(1, createdAt=AT, modifiedAt=LATER)
    evolution = Evolution({"id": ID, "type": [CORE.expand("Vehicle")]})
    evolution["attributes"] = {SPEED: [instance]}

    assert shown(evolution)["speed"] == [prop(1)]
    assert shown(evolution, timeproperty="createdAt")["speed"] == [prop(1, createdAt=AT)]
    assert shown(evolution, sys_attrs=True)["speed"] == [instance]


def test_a_projection_shows_what_it_names() -> None:
    evolution = read(speed=prop(1), height=prop(2))
    projection = parse_projection(CORE, pick="id,speed")

    assert shown(evolution, projection=projection) == {"id": ID, "speed": [prop(1)]}


@pytest.mark.parametrize(
    ("instance", "simplified"),
    [
        (prop(1), {"type": "Property", "values": [[1, AT]]}),
        (
            {"type": "Relationship", "object": ["urn:a:1", "urn:a:2"], "observedAt": AT},
            {"type": "Relationship", "objects": [[["urn:a:1", "urn:a:2"], AT]]},
        ),
        (
            {"type": "LanguageProperty", "languageMap": {"en": "yes"}, "observedAt": AT},
            {
                "type": "LanguageProperty",
                "languageMaps": [[{"languageMap": {"en": "yes"}}, AT]],
            },
        ),
        (
            {"type": "JsonProperty", "json": {"a": 1}, "observedAt": AT},
            {"type": "JsonProperty", "jsons": [[{"json": {"a": 1}}, AT]]},
        ),
        (
            {"type": "VocabProperty", "vocab": "Male", "observedAt": AT},
            {"type": "VocabProperty", "vocabs": [[{"vocab": "Male"}, AT]]},
        ),
        (
            {"type": "ListProperty", "valueList": [1, 2], "observedAt": AT},
            {"type": "ListProperty", "valueLists": [[[1, 2], AT]]},
        ),
        (
            {"type": "ListRelationship", "objectList": ["urn:a:1"], "observedAt": AT},
            {"type": "ListRelationship", "objectLists": [[["urn:a:1"], AT]]},
        ),
    ],
    ids=lambda value: value["type"],
)
def test_simplified_values_stand_beside_their_times(
    instance: dict[str, Any], simplified: dict[str, Any]
) -> None:
    assert shown(read(speed=[instance]), style="temporalValues")["speed"] == simplified


def test_each_dataset_is_a_series_of_its_own() -> None:
    evolution = read(speed=[prop(1), prop(2, datasetId="urn:d:1"), prop(3, LATER)])

    assert shown(evolution, style="temporalValues")["speed"] == [
        {"type": "Property", "values": [[1, AT], [3, LATER]]},
        {"type": "Property", "values": [[2, AT]], "datasetId": "urn:d:1"},
    ]


def test_aggregates_stand_beside_their_periods() -> None:
    start, end = moments.instant(AT), moments.instant(LATER)
    evolution = read()
    evolution["attributes"] = {
        SPEED: [("@none", "Property", [Bucket(start, end, {"avg": 2.5, "max": 4})])]
    }

    assert shown(evolution, style="aggregatedValues")["speed"] == {
        "type": "Property",
        "avg": [[2.5, AT, LATER]],
        "max": [[4, AT, LATER]],
    }
