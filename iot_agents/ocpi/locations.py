"""The Locations as we know them, and what changes of them mean for the broker.

Every change of a Location is written together with the update that follows from it, so that neither
is without the other after a crash. The update names what differs between the entities of the old
and of the new Location, and nothing else.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any
from weakref import WeakValueDictionary

import msgspec

from iot_agents.common.counters import Counters
from iot_agents.common.making import Made, Maker
from iot_agents.common.mapping.model import Entity, MappingError, Mappings, Source
from iot_agents.common.measure import Outcome, Ticket
from iot_agents.common.spool import Entry, Operation, Spool
from iot_agents.ocpi.model import Document, InvalidObject, moment
from iot_agents.ocpi.parts import Address, UnknownObject, part_of, tidy, with_part

FORMAT = "location-2.2.1"
_log = logging.getLogger(__name__)


class _Kept(msgspec.Struct, frozen=True):
    """A Location, and the entities that stand for it at the broker."""

    location: dict[str, Any] = {}
    entities: list[Entity] = []


class Locations:
    """The Locations in a spool's file."""

    def __init__(
        self,
        spool: Spool,
        mappings: Mappings,
        maker: Maker,
        *,
        tenant: str,
        counters: Counters,
        clock: Callable[[], datetime],
    ) -> None:
        self._spool = spool
        self._mappings = mappings
        self._maker = maker
        self._tenant = tenant
        self._counters = counters
        self._clock = clock
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def get(self, address: Address) -> Document:
        """Return a Location, EVSE or connector.

        Raises:
            UnknownObject: it is not known.
        """
        return part_of((await self._known(address)).location, address)

    async def put(self, address: Address, document: Document) -> bool:
        """Take a whole object, durably, and return whether it was new; an old one is left out.

        Raises:
            UnknownObject: what it belongs to is not known.
            InvalidObject: it is not what OCPI says it is.
            SpoolFull: it was not taken.
            NotDurable: it may not have been written.
        """
        async with self._lock(address):
            kept = await (self._known if address.evse_uid else self._load)(address)
            location = kept.location
            try:
                known = part_of(location, address)
            except UnknownObject:
                known = {}
            part = self._tidy(document, address, location)
            if not known or known["last_updated"] <= part["last_updated"]:
                await self._store(address, kept, with_part(location, address, part))
            return not known

    async def patch(self, address: Address, changes: Document) -> None:
        """Change some members of an object, durably; an old change is left out.

        Raises:
            UnknownObject: it is not known.
            InvalidObject: `last_updated` is missing, or a member is not what OCPI says it is.
            SpoolFull: it was not taken.
            NotDurable: it may not have been written.
        """
        if not changes.get("last_updated"):
            raise InvalidObject("last_updated is missing")
        async with self._lock(address):
            kept = await self._known(address)
            known = part_of(kept.location, address)
            if moment(changes["last_updated"], self._clock()) < known["last_updated"]:
                return
            part = self._tidy({**known, **changes}, address, kept.location)
            await self._store(address, kept, with_part(kept.location, address, part))

    async def _store(self, address: Address, kept: _Kept, location: Document) -> None:
        made = self._entities(location, address)
        if made.refused and not made.entities:
            raise InvalidObject("; ".join(made.refused))
        for refusal in made.refused:
            self._counters.rejected += 1
            _log.warning("location %s: %s", address, refusal)
        made_ids = {entity["id"] for entity in made.entities}
        others = [entity for entity in kept.entities if entity["id"] not in made_ids]
        # Of what is refused now the broker keeps what it has; the rest is gone.
        gone, left = ([], others) if made.refused else (others, [])
        if gone:
            await self._put(address, gone, operation=Operation.DELETE)
        state = msgspec.json.encode(_Kept(location, [*made.entities, *left]))
        changed = _changes(kept.entities, made.entities)
        await self._put(address, changed, state={_key(address): state})

    async def _put(self, address: Address, entities: Sequence[Entity], **more: Any) -> None:
        device = f"{address.country_code}*{address.party_id}*{address.location_id}"
        stored = self._spool.put(Entry(self._tenant, device, entities, **more))
        await Ticket(Outcome.SPOOLED, stored).durable()

    def _entities(self, location: Document, address: Address) -> Made:
        # `publish: false` is not for the public, and the broker is.
        if not location.get("publish", True):
            return Made()
        try:
            mapping = self._mappings.find(Source("ocpi", FORMAT), location)
        except MappingError as error:
            return Made(refused=(str(error),))
        if mapping is None:
            return Made(refused=("no mapping accepts this Location",))
        return self._maker.make(mapping, location, str(address))

    async def _known(self, address: Address) -> _Kept:
        kept = await self._load(address)
        if not kept.location:
            raise UnknownObject(f"Location {address.location_id!r:.40} is unknown")
        return kept

    async def _load(self, address: Address) -> _Kept:
        found = await self._spool.state(_key(address))
        return _Kept() if found is None else msgspec.json.decode(found, type=_Kept)

    def _tidy(self, document: Document, address: Address, location: Document) -> Document:
        country = location.get("country", "")
        part, warnings = tidy(document, address, country, self._clock())
        self._counters.warnings += len(warnings)
        for warning in warnings:
            _log.warning("location %s: %s", address, warning)
        return part

    def _lock(self, address: Address) -> asyncio.Lock:
        return self._locks.setdefault(_key(address), asyncio.Lock())


def _key(address: Address) -> str:
    parts = (address.country_code, address.party_id, address.location_id)
    return f"ocpi/location/{'/'.join(parts)}".casefold()


def _changes(before: Sequence[Entity], after: Sequence[Entity]) -> list[Entity]:
    """Return of each entity what is not as it was, leaving out times."""
    known = {entity["id"]: entity for entity in before}
    changed = (_difference(known.get(entity["id"], {}), entity) for entity in after)
    return [entity for entity in changed if len(entity) > 2]  # noqa: PLR2004 - id and type


def _difference(before: Entity, after: Entity) -> Entity:
    return {
        name: attribute
        for name, attribute in after.items()
        if name in {"id", "type"} or _timeless(before.get(name)) != _timeless(attribute)
    }


def _timeless(attribute: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    if attribute is None:
        return None
    return {name: value for name, value in attribute.items() if name != "observedAt"}
