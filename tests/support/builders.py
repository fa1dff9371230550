"""Small entities for tests."""

from __future__ import annotations

from typing import Any


def entity(number: int = 1, kind: str = "Sensor", **attributes: Any) -> dict[str, Any]:
    """Return an entity whose attributes are given in concise form."""
    return {"id": f"urn:ngsi-ld:{kind}:{number}", "type": kind, **attributes}


def prop(value: Any, **members: Any) -> dict[str, Any]:
    """Return a Property."""
    return {"type": "Property", "value": value, **members}


def point(longitude: float, latitude: float) -> dict[str, Any]:
    """Return a GeoProperty with a point."""
    return {
        "type": "GeoProperty",
        "value": {"type": "Point", "coordinates": [longitude, latitude]},
    }
