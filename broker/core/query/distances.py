"""Metric distances between geometries on the globe, from the closest point, good to 0.5 %.

Two points: Lambert's formula on the WGS 84 ellipsoid. Anything else: the closest pair of points is
sought in an azimuthal projection around the reference, then, when it is near, once more in a local
projection that keeps the straight lines of GeoJSON straight; between the pair, as for two points.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import shapely

METRES_PER_DEGREE = 110_574.0
"""Length of a degree of latitude where it is shortest."""

Target = Any
"""A shapely geometry, or longitude and latitude of a point."""

Distance = Callable[[Target], float]
"""Measures from a fixed reference geometry to a target, in metres."""

Formula = Callable[[float, float, float, float], float]

_RADIUS = 6_371_008.8
_EQUATOR = 6_378_137.0
_FLATTENING = 1 / 298.257223563
_NEARLY_ANTIPODAL = 3.1
_STEP = 0.5
_MAX_STEPS = 5000
_COARSEST = 30.0
_LOCAL = 50_000.0
_ROUNDS = 3
_TINY = 1e-12


def haversine(west: float, south: float, east: float, north: float) -> float:
    """Return the distance of two points (longitude, latitude, twice) on a sphere."""
    return _RADIUS * _angle(west, math.radians(south), east, math.radians(north))


def geodesic(west: float, south: float, east: float, north: float) -> float:
    """Return the distance of two points (longitude, latitude, twice) on the ellipsoid."""
    first, second = _reduced(south), _reduced(north)
    angle = _angle(west, first, east, second)
    if angle < _TINY:
        return 0.0
    if angle > _NEARLY_ANTIPODAL:
        return _RADIUS * angle
    sine = math.sin(angle)
    middle, half = (first + second) / 2, (second - first) / 2
    x = (angle - sine) * (math.sin(middle) * math.cos(half) / math.cos(angle / 2)) ** 2
    y = (angle + sine) * (math.cos(middle) * math.sin(half) / math.sin(angle / 2)) ** 2
    return _EQUATOR * (angle - _FLATTENING / 2 * (x + y))


def measure_from(reference: Any, formula: Formula = geodesic) -> Distance:
    """Return a function that measures from a reference geometry (shapely)."""
    if reference.geom_type == "Point":
        x, y = reference.x, reference.y
        to_shape = _between(reference, formula)
        return lambda target: (
            formula(x, y, *target) if target.__class__ is tuple else to_shape(target)
        )
    to_shape = _between(reference, formula)
    return lambda target: to_shape(shapely.Point(target) if target.__class__ is tuple else target)


def _between(reference: Any, formula: Formula) -> Distance:
    shapely.prepare(reference)
    coarse = _densified(reference)
    fixed = reference.geom_type == "Point"
    start, rounds = (reference, 1) if fixed else (coarse.representative_point(), _ROUNDS)

    def distance(target: Any) -> float:
        if reference.intersects(target):
            return 0.0
        other = _densified(target)
        pair = (start.x, start.y, start.x, start.y)
        for _ in range(rounds):
            pair = _closest(coarse, other, (pair[0], pair[1]), _azimuthal, _azimuthal_back)
        metres = formula(*pair)
        if metres > _LOCAL:
            return metres
        middle = (pair[0], (pair[1] + pair[3]) / 2)
        return formula(*_closest(reference, target, middle, _local, _local_back))

    return distance


def _closest(
    reference: Any,
    target: Any,
    center: tuple[float, float],
    forth: Callable[[Any, tuple[float, float]], Any],
    back: Callable[[float, float, tuple[float, float]], tuple[float, float]],
) -> tuple[float, float, float, float]:
    """Return the closest points of two geometries as seen in a projection."""
    line = shapely.shortest_line(
        shapely.transform(reference, lambda positions: forth(positions, center)),
        shapely.transform(target, lambda positions: forth(positions, center)),
    )
    (x1, y1), (x2, y2) = shapely.get_coordinates(line)
    return (*back(x1, y1, center), *back(x2, y2, center))


def _densified(geometry: Any) -> Any:
    if geometry.geom_type in ("Point", "MultiPoint"):
        return geometry
    step = min(max(_STEP, geometry.length / _MAX_STEPS), _COARSEST)
    return shapely.segmentize(geometry, step)


def _azimuthal(positions: Any, center: tuple[float, float]) -> Any:
    """Project to an azimuthal equidistant plane, in radians of arc."""
    longitude = np.radians(positions[:, 0] - center[0])
    latitude = np.radians(positions[:, 1])
    middle = math.radians(center[1])
    sine, cosine = np.sin(latitude), np.cos(latitude)
    angle = np.arccos(
        np.clip(math.sin(middle) * sine + math.cos(middle) * cosine * np.cos(longitude), -1.0, 1.0)
    )
    east = cosine * np.sin(longitude)
    north = math.cos(middle) * sine - math.sin(middle) * cosine * np.cos(longitude)
    scale = angle / np.maximum(np.hypot(east, north), _TINY)
    return np.column_stack((east * scale, north * scale))


def _azimuthal_back(x: float, y: float, center: tuple[float, float]) -> tuple[float, float]:
    angle = math.hypot(x, y)
    if angle < _TINY:
        return center
    middle = math.radians(center[1])
    sine, cosine = math.sin(angle), math.cos(angle)
    latitude = math.asin(
        max(-1.0, min(1.0, cosine * math.sin(middle) + y * sine * math.cos(middle) / angle))
    )
    longitude = math.atan2(
        x * sine, angle * math.cos(middle) * cosine - y * math.sin(middle) * sine
    )
    return _wrapped(center[0] + math.degrees(longitude)), math.degrees(latitude)


def _local(positions: Any, center: tuple[float, float]) -> Any:
    """Project to a plane around the centre in which longitude and latitude run straight."""
    shrink = max(math.cos(math.radians(center[1])), _TINY)
    longitude = (positions[:, 0] - center[0] + 180.0) % 360.0 - 180.0
    return np.column_stack((longitude * shrink, positions[:, 1] - center[1]))


def _local_back(x: float, y: float, center: tuple[float, float]) -> tuple[float, float]:
    shrink = max(math.cos(math.radians(center[1])), _TINY)
    return _wrapped(center[0] + x / shrink), center[1] + y


def _wrapped(longitude: float) -> float:
    return (longitude + 180.0) % 360.0 - 180.0


def _angle(west: float, south: float, east: float, north: float) -> float:
    across = math.sin(math.radians(east - west) / 2)
    along = math.sin((north - south) / 2)
    return 2 * math.asin(
        min(1.0, math.sqrt(along * along + math.cos(south) * math.cos(north) * across * across))
    )


def _reduced(latitude: float) -> float:
    return math.atan((1 - _FLATTENING) * math.tan(math.radians(latitude)))
