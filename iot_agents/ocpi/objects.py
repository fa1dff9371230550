"""Sessions, CDRs and Tariffs as we know them: objects without parts."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec

from iot_agents.common.mapping.model import Entity
from iot_agents.ocpi.hiding import POINT, TOLD
from iot_agents.ocpi.ledger import Changes, Ledger, Place, changes, place
from iot_agents.ocpi.locations import location_place
from iot_agents.ocpi.model import Document, Identifier, InvalidObject, checked, moment
from iot_agents.ocpi.parts import UnknownObject
from iot_agents.ocpi.versions import CDRS, SESSIONS, TARIFFS

_MOST_KWH: Final = 500.0
_WATT_HOURS: Final = 500.0
_NOT_ANY = "#NA"


class _Dimension(msgspec.Struct):
    type: str
    volume: float


class _Period(msgspec.Struct):
    start_date_time: str
    dimensions: list[_Dimension]


class _Owned(msgspec.Struct):
    country_code: str
    party_id: str
    id: Identifier
    last_updated: str


class _Session(_Owned):
    start_date_time: str
    kwh: float
    status: str
    location_id: str | None = None
    evse_uid: str | None = None
    charging_periods: list[_Period] | None = None


class _Where(msgspec.Struct):
    id: Identifier
    evse_uid: str | None = None


class _Cdr(_Owned):
    start_date_time: str
    end_date_time: str
    currency: str
    total_energy: float
    cdr_location: _Where


class _Element(msgspec.Struct):
    price_components: list[dict[str, Any]]


class _Tariff(_Owned):
    currency: str
    elements: list[_Element]


@dataclass(frozen=True, slots=True)
class Kind:
    """How the objects of a module are treated.

    Attributes:
        name: of one object, also in the format of its mapping.
        shape: the members that are relied on.
        final: whether an object never changes after it was made.
    """

    name: str
    shape: type[_Owned]
    final: bool = False


KINDS: Final = {
    SESSIONS: Kind("session", _Session),
    CDRS: Kind("cdr", _Cdr, final=True),
    TARIFFS: Kind("tariff", _Tariff),
}


@dataclass(frozen=True, slots=True)
class Name:
    """What a URL names."""

    module: str
    country_code: str
    party_id: str
    id: str

    @property
    def party(self) -> tuple[str, str]:
        """Country code and party id."""
        return self.country_code, self.party_id

    def __str__(self) -> str:
        return "/".join((*self.party, self.id))


class Objects:
    """The objects of the modules of `KINDS` in a ledger."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def get(self, name: Name) -> Document:
        """Return an object.

        Raises:
            UnknownObject: it is not known.
        """
        kept = await self._ledger.load(_place(name))
        if not kept.document:
            raise UnknownObject(f"{KINDS[name.module].name} {name.id!r:.40} is unknown")
        return kept.document

    async def put(self, name: Name, document: Document) -> bool:
        """Take a whole object, durably, and return whether it was new; an old one is left out.

        Raises:
            InvalidObject: it is not what OCPI says it is.
            SpoolFull: it was not taken.
            NotDurable: it may not have been written.
        """
        async with self._ledger.lock(_place(name)):
            known = (await self._ledger.load(_place(name))).document
            tidied = self._tidy(name, document)
            settled = known and KINDS[name.module].final
            if not settled and not (known and known["last_updated"] > tidied["last_updated"]):
                await self._store(name, tidied)
            return not known

    async def patch(self, name: Name, changed: Document) -> None:
        """Change some members of an object, durably; an old change is left out.

        Raises:
            UnknownObject: it is not known.
            InvalidObject: `last_updated` is missing, or a member is not what OCPI says it is.
            SpoolFull: it was not taken.
            NotDurable: it may not have been written.
        """
        if not changed.get("last_updated"):
            raise InvalidObject("last_updated is missing")
        async with self._ledger.lock(_place(name)):
            known = await self.get(name)
            if moment(changed["last_updated"], self._ledger.clock()) < known["last_updated"]:
                return
            both = {**known, **changed}
            if "charging_periods" in changed:
                both["charging_periods"] = _appended(known, changed["charging_periods"])
            await self._store(name, self._tidy(name, both))

    async def delete(self, name: Name) -> None:
        """Forget an object and what stands for it at the broker, durably.

        Raises:
            UnknownObject: it is not known.
        """
        async with self._ledger.lock(_place(name)):
            await self.get(name)
            kept = await self._ledger.load(_place(name))
            where = _place(name)
            await self._ledger.write(where, changes((), (), kept.entities), {where: None})

    async def miss(
        self, module: str, party: tuple[str, str], listed: Collection[str], since: datetime
    ) -> Sequence[str]:
        """Forget what a party's whole list, asked for at a moment, did not name.

        Args:
            listed: ids, in lower case.

        Returns:
            the ids of what is gone.
        """
        gone: list[str] = []
        async for _, kept in self._ledger.known(KINDS[module].name, party):
            identifier = str(kept.document["id"])
            if identifier.casefold() not in listed and kept.at < since.timestamp():
                await self.delete(Name(module, *party, identifier))
                gone.append(identifier)
        return gone

    def _tidy(self, name: Name, document: Document) -> Document:
        kind = KINDS[name.module]
        found = checked(document, kind.shape, kind.name)
        party = found.country_code.upper(), found.party_id.upper()
        if party != name.party or found.id.casefold() != name.id.casefold():
            raise InvalidObject(f"the object is not the one of the URL, {name}")
        tidied = {
            **document,
            "country_code": party[0],
            "party_id": party[1],
            "last_updated": moment(found.last_updated, self._ledger.clock()),
        }
        if isinstance(found, _Session):
            status = found.status.upper()
            tidied["status"] = "RESERVATION" if status == "RESERVED" else status
        return tidied

    async def _store(self, name: Name, document: Document) -> None:
        location_id, evse_uid = _whereabouts(name.module, document)
        if name.module == SESSIONS and location_id and evse_uid != _NOT_ANY:
            place_of = location_place(name.party, location_id)
            async with self._ledger.lock(place_of):
                await self._store_session(name, document, (location_id, evse_uid))
            return
        # So that nothing is told of a Location that this moment turns out not to be public.
        async with self._ledger.lock(location_place(name.party, location_id)):
            where = _place(name)
            public = await self._public(name.party, location_id)
            entities = self._made(name, document) if public and name.module != SESSIONS else ()
            before = (await self._ledger.load(where)).entities
            known: dict[Place, tuple[Document, Sequence[Entity]]] = {where: (document, entities)}
            if location_id and entities:
                told = place(TOLD, name.party, f"{location_id}/{name.id}", location_id)
                known[told] = {"id": name.id}, entities
            await self._ledger.write(where, changes(before, entities), known)

    async def _store_session(self, name: Name, document: Document, at: tuple[str, str]) -> None:
        """Write a session, and what it says of its charging point if it is the newest there."""
        own = place(KINDS[SESSIONS].name, name.party, name.id, at[0])
        point = place(POINT, name.party, "/".join(at), at[0])
        shown = await self._ledger.load(point)
        other = shown.document.get("id", document["id"]) != document["id"]
        late = other and shown.document["last_updated"] > document["last_updated"]
        doubts = implausible(document)
        self._ledger.warn(f"session {name}", doubts)
        if late or doubts or not await self._public(name.party, at[0]):
            await self._ledger.write(own, changes((), ()), {own: (document, ())})
            return
        entities = self._made(name, document)
        newest = {"id": document["id"], "last_updated": document["last_updated"]}
        await self._ledger.write(
            own,
            Changes(
                stripped=changes(shown.entities, entities).stripped,
                # What is as before was so at a later time, too.
                written=[entity for entity in entities if entity not in shown.entities],
            ),
            {own: (document, ()), point: (newest, entities)},
        )

    async def _public(self, party: tuple[str, str], location_id: str) -> bool:
        if not location_id:
            return True
        kept = await self._ledger.load(location_place(party, location_id))
        return bool(kept.document.get("publish", True))

    def _made(self, name: Name, document: Document) -> Sequence[Entity]:
        return self._ledger.make(KINDS[name.module].name, document, str(name)).entities


