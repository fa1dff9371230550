"""Values as normalized attributes (clause 4.5)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias

from broker.core.identifiers import is_uri
from broker.core.vocabulary import VALUE_MEMBERS
from smart_data_models.jexl.values import ExpressionError, describe

Builder: TypeAlias = Callable[[Any, str | None], dict[str, Any]]
"""Makes an attribute of a value and its observedAt."""

_GEOMETRIES: Final = frozenset(
    ("Point", "MultiPoint", "LineString", "MultiLineString", "Polygon", "MultiPolygon")
)
_MAX_LATITUDE: Final = 90
_MAX_LONGITUDE: Final = 180


def builder(kind: str, unit: str | None = None, *, trusted: bool = False) -> Builder:
    """Return what makes attributes of a kind, each with the unit.

    Args:
        trusted: the values are made so that they fit the kind, and need no check.
    """
    check = None if trusted else _CHECKS.get(kind)
    make = _making(kind, VALUE_MEMBERS[kind], unit)
    if check is None:
        return make
    if kind == "ListRelationship":
        return lambda uris, at: make([{"object": uri} for uri in check(uris)], at)
    return lambda value, at: make(check(value), at)


def _making(kind: str, member: str, unit: str | None) -> Builder:
    def plain(value: Any, observed_at: str | None) -> dict[str, Any]:
        if observed_at is None:
            return {"type": kind, member: value}
        return {"type": kind, member: value, "observedAt": observed_at}

    def with_unit(value: Any, observed_at: str | None) -> dict[str, Any]:
        if observed_at is None:
            return {"type": kind, member: value, "unitCode": unit}
        return {"type": kind, member: value, "unitCode": unit, "observedAt": observed_at}

    return plain if unit is None else with_unit


def _uris(value: Any) -> Any:
    for uri in value if isinstance(value, list) else (value,):
        if not is_uri(uri):
            raise ExpressionError(f"expected a URI, got {describe(uri)}")
    return value


def _geometry(value: Any) -> Any:
    if not isinstance(value, dict) or value.get("type") not in _GEOMETRIES:
        raise ExpressionError(f"expected a GeoJSON geometry, got {describe(value)}")
    check_positions(value.get("coordinates"))
    return value


def _language_map(value: Any) -> Any:
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise ExpressionError(f"expected texts by language, got {describe(value)}")
    return value


def _list(value: Any) -> Any:
    if not isinstance(value, list):
        raise ExpressionError(f"expected a list, got {describe(value)}")
    return value


def check_positions(coordinates: Any) -> None:
    """Check that every position of a geometry lies on the globe, longitude first.

    Raises:
        ExpressionError: one does not.
    """
    if not isinstance(coordinates, list) or not coordinates:
        raise ExpressionError("expected coordinates")
    if isinstance(coordinates[0], list):
        for part in coordinates:
            check_positions(part)
        return
    if not all(isinstance(n, int | float) and not isinstance(n, bool) for n in coordinates):
        raise ExpressionError("expected numbers as coordinates")
    if len(coordinates) < 2:  # noqa: PLR2004 - longitude and latitude
        raise ExpressionError("expected a longitude and a latitude")
    longitude, latitude = coordinates[:2]
    if not -_MAX_LATITUDE <= latitude <= _MAX_LATITUDE:
        raise ExpressionError(f"the latitude {latitude} is not between -90 and 90")
    if not -_MAX_LONGITUDE <= longitude <= _MAX_LONGITUDE:
        raise ExpressionError(f"the longitude {longitude} is not between -180 and 180")


_CHECKS: Final[dict[str, Callable[[Any], Any]]] = {
    "GeoProperty": _geometry,
    "Relationship": _uris,
    "ListRelationship": lambda value: _uris(_list(value)),
    "LanguageProperty": _language_map,
    "ListProperty": _list,
}
"""What returns a value of a kind once it is known to be one."""
