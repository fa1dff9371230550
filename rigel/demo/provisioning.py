"""Make the demonstration's devices known through the agents' provisioning API."""

from __future__ import annotations

from typing import Any, Final

from aiohttp import ClientSession, ClientTimeout

from rigel.demo import names
from rigel.demo.city import Bay, City, Probe

_HEADERS: Final = {"fiware-service": "", "fiware-servicepath": "/"}
_TIMEOUT: Final = ClientTimeout(total=30.0)


async def provision(city: City, http: ClientSession, agents_url: str) -> None:
    """Create all devices of the city in one request."""
    devices = [*map(parking_sensor, city.bays), *map(soil_probe, city.probes)]
    async with http.post(
        agents_url + "/iot/devices", json={"devices": devices}, headers=_HEADERS, timeout=_TIMEOUT
    ) as answer:
        answer.raise_for_status()
