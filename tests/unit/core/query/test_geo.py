"""Geoqueries: parsing, the seven relations, distances."""

from __future__ import annotations

from typing import Any

import pytest

from broker.core.errors import BadRequestData, TooComplexQuery
from broker.core.query import geo
from broker.core.query.distances import geodesic, haversine, measure_from
from broker.core.query.geo import MAX_POSITIONS
from tests.support.queries import expand

_SQUARE = [[[0, 0], [10, 0], [10, 10], [0, 10], [0, 0]]]
_HOLED = [*_SQUARE, [[4, 4], [6, 4], [6, 6], [4, 6], [4, 4]]]
_BOWTIE = [[[0, 0], [2, 2], [2, 0], [0, 2], [0, 0]]]


def _shape(kind: str, *coordinates: Any) -> dict[str, Any]:
    return {"type": kind, "coordinates": list(coordinates)}


def _related(georel: str, kind: str, coordinates: Any, value: Any) -> bool:
    return geo.compile_relation(geo.parse(georel, kind, coordinates, expand("location")))(value)


@pytest.mark.parametrize(
    ("georel", "kind", "coordinates", "value", "expected"),
    [
        ("within", "Polygon", _SQUARE, _shape("Point", 5, 5), True),
        ("within", "Polygon", _HOLED, _shape("Point", 5, 5), False),
        ("within", "Polygon", _SQUARE, _shape("Point", 0, 5), False),
        ("within", "Polygon", _SQUARE, _shape("LineString", [1, 1], [9, 9]), True),
        ("within", "Polygon", _SQUARE, _shape("LineString", [1, 1], [19, 9]), False),
        ("within", "MultiPolygon", [_SQUARE], _shape("MultiPoint", [1, 1], [2, 2]), True),
        ("contains", "Point", [5, 5], _shape("Polygon", *_SQUARE), True),
        ("contains", "Point", [5, 5], _shape("Polygon", *_HOLED), False),
        ("contains", "Point", [5, 5], _shape("Point", 5, 5), True),
        ("contains", "MultiPoint", [[1, 1], [2, 2]], _shape("Polygon", *_SQUARE), True),
        ("intersects", "LineString", [[-1, 5], [11, 5]], _shape("Polygon", *_SQUARE), True),
        ("intersects", "Polygon", _SQUARE, _shape("Point", 0, 5), True),
        ("intersects", "Polygon", _SQUARE, _shape("Point", 11, 5), False),
        ("disjoint", "Polygon", _SQUARE, _shape("Point", 11, 5), True),
        ("disjoint", "Polygon", _SQUARE, _shape("Point", 5, 5), False),
        ("disjoint", "MultiLineString", [[[20, 0], [20, 9]]], _shape("Polygon", *_SQUARE), True),
        ("equals", "Point", [5, 5], _shape("Point", 5.0, 5.0), True),
        ("equals", "Point", [5, 5], _shape("Point", 5, 5.1), False),
        ("equals", "LineString", [[0, 0], [1, 1]], _shape("LineString", [1, 1], [0, 0]), True),
        (
            "overlaps",
            "Polygon",
            [[[5, 5], [15, 5], [15, 15], [5, 15], [5, 5]]],
            _shape("Polygon", *_SQUARE),
            True,
        ),
        ("overlaps", "Polygon", _SQUARE, _shape("Polygon", *_SQUARE), False),
        ("intersects", "Point", [1, 0.5], _shape("Polygon", *_BOWTIE), False),
        ("within", "Polygon", _BOWTIE, _shape("Point", 1.5, 1), True),
        ("within", "Polygon", _BOWTIE, _shape("Point", 1, 1.5), False),
        ("equals", "Polygon", _BOWTIE, _shape("Polygon", *_BOWTIE), True),
    ],
)
def test_a_relation_holds_or_not(
    georel: str, kind: str, coordinates: Any, value: Any, *, expected: bool
) -> None:
    assert _related(georel, kind, coordinates, value) is expected


@pytest.mark.parametrize(
    ("metres", "kind", "coordinates", "value", "expected"),
    [
        (2000, "Point", [8, 40], _shape("Point", 8.01, 40.01), True),
        (1000, "Point", [8, 40], _shape("Point", 8.01, 40.01), False),
        (1, "Polygon", _SQUARE, _shape("Point", 5, 5), True),
        (2000, "LineString", [[0, 60], [10, 60]], _shape("Point", 10, 60.009), True),
        (2000, "LineString", [[0, 61], [10, 61]], _shape("Point", 10, 60.009), False),
        (20_000, "Point", [0, 85], _shape("LineString", [1, 85], [0, 85.6]), True),
        (5000, "Point", [0, 85], _shape("LineString", [1, 85], [0, 85.6]), False),
        (3000, "Point", [179.99, 0], _shape("Point", -179.99, 0), True),
        (3000, "Point", [179.99, 0], _shape("LineString", [-179.99, -1], [-179.99, 1]), True),
        (25_000, "Point", [0, 89.9], _shape("Point", 180, 89.9), True),
        (5e6, "Point", [0, 0], _shape("Point", 40, 0), True),
        (4e6, "Point", [0, 0], _shape("Point", 40, 0), False),
    ],
)
def test_near_measures_metres_from_the_closest_points(
    metres: float, kind: str, coordinates: Any, value: Any, *, expected: bool
) -> None:
    assert _related(f"near;maxDistance=={metres}", kind, coordinates, value) is expected
    assert _related(f"near;minDistance=={metres}", kind, coordinates, value) is not expected


