"""What Sessions and CDRs told of a Location goes when it turns out not to be public."""

from __future__ import annotations

from typing import Final

from iot_agents.ocpi.ledger import Ledger, Place, changes, place

POINT: Final = "point"
"""The kind of what the newest Session told of a charging point, by Location and EVSE."""
TOLD: Final = "told"
"""The kind of what a CDR told, by Location and CDR."""


async def hide(ledger: Ledger, party: tuple[str, str], location_id: str) -> None:
    """Take from the broker what is there of a Location besides the Location, durably.

    The lock of the Location is held, so that nothing more is told meanwhile.

    Raises:
        SpoolFull: it was not taken.
        NotDurable: it may not have been written.
    """
    device = place(POINT, party, location_id).device
    for kind in (POINT, TOLD):
        async for key, kept in ledger.known(kind, party, f"{location_id}/"):
            own = Place(key, device)
            await ledger.write(own, changes((), (), kept.entities), {own: None})
