"""What provisioning can ask for of a measure, from a device's message to the broker's entity."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.support.devices import field
from tests.support.serve import running_broker

AT = "2026-05-04T07:00:00.000Z"
ID = "urn:ngsi-ld:Thing:d1"
MEASURE = {"t": "21.5", "l": "0.34,46.58", "site": "urn:ngsi-ld:Site:1", "extra": 3}
ATTRIBUTES = [
    {"object_id": "t", "name": "temperature", "type": "Number",
     "metadata": {"unitCode": {"type": "Text", "value": "CEL"},
                  "accuracy": {"type": "Number", "expression": "0.5 * 2"}}},
    {"object_id": "l", "name": "place", "type": "geo:point"},
    {"object_id": "site", "name": "refSite", "type": "Relationship"},
]  # fmt: skip
TEMPERATURE = {
    "type": "Property",
    "value": 21.5,
    "unitCode": "CEL",
    "accuracy": {"type": "Property", "value": 1},
    "observedAt": AT,
}
PLACE = {
    "type": "GeoProperty",
    "value": {"type": "Point", "coordinates": [0.34, 46.58]},
    "observedAt": AT,
}
SITE = {"type": "Relationship", "object": "urn:ngsi-ld:Site:1", "observedAt": AT}
EXTRA = {"type": "Property", "value": 3, "observedAt": AT}
ALL = {"temperature": TEMPERATURE, "place": PLACE, "refSite": SITE, "extra": EXTRA}

CASES: list[Any] = [
    pytest.param({}, {}, {ID: ALL}, id="types, metadata, TimeInstant"),
    pytest.param(
        {"explicitAttrs": True}, {}, {ID: {n: v for n, v in ALL.items() if n != "extra"}},
        id="explicitAttrs true",
    ),
    pytest.param(
        {"explicitAttrs": "extra > 5"}, {}, {ID: ALL}, id="explicitAttrs by an expression"
    ),
    pytest.param(
        {"explicitAttrs": "['extra', {object_id: 't'}]"}, {},
        {ID: {"temperature": TEMPERATURE, "extra": EXTRA}},
        id="explicitAttrs by a list",
    ),
    pytest.param(
        {"entityNameExp": "'urn:ngsi-ld:Site:' + extra"}, {}, {"urn:ngsi-ld:Site:3": ALL},
        id="entityNameExp",
    ),
    pytest.param(
        {"static_attributes": [{"name": "category", "type": "Array", "value": ["street"]}]}, {},
        {ID: {**ALL, "category": {"type": "Property", "value": ["street"], "observedAt": AT}}},
        id="static attributes",
    ),
    pytest.param(
        {},
        {"attributes": [
            {"object_id": "t", "name": "temperature", "type": "Number",
             "entity_name": "'urn:ngsi-ld:Weather:' + id", "entity_type": "Weather"},
            {"object_id": "extra", "name": "level", "type": "Number"},
        ]},
        {ID: {"level": EXTRA, "place": PLACE, "refSite": SITE},
         "urn:ngsi-ld:Weather:d1":
             {"temperature": {"type": "Property", "value": 21.5, "observedAt": AT}}},
        id="two entities of one measure",
    ),
    pytest.param(
        {},
        {"attributes": [
            {"name": "extra", "type": "Number", "expression": "extra * 0", "skipValue": 0},
            {"object_id": "warm", "name": "warm", "type": "Boolean", "expression": "t > 20"},
        ]},
        {ID: {"temperature": TEMPERATURE, "place": PLACE, "refSite": SITE,
              "warm": {"type": "Property", "value": True, "observedAt": AT}}},
        id="skipValue, and an expression of others",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("group", "device", "expected"), CASES)
async def test_a_measure_becomes_what_is_provisioned(
    tmp_path: Path,
    group: Mapping[str, Any],
    device: Mapping[str, Any],
    expected: Mapping[str, Mapping[str, Any]],
) -> None:
    shared = {"apikey": "k", "resource": "", "entity_type": "Thing", "attributes": ATTRIBUTES}
    own = {"device_id": "d1", "apikey": "k", "entity_type": "Thing"}
    async with running_broker(tmp_path) as broker, field(tmp_path / "a", broker.url) as street:
        await street.north("POST", "/iot/groups", {"groups": [{**shared, **group}]}, status=201)
        await street.north("POST", "/iot/devices", {"devices": [{**own, **device}]}, status=201)
        payload = msgspec.json.encode({**MEASURE, "TimeInstant": AT})

        await street.publish("/json/k/d1/attrs", payload)

        for entity_id, attributes in expected.items():
            found = await street.entity(entity_id)
            assert {n: v for n, v in found.items() if n not in ("id", "type", "@context")} == (
                attributes
            )


async def test_a_device_may_choose_a_mapping_that_is_shipped(tmp_path: Path) -> None:
    chosen = {
        "device_id": "lamp-1",
        "apikey": "k",
        "entity_type": "Streetlight",
        "internal_attributes": {"rigel": {"mapping": "mqtt-street-light"}},
    }
    async with running_broker(tmp_path) as broker, field(tmp_path / "a", broker.url) as street:
        group = {"apikey": "k", "resource": "", "entity_type": "Streetlight"}
        await street.north("POST", "/iot/groups", {"groups": [group]}, status=201)
        await street.north("POST", "/iot/devices", {"devices": [chosen]}, status=201)

        await street.publish("/json/k/lamp-1/attrs", '{"on": true, "dim": 40, "power": 12.5}')

        found = await street.entity("urn:ngsi-ld:Streetlight:lamp-1")
        assert found["powerState"]["value"] == "low"
        assert found["illuminanceLevel"]["value"] == 0.4
        assert found["powerConsumption"]["unitCode"] == "WTT"
