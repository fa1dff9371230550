"""Provisioned attributes as mappings: the vectors, and the rules they do not cover."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from iot_agents.common.mapping.apply import apply
from iot_agents.common.mapping.loader import load_mappings, packaged_mappings
from iot_agents.common.mapping.model import Drops, InvalidMapping, MappingError
from iot_agents.common.mapping.provisioned import compile_mapping
from tests.support.shared import SHARED, needs_shared

MOMENT = "2026-05-04T07:00:00.000Z"
DEVICE = {
    "id": "d1",
    "type": "Thing",
    "entity_name": "urn:ngsi-ld:Thing:d1",
    "service": "city",
    "subservice": "/parks",
}
MAPPINGS = load_mappings(packaged_mappings())


def made(provisioning: Mapping[str, Any], measures: Mapping[str, Any]) -> list[dict[str, Any]]:
    mapping = compile_mapping(dict(provisioning), name="d1")
    return apply(mapping, {"TimeInstant": MOMENT, **measures}, DEVICE)


def attributes(*given: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"attributes": list(given), "explicitAttrs": True, **more}


def value_of(attribute: dict[str, Any], measures: Mapping[str, Any]) -> Any:
    entities = made(attributes({"name": "result", **attribute}), measures)
    return entities[0]["result"] if entities else None


def _vector(name: str) -> Mapping[str, Any]:
    document: Mapping[str, Any] = json.loads(
        (SHARED / "protocols" / "vectors" / f"{name}.json").read_bytes()
    )
    return document


def _measures(case: Mapping[str, Any]) -> Any:
    """Return the one set of measures of a case, None where an agent must read it first."""
    payload, topic = case["input"].get("payload"), case["input"].get("topic", "")
    kind = case.get("group_patch", {}).get("payloadType", "iotagent")
    plain = topic.endswith("/attrs") and isinstance(payload, dict) and kind == "iotagent"
    return {"TimeInstant": case.get("receive_time"), **payload} if plain else None


def _cases() -> Iterator[Any]:
    vector = _vector("iota_json_measures")
    for case in vector["cases"]:
        if (measures := _measures(case)) is not None:
            group = {**vector["provisioning"]["groups"][0], **case.get("group_patch", {})}
            yield pytest.param(group, measures, case, id=case["name"])


@needs_shared
@pytest.mark.parametrize(("group", "measures", "case"), list(_cases()) if SHARED.is_dir() else [])
def test_a_measure_of_the_vectors_gives_what_they_say(
    group: dict[str, Any], measures: dict[str, Any], case: Mapping[str, Any]
) -> None:
    device = case["input"]["topic"].split("/")[-2]
    scope = {**DEVICE, "id": device, "entity_name": f"urn:ngsi-ld:ParkingSpot:{device}"}
    try:
        entities = apply(compile_mapping(group, name=device), measures, scope)
        error = None
    except MappingError as failure:
        entities, error = [], failure.code

    assert entities == case["expected"]
    assert error == case.get("expected_error")


def _uplinks() -> Iterator[Any]:
    for name in ("chirpstack_v4_up_parking", "chirpstack_v4_up_tensiometer"):
        vector = _vector(name)
        for case in vector["cases"]:
            payload = case["input"].get("payload", {})
            if "data" in payload and "joinServerContext" not in payload:
                yield pytest.param(vector["provisioning"], payload, case, id=case["name"])


@needs_shared
@pytest.mark.parametrize(
    ("provisioning", "payload", "case"), list(_uplinks()) if SHARED.is_dir() else []
)
def test_an_uplink_of_the_vectors_gives_what_they_say(
    provisioning: Mapping[str, Any], payload: Mapping[str, Any], case: Mapping[str, Any]
) -> None:
    codec = MAPPINGS.codec(provisioning["codec"])
    assert codec is not None
    decoded = codec.decode(base64.b64decode(payload["data"]), payload["fPort"])
    measures = {"TimeInstant": payload["time"], "rssi": payload["rxInfo"][0]["rssi"], **decoded}

    entities = made({"explicitAttrs": True, **provisioning}, measures)

    assert {e["id"]: e for e in entities} == {e["id"]: e for e in case["expected"]}


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("Number", "21.5", {"type": "Property", "value": 21.5}),
        ("integer", 3, {"type": "Property", "value": 3}),
        ("Float", "n/a", None),
        ("Number", "lots", None),
        ("Number", True, None),
        ("Boolean", "false", {"type": "Property", "value": False}),
        ("Boolean", 1, {"type": "Property", "value": True}),
        ("Boolean", "maybe", None),
        ("Text", "a", {"type": "Property", "value": "a"}),
        ("", 5, {"type": "Property", "value": 5}),
        ("Whatever", [1], {"type": "Property", "value": [1]}),
        ("Object", '{"a": 1}', {"type": "Property", "value": {"a": 1}}),
        ("array", "[1,", None),
        ("array", [1], {"type": "Property", "value": [1]}),
        ("DateTime", "2026-05-04T09:00:00+02:00", {"type": "Property", "value": MOMENT}),
        ("DateTime", 1777878000000, {"type": "Property", "value": MOMENT}),
        ("date", "2026-05-04T09:00:00Z", {"type": "Property", "value": "2026-05-04"}),
        ("time", "2026-05-04T09:00:00Z", {"type": "Property", "value": "09:00:00"}),
        ("DateTime", "soon", None),
        ("geo:json", {"type": "Point", "coordinates": [1, 2]},
         {"type": "GeoProperty", "value": {"type": "Point", "coordinates": [1, 2]}}),
        ("geo:point", "1.5, -2",
         {"type": "GeoProperty", "value": {"type": "Point", "coordinates": [1.5, -2]}}),
        ("point", [1, 2],
         {"type": "GeoProperty", "value": {"type": "Point", "coordinates": [1, 2]}}),
        ("geo:linestring", "1,2,3,4",
         {"type": "GeoProperty", "value": {"type": "LineString", "coordinates": [[1, 2], [3, 4]]}}),
        ("polygon", [[0, 0], [1, 0], [1, 1], [0, 0]],
         {"type": "GeoProperty",
          "value": {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 0]]]}}),
        ("Relationship", "urn:a:b", {"type": "Relationship", "object": "urn:a:b"}),
        ("LanguageProperty", {"en": "a"},
         {"type": "LanguageProperty", "languageMap": {"en": "a"}}),
        ("VocabProperty", "word", {"type": "VocabProperty", "vocab": "word"}),
        ("JsonProperty", {"a": [1]}, {"type": "JsonProperty", "json": {"a": [1]}}),
        ("ListProperty", [1, 2], {"type": "ListProperty", "valueList": [1, 2]}),
        ("ListProperty", 1, None),
    ],
)  # fmt: skip
def test_a_type_decides_on_kind_and_value(kind: str, value: Any, expected: Any) -> None:
    attribute = value_of({"object_id": "v", "type": kind}, {"v": value})

    assert attribute == (expected and {**expected, "observedAt": MOMENT})


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("geo:point", "1"),
        ("geo:point", "1,2,3,4"),
        ("geo:point", "a,b"),
        ("geo:point", 5),
        ("geo:linestring", "1,2,3"),
        ("geo:point", "1,inf"),
    ],
)
def test_coordinates_that_are_none_fail_the_measure(kind: str, value: Any) -> None:
    with pytest.raises(MappingError) as failure:
        value_of({"object_id": "v", "type": kind}, {"v": value})

    assert failure.value.code == "BAD_GEOCOORDINATES"


def test_a_latitude_past_the_pole_fails_the_measure() -> None:
    with pytest.raises(MappingError, match="the latitude 95"):
        value_of({"object_id": "v", "type": "geo:point"}, {"v": "1,95"})


@pytest.mark.parametrize("moment", ["yesterday", 1777878000000, None])
def test_a_time_that_is_none_fails_the_measure(moment: Any) -> None:
    with pytest.raises(MappingError) as failure:
        made(attributes({"name": "v"}), {"v": 1, "TimeInstant": moment})

    assert failure.value.code == "BAD_TIMESTAMP"


def test_an_attribute_that_fails_is_left_out_and_noted_and_the_others_stay() -> None:
    mapping = compile_mapping(
        attributes(
            {"name": "bad", "expression": "v * 2"},
            {"name": "worse", "object_id": "v", "type": "Number"},
            {"name": "good", "expression": "w * 2"},
        ),
        name="d1",
    )
    drops: Drops = []

    entities = apply(mapping, {"TimeInstant": MOMENT, "v": "x", "w": 2}, DEVICE, drops=drops)

    assert entities[0]["good"]["value"] == 4
    assert set(entities[0]) == {"id", "type", "good"}
    assert [f"{drop.field}: {drop.reason}" for drop in drops] == [
        "attributes[0]: expected a number, got 'x'",
        "attributes[1]: 'x' is no Number",
    ]


def test_metadata_becomes_members_and_sub_properties() -> None:
    metadata = {
        "unitCode": {"type": "Text", "value": "CEL"},
        "TimeInstant": {"type": "DateTime", "value": "2026-05-04T06:00:00Z"},
        "accuracy": {"type": "Number", "expression": "a / 10"},
        "sensor": {"type": "Relationship", "value": "urn:a:b"},
        "gone": {"expression": "z"},
        "short": 5,
    }

    attribute = value_of({"object_id": "v", "metadata": metadata}, {"v": 20, "a": 5})

    assert attribute == {
        "type": "Property",
        "value": 20,
        "unitCode": "CEL",
        "observedAt": "2026-05-04T06:00:00.000Z",
        "accuracy": {"type": "Property", "value": 0.5},
        "sensor": {"type": "Relationship", "object": "urn:a:b"},
        "short": {"type": "Property", "value": 5},
    }


@pytest.mark.parametrize(
    ("skip", "measured", "expected"),
    [(0, 0, None), (0, 1, 1), (False, 0, 0), ("", "", None), ("x", "x", None), (None, 0, 0)],
)
def test_the_value_to_skip_is_skipped_and_no_other(skip: Any, measured: Any, expected: Any) -> None:
    attribute = value_of({"expression": "v", "skipValue": skip}, {"v": measured})

    assert (attribute and attribute["value"]) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("urn:ngsi-ld:Device:7", "urn:ngsi-ld:Device:7"),
        ("'urn:ngsi-ld:Device:' + id", "urn:ngsi-ld:Device:d1"),
        ("id + '-' + zone", "urn:ngsi-ld:Device:d1-A"),
        ("zone", "urn:ngsi-ld:Device:A"),
        ("plain-name", "urn:ngsi-ld:Device:plain-name"),
        ("service", "urn:ngsi-ld:Device:city"),
    ],
)
def test_an_attribute_may_go_to_another_entity(name: str, expected: str) -> None:
    attribute = {"name": "v", "entity_name": name, "entity_type": "Device"}

    entities = made(attributes(attribute), {"v": 1, "zone": "A"})

    assert [(entity["id"], entity["type"]) for entity in entities] == [(expected, "Device")]


def test_an_entity_name_that_cannot_be_computed_fails_the_measure() -> None:
    attribute = {"name": "v", "entity_name": "'x' + gone", "entity_type": "Device"}

    with pytest.raises(MappingError) as failure:
        made(attributes(attribute), {"v": 1})

    assert failure.value.field == "entity 'x' + gone.id"


@pytest.mark.parametrize(
    ("provisioning", "device", "expected"),
    [
        ({"entity_name": "bay 1", "entity_type": "Spot"}, {}, "urn:ngsi-ld:Spot:bay_1"),
        ({"entity_type": "Spot"}, {"entity_name": "urn:a:b"}, "urn:a:b"),
        ({"entity_type": "Spot"}, {"id": "d9"}, "urn:ngsi-ld:Spot:d9"),
        ({"entityNameExp": "'urn:x:' + v", "entity_name": "n"}, {}, "urn:x:1"),
    ],
)
def test_the_entity_is_named_by_expression_provisioning_or_device(
    provisioning: dict[str, Any], device: dict[str, Any], expected: str
) -> None:
    mapping = compile_mapping({**attributes({"name": "v"}), **provisioning}, name="d")

    assert apply(mapping, {"TimeInstant": MOMENT, "v": 1}, device)[0]["id"] == expected


def test_without_any_name_the_measure_fails() -> None:
    mapping = compile_mapping(attributes({"name": "v"}), name="d")

    with pytest.raises(MappingError):
        apply(mapping, {"TimeInstant": MOMENT, "v": 1}, None)


@pytest.mark.parametrize(
    ("setting", "kept"),
    [
        (None, {"a", "fixed", "extra"}),
        (False, {"a", "fixed", "extra"}),
        (True, {"a", "fixed"}),
        ("true", {"a", "fixed"}),
        ("extra == 3", {"a", "fixed"}),
        ("extra == 4", {"a", "fixed", "extra"}),
        ("['fixed']", {"fixed"}),
        ("['extra', {object_id: 'o'}]", {"extra", "a"}),
        ("[]", set()),
        ("1 / 0", {"a", "fixed", "extra"}),
    ],
)
def test_explicit_attrs_decides_what_is_written(setting: Any, kept: set[str]) -> None:
    provisioning = {
        "attributes": [{"object_id": "o", "name": "a"}],
        "static_attributes": [{"name": "fixed", "value": 1}],
        "explicitAttrs": setting,
    }

    entities = made(provisioning, {"o": 2, "extra": 3})

    assert {name for entity in entities for name in entity} - {"id", "type"} == kept


def test_a_result_is_known_to_the_expressions_after_it() -> None:
    entities = made(
        attributes({"name": "b", "expression": "v + 1"}, {"name": "c", "expression": "b * 10"}),
        {"v": 1},
    )

    assert entities[0]["c"]["value"] == 20


@pytest.mark.parametrize(
    "provisioning",
    [
        attributes({"name": "v", "expression": "a +"}),
        attributes({"name": "v", "entity_name": "'a"}),
        attributes({"name": "v", "metadata": {"m": {"expression": "a +"}}}),
        attributes(explicitAttrs="a +"),
        attributes(entityNameExp="a +"),
    ],
)
def test_an_expression_that_does_not_parse_is_refused(provisioning: dict[str, Any]) -> None:
    with pytest.raises(InvalidMapping, match="d1: "):
        compile_mapping(provisioning, name="d1")
