"""Make the demonstration's devices known through the agents' provisioning API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from aiohttp import ClientSession, ClientTimeout

from rigel.demo import names
from rigel.demo.city import Bay, City, Meter, Probe

_HEADERS: Final = {"fiware-service": "", "fiware-servicepath": "/"}
_TIMEOUT: Final = ClientTimeout(total=30.0)


class NotProvisioned(Exception):
    """The agents refused the devices; the text is their answer."""


async def provision(city: City, http: ClientSession, agents_url: str) -> None:
    """Create all devices of the city in one request.

    Raises:
        NotProvisioned: with the reason.
    """
    devices = [
        *map(parking_sensor, city.bays),
        *map(soil_probe, city.probes),
        *map(water_meter, city.meters),
    ]
    async with http.post(
        agents_url + "/iot/devices", json={"devices": devices}, headers=_HEADERS, timeout=_TIMEOUT
    ) as answer:
        if not answer.ok:
            raise NotProvisioned(f"HTTP {answer.status}: {await answer.text():.300}")


def parking_sensor(bay: Bay) -> Mapping[str, Any]:
    """Return the device that watches a bay, with what is known of the bay beforehand."""
    return {
        "device_id": bay.dev_eui,
        "entity_type": "ParkingSpot",
        "entity_name": names.parking_spot(bay),
        "static_attributes": [
            _static("name", "Text", f"{bay.group.name} {bay.number}"),
            _static("category", "Array", ["onStreet"]),
            _static("location", "geo:json", _point(bay.longitude, bay.latitude)),
            _static("refParkingGroup", "Relationship", names.parking_group(bay.group)),
            _static("refParkingSite", "Relationship", names.PARKING_SITE),
        ],
    }


def soil_probe(probe: Probe) -> Mapping[str, Any]:
    """Return the device that measures the soil at a place, with what is known of the place."""
    return {
        "device_id": probe.dev_eui,
        "entity_type": "GreenspaceRecord",
        "entity_name": names.greenspace_record(probe),
        "static_attributes": [
            _static("location", "geo:json", _point(probe.longitude, probe.latitude)),
            _static("refGreenspace", "Relationship", names.garden(probe)),
        ],
    }


def water_meter(meter: Meter) -> Mapping[str, Any]:
    """Return the device that counts the water of a garden."""
    return {
        "device_id": meter.dev_eui,
        "entity_type": "WaterConsumptionObserved",
        "entity_name": names.water_meter(meter),
        "static_attributes": [
            _static("location", "geo:json", _point(meter.longitude, meter.latitude))
        ],
    }


def _static(name: str, kind: str, value: Any) -> Mapping[str, Any]:
    return {"name": name, "type": kind, "value": value}


def _point(longitude: float, latitude: float) -> Mapping[str, Any]:
    return {"type": "Point", "coordinates": [longitude, latitude]}
