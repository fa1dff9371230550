"""Bays and charging points as brokers tell of them, and what waits for subscribers to be ready."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from subscribers.server import RunningSubscribers
from tests.support.eventually import eventually

GROUP = "urn:ngsi-ld:ParkingGroup:market"
BAY = "urn:ngsi-ld:ParkingSpot:1"
POINT = "urn:ngsi-ld:EVChargingPoint:1"
# Two local midnights in Paris stand at 22:00 UTC.
START = datetime(2026, 5, 1, 22, tzinfo=UTC)


def moment(hours: float) -> str:
    """Return the time so many hours after a local midnight."""
    return (START + timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%SZ")


def status(value: str, hours: float) -> dict[str, Any]:
    """Return a status observed so many hours after midnight."""
    return {"type": "Property", "value": value, "observedAt": moment(hours)}


def bay(value: str, hours: float, bay_id: str = BAY) -> dict[str, Any]:
    """Return a bay of the group."""
    return {
        "id": bay_id,
        "type": "ParkingSpot",
        "status": status(value, hours),
        "refParkingGroup": {"type": "Relationship", "object": GROUP},
        "location": {
            "type": "GeoProperty",
            "value": {"type": "Point", "coordinates": [0.34, 46.58]},
        },
    }


def point(value: str, hours: float, point_id: str = POINT, bay_id: str = BAY) -> dict[str, Any]:
    """Return the charging point of a bay."""
    return {
        "id": point_id,
        "type": "EVChargingPoint",
        "status": status(value, hours),
        "refParkingSpot": {"type": "Relationship", "object": bay_id},
    }


async def ready(running: RunningSubscribers) -> None:
    """Wait until all subscriptions are in place."""
    await eventually(lambda: not running.problems())
