"""Every mapping that comes with the product does what its own examples and the vectors say."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from iot_agents.common.mapping.apply import apply
from iot_agents.common.mapping.loader import load_mappings, packaged_mappings
from iot_agents.common.mapping.model import Drops, MappingError, Mappings, Source
from smart_data_models.catalogue import Catalogue
from smart_data_models.validator import Validator
from tests.support.shared import SHARED, needs_shared

MAPPINGS = load_mappings(packaged_mappings())
EXAMPLES = [
    pytest.param(mapping.name, example, id=f"{mapping.name}: {example['name']}")
    for mapping in MAPPINGS.items
    for example in mapping.examples
]


@pytest.fixture(scope="module")
def mappings() -> Mappings:
    return MAPPINGS


@pytest.mark.parametrize(
    ("name", "example"),
    [p for p in EXAMPLES if "error" not in p.values[1]],  # type: ignore[operator]
)
def test_an_example_gives_the_entities_it_says(
    mappings: Mappings, name: str, example: Mapping[str, Any]
) -> None:
    mapping = mappings.get(name)
    assert mapping is not None
    drops: Drops = []

    entities = apply(mapping, example["payload"], example.get("device"), drops=drops)

    assert entities == example["expected"]
    assert [drop.field for drop in drops] == example.get("drops", [])


@pytest.mark.parametrize(
    ("name", "example"),
    [p for p in EXAMPLES if "error" in p.values[1]],  # type: ignore[operator]
)
def test_an_example_of_a_bad_payload_fails_where_it_says(
    mappings: Mappings, name: str, example: Mapping[str, Any]
) -> None:
    mapping = mappings.get(name)
    assert mapping is not None

    with pytest.raises(MappingError) as failure:
        apply(mapping, example["payload"], example.get("device"))

    assert failure.value.field == example["error"]


@pytest.mark.parametrize(
    ("name", "example"),
    [p for p in EXAMPLES if "source" in p.values[1]],  # type: ignore[operator]
)
def test_the_payload_of_an_example_finds_its_mapping(
    mappings: Mappings, name: str, example: Mapping[str, Any]
) -> None:
    mapping = mappings.get(name)
    assert mapping is not None
    source = Source(Path(mapping.path).parent.name, **example["source"])

    found = mappings.find(source, example["payload"])

    assert found is mapping


@pytest.mark.parametrize(
    ("name", "example"),
    [p for p in EXAMPLES if "error" not in p.values[1]],  # type: ignore[operator]
)
def test_the_entities_of_an_example_keep_to_their_models(
    name: str, example: Mapping[str, Any]
) -> None:
    validator = Validator(Catalogue.packaged())

    problems = [p for entity in example["expected"] for p in validator.check(entity).problems]

    assert [f"{name}: {problem}" for problem in problems] == []


@pytest.mark.parametrize(
    ("kind", "entity_type"),
    [
        ("parking", "ParkingSpot"),
        ("charging", "EVChargingPoint"),
        ("soil moisture", "GreenspaceRecord"),
        ("valves", "IrrigationValve"),
        ("water meters", "WaterConsumptionObserved"),
        ("street lights", "Streetlight"),
        ("street light cabinets", "StreetlightControlCabinet"),
        ("air quality", "AirQualityObserved"),
        ("noise", "NoiseLevelObserved"),
        ("people counters", "CrowdFlowObserved"),
        ("waste bins", "WasteContainer"),
        ("weather", "WeatherObserved"),
        ("traffic", "TrafficFlowObserved"),
        ("traffic lights", "TrafficSignal"),
        ("message signs", "VariableMessageSign"),
        ("cameras", "Camera"),
        ("call points", "EmergencyCallPoint"),
    ],
)
def test_there_is_a_mapping_for_each_kind_of_device(kind: str, entity_type: str) -> None:
    made = {rule.type for mapping in MAPPINGS.items for rule in mapping.entities}

    assert entity_type in made, kind


def _vector(name: str) -> Mapping[str, Any]:
    document: Mapping[str, Any] = json.loads(
        (SHARED / "protocols" / "vectors" / f"{name}.json").read_bytes()
    )
    return document


@needs_shared
def test_a_location_gives_the_station_and_points_of_the_vectors(mappings: Mappings) -> None:
    case = _vector("ocpi_221_location")["cases"][0]
    mapping = mappings.get("ocpi-location-2.2.1")
    assert mapping is not None

    entities = apply(mapping, case["input"]["body"])

    assert entities == case["expected"]


def _patched() -> Iterator[Any]:
    """Yield each accepted status change with the location after it, as the vectors tell it."""
    location = json.loads(json.dumps(_vector("ocpi_221_location")["cases"][0]["input"]["body"]))
    for case in _vector("ocpi_221_evse_status_patch")["cases"]:
        body, uid = case["input"]["body"], case["input"]["path"].rpartition("/")[2]
        if case["expected"]:
            evse = next(evse for evse in location["evses"] if evse["uid"] == uid)
            evse.update(body)
            location["last_updated"] = body["last_updated"]
            yield pytest.param(json.loads(json.dumps(location)), case["expected"], id=case["name"])


@needs_shared
@pytest.mark.parametrize(("location", "expected"), list(_patched()) if SHARED.is_dir() else [])
def test_a_changed_charging_point_changes_its_station_as_the_vectors_say(
    mappings: Mappings, location: Mapping[str, Any], expected: list[dict[str, Any]]
) -> None:
    mapping = mappings.get("ocpi-location-2.2.1")
    assert mapping is not None

    made = {entity["id"]: entity for entity in apply(mapping, location)}

    for entity in expected:
        assert entity.items() <= made[entity["id"]].items()


_DECODERS = {
    "Bosch TPS110": "bosch-tps110",
    "Decentlab DL-TRS21": "decentlab-dl-trs21",
    "Dragino LDDS75": "dragino-ldds75",
    "Dragino LSE01": "dragino-lse01",
    "Milesight AM307": "milesight-am307",
    "Milesight EM310-UDL": "milesight-em400-mud",
    "Milesight EM400-MUD": "milesight-em400-mud",
    "Milesight EM500-CO2": "milesight-em500-co2",
    "Milesight EM500-SMTC": "milesight-em500-smtc",
    "Milesight UC511": "milesight-uc511",
    "Milesight VS121": "milesight-vs121",
    "Milesight VS350": "milesight-vs350",
    "Milesight WS302": "milesight-ws302",
}


def _payloads() -> Iterator[Any]:
    for vector in _vector("lorawan_payloads")["vectors"]:
        if vector["device"] in _DECODERS:
            yield pytest.param(vector, id=f"{vector['device']} {vector['hex']}")


@needs_shared
@pytest.mark.parametrize("vector", list(_payloads()) if SHARED.is_dir() else [])
def test_a_devices_bytes_decode_to_the_values_of_the_vectors(
    mappings: Mappings, vector: Mapping[str, Any]
) -> None:
    codec = mappings.codec(_DECODERS[vector["device"]])
    assert codec is not None

    decoded = codec.decode(bytes.fromhex(vector["hex"]), vector["fPort"])

    assert decoded == {
        name.removesuffix("_kPa"): value for name, value in vector["decoded"].items()
    }