# Lengths of one degree on WGS 84 at latitudes 0, 45 and 80, and Madrid to Berlin.
@pytest.mark.parametrize(
    ("line", "metres"),
    [
        ((0, 0, 1, 0), 111_319.5),
        ((0, -0.5, 0, 0.5), 110_574.3),
        ((0, 45, 1, 45), 78_846.8),
        ((0, 44.5, 0, 45.5), 111_131.8),
        ((0, 80, 1, 80), 19_393.5),
        ((-3.7038, 40.4168, 13.405, 52.52), 1_869_900),
        ((1, 1, 1, 1), 0),
    ],
)
def test_a_distance_is_good_to_half_a_percent(
    line: tuple[float, float, float, float], metres: float
) -> None:
    assert geodesic(*line) == pytest.approx(metres, rel=0.005)
    assert haversine(*line) == pytest.approx(metres, rel=0.007)


def test_the_distance_to_the_edge_of_a_line_along_a_parallel_is_not_that_of_a_great_circle() -> (
    None
):
    line = measure_from(geo.draw(geo.parse_geometry("LineString", [[0, 60], [10, 60]])))

    assert line((5.0, 60.009)) == pytest.approx(1002.7, rel=0.005)


@pytest.mark.parametrize(
    "value",
    [None, 5, "Point", {}, {"type": "Circle"}, {"type": "Point", "coordinates": []}],
    ids=["null", "number", "text", "empty", "unknown", "no position"],
)
def test_what_is_no_geometry_never_matches(value: Any) -> None:
    assert not _related("disjoint", "Point", [0, 0], value)
    assert not _related("near;minDistance==1", "Point", [0, 0], value)


@pytest.mark.parametrize(
    ("georel", "kind", "coordinates", "detail"),
    [
        ("near", "Point", [8, 40], "georel: near needs ;maxDistance==x or ;minDistance==x"),
        ("near;maxDistance==0", "Point", [8, 40], "positive, finite number"),
        ("near;maxDistance==-1", "Point", [8, 40], "positive, finite number"),
        ("near;maxDistance==inf", "Point", [8, 40], "positive, finite number"),
        ("near;maxDistance==1e400", "Point", [8, 40], "positive, finite number"),
        ("near;maxDistance==5;minDistance==1", "Point", [8, 40], "positive, finite number"),
        ("touches", "Point", [8, 40], "georel: expected one of contains, disjoint"),
        ("within", "Circle", [8, 40], "geometry: expected one of Point"),
        ("within", "GeometryCollection", [], "geometry: expected one of Point"),
        ("within", "Point", "[8,", "coordinates: not a JSON array"),
        ("within", "Point", "8,40", "coordinates: not a JSON array"),
        ("within", "Point", {"a": 1}, "coordinates: expected an array"),
        ("within", "Point", [8], "coordinates: expected a position [longitude, latitude], got [8]"),
        ("within", "Point", ["8", 40], "coordinates: expected a position"),
        ("within", "Point", [True, 40], "coordinates: expected a position"),
        ("within", "Point", [float("nan"), 40], "coordinates: expected finite numbers"),
        ("within", "Point", "[NaN, 40]", "coordinates: not a JSON array"),
        ("within", "Point", [190, 0], "longitude 190 is not between -180 and 180; a geometry that"),
        ("within", "Point", [0, 91], "coordinates: latitude 91 is not between -90 and 90"),
        ("within", "LineString", [[1, 1]], "coordinates: no LineString"),
        ("within", "LineString", [1, 1], "coordinates[0]: expected an array, got 1"),
        ("within", "Polygon", [[[0, 0], [1, 0], [0, 0]]], "a ring has at least 4 positions"),
        ("within", "Polygon", [[[0, 0], [1, 0], [1, 1], [0, 1]]], "ends where it starts"),
        ("within", "Polygon", [[[0, 0], [1, 0], [2, 0], [0, 0]]], "coordinates: an empty Polygon"),
        ("within", "Polygon", [], "coordinates: an empty Polygon"),
    ],
)
def test_a_malformed_geoquery_names_the_parameter(
    georel: str, kind: str, coordinates: Any, detail: str
) -> None:
    with pytest.raises(BadRequestData) as caught:
        geo.parse(georel, kind, coordinates)

    assert detail in caught.value.detail


def test_a_geometry_with_too_many_positions_is_too_complex() -> None:
    with pytest.raises(TooComplexQuery):
        geo.parse("within", "MultiPoint", [[0, 0]] * (MAX_POSITIONS + 1))


def test_altitudes_are_left_aside() -> None:
    assert geo.parse("equals", "Point", [1, 2, 300]) == geo.parse("equals", "Point", "[1.0, 2]")


def test_a_line_of_many_long_edges_is_measured_with_bounded_work() -> None:
    zigzag = [[-170 if n % 2 else 170, n / 100] for n in range(MAX_POSITIONS)]
    distance = measure_from(geo.draw(geo.parse_geometry("LineString", zigzag)))

    assert distance((175.0, 25.0)) == pytest.approx(504_800, rel=0.01)


def test_the_boxes_around_a_circle_are_cut_at_the_antimeridian() -> None:
    boxes = geo.boxes(geo.parse("near;maxDistance==50000", "Point", [179.9, 60]))

    assert boxes is not None
    western, eastern = boxes
    assert (western.east, eastern.west) == (180.0, -180.0)
    assert western.west < 179.1
    assert eastern.east > -179.3


@pytest.mark.parametrize("georel", ["disjoint", "near;minDistance==10"])
def test_what_may_be_anywhere_has_no_box(georel: str) -> None:
    assert geo.boxes(geo.parse(georel, "Point", [0, 0])) is None
