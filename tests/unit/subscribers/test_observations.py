from typing import Any

import pytest

from broker.core.errors import BadRequestData
from subscribers.common.instants import read_instant
from subscribers.common.observations import objects, read_entity

ID = "urn:ngsi-ld:ParkingSpot:1"
AT = "2026-05-01T10:00:00Z"


def value(attribute: Any) -> Any:
    reading = read_entity({"id": ID, "type": "ParkingSpot", "a": attribute}).readings.get("a")
    return None if reading is None else reading.value


@pytest.mark.parametrize(
    ("attribute", "expected"),
    [
        ({"type": "Property", "value": "free"}, "free"),
        ({"value": 0}, 0),
        ({"type": "Property", "value": False}, False),
        ({"type": "Property", "value": {"@type": "DateTime", "@value": AT}}, AT),
        ({"type": "Relationship", "object": ["urn:a:1", "urn:a:2"]}, ["urn:a:1", "urn:a:2"]),
        ({"type": "LanguageProperty", "languageMap": {"fr": "libre"}}, {"fr": "libre"}),
        ({"type": "VocabProperty", "vocab": "free"}, "free"),
        ({"type": "JsonProperty", "json": {"a": 1}}, {"a": 1}),
        ({"type": "ListProperty", "valueList": [1, 2]}, [1, 2]),
        ({"type": "Property", "value": "urn:ngsi-ld:null"}, None),
        ({"type": "Property", "value": None}, None),
        ({"type": "Property"}, None),
        ("free", None),
        ([], None),
        ([7], None),
    ],
)
def test_an_attribute_has_the_value_of_its_kind(attribute: Any, expected: Any) -> None:
    assert value(attribute) == expected


def test_an_entity_that_was_deleted_says_nothing_else() -> None:
    told = read_entity({"id": ID, "type": "ParkingSpot", "deletedAt": AT, "a": {"value": 1}})

    assert (told.entity_id, told.is_gone, told.readings) == (ID, True, {})


def test_the_default_instance_speaks_for_an_attribute_with_several() -> None:
    instances = [{"value": 1, "datasetId": "urn:d:1"}, {"value": 2}]

    assert value(instances) == 2


def test_without_a_default_instance_the_first_one_speaks() -> None:
    instances = [{"value": 1, "datasetId": "urn:d:1"}, {"value": 2, "datasetId": "urn:d:2"}]

    assert value(instances) == 1


def test_members_that_are_no_attributes_are_left_out() -> None:
    entity = {
        "id": ID,
        "type": "ParkingSpot",
        "@context": "http://example.org/context",
        "scope": "/a",
        "createdAt": AT,
        "status": {"value": "free", "observedAt": AT},
    }

    observation = read_entity(entity)

    assert observation.entity_id == ID
    assert observation.readings.keys() == {"status"}
    assert observation.readings["status"].observed_at == read_instant(AT, "status")


@pytest.mark.parametrize(
    "document",
    [
        {"type": "ParkingSpot"},
        {"id": "no uri"},
        [],
        "x",
        {"id": ID, "a": {"value": 1, "observedAt": "noon"}},
    ],
)
def test_what_is_no_entity_is_refused(document: Any) -> None:
    with pytest.raises(BadRequestData):
        read_entity(document)


@pytest.mark.parametrize(
    ("value", "ids"),
    [("urn:a:1", ("urn:a:1",)), (["urn:a:1", 3, "urn:a:2"], ("urn:a:1", "urn:a:2")), (None, ())],
)
def test_a_relationship_points_to_one_or_several(value: Any, ids: tuple[str, ...]) -> None:
    assert objects(value) == ids
