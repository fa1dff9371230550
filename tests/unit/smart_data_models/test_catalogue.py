"""The catalogue of models, and the models' files themselves."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from referencing import Registry, Resource

from smart_data_models.catalogue import NAMESPACE, Catalogue
from tests.support.shared import SHARED, needs_shared

CATALOGUE = Catalogue.packaged()
ROOT = Path(str(CATALOGUE._root))
COMMON = "https://models.example/common.json"
KINDS = {"Property", "Relationship", "GeoProperty", "JsonProperty"}
# The text of the official schema calls it a Property; a link is what it is.
OTHER_KINDS = {("Device", "controlledAsset")}


def test_a_type_and_its_attributes_are_found_by_name() -> None:
    status = CATALOGUE.attribute("ParkingSpot", "status")
    device = CATALOGUE.attribute("ParkingSpot", "refDevice")
    width = CATALOGUE.attribute("ParkingSpot", "width")

    assert status is not None
    assert status.iri == "https://uri.etsi.org/ngsi-ld/status"
    assert status.words == ("closed", "free", "occupied", "unknown")
    assert device is not None
    assert device.kind == "Relationship"
    assert width is not None
    assert (width.type, width.unit) == ("number", "MTR")


def test_what_is_not_known_comes_with_the_nearest_name() -> None:
    assert CATALOGUE.model("ParkingSpace") is None
    assert CATALOGUE.nearest_type("ParkingSpace") == " (did you mean 'ParkingSpot'?)"
    assert CATALOGUE.attribute("ParkingSpot", "stauts") is None
    assert CATALOGUE.nearest_attribute("ParkingSpot", "stauts") == " (did you mean 'status'?)"
    assert CATALOGUE.nearest_attribute("Unknown", "status") == ""


def test_a_models_file_is_read_when_it_is_asked_for() -> None:
    catalogue = Catalogue.packaged()

    first = catalogue.model("Device")

    assert set(catalogue._models) == {"Device"}
    assert catalogue.model("Device") is first


@pytest.mark.parametrize("name", CATALOGUE.types)
def test_a_models_file_is_a_schema_that_stands_by_itself(name: str) -> None:
    schema = json.loads((ROOT / CATALOGUE.types[name] / name / "schema.json").read_bytes())
    common = json.loads((ROOT / "common.json").read_bytes())
    registry = Registry().with_resource(COMMON, Resource.from_contents(common))

    schema["$id"] = "https://models.example/domain/Model/schema.json"
    validator = jsonschema.Draft202012Validator(schema, registry=registry)

    validator.check_schema(schema)
    errors = list(validator.iter_errors({"id": "urn:a:b", "type": name}))
    assert {error.validator for error in errors} <= {"required"}


@pytest.mark.parametrize("name", CATALOGUE.types)
def test_every_attribute_says_what_it_is(name: str) -> None:
    model = CATALOGUE.model(name)
    assert model is not None

    assert {attribute.kind for attribute in model.attributes.values()} <= KINDS
    assert all(a.iri.endswith(("/" + a.name, "#" + a.name)) or a.name == "value"
               for a in model.attributes.values())  # fmt: skip
    assert set(model.required) <= set(model.attributes)
    assert model.iri.rpartition("/")[2] == name
    assert model.schema["description"]


@needs_shared
@pytest.mark.parametrize(
    "name", [n for n in CATALOGUE.types if (m := CATALOGUE.model(n)) and m.subject]
)
def test_the_facts_are_those_of_the_official_model(name: str) -> None:
    model = CATALOGUE.model(name)
    assert model is not None
    facts = json.loads((SHARED / "smart-data-models" / "catalogue.json").read_bytes())[name]

    official = {
        attribute.name: attribute
        for attribute in model.attributes.values()
        if not attribute.iri.startswith(NAMESPACE)
    }

    assert model.iri == facts["typeIri"]
    assert set(model.required) == set(facts["required"]) - {"id", "type"}
    assert {n: a.iri for n, a in official.items()} == {
        n: a["iri"] for n, a in facts["attributes"].items()
    }
    assert {n: a.kind for n, a in official.items() if (name, n) not in OTHER_KINDS} == {
        n: a["kind"] for n, a in facts["attributes"].items() if (name, n) not in OTHER_KINDS
    }
    assert {n: set(a.words) for n, a in official.items() if a.words} == {
        n: set(a["enum"])
        for n, a in facts["attributes"].items()
        if "enum" in a and a["type"] != "number|string"
    }
