"""Entities of NGSI that devices send as measures."""

from __future__ import annotations

from typing import Any

import pytest

from iot_agents.common.mapping.given import Given
from iot_agents.mqtt.payloads.ngsi import NGSI_LD, NGSI_V2, sets_of_entities

SPEED = {"type": "Property", "value": 12, "unitCode": "KMH"}
OWNER = {"type": "Relationship", "object": "urn:ngsi-ld:Person:1"}


@pytest.mark.parametrize(
    ("attribute", "measure"),
    [
        (SPEED, Given(12, SPEED)),
        (OWNER, Given("urn:ngsi-ld:Person:1", OWNER)),
        ({"value": 12}, {"value": 12}),
        ({"type": "Relationship", "value": 12}, {"type": "Relationship", "value": 12}),
        ({"type": ["Property"], "value": 12}, {"type": ["Property"], "value": 12}),
        ({"type": "Sensor", "value": 12}, {"type": "Sensor", "value": 12}),
        ("Property", "Property"),
        (12, 12),
    ],
    ids=[
        "property",
        "relationship",
        "no type",
        "another kind's member",
        "several types",
        "no kind",
        "text",
        "number",
    ],
)
def test_an_attribute_of_ngsi_ld_is_a_measure_whole_and_anything_else_a_value(
    attribute: Any, measure: Any
) -> None:
    assert sets_of_entities({"a": attribute}, NGSI_LD) == [{"a": measure}]


def test_what_names_the_entity_is_a_measure_and_its_context_is_none() -> None:
    entity = {"id": "urn:x:1", "type": "Car", "@context": [], "speed": SPEED}

    assert sets_of_entities(entity, NGSI_LD) == [
        {"id": "urn:x:1", "type": "Car", "speed": Given(12, SPEED)}
    ]


def test_metadata_of_ngsi_v2_become_members_of_the_attribute() -> None:
    speed = {
        "type": "Number",
        "value": 12,
        "metadata": {
            "unitCode": {"value": "KMH"},
            "TimeInstant": {"value": "2026-05-04T08:00:00Z"},
            "accuracy": {"value": 0.5},
        },
    }
    batch = {"actionType": "append", "entities": [{"id": "car", "type": "Car", "speed": speed}]}

    ((found),) = sets_of_entities(batch, NGSI_V2)

    assert found["speed"].attribute == {
        "type": "Property",
        "value": 12,
        "unitCode": "KMH",
        "observedAt": "2026-05-04T08:00:00.000Z",
        "accuracy": {"type": "Property", "value": 0.5},
    }