def implausible(session: Document) -> Sequence[str]:
    """Return why the energy of a session cannot be, such as watt-hours in place of kWh."""
    kwh = session["kwh"]
    if kwh > _MOST_KWH:
        return (f"implausible energy: {kwh} kWh in one session",)
    told = sum(
        dimension["volume"]
        for period in session.get("charging_periods") or ()
        for dimension in period["dimensions"]
        if dimension["type"] == "ENERGY"
    )
    if kwh > 0 and told / kwh > _WATT_HOURS:
        return (f"implausible energy: {kwh} kWh in all, {told} in its periods",)
    return ()


def _appended(known: Document, periods: Any) -> list[Any]:
    before = known.get("charging_periods") or []
    if not isinstance(periods, list):
        raise InvalidObject("charging_periods: expected a list")
    # The same change sent twice adds its periods once.
    return [*before, *(period for period in periods if period not in before)]


def _whereabouts(module: str, document: Document) -> tuple[str, str]:
    """Return the Location and the EVSE of an object, as far as it has them."""
    if module == CDRS:
        inside = document["cdr_location"]
        return inside["id"], inside.get("evse_uid") or _NOT_ANY
    if module == SESSIONS:
        return document.get("location_id") or "", document.get("evse_uid") or _NOT_ANY
    return "", _NOT_ANY


def _place(name: Name) -> Place:
    return place(KINDS[name.module].name, name.party, name.id)
