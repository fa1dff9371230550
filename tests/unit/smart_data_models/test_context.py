"""The product's @context: generated, valid, and true to the official ones."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from broker.core import ld_context
from smart_data_models.catalogue import NAMESPACE, Catalogue
from smart_data_models.context import CONTEXT_PATH, FILE, generate, product_context, write
from tests.support.shared import SHARED, needs_shared

CATALOGUE = Catalogue.packaged()
URL = "https://city.example" + CONTEXT_PATH
OFFICIAL_URL = "https://official.example/context.jsonld"
OFFICIAL = SHARED / "smart-data-models" / "official"
OFFICIAL_TYPES = [name for name in CATALOGUE.types if (m := CATALOGUE.model(name)) and m.subject]


def product() -> ld_context.LdContext:
    return ld_context.build(URL, {URL: product_context()}, scoped=[URL])


def of_type(name: str) -> ld_context.LdContext:
    context = product()
    return context.for_types([context.expand(name)])


def test_the_packaged_file_is_what_the_models_give() -> None:
    text = write(generate(CATALOGUE))

    assert text == CATALOGUE._root.joinpath(FILE).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", CATALOGUE.types)
def test_every_word_of_a_model_expands_to_its_iri_and_back(name: str) -> None:
    model = CATALOGUE.model(name)
    assert model is not None

    context, scoped = product(), of_type(name)

    assert context.expand(name) == model.iri
    assert context.compact(model.iri) == name
    assert {a: scoped.expand(a) for a in model.attributes} == {
        a.name: a.iri for a in model.attributes.values()
    }
    assert {scoped.compact(a.iri) for a in model.attributes.values()} == set(model.attributes)


@needs_shared
@pytest.mark.parametrize("name", OFFICIAL_TYPES)
def test_an_official_example_has_the_attributes_its_own_context_gives(name: str) -> None:
    model = CATALOGUE.model(name)
    assert model is not None
    subject = OFFICIAL / model.subject.removeprefix("dataModel.")
    example = json.loads((subject / name / "example-normalized.jsonld").read_bytes())
    official_document = json.loads((subject / "context.jsonld").read_bytes())
    names = set(example) - {"id", "type", "@context"} - UNKNOWN_TO_THE_OFFICIAL_CONTEXT

    official = ld_context.build(OFFICIAL_URL, {OFFICIAL_URL: official_document})
    ours = of_type(name)

    assert product().expand(name) == official.expand(name)
    assert {n: ours.expand(n) for n in names} == {n: official.expand(n) for n in names}


UNKNOWN_TO_THE_OFFICIAL_CONTEXT = {
    # Misspelt or outdated in the example: they fall into the default vocabulary in both.
    "typeOfLocation",
    "modifiedAt",
    "refStreetlightCabinetController",
}


def test_own_words_never_stand_under_the_official_namespace() -> None:
    own = [
        attribute.iri
        for name in CATALOGUE.types
        if (model := CATALOGUE.model(name)) is not None
        for attribute in model.attributes.values()
        if not attribute.iri.startswith(("https://smartdatamodels.org/", "https://uri.etsi.org/"))
    ]

    foreign = {iri for iri in own if not iri.startswith(NAMESPACE)}

    assert foreign == {
        "http://purl.org/dc/terms/description",
        "https://purl.org/geojson/vocab#features",
    }


def test_one_word_has_another_meaning_in_another_type() -> None:
    observed = {
        name: of_type(name).expand("temperature")
        for name in ("WeatherObserved", "AirQualityObserved", "Device")
    }

    assert observed == {
        "WeatherObserved": "https://smartdatamodels.org/dataModel.Weather/temperature",
        "AirQualityObserved": "https://smartdatamodels.org/dataModel.Environment/temperature",
        "Device": NAMESPACE + "temperature",
    }


def test_no_word_has_a_colon_or_is_a_keyword() -> None:
    terms: Mapping[str, Any] = product_context()["@context"]

    assert [term for term in terms if ":" in term or term.startswith("@")] == ["@version"]
