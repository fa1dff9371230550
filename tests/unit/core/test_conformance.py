"""Entities for those who know an earlier version (clause 4.3.6.8)."""

from __future__ import annotations

from typing import Any

import pytest

from broker.core import fragments
from broker.core.conformance import LATEST, conform, parse_version
from broker.core.entity import expand_entity
from broker.core.identifiers import ExpandedEntity
from broker.core.ld_context import CORE
from broker.core.representations import Representation, render

LATER = "2027-01-01T00:00:00Z"
POINT = {"type": "Point", "coordinates": [1, 2]}


def stored(**members: Any) -> ExpandedEntity:
    document = {"id": "urn:x:1", "type": ["A", "B"], **members}
    return fragments.create(expand_entity(document, CORE), LATER)


def shown(entity: ExpandedEntity, version: tuple[int, int]) -> dict[str, Any]:
    return dict(render(conform(entity, CORE, version), CORE, Representation(sys_attrs=True)) or {})


@pytest.mark.parametrize(
    ("version", "kind"),
    [((1, 3), "Property"), ((1, 4), "LanguageProperty"), ((1, 9), "LanguageProperty")],
)
def test_a_language_property_is_a_property_before_1_4(version: tuple[int, int], kind: str) -> None:
    assert shown(stored(a={"languageMap": {"en": "x"}}), version)["a"]["type"] == kind


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"vocab": "a"}, {"type": "Property", "value": "a"}),
        ({"vocab": ["a", "b"]}, {"type": "Property", "value": ["a", "b"]}),
        ({"json": {"a": 1}}, {"type": "Property", "value": {"a": 1}}),
        ({"valueList": [1, 2]}, {"type": "Property", "value": [1, 2]}),
        (
            {"objectList": ["urn:x:2"], "objectType": "A"},
            {"type": "Relationship", "object": ["urn:x:2"]},
        ),
        (
            {
                "value": 1,
                "valueType": "T",
                "expiresAt": LATER,
                "unitCode": "x",
                "observedAt": LATER,
            },
            {"type": "Property", "value": 1, "unitCode": "x", "observedAt": LATER},
        ),
        (
            {"value": 1, "sub": {"vocab": "a"}},
            {"type": "Property", "value": 1, "sub": {"type": "Property", "value": "a"}},
        ),
        (POINT, {"type": "GeoProperty", "value": POINT}),
    ],
)
def test_version_1_5_gets_the_types_and_members_it_knows(before: Any, after: Any) -> None:
    conforming = conform(stored(a=before), CORE, (1, 5))

    document: dict[str, Any] = dict(render(conforming, CORE, Representation()) or {})
    assert document["a"] == after


def test_versions_before_1_3_get_one_type_and_one_instance() -> None:
    entity = stored(
        a=[{"value": 1, "datasetId": "urn:d:1"}, {"value": 2, "observedAt": LATER}],
        b={"value": 3, "datasetId": "urn:d:1", "unitCode": "x"},
    )

    conforming = conform(entity, CORE, (1, 2))

    assert render(conforming, CORE, Representation()) == {
        "id": "urn:x:1",
        "type": "A",
        "a": {"type": "Property", "value": 2},
        "b": {"type": "Property", "value": 3},
    }


def test_scope_and_expiry_are_left_out_for_those_who_do_not_know_them() -> None:
    entity = stored(scope="/a", expiresAt=LATER)

    assert {"scope", "expiresAt"}.isdisjoint(shown(entity, (1, 3)))
    assert "scope" in shown(entity, (1, 4))
    assert "expiresAt" in shown(entity, LATEST)


def test_an_entity_that_conforms_is_the_same() -> None:
    entity = stored(a={"value": 1, "sub": 2})

    assert conform(entity, CORE, (1, 5)) is entity
    assert conform(entity, CORE, (2, 0)) is entity


@pytest.mark.parametrize(
    ("text", "version"), [("1.5", (1, 5)), ("1.10", (1, 10)), ("1", None), ("1.x", None)]
)
def test_a_version_is_major_and_minor(text: str, version: tuple[int, int] | None) -> None:
    assert parse_version(text) == version
