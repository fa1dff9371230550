"""The attribute types of the FIWARE provisioning API as NGSI-LD kinds and conversions.

A conversion returns MISSING for a value that its type cannot hold: the attribute is then left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

import msgspec

from iot_agents.common.mapping.numbers import number_of
from smart_data_models.jexl import times
from smart_data_models.jexl.values import MISSING, ExpressionError

Conversion = Callable[[Any], Any]

_NUMBER: Final = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_BOOLEANS: Final = {"true": True, "1": True, "false": False, "0": False}
_POSITION: Final = 2


class BadCoordinates(ExpressionError):
    """A geometry cannot be made of what the device sent; the whole measure is refused."""

    code = "BAD_GEOCOORDINATES"


def kind_and_conversion(attribute_type: str) -> tuple[str, Conversion]:
    """Return the kind of attribute a type means, and what makes its values."""
    return _TYPES.get(attribute_type.lower(), ("Property", _as_it_is))


def _as_it_is(value: Any) -> Any:
    return value


def _number(value: Any) -> Any:
    if isinstance(value, bool):
        return MISSING
    try:
        return number_of(value)
    except ExpressionError:
        return MISSING


def _boolean(value: Any) -> Any:
    if isinstance(value, bool):
        return value
    return _BOOLEANS.get(str(value).strip().lower(), MISSING)


def _structure(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return msgspec.json.decode(value)
    except (msgspec.DecodeError, RecursionError):
        return MISSING


def _moment(cut: slice) -> Conversion:
    def convert(value: Any) -> Any:
        try:
            return times.utc_text(value, times.MILLISECONDS)[cut]
        except ValueError:
            return MISSING

    return convert


def _geometry(kind: str) -> Conversion:
    def convert(value: Any) -> Any:
        if isinstance(value, dict):
            return value
        positions = _positions(value)
        if kind == "Point":
            if len(positions) != 1:
                raise BadCoordinates("a point needs one longitude and one latitude")
            return {"type": kind, "coordinates": positions[0]}
        return {"type": kind, "coordinates": [positions] if kind == "Polygon" else positions}

    return convert


def _positions(value: Any) -> list[list[Any]]:
    """Return the positions in `lng,lat,lng,lat`, in a flat array or in an array of pairs."""
    if isinstance(value, str):
        value = value.split(",")
    if not isinstance(value, list):
        raise BadCoordinates("expected coordinates as text, an array or GeoJSON")
    flat = [part for item in value for part in (item if isinstance(item, list) else [item])]
    numbers = [_coordinate(part) for part in flat]
    if not numbers or len(numbers) % _POSITION:
        raise BadCoordinates("an odd number of coordinates")
    return [numbers[index : index + _POSITION] for index in range(0, len(numbers), _POSITION)]


def _coordinate(value: Any) -> Any:
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        return number_of(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    raise BadCoordinates(f"{value!r:.40} is no coordinate")


def _listed(value: Any) -> Any:
    value = _structure(value)
    return value if isinstance(value, list) else MISSING


_TYPES: Final[dict[str, tuple[str, Conversion]]] = {
    **dict.fromkeys(("number", "integer", "float"), ("Property", _number)),
    "boolean": ("Property", _boolean),
    **dict.fromkeys(("object", "array"), ("Property", _structure)),
    "datetime": ("Property", _moment(slice(None))),
    "date": ("Property", _moment(slice(0, 10))),
    "time": ("Property", _moment(slice(11, 19))),
    **dict.fromkeys(
        ("geoproperty", "point", "geo:point", "geo:json"), ("GeoProperty", _geometry("Point"))
    ),
    **{
        prefix + kind.lower(): ("GeoProperty", _geometry(kind))
        for kind in ("LineString", "Polygon", "MultiPoint")
        for prefix in ("", "geo:")
    },
    "relationship": ("Relationship", _as_it_is),
    "languageproperty": ("LanguageProperty", _structure),
    "vocabproperty": ("VocabProperty", _as_it_is),
    "jsonproperty": ("JsonProperty", _structure),
    "listproperty": ("ListProperty", _listed),
    "listrelationship": ("ListRelationship", _listed),
}
