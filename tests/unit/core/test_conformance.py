"""Entities as earlier versions of the standard know them (clause 4.3.6.8)."""

from __future__ import annotations

from typing import Any

import pytest

from broker.core.conformance import NATIVE, conform, parse_version
from broker.core.entity import expand_entity
from broker.core.errors import InvalidRequest
from broker.core.fragments import create
from broker.core.ld_context import CORE
from broker.core.representations import Representation, render

NOW = "2026-05-01T08:00:00.000Z"


def shown(version: str, **members: Any) -> dict[str, Any]:
    """Return an entity as a client of a version is shown it."""
    document = {"id": "urn:x:1", "type": ["A", "B"], **members}
    entity = create(expand_entity(document, CORE), NOW)
    conformed = conform(entity, parse_version(version), CORE.compact)
    rendered = render(conformed, CORE, Representation())
    assert rendered is not None
    return dict(rendered)


@pytest.mark.parametrize(
    ("sent", "version", "expected"),
    [
        ({"type": "VocabProperty", "vocab": "big"}, "1.7", {"type": "Property", "value": "big"}),
        (
            {"type": "VocabProperty", "vocab": ["big", "red"]},
            "1.7",
            {"type": "Property", "value": ["big", "red"]},
        ),
        (
            {"type": "JsonProperty", "json": {"a": 1}},
            "1.7",
            {"type": "Property", "value": {"a": 1}},
        ),
        ({"type": "ListProperty", "valueList": [1]}, "1.7", {"type": "Property", "value": [1]}),
        (
            {"type": "LanguageProperty", "languageMap": {"en": "a"}},
            "1.3",
            {"type": "Property", "value": {"en": "a"}},
        ),
        (
            {"type": "LanguageProperty", "languageMap": {"en": "a"}},
            "1.4",
            {"type": "LanguageProperty", "languageMap": {"en": "a"}},
        ),
        (
            {"type": "Property", "value": 1, "unitCode": "CEL", "observedAt": NOW},
            "1.0",
            {"type": "Property", "value": 1},
        ),
        (
            {"type": "Relationship", "object": "urn:x:2", "objectType": "A"},
            "1.7",
            {"type": "Relationship", "object": "urn:x:2"},
        ),
        (
            {"type": "Property", "value": 1, "of": {"type": "VocabProperty", "vocab": "big"}},
            "1.7",
            {"type": "Property", "value": 1, "of": {"type": "Property", "value": "big"}},
        ),
        (
            [
                {"type": "Property", "value": 1, "datasetId": "urn:x:d"},
                {"type": "Property", "value": 2},
            ],
            "1.2",
            {"type": "Property", "value": 2},
        ),
    ],
)
def test_an_attribute_is_shown_as_a_version_knows_it(
    sent: Any, version: str, expected: dict[str, Any]
) -> None:
    assert shown(version, attribute=sent)["attribute"] == expected


def test_members_of_the_entity_that_came_later_are_left_out() -> None:
    document = shown("1.2", scope="/a", expiresAt="2036-01-01T00:00:00Z")

    assert document == {"id": "urn:x:1", "type": "A"}


def test_a_later_version_than_the_native_one_means_the_native_one() -> None:
    assert parse_version("2.4") == NATIVE


@pytest.mark.parametrize("text", ["", "1", "1.5.1", "one.five"])
def test_what_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        parse_version(text)
