"""The Geoquery Language (clause 4.10): parse it, and decide on a GeoJSON geometry.

    georel = "near;maxDistance==" number / "near;minDistance==" number
           / "within" / "contains" / "overlaps" / "intersects" / "equals" / "disjoint"

Relations other than near are those of the OGC simple features on longitude and latitude as plane
coordinates, as GeoJSON draws its lines; distances are in metres (`distances`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
import shapely
from shapely.geometry import shape

from broker.core.errors import BadRequestData, TooComplexQuery
from broker.core.identifiers import Iri
from broker.core.query.distances import METRES_PER_DEGREE, Distance, measure_from
from broker.core.query.nodes import Coordinates, Geometry, GeoQuery

LOCATION = Iri("https://uri.etsi.org/ngsi-ld/location")
"""The GeoProperty that is meant where none is named."""

MAX_POSITIONS = 5000
"""Positions of a reference geometry."""

RELATIONS = frozenset(
    {"near", "within", "contains", "overlaps", "intersects", "equals", "disjoint"}
)

Relation = Callable[[Any], bool]
"""Tells whether a GeoJSON geometry of an entity has the relation asked for."""

_DEPTHS = {
    "Point": 0,
    "MultiPoint": 1,
    "LineString": 1,
    "MultiLineString": 2,
    "Polygon": 2,
    "MultiPolygon": 3,
}
_NEAR = re.compile(r"near;(maxDistance|minDistance)==(\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)", re.ASCII)
_MARGIN = 1.02
_HALF_CIRCLE = 180.0
_POLE = 90.0
_SHORTEST_RING = 4


class Box(NamedTuple):
    """Bounds in degrees, not crossing the antimeridian."""

    west: float
    south: float
    east: float
    north: float


def parse(georel: str, geometry: str, coordinates: object, geoproperty: Iri = LOCATION) -> GeoQuery:
    """Parse the parameters of a geoquery.

    Args:
        coordinates: as JSON text, or already decoded.

    Raises:
        BadRequestData: one of them is not what the clause defines; the detail names it.
        TooComplexQuery: the geometry has more positions than this broker compares with.
    """
    relation, distances = _relation(georel)
    reference = parse_geometry(geometry, coordinates)
    return GeoQuery(relation, reference, geoproperty, **distances)


def parse_geometry(kind: str, coordinates: object, where: str = "coordinates") -> Geometry:
    """Check a reference geometry.

    Raises:
        BadRequestData: it is no valid GeoJSON geometry on the globe.
        TooComplexQuery: it has too many positions.
    """
    if kind not in _DEPTHS:
        known = ", ".join(_DEPTHS)
        raise BadRequestData(f"geometry: expected one of {known}, got {kind!r:.80}")
    if isinstance(coordinates, str):
        try:
            coordinates = msgspec.json.decode(coordinates)
        except msgspec.DecodeError as error:
            raise BadRequestData(f"{where}: not a JSON array: {error}") from error
    geometry = Geometry(kind, _nested(coordinates, _DEPTHS[kind], where, [0]))
    _check_rings(geometry, where)
    try:
        drawn = draw(geometry)
    except (ValueError, shapely.errors.GEOSException) as error:
        raise BadRequestData(f"{where}: no {kind}: {str(error).strip()}") from error
    if drawn.is_empty:
        raise BadRequestData(f"{where}: an empty {kind}")
    return geometry


def draw(geometry: Geometry) -> Any:
    """Return the shapely geometry; one that crosses itself as the areas that it encloses."""
    return _valid(shape({"type": geometry.type, "coordinates": geometry.coordinates}))


def compile_relation(query: GeoQuery) -> Relation:
    """Compile a geoquery to a decision on geometries; what is no geometry never matches."""
    if query.relation == "near":
        return _near(query, measure_from(draw(query.geometry)))
    reference = draw(query.geometry)
    shapely.prepare(reference)
    at_point = _POINT_TESTS.get(query.relation)
    test = _TESTS[query.relation]

    def decide(value: Any) -> bool:
        if at_point is not None and (position := point_of(value)) is not None:
            return bool(at_point(reference, *position))
        target = read(value)
        return target is not None and bool(test(reference, target))

    return decide


def point_of(value: Any) -> tuple[float, float] | None:
    """Return longitude and latitude of a GeoJSON Point; None for anything else."""
    if value.__class__ is dict and value.get("type") == "Point":
        coordinates = value.get("coordinates")
        if coordinates:
            return coordinates[0], coordinates[1]
    return None


def read(value: Any) -> Any:
    """Return the valid shapely geometry of a GeoJSON value; None if it is none."""
    if value.__class__ is not dict or value.get("type") not in _DEPTHS:
        return None
    try:
        drawn = shapely.force_2d(shape(value))
    except (ValueError, TypeError, shapely.errors.GEOSException):
        return None
    drawn = _valid(drawn)
    return None if drawn.is_empty else drawn


def _valid(drawn: Any) -> Any:
    """Return a geometry as such that can be compared; what encloses no area comes out empty."""
    if drawn.is_valid:
        return drawn
    return shapely.make_valid(drawn, method="structure", keep_collapsed=False)


def boxes(query: GeoQuery) -> tuple[Box, ...] | None:
    """Return the boxes one of which a matching geometry touches; None where any place may match."""
    if query.relation == "disjoint" or query.min_distance is not None:
        return None
    if query.max_distance is None:
        return (Box(*draw(query.geometry).bounds),)
    return boxes_around(query.geometry, query.max_distance)


def boxes_around(geometry: Geometry, metres: float) -> tuple[Box, ...]:
    """Return the boxes one of which is touched by all that is within a distance."""
    west, south, east, north = draw(geometry).bounds
    high = metres * _MARGIN / METRES_PER_DEGREE
    south, north = south - high, north + high
    farthest = max(abs(south), abs(north))
    if farthest >= _POLE or high >= _POLE:
        return (Box(-_HALF_CIRCLE, south, _HALF_CIRCLE, north),)
    wide = (
        math.degrees(
            math.asin(min(1.0, math.sin(math.radians(high)) / math.cos(math.radians(farthest))))
        )
        * _MARGIN
        + high
    )
    return _unrolled(west - wide, south, east + wide, north)


def _unrolled(west: float, south: float, east: float, north: float) -> tuple[Box, ...]:
    """Cut a box at the antimeridian."""
    if east - west >= 2 * _HALF_CIRCLE:
        return (Box(-_HALF_CIRCLE, south, _HALF_CIRCLE, north),)
    found = [Box(max(west, -_HALF_CIRCLE), south, min(east, _HALF_CIRCLE), north)]
    if west < -_HALF_CIRCLE:
        found.append(Box(west + 2 * _HALF_CIRCLE, south, _HALF_CIRCLE, north))
    if east > _HALF_CIRCLE:
        found.append(Box(-_HALF_CIRCLE, south, east - 2 * _HALF_CIRCLE, north))
    return tuple(found)


def _near(query: GeoQuery, distance: Distance) -> Relation:
    farthest, closest = query.max_distance, query.min_distance

    def decide(value: Any) -> bool:
        target = point_of(value) or read(value)
        if target is None:
            return False
        metres = distance(target)
        if farthest is not None:
            return metres <= farthest
        return closest is not None and metres > closest

    return decide


def _relation(georel: str) -> tuple[str, dict[str, float]]:
    if not georel.startswith("near"):
        if georel not in RELATIONS:
            known = ", ".join(sorted(RELATIONS))
            raise BadRequestData(f"georel: expected one of {known}, got {georel!r:.80}")
        return georel, {}
    found = _NEAR.fullmatch(georel)
    metres = float(found.group(2)) if found else 0.0
    if found is None or not 0.0 < metres < math.inf:
        raise BadRequestData(
            "georel: near needs ;maxDistance==x or ;minDistance==x with a positive, finite number"
            f" of metres, got {georel!r:.80}"
        )
    return "near", {"max_distance" if found.group(1) == "maxDistance" else "min_distance": metres}


def _nested(value: object, depth: int, where: str, count: list[int]) -> Coordinates:
    if not isinstance(value, list | tuple):
        raise BadRequestData(f"{where}: expected an array, got {value!r:.60}")
    if depth:
        return tuple(
            _nested(item, depth - 1, f"{where}[{index}]", count) for index, item in enumerate(value)
        )
    count[0] += 1
    if count[0] > MAX_POSITIONS:
        raise TooComplexQuery(f"{where}: a geometry of more than {MAX_POSITIONS} positions")
    return _position(value, where)


def _check_rings(geometry: Geometry, where: str) -> None:
    polygons: Any = (
        geometry.coordinates
        if geometry.type == "MultiPolygon"
        else (geometry.coordinates,)
        if geometry.type == "Polygon"
        else ()
    )
    for polygon in polygons:
        for ring in polygon:
            if len(ring) < _SHORTEST_RING or ring[0] != ring[-1]:
                raise BadRequestData(
                    f"{where}: a ring has at least {_SHORTEST_RING} positions and ends where it"
                    f" starts, got {len(ring)} positions"
                )


def _position(value: list[Any] | tuple[Any, ...], where: str) -> tuple[float, ...]:
    if len(value) not in (2, 3) or any(
        isinstance(number, bool) or not isinstance(number, int | float) for number in value
    ):
        raise BadRequestData(
            f"{where}: expected a position [longitude, latitude], got {value!r:.60}"
        )
    longitude, latitude = value[0], value[1]
    if not all(math.isfinite(number) for number in value):
        raise BadRequestData(f"{where}: expected finite numbers, got {value!r:.60}")
    if not -_HALF_CIRCLE <= longitude <= _HALF_CIRCLE:
        raise BadRequestData(
            f"{where}: longitude {longitude} is not between -180 and 180; a geometry that crosses"
            " the antimeridian is cut there into a Multi… geometry (RFC 7946, 3.1.9)"
        )
    if not -_POLE <= latitude <= _POLE:
        raise BadRequestData(f"{where}: latitude {latitude} is not between -90 and 90")
    return (float(longitude), float(latitude))


_POINT_TESTS: dict[str, Callable[[Any, float, float], Any]] = {
    "within": shapely.contains_xy,
    "intersects": shapely.intersects_xy,
    "disjoint": lambda reference, x, y: not shapely.intersects_xy(reference, x, y),
}

_TESTS: dict[str, Callable[[Any, Any], Any]] = {
    "within": lambda reference, target: reference.contains(target),
    "contains": lambda reference, target: target.contains(reference),
    "overlaps": lambda reference, target: reference.overlaps(target),
    "intersects": lambda reference, target: reference.intersects(target),
    "equals": lambda reference, target: reference.equals(target),
    "disjoint": lambda reference, target: reference.disjoint(target),
}
