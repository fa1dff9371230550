"""The entity ids of the demonstration city."""

from __future__ import annotations

from typing import Final

from rigel.demo.city import COUNTRY, PARTY, Bay, Evse, Group, Meter, Probe, Station

PARKING_SITE: Final = "urn:ngsi-ld:OnStreetParking:centre"


def parking_spot(bay: Bay) -> str:
    """Return the id of a bay's ParkingSpot."""
    return f"urn:ngsi-ld:ParkingSpot:{bay.key}"


def parking_group(group: Group) -> str:
    """Return the id of a group of bays."""
    return f"urn:ngsi-ld:ParkingGroup:{group.key}"


def rotations(group: Group) -> str:
    """Return the id of the indicator that counts the cars a group took in a day."""
    return f"urn:ngsi-ld:KeyPerformanceIndicator:parking-rotations:ParkingGroup:{group.key}"


def availability(station: Station) -> str:
    """Return the id of the indicator that tells how long a station's points were in service."""
    return f"urn:ngsi-ld:KeyPerformanceIndicator:charging-availability:{_short_station(station)}"


def water_use(meter: Meter) -> str:
    """Return the id of the indicator that tells what a meter counted in a day."""
    return f"urn:ngsi-ld:KeyPerformanceIndicator:water-use:WaterConsumptionObserved:{meter.garden}"


def water_meter(meter: Meter) -> str:
    """Return the id of what a meter reads."""
    return f"urn:ngsi-ld:WaterConsumptionObserved:{meter.garden}"


def greenspace_record(probe: Probe) -> str:
    """Return the id of what a probe records."""
    return f"urn:ngsi-ld:GreenspaceRecord:{probe.key}"


def garden(probe: Probe) -> str:
    """Return the id of the garden a probe is in."""
    return f"urn:ngsi-ld:Garden:{probe.garden}"


def charging_station(station: Station) -> str:
    """Return the id the OCPI agent gives to a Location."""
    return f"urn:ngsi-ld:{_short_station(station)}"


def charging_point(evse: Evse) -> str:
    """Return the id the OCPI agent gives to an EVSE."""
    return f"urn:ngsi-ld:EVChargingPoint:{COUNTRY}-{PARTY}-{evse.location_id}-{evse.uid}"


def type_of(entity_id: str) -> str:
    """Return the entity type, which all ids here carry."""
    return entity_id.split(":")[2]


def _short_station(station: Station) -> str:
    return f"EVChargingStation:{COUNTRY}-{PARTY}-{station.location_id}"
