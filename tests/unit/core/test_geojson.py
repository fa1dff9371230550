"""Entities as GeoJSON (clauses 4.5.16, 4.5.17)."""

from __future__ import annotations

from typing import Any

import pytest

from broker.core import fragments, geojson, projection
from broker.core.entity import expand_entity
from broker.core.identifiers import ExpandedEntity
from broker.core.ld_context import CORE
from broker.core.representations import Representation

ID = "urn:ngsi-ld:Building:1"
HERE = {"type": "Point", "coordinates": [1, 2]}
THERE = {"type": "Point", "coordinates": [9, 9]}
SIMPLIFIED = Representation(format="simplified")


def building(**members: Any) -> ExpandedEntity:
    document = {"id": ID, "type": "Building", **members}
    return fragments.create(expand_entity(document, CORE), "2026-01-01T00:00:00.000Z")


def test_a_feature_has_the_geometry_outside_and_everything_but_the_id_in_its_properties() -> None:
    feature = geojson.feature(building(location=HERE, speed=5), CORE, Representation())

    assert feature == {
        "id": ID,
        "type": "Feature",
        "geometry": HERE,
        "properties": {
            "type": "Building",
            "location": {"type": "GeoProperty", "value": HERE},
            "speed": {"type": "Property", "value": 5},
        },
    }


def test_a_simplified_feature_has_simplified_properties() -> None:
    entity = building(location=[{"value": THERE, "datasetId": "urn:d:1"}, {"value": HERE}], speed=5)

    feature = geojson.feature(entity, CORE, SIMPLIFIED)

    assert feature is not None
    assert feature["geometry"] == HERE
    assert feature["properties"] == {
        "type": "Building",
        "location": {"dataset": {"urn:d:1": THERE, "@none": HERE}},
        "speed": 5,
    }


@pytest.mark.parametrize(
    ("location", "wanted", "geometry"),
    [
        pytest.param(None, None, None, id="no such attribute"),
        pytest.param([{"value": THERE, "datasetId": "urn:d:1"}], None, None, id="no default"),
        pytest.param(
            [{"value": HERE}, {"value": THERE, "datasetId": "urn:d:1"}],
            {"urn:d:1"},
            THERE,
            id="by datasetId",
        ),
        pytest.param(
            [{"value": HERE}, {"value": THERE, "datasetId": "urn:d:1"}],
            {"urn:d:1", "@none"},
            HERE,
            id="default before others",
        ),
        pytest.param([{"value": HERE}], {"urn:d:1"}, None, id="filtered out"),
    ],
)
def test_the_geometry_is_that_of_the_default_or_the_chosen_instance(
    location: Any, wanted: set[str] | None, geometry: Any
) -> None:
    entity = building() if location is None else building(location=location)
    chosen = Representation(dataset_ids=None if wanted is None else frozenset(wanted))

    feature = geojson.feature(entity, CORE, chosen)

    assert feature is not None
    assert feature["geometry"] == geometry


@pytest.mark.parametrize(
    ("name", "geometry"), [("observationSpace", THERE), ("speed", None), ("absent", None)]
)
def test_another_geo_property_can_be_the_geometry(name: str, geometry: Any) -> None:
    entity = building(location=HERE, observationSpace=THERE, speed=5)

    feature = geojson.feature(entity, CORE, SIMPLIFIED, geometry_property=CORE.expand(name))

    assert feature is not None
    assert feature["geometry"] == geometry


@pytest.mark.parametrize(
    ("pick", "feature"),
    [
        (
            "id,speed",
            {"id": ID, "type": "Feature", "geometry": None, "properties": {"speed": 5}},
        ),
        (
            "location",
            {"type": "Feature", "geometry": HERE, "properties": {"location": HERE}},
        ),
        ("absent", None),
    ],
)
def test_a_projected_feature_shows_no_more_than_was_picked(pick: str, feature: Any) -> None:
    chosen = Representation(format="simplified", projection=projection.parse(CORE, pick=pick))

    assert geojson.feature(building(location=HERE, speed=5), CORE, chosen) == feature


def test_features_make_a_collection() -> None:
    assert geojson.feature_collection(iter([{"type": "Feature"}])) == {
        "type": "FeatureCollection",
        "features": [{"type": "Feature"}],
    }
