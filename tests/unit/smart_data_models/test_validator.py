"""The check of entities against their models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from smart_data_models.catalogue import Catalogue
from smart_data_models.validator import Mode, Validator
from tests.support.shared import SHARED, needs_shared

CATALOGUE = Catalogue.packaged()
OFFICIAL = SHARED / "smart-data-models" / "official"
OFFICIAL_TYPES = [name for name in CATALOGUE.types if (m := CATALOGUE.model(name)) and m.subject]

# Why these examples do not keep to their own models; the same findings stand in
# official-example-check.json, which was made with the official schemas.
FAULTS = {
    "AirQualityObserved": {
        "dateObserved": "no time zone",
        "tsp": "a fraction where an integer is wanted",
        "windDirection": "186, past the end of -180 to 180",
        "typeOfLocation": "is called typeofLocation",
    },
    "Alert": {"alertSource": "a Property with a URL where a Relationship is wanted"},
    "KeyPerformanceIndicator": {"dateNextCalculation": "a date-time where a date is wanted"},
    "ParkingGroup": {
        "category.0": "onstreet instead of onStreet",
        "permitActiveHours": "the text null where an object is wanted",
        "requiredPermit": "one word where an array is wanted",
    },
    "Streetlight": {"feederID": "a Property where a Relationship is wanted"},
    "StreetlightGroup": {"refStreetlightCabinetController": "the name of an older version"},
    "WeatherForecast": {"id": "no URI"},
}
SPOT = {
    "id": "urn:ngsi-ld:ParkingSpot:old-town:17",
    "type": "ParkingSpot",
    "status": {"type": "Property", "value": "free", "observedAt": "2026-05-04T07:12:31.482Z"},
    "category": {"type": "Property", "value": ["onStreet"]},
    "refParkingSite": {"type": "Relationship", "object": "urn:ngsi-ld:OnStreetParking:old-town"},
    "location": {"type": "GeoProperty", "value": {"type": "Point", "coordinates": [0.34, 46.58]}},
}


def spot(**attributes: Any) -> dict[str, Any]:
    return {**SPOT, **attributes}


def of(value: Any) -> dict[str, Any]:
    return {"type": "Property", "value": value}


@pytest.mark.parametrize("name", CATALOGUE.types)
def test_a_models_own_examples_keep_to_it(name: str) -> None:
    model = CATALOGUE.model(name)
    assert model is not None
    directory = Path(str(CATALOGUE._root)) / model.domain / name / "examples"
    examples = [json.loads(file.read_bytes()) for file in sorted(directory.glob("*.json"))]

    verdicts = [Validator(CATALOGUE).check(example, whole=True) for example in examples]

    assert verdicts
    assert [verdict.problems for verdict in verdicts] == [()] * len(examples)


@needs_shared
@pytest.mark.parametrize("name", OFFICIAL_TYPES)
def test_an_official_example_breaks_only_what_is_known_of_it(name: str) -> None:
    model = CATALOGUE.model(name)
    assert model is not None
    subject = OFFICIAL / model.subject.removeprefix("dataModel.")
    example = json.loads((subject / name / "example-normalized.jsonld").read_bytes())

    verdict = Validator(CATALOGUE).check(example, whole=True)

    assert {problem.attribute for problem in verdict.problems} == set(FAULTS.get(name, {}))


def test_a_whole_entity_that_keeps_to_its_model_passes() -> None:
    verdict = Validator(CATALOGUE, default=Mode.REJECT).check(SPOT, whole=True)

    assert verdict.problems == ()
    assert not verdict.rejected


@pytest.mark.parametrize(
    ("attribute", "message"),
    [
        (
            {"status": of("busy")},
            "status: expected one of closed, free, occupied, unknown, got 'busy'",
        ),
        ({"width": of("3")}, "width: expected a value of type number, got '3'"),
        ({"width": of(-1)}, "width: expected at least 0, got -1"),
        ({"category": of(["kerb"])}, "category.0: expected one of onStreet, offStreet, got 'kerb'"),
        ({"category": of("onStreet")}, "category: expected a value of type array, got 'onStreet'"),
        ({"timeInstant": of("noon")}, "timeInstant: expected the format date-time, got 'noon'"),
        (
            {
                "location": {
                    "type": "GeoProperty",
                    "value": {"type": "Point", "coordinates": [1, 99]},
                }
            },
            "location.coordinates.1: expected at most 90, got 99",
        ),
        (
            {"location": {"type": "GeoProperty", "value": {"type": "Point", "coordinates": [1]}}},
            "location.coordinates: expected at least 2 items, got [1]",
        ),
        (
            {
                "location": {
                    "type": "GeoProperty",
                    "value": {"type": "Circle", "coordinates": [1, 2]},
                }
            },
            "location.type: expected one of Point, MultiPoint, LineString, MultiLineString, Polygon, MultiPolygon, got 'Circle'",  # noqa: E501
        ),
        (
            {"refDevice": {"type": "Relationship", "object": ["urn:a:b", "x y"]}},
            "refDevice.1: expected the format uri, got 'x y'",
        ),
        (
            {"refDevice": [{"type": "Relationship", "object": "urn:a:b"}, {"object": "x y"}]},
            "refDevice.1: expected the format uri, got 'x y'",
        ),
        (
            {"refDevice": of("urn:a:b")},
            "refDevice: expected a Relationship, got 'Property'",
        ),
        ({"name": "bare"}, "name: expected a Property, got 'bare'"),
        ({"id": "no uri"}, "id: expected the format uri, got 'no uri'"),
        (
            {"seeAlso": of(5)},
            "seeAlso: expected another form of value, got 5",
        ),
        (
            {"categry": of(1)},
            "categry: expected an attribute of ParkingSpot (did you mean 'category'?), got {'type': 'Property', 'value': 1}",  # noqa: E501
        ),
    ],
)
def test_a_problem_names_attribute_rule_and_value(attribute: dict[str, Any], message: str) -> None:
    verdict = Validator(CATALOGUE).check(spot(**attribute))

    assert [str(problem) for problem in verdict.problems] == [message]


def test_required_attributes_are_asked_for_only_of_whole_entities() -> None:
    fragment = {"id": SPOT["id"], "type": "ParkingSpot", "status": SPOT["status"]}
    validator = Validator(CATALOGUE)

    part, whole = validator.check(fragment), validator.check(fragment, whole=True)

    assert part.problems == ()
    assert {p.attribute for p in whole.problems} == {"location", "category", "refParkingSite"}


def test_a_required_text_may_be_given_in_several_languages() -> None:
    anomaly = {
        "id": "urn:ngsi-ld:Anomaly:1",
        "type": "Anomaly",
        "anomalousProperty": {"type": "LanguageProperty", "languageMap": {"en": "noise"}},
    }

    problems = Validator(CATALOGUE).check(anomaly, whole=True).problems

    assert "dateDetected" in {problem.attribute for problem in problems}
    assert "anomalousProperty" not in {problem.attribute for problem in problems}


@pytest.mark.parametrize(
    "attribute",
    [
        {"timeInstant": of({"@type": "DateTime", "@value": "2026-05-04T07:12:31Z"})},
        {"name": {"type": "LanguageProperty", "languageMap": {"en": "Bay 17"}}},
        {"color": {"type": "VocabProperty", "vocab": "grey"}},
        {"refDevice": [{"type": "Relationship", "object": "urn:a:b", "datasetId": "urn:d:1"}]},
        {"refDevice": {"type": "ListRelationship", "objectList": [{"object": "urn:a:b"}]}},
        {"scope": "/centre"},
    ],
)
def test_other_ways_of_writing_a_value_are_understood(attribute: dict[str, Any]) -> None:
    assert Validator(CATALOGUE).check(spot(**attribute)).problems == ()


@pytest.mark.parametrize(
    ("modes", "default", "rejected", "found"),
    [
        ({}, Mode.OFF, False, 0),
        ({}, Mode.WARN, False, 1),
        ({}, Mode.REJECT, True, 1),
        ({"ParkingSpot": Mode.REJECT}, Mode.OFF, True, 1),
        ({"ParkingSpot": Mode.OFF}, Mode.REJECT, False, 0),
        ({"Device": Mode.REJECT}, Mode.WARN, False, 1),
    ],
)
def test_the_mode_is_chosen_per_type(
    modes: dict[str, Mode],
    default: Mode,
    rejected: bool,  # noqa: FBT001 - a column of the table
    found: int,
) -> None:
    validator = Validator(CATALOGUE, modes, default)

    verdict = validator.check(spot(status=of("busy")))

    assert verdict.rejected is rejected
    assert len(verdict.problems) == found


def test_an_unknown_name_is_told_of_and_never_rejected() -> None:
    verdict = Validator(CATALOGUE, default=Mode.REJECT).check(spot(parkingPermit=of("yes")))

    assert [problem.attribute for problem in verdict.problems] == ["parkingPermit"]
    assert not verdict.rejected


def test_an_unknown_type_is_not_checked() -> None:
    verdict = Validator(CATALOGUE, default=Mode.REJECT).check({"id": "x", "type": "Spaceship"})

    assert verdict.mode is Mode.OFF
    assert not verdict.rejected


def test_an_entity_of_several_types_is_checked_against_each() -> None:
    entity = spot(type=["Spaceship", "ParkingSpot"], status=of("busy"))

    verdict = Validator(CATALOGUE, {"ParkingSpot": Mode.REJECT}).check(entity)

    assert verdict.rejected
