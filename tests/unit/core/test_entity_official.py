"""The official examples of Smart Data Models are entities to this broker, but for a few."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from broker.core import fragments
from broker.core.entity import expand_entity, expand_simplified
from broker.core.errors import BadRequestData
from broker.core.ld_context import LdContext, build
from broker.core.representations import Representation, render
from tests.support.shared import SHARED, needs_shared

pytestmark = needs_shared

OFFICIAL = SHARED / "smart-data-models" / "official"
NOW = "2026-05-01T12:00:00.000Z"

REFUSED = {
    "DCAT-AP/Catalogue": "catalog.value: has no place in a Relationship",
    "DCAT-AP/Distribution": "location.type: expected GeoProperty",  # a place's name (4.7.1)
    "Device/DeviceMeasurement": "location.type: expected GeoProperty",  # a Property (4.7.1)
    "Multimedia/MediaEvent": "id: expected a URI",  # mediaEvent_1509702324600
    "Weather/WeatherForecast": "id: expected a URI",  # Spain-WeatherForecast-46005_…
    "WifiNetwork/AccessPoint": "id: expected a URI",  # ap_542
}
"""What is wrong with an example, by subject and model."""

REFUSED_SIMPLIFIED = {
    "Multimedia/MediaEvent": "id: expected a URI",
    "Transportation/AnprFlowObserved": "location.coordinates: expected a position",  # 168° north
    "WaterDistributionManagementEPANET/Valve": "id: expected a URI",
    "Weather/WeatherAlert": "id: expected a URI",
    "Weather/WeatherForecast": "id: expected a URI",
    "WifiNetwork/AccessPoint": "id: expected a URI",
}
"""The same for the examples in simplified representation."""

NO_JSON = {"PointOfInterest/PointOfInterest"}
"""Simplified examples that are not even JSON."""

IGNORED = {
    "KeyPerformanceIndicator/KeyPerformanceIndicator": {"modifiedAt"},
    "WaterDistributionManagementEPANET/Valve": {"createdAt", "modifiedAt"},
}
"""Read-only members that an example has, and that are not taken from a client (5.2.2)."""

NO_CONTEXT = {"IssueTracking"}
"""Subjects whose @context is no valid JSON-LD; their examples are read with the core alone."""

MODELS = sorted(
    f"{path.parts[-3]}/{path.parts[-2]}" for path in OFFICIAL.glob("*/*/example-normalized.jsonld")
)


def read(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.read_bytes())
    return document


def context_of(model: str) -> LdContext:
    subject = model.partition("/")[0]
    if subject in NO_CONTEXT:
        return build([])
    url = f"https://smart-data-models.github.io/dataModel.{subject}/context.jsonld"
    return build(url, {url: read(OFFICIAL / subject / "context.jsonld")})


def example(model: str) -> dict[str, Any]:
    document = read(OFFICIAL / model / "example-normalized.jsonld")
    del document["@context"]
    return document


@pytest.mark.parametrize("model", [model for model in MODELS if model not in REFUSED])
def test_an_official_example_is_taken_and_served_as_it_came(model: str) -> None:
    document, ld_context = example(model), context_of(model)

    entity = fragments.create(expand_entity(document, ld_context), NOW)

    served = render(entity, ld_context, Representation())
    ignored = IGNORED.get(model, set())
    assert served == {key: item for key, item in document.items() if key not in ignored}


@pytest.mark.parametrize(("model", "reason"), REFUSED.items())
def test_an_official_example_that_breaks_the_standard_is_refused(model: str, reason: str) -> None:
    with pytest.raises(BadRequestData) as error:
        expand_entity(example(model), context_of(model))

    assert error.value.detail.startswith(reason)


@pytest.mark.parametrize("model", [model for model in MODELS if model not in REFUSED])
def test_an_official_example_is_the_same_in_the_concise_representation(model: str) -> None:
    ld_context = context_of(model)
    fragment = expand_entity(example(model), ld_context)
    entity = fragments.create(fragment, NOW)

    concise = render(entity, ld_context, Representation(format="concise"))

    assert expand_entity(dict(concise or {}), ld_context) == fragment


@pytest.mark.parametrize(
    "model", [model for model in MODELS if model not in REFUSED_SIMPLIFIED.keys() | NO_JSON]
)
def test_an_official_example_in_simplified_representation_is_taken(model: str) -> None:
    document = read(OFFICIAL / model / "example-keyvalues.jsonld")

    fragment = expand_simplified(document, context_of(model))

    assert len(fragment["attributes"]) > 1


@pytest.mark.parametrize(("model", "reason"), REFUSED_SIMPLIFIED.items())
def test_a_simplified_example_that_breaks_the_standard_is_refused(model: str, reason: str) -> None:
    document = read(OFFICIAL / model / "example-keyvalues.jsonld")

    with pytest.raises(BadRequestData) as error:
        expand_simplified(document, context_of(model))

    assert error.value.detail.startswith(reason)
