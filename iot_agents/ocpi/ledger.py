"""The objects of OCPI as we know them, and what changes of them mean for the broker.

Every change of an object is written together with the update that follows from it, so that neither
is without the other after a crash. The update names what differs between the entities of the old
and of the new object, and nothing else: attributes that are gone are removed, others written.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from weakref import WeakValueDictionary

import msgspec

from iot_agents.common.counters import Counters
from iot_agents.common.making import Made, Maker
from iot_agents.common.mapping.model import Entity, MappingError, Mappings, Source
from iot_agents.common.measure import Outcome, Ticket
from iot_agents.common.spool import Entry, Operation, Spool
from iot_agents.ocpi.model import Document, InvalidObject

_log = logging.getLogger(__name__)
_FORMAT = "{}-2.2.1"
_AT_A_TIME = 200


class Kept(msgspec.Struct, frozen=True):
    """An object, and the entities that stand for it at the broker.

    Attributes:
        at: when it was last written, in seconds since 1970.
    """

    document: dict[str, Any] = {}
    entities: list[Entity] = []
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where an object is kept, and in whose order its updates go.

    Attributes:
        key: its own.
        device: the Location it belongs to; updates of one Location keep their order.
    """

    key: str
    device: str


def prefix_of(kind: str) -> str:
    """Return what the keys of all objects of a kind begin with."""
    return f"ocpi/{kind}/"


def place(kind: str, party: tuple[str, str], name: str, location: str = "") -> Place:
    """Return where an object is kept; OCPI's ids are the same in upper and lower case."""
    key = f"{prefix_of(kind)}{'/'.join(party)}/{name}".casefold()
    return Place(key, "*".join((*party, location or name)))


class Ledger:
    """The objects in a spool's file."""

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
        self.clock = clock
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def lock(self, place: Place) -> asyncio.Lock:
        """Return the lock of an object."""
        return self._locks.setdefault(place.key, asyncio.Lock())

    async def load(self, place: Place) -> Kept:
        """Return an object; one that is not known has an empty document."""
        found = await self._spool.state(place.key)
        return Kept() if found is None else msgspec.json.decode(found, type=Kept)

    async def known(
        self, kind: str, party: tuple[str, str], above: str = ""
    ) -> AsyncIterator[tuple[str, Kept]]:
        """Yield all objects of a kind that a party has, with their keys, a few read at a time.

        Args:
            above: what the ids of the objects begin with.
        """
        prefix = place(kind, party, above).key
        after = ""
        while found := await self._spool.states(prefix, after=after, limit=_AT_A_TIME):
            for key, value in found.items():
                yield key, msgspec.json.decode(value, type=Kept)
            after = max(found)

    def make(self, kind: str, document: Document, who: str) -> Made:
        """Return the entities of an object, by the mapping for its kind.

        Raises:
            InvalidObject: none can be made, for what is wrong with the object.
        """
        try:
            mapping = self._mappings.find(Source("ocpi", _FORMAT.format(kind)), document)
        except MappingError as error:
            raise InvalidObject(str(error)) from error
        if mapping is None:
            raise InvalidObject(f"no mapping accepts this {kind}")
        made = self._maker.make(mapping, document, who)
        if made.refused and not made.entities:
            raise InvalidObject("; ".join(made.refused))
        for refusal in made.refused:
            self._counters.rejected += 1
            _log.warning("%s %s: %s", kind, who, refusal)
        return made

    def warn(self, who: str, warnings: Sequence[str]) -> None:
        """Count and log what was put right in an object."""
        self._counters.warnings += len(warnings)
        for warning in warnings:
            _log.warning("%s: %s", who, warning)

    async def write(
        self,
        place: Place,
        changes: Changes,
        documents: Mapping[Place, tuple[Document, Sequence[Entity]] | None],
    ) -> None:
        """Write objects, with their entities or None to forget, and what changes at the broker.

        Raises:
            SpoolFull: it was not taken.
            NotDurable: it may not have been written.
        """
        if changes.gone:
            await self._put(place, changes.gone, operation=Operation.DELETE)
        if changes.stripped:
            await self._put(place, changes.stripped, operation=Operation.STRIP)
        now = self.clock().timestamp()
        state = {
            where.key: None if kept is None else _encoded(*kept, now)
            for where, kept in documents.items()
        }
        await self._put(place, changes.written, state=state)

    async def _put(self, place: Place, entities: Sequence[Entity], **more: Any) -> None:
        stored = self._spool.put(Entry(self._tenant, place.device, entities, **more))
        await Ticket(Outcome.SPOOLED, stored).durable()


@dataclass(frozen=True, slots=True)
class Changes:
    """What becomes of entities.

    Attributes:
        gone: to be deleted.
        stripped: with the attributes to be removed.
        written: with the attributes to be written.
    """

    gone: Sequence[Entity] = ()
    stripped: Sequence[Entity] = ()
    written: Sequence[Entity] = ()


def changes(
    before: Sequence[Entity], after: Sequence[Entity], gone: Sequence[Entity] = ()
) -> Changes:
    """Return what makes entities what they shall be, leaving alone what differs only in times."""
    known = {entity["id"]: entity for entity in before}
    written = (_difference(known.get(entity["id"], {}), entity) for entity in after)
    stripped = (_lost(known.get(entity["id"], {}), entity) for entity in after)
    return Changes(
        list(gone),
        [entity for entity in stripped if _has_attributes(entity)],
        [entity for entity in written if _has_attributes(entity)],
    )


def _encoded(document: Document, entities: Sequence[Entity], now: float) -> bytes:
    return msgspec.json.encode(Kept(document, list(entities), now))


def _has_attributes(entity: Entity) -> bool:
    return len(entity) > 2  # noqa: PLR2004 - id and type


def _lost(before: Entity, after: Entity) -> Entity:
    named = {"id": after["id"], "type": after["type"]}
    return named | {name: None for name in before if name not in after}


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
