"""Tell of the demonstration's charging stations as a charging point operator does by OCPI 2.2.1."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from aiohttp import ClientSession, ClientTimeout

from rigel.demo.city import COUNTRY, PARTY, POSTAL_CODE, TIME_ZONE, TOWN, City, Station
from rigel.demo.story import EvseChange

_TIMEOUT: Final = ClientTimeout(total=30.0)
_SUCCESS: Final = range(1000, 2000)


class NotTaken(Exception):
    """The receiver did not take an object; the text is its answer."""


class Operator:
    """The client side of the receiver interface for Locations."""

    def __init__(self, session: ClientSession, locations_url: str, token: str) -> None:
        """Bind the operator to a receiver.

        Args:
            session: carries the connections; its owner closes it.
            locations_url: the receiver's endpoint of the module `locations`.
            token: what the receiver knows the operator by.
        """
        self._session = session
        self._base = f"{locations_url}/{COUNTRY}/{PARTY}"
        self._authorization = "Token " + base64.b64encode(token.encode()).decode()

    async def put_location(self, station: Station, city: City, at: datetime) -> None:
        """Send a whole Location; all its EVSEs are free.

        Raises:
            NotTaken: the receiver refused it.
        """
        await self._send("PUT", station.location_id, location(station, city, at))

    async def patch_evse(self, change: EvseChange) -> None:
        """Send the new status of an EVSE.

        Raises:
            NotTaken: the receiver refused it.
        """
        body = {"status": change.status, "last_updated": _date_time(change.at)}
        await self._send("PATCH", f"{change.evse.location_id}/{change.evse.uid}", body)

    async def _send(self, method: str, path: str, body: Mapping[str, Any]) -> None:
        headers = {
            "Authorization": self._authorization,
            "X-Request-ID": str(uuid.uuid4()),
            "X-Correlation-ID": str(uuid.uuid4()),
            "OCPI-from-country-code": COUNTRY,
            "OCPI-from-party-id": PARTY,
        }
        async with self._session.request(
            method, f"{self._base}/{path}", json=body, headers=headers, timeout=_TIMEOUT
        ) as response:
            answer = await response.json() if response.ok else {}
            # OCPI answers most refusals with HTTP 200 and a status code of its own.
            if answer.get("status_code") not in _SUCCESS:
                said = answer.get("status_message") or await response.text()
                raise NotTaken(f"{method} {path}: HTTP {response.status}: {said:.200}")


def location(station: Station, city: City, at: datetime) -> dict[str, Any]:
    """Return a station as an OCPI Location whose EVSEs are free."""
    bays = {bay.evse: bay for bay in city.bays}
    return {
        "country_code": COUNTRY,
        "party_id": PARTY,
        "id": station.location_id,
        "publish": True,
        "name": station.name,
        "address": station.group.street,
        "city": TOWN,
        "postal_code": POSTAL_CODE,
        "country": "FRA",
        "coordinates": _coordinates(station.longitude, station.latitude),
        "parking_type": "ON_STREET",
        "evses": [
            {
                "uid": evse.uid,
                "evse_id": f"{COUNTRY}*{PARTY}*E{station.location_id[-2:]}*{evse.uid}",
                "status": "AVAILABLE",
                "capabilities": ["RFID_READER", "REMOTE_START_STOP_CAPABLE"],
                "connectors": [_connector(at)],
                "coordinates": _coordinates(bays[evse].longitude, bays[evse].latitude),
                "physical_reference": bays[evse].key,
                # OCPI 2.3.0 names the bay so; a 2.2.1 receiver may use it or leave it.
                "parking": [{"parking_id": bays[evse].key}],
                "parking_restrictions": ["EV_ONLY"],
                "last_updated": _date_time(at),
            }
            for evse in station.evses
        ],
        "operator": {"name": "Recharge du Centre"},
        "time_zone": TIME_ZONE,
        "opening_times": {"twentyfourseven": True},
        "last_updated": _date_time(at),
    }


def _connector(at: datetime) -> dict[str, Any]:
    return {
        "id": "1",
        "standard": "IEC_62196_T2",
        "format": "SOCKET",
        "power_type": "AC_3_PHASE",
        "max_voltage": 230,
        "max_amperage": 32,
        "max_electric_power": 22_080,
        "last_updated": _date_time(at),
    }


def _coordinates(longitude: float, latitude: float) -> dict[str, str]:
    return {"latitude": f"{latitude:.6f}", "longitude": f"{longitude:.6f}"}


def _date_time(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")
