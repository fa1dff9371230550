"""The Locations as we know them: whole, in parts, and what is missing of them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from broker.core.timestamps import format_timestamp
from iot_agents.common.making import Made
from iot_agents.ocpi.hiding import hide
from iot_agents.ocpi.ledger import Kept, Ledger, Place, changes, place
from iot_agents.ocpi.model import Document, InvalidObject, moment
from iot_agents.ocpi.parts import (
    MISSING_SINCE,
    Address,
    UnknownObject,
    missing,
    outdated,
    part_of,
    tidy,
    with_part,
    without_ours,
)

KIND = "location"


def location_place(party: tuple[str, str], location_id: str) -> Place:
    """Return where a Location is kept."""
    return place(KIND, party, location_id)


class Locations:
    """The Locations in a ledger."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def get(self, address: Address) -> Document:
        """Return a Location, EVSE or connector.

        Raises:
            UnknownObject: it is not known.
        """
        return without_ours(part_of((await self._known(address)).document, address))

    async def put(self, address: Address, document: Document) -> bool:
        """Take a whole object, durably, and return whether it was new; an old one is left out.

        Raises:
            UnknownObject: what it belongs to is not known.
            InvalidObject: it is not what OCPI says it is.
            SpoolFull: it was not taken.
            NotDurable: it may not have been written.
        """
        async with self._ledger.lock(_place(address)):
            kept = await (self._known if address.evse_uid else self._ledger_load)(address)
            location = kept.document
            try:
                known = part_of(location, address)
            except UnknownObject:
                known = {}
            part = self._tidy(document, address, location)
            if not known or not address.evse_uid or not outdated(part, known):
                await self._store(address, kept, with_part(location, address, part))
            return not known

    async def patch(self, address: Address, changed: Document) -> None:
        """Change some members of an object, durably; an old change is left out.

        Raises:
            UnknownObject: it is not known.
            InvalidObject: `last_updated` is missing, or a member is not what OCPI says it is.
            SpoolFull: it was not taken.
            NotDurable: it may not have been written.
        """
        if not changed.get("last_updated"):
            raise InvalidObject("last_updated is missing")
        async with self._ledger.lock(_place(address)):
            kept = await self._known(address)
            known = part_of(kept.document, address)
            at = moment(changed["last_updated"], self._ledger.clock())
            if outdated({**changed, "last_updated": at}, known):
                return
            found = {name: value for name, value in known.items() if name != MISSING_SINCE}
            part = self._tidy({**found, **changed}, address, kept.document)
            await self._store(address, kept, with_part(kept.document, address, part))

    async def miss(
        self, party: tuple[str, str], listed: Collection[str], since: datetime
    ) -> Sequence[str]:
        """Mark what a party's whole list, asked for at a moment, did not name.

        What came in since then is not missing, nor is what is marked already.

        Args:
            listed: ids, in lower case.

        Returns:
            the ids that are missing now and were not before.
        """
        gone: list[str] = []
        async for _, kept in self._ledger.known(KIND, party):
            name = str(kept.document.get("id", ""))
            if name.casefold() in listed:
                continue
            address = Address(*party, name)
            async with self._ledger.lock(_place(address)):
                current = await self._ledger.load(_place(address))
                marked = missing(current.document, format_timestamp(self._ledger.clock()))
                if current.at < since.timestamp() and marked is not None:
                    await self._store(address, current, marked)
                    gone.append(name)
        return gone

    async def _store(self, address: Address, kept: Kept, location: Document) -> None:
        if not location.get("publish", True) and kept.document.get("publish", True):
            await hide(self._ledger, (address.country_code, address.party_id), address.location_id)
        made = self._entities(location, address)
        made_ids = {entity["id"] for entity in made.entities}
        others = [entity for entity in kept.entities if entity["id"] not in made_ids]
        # Of what is refused now the broker keeps what it has; the rest is gone.
        gone, left = ([], others) if made.refused else (others, [])
        await self._ledger.write(
            _place(address),
            changes(kept.entities, made.entities, gone),
            {_place(address): (location, [*made.entities, *left])},
        )

    def _entities(self, location: Document, address: Address) -> Made:
        # `publish: false` is not for the public, and the broker is.
        if not location.get("publish", True):
            return Made()
        return self._ledger.make(KIND, location, str(address))

    async def _known(self, address: Address) -> Kept:
        kept = await self._ledger_load(address)
        if not kept.document:
            raise UnknownObject(f"Location {address.location_id!r:.40} is unknown")
        return kept

    async def _ledger_load(self, address: Address) -> Kept:
        return await self._ledger.load(_place(address))

    def _tidy(self, document: Document, address: Address, location: Document) -> Document:
        country = location.get("country") or ""
        part, warnings = tidy(document, address, country, self._ledger.clock())
        self._ledger.warn(f"location {address}", warnings)
        return part


def _place(address: Address) -> Place:
    return location_place((address.country_code, address.party_id), address.location_id)
