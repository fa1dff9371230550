"""What Sessions and CDRs told of a Location goes when it turns out not to be public."""

from __future__ import annotations

from typing import Final

from iot_agents.ocpi.ledger import Ledger, Place, changes, place

CDR: Final = "cdr"
POINT: Final = "point"
"""The kind of what the newest Session told of a charging point."""


async def hide(ledger: Ledger, party: tuple[str, str], location_id: str) -> None:
    """Take from the broker what is there of a Location besides the Location, durably.

    The lock of the Location is held, so that nothing more is told meanwhile.

    Raises:
        SpoolFull: it was not taken.
        NotDurable: it may not have been written.
    """
    async for key, kept in ledger.known(CDR, party):
        told = kept.document.get("cdr_location")
        where = told.get("id", "") if isinstance(told, dict) else ""
        if kept.entities and str(where).casefold() == location_id.casefold():
            own = Place(key, place(CDR, party, str(kept.document["id"])).device)
            await ledger.write(own, changes((), (), kept.entities), {own: (kept.document, ())})
    device = place(POINT, party, location_id).device
    async for key, kept in ledger.known(POINT, party, f"{location_id}/"):
        own = Place(key, device)
        await ledger.write(own, changes((), (), kept.entities), {own: None})
