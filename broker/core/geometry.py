"""GeoJSON geometries as values of GeoProperties (clause 4.7, RFC 7946).

A geometry is an object, or the JSON text of one (4.7.2). GeometryCollections are not supported.
Positions are WGS 84: longitude, latitude and, if known, height.
"""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import Any, Final

import msgspec

from broker.core.errors import BadRequestData

MAX_POSITIONS: Final = 50_000
"""Positions of one geometry; the outline of a large city has some thousands."""

_LINE = 2
_RING = 4
_LONGITUDE = 180
_LATITUDE = 90
_HEIGHT = 1e9
_NUMBERS = (int, float)
_Check = Callable[[Any, str], int]
"""Checks coordinates, naming where they stand, and returns how many positions they are."""


def is_geometry(value: object) -> bool:
    """Tell whether a value says that it is a geometry, right or wrong (clause 4.7.3)."""
    if type(value) is not dict:
        return False
    kind = value.get("type")
    return isinstance(kind, str) and (kind in _CHECKS or kind == "GeometryCollection")


def check_geometry(value: object, where: str) -> dict[str, Any]:
    """Return a geometry as an object once it is known to be one.

    Raises:
        BadRequestData: it is none, it is a GeometryCollection, or its coordinates are wrong.
    """
    geometry = _parse(value, where) if isinstance(value, str) else value
    if type(geometry) is not dict:
        raise BadRequestData(f"{where}: expected a GeoJSON geometry, got {geometry!r:.80}")
    kind = geometry.get("type")
    check = _CHECKS.get(kind) if isinstance(kind, str) else None
    if check is None:
        raise BadRequestData(f"{where}.type: expected one of {_SUPPORTED}, got {kind!r:.80}")
    check(geometry.get("coordinates"), f"{where}.coordinates")
    return geometry


def _parse(text: str, where: str) -> object:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadRequestData(f"{where}: expected a GeoJSON geometry, got {text!r:.80}") from error


def _is_position(position: Any) -> bool:
    return (
        type(position) is list
        and 2 <= len(position) <= 3  # noqa: PLR2004 - longitude, latitude, height
        and all(type(number) in _NUMBERS for number in position)
        and -_LONGITUDE <= position[0] <= _LONGITUDE
        and -_LATITUDE <= position[1] <= _LATITUDE
        and -_HEIGHT <= position[-1] <= _HEIGHT
    )


def _point(position: Any, where: str) -> int:
    if _is_position(position):
        return 1
    raise BadRequestData(
        f"{where}: expected a position [longitude, latitude] in degrees, got {position!r:.80}"
    )


def _points(coordinates: Any, where: str, at_least: int = 1) -> int:
    _check_array(coordinates, where, at_least)
    if not all(map(_is_position, coordinates)):
        for place, position in enumerate(coordinates):
            _point(position, f"{where}[{place}]")
    return len(coordinates)


def _line(coordinates: Any, where: str) -> int:
    return _points(coordinates, where, _LINE)


def _ring(coordinates: Any, where: str) -> int:
    positions = _points(coordinates, where, _RING)
    if coordinates[0] != coordinates[-1]:
        raise BadRequestData(f"{where}: expected a closed ring, the last position is not the first")
    return positions


def _several(check: _Check) -> _Check:
    """Return the check of an array whose items pass a check."""

    def check_all(coordinates: Any, where: str) -> int:
        _check_array(coordinates, where, 1)
        positions = 0
        for place, item in enumerate(coordinates):
            positions += check(item, f"{where}[{place}]")
            if positions > MAX_POSITIONS:
                raise BadRequestData(f"{where}: more than {MAX_POSITIONS} positions")
        return positions

    return check_all


def _check_array(coordinates: Any, where: str, at_least: int) -> None:
    if type(coordinates) is not list or len(coordinates) < at_least:
        raise BadRequestData(
            f"{where}: expected an array of {at_least} or more, got {coordinates!r:.80}"
        )
    if len(coordinates) > MAX_POSITIONS:
        raise BadRequestData(f"{where}: more than {MAX_POSITIONS} positions")


_CHECKS: Final = MappingProxyType[str, _Check](
    {
        "Point": _point,
        "MultiPoint": _points,
        "LineString": _line,
        "MultiLineString": _several(_line),
        "Polygon": _several(_ring),
        "MultiPolygon": _several(_several(_ring)),
    }
)
_SUPPORTED = ", ".join(_CHECKS)
