"""Geometries as values (clauses 4.6.3, 4.7, RFC 7946)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from broker.core.errors import BadRequestData
from broker.core.geometry import MAX_POSITIONS, check_geometry, is_geometry

SQUARE = [[0, 0], [1, 0], [1, 1], [0, 0]]


@pytest.mark.parametrize(
    "geometry",
    [
        pytest.param({"type": "Point", "coordinates": [-180, 90]}, id="Point at the edge"),
        pytest.param({"type": "Point", "coordinates": [2.5, 48, -12.5]}, id="Point with height"),
        pytest.param({"type": "Point", "coordinates": [0, 0], "bbox": [0, 0, 0, 0]}, id="bbox"),
        pytest.param({"type": "MultiPoint", "coordinates": [[0, 0]]}, id="MultiPoint"),
        pytest.param({"type": "LineString", "coordinates": [[0, 0], [1, 1]]}, id="LineString"),
        pytest.param(
            {"type": "MultiLineString", "coordinates": [[[0, 0], [1, 1]]]}, id="MultiLineString"
        ),
        pytest.param({"type": "Polygon", "coordinates": [SQUARE, SQUARE]}, id="Polygon with hole"),
        pytest.param({"type": "MultiPolygon", "coordinates": [[SQUARE]]}, id="MultiPolygon"),
    ],
)
def test_a_geometry_is_taken_as_it_is_and_as_json_text(geometry: dict[str, Any]) -> None:
    assert check_geometry(geometry, "x") is geometry
    assert check_geometry(json.dumps(geometry), "x") == geometry
    assert is_geometry(geometry)


@pytest.mark.parametrize(
    ("geometry", "where"),
    [
        pytest.param(5, "x: expected a GeoJSON geometry", id="number"),
        pytest.param("[1, 2]", "x: expected a GeoJSON geometry", id="text of an array"),
        pytest.param("{", "x: expected a GeoJSON geometry", id="no JSON"),
        pytest.param('{"a":' + "[" * 100_000, "x: expected a GeoJSON geometry", id="nested JSON"),
        pytest.param('"Point"', "x: expected a GeoJSON geometry", id="text of a text"),
        pytest.param({"type": "Circle"}, "x.type: expected one of", id="unknown type"),
        pytest.param({"type": ["Point"]}, "x.type: expected one of", id="type an array"),
        pytest.param({"coordinates": [1, 2]}, "x.type: expected one of", id="no type"),
        pytest.param(
            {"type": "GeometryCollection", "geometries": []}, "x.type: expected", id="4.6.3"
        ),
        pytest.param({"type": "Point"}, "x.coordinates: expected a position", id="none"),
        *(
            pytest.param(
                {"type": "Point", "coordinates": position}, "x.coordinates: expected", id=name
            )
            for name, position in {
                "empty": [],
                "one number": [1],
                "four numbers": [1, 2, 3, 4],
                "texts": ["1", "2"],
                "booleans": [True, False],
                "nested": [[1, 2]],
                "longitude": [180.1, 0],
                "latitude": [0, -90.1],
                "NaN": [float("nan"), 0],
                "infinity": [0, 0, float("inf")],
                "huge integer": [0, 0, 10**400],
                "object": {"lon": 1, "lat": 2},
            }.items()
        ),
        pytest.param(
            {"type": "MultiPoint", "coordinates": []}, "x.coordinates: expected an array", id="[]"
        ),
        pytest.param(
            {"type": "LineString", "coordinates": [[0, 0]]},
            "x.coordinates: expected an array of 2",
            id="short line",
        ),
        pytest.param(
            {"type": "LineString", "coordinates": [[0, 0], [0, "1"]]},
            "x.coordinates[1]: expected a position",
            id="place of a position",
        ),
        pytest.param(
            {"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [0, 0]]]},
            "x.coordinates[0]: expected an array of 4",
            id="short ring",
        ),
        pytest.param(
            {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 1]]]},
            "x.coordinates[0]: expected a closed ring",
            id="open ring",
        ),
        pytest.param(
            {"type": "MultiPolygon", "coordinates": [[SQUARE], [[[0, 0]]]]},
            "x.coordinates[1][0]: expected an array of 4",
            id="place of a ring",
        ),
        pytest.param(
            {"type": "MultiPoint", "coordinates": [[0, 0]] * (MAX_POSITIONS + 1)},
            "x.coordinates: more than",
            id="too many positions",
        ),
        pytest.param(
            {"type": "MultiLineString", "coordinates": [[[0, 0]] * MAX_POSITIONS, [[0, 0]] * 2]},
            "x.coordinates: more than",
            id="too many positions in all",
        ),
    ],
)
def test_a_wrong_geometry_is_refused_at_its_path(geometry: Any, where: str) -> None:
    with pytest.raises(BadRequestData) as error:
        check_geometry(geometry, "x")

    assert error.value.detail.startswith(where)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({"type": "Point"}, True),
        ({"type": "GeometryCollection"}, True),
        ({"type": "PostalAddress"}, False),
        ({"type": {}}, False),
        ("Point", False),
    ],
)
def test_a_value_says_by_its_type_that_it_is_a_geometry(value: Any, says: bool) -> None:  # noqa: FBT001
    assert is_geometry(value) is says
