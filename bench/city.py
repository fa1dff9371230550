"""The entities the bench works on."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

TYPE = "ParkingSpot"


def spot(number: int, chance: random.Random) -> dict[str, Any]:
    """Return a parking spot of five attributes, in normalized representation."""
    at = "2026-05-01T08:00:00.000Z"
    return {
        "id": f"urn:ngsi-ld:ParkingSpot:bench:{number:06}",
        "type": TYPE,
        "status": {
            "type": "Property",
            "value": chance.choice(["free", "occupied"]),
            "observedAt": at,
        },
        "temperature": {
            "type": "Property",
            "value": round(chance.uniform(-10, 40), 1),
            "unitCode": "CEL",
            "observedAt": at,
        },
        "name": {"type": "Property", "value": f"Bay {number}"},
        "refDevice": {"type": "Relationship", "object": f"urn:ngsi-ld:Device:bench:{number:06}"},
        "location": {
            "type": "GeoProperty",
            "value": {
                "type": "Point",
                "coordinates": [
                    round(chance.uniform(5.3, 5.5), 6),
                    round(chance.uniform(43.4, 43.6), 6),
                ],
            },
        },
    }


def spots(count: int, seed: int = 1) -> Iterator[dict[str, Any]]:
    """Yield as many spots, the same for the same seed."""
    chance = random.Random(seed)  # noqa: S311 - reproducible, not secret
    for number in range(count):
        yield spot(number, chance)
