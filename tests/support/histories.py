"""A store with a history, and the few ways in which tests write to it and ask it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from broker.core import moments
from broker.core.entity import expand_entity, expand_fragment
from broker.core.events import EntityChanged
from broker.core.evolution import Evolution, expand_evolution
from broker.core.identifiers import DEFAULT_TENANT, NGSI_LD_NULL, Iri, Tenant
from broker.core.ld_context import CORE
from broker.core.linking import Read, nowhere
from broker.core.query.entity_query import EntityQuery, EntitySelector
from broker.core.query.nodes import TypeIs
from broker.core.query.temporal import TemporalQuery
from broker.core.timestamps import format_timestamp
from broker.operations.changes import creating, deleting, existing, updating
from broker.store.interface import Delivery
from broker.store.sqlite.store import SqliteStore, open_store
from broker.store.temporal import TemporalSelection

START = moments.instant("2026-05-01T00:00:00Z")
MINUTE = 60_000_000
ALL = TemporalSelection(TemporalQuery(), instances=100_000)
METERS = EntityQuery(selectors=(EntitySelector(types=TypeIs(CORE.expand("Meter"))),))
SENSORS = EntityQuery(selectors=(EntitySelector(types=TypeIs(CORE.expand("Sensor"))),))


class Nobody:
    """A matcher that tells nobody."""

    def match(self, event: EntityChanged, read: Read = nowhere) -> Sequence[Delivery]:
        """Make no notification."""
        del event, read
        return ()

    def put(self, tenant: Tenant, subscription_id: Iri, compiled: Any) -> None:
        """Know no subscription."""

    def discard(self, tenant: Tenant, subscription_id: Iri) -> None:
        """Know no subscription."""


def minute(count: int) -> str:
    """Return a DateTime, so many minutes after the start."""
    return moments.shortest(START + count * MINUTE)


def at(count: int) -> int:
    """Return the same as an instant."""
    return START + count * MINUTE


def sensor(number: int = 1) -> Iri:
    """Return the id of an entity."""
    return Iri(f"urn:ngsi-ld:Sensor:{number}")


def iri(name: str) -> Iri:
    """Return the IRI of a short name."""
    return Iri(CORE.expand(name))


class Past:
    """A store, whose time is set by the writes."""

    def __init__(self) -> None:
        """Stand at the start; the store comes when it is open."""
        self.minute = 0
        self.store: SqliteStore

    def now(self) -> datetime:
        """Tell the time."""
        return moments.moment_of(at(self.minute))

    def _stamp(self, written: int) -> str:
        self.minute = written
        return format_timestamp(self.now())

    async def create(self, written: int, number: int = 1, **members: Any) -> None:
        """Create an entity at a minute."""
        document = {"id": sensor(number), "type": "Sensor", **members}
        change = creating(expand_entity(document, CORE), self._stamp(written))
        await self.store.entities.update(DEFAULT_TENANT, sensor(number), change, creates=True)

    async def update(
        self, written: int, number: int = 1, *, keep_newer: bool = False, **members: Any
    ) -> None:
        """Update attributes at a minute; None deletes one."""
        given = {name: NGSI_LD_NULL if item is None else item for name, item in members.items()}
        fragment = expand_fragment(given, CORE)
        change = existing(sensor(number), updating(fragment, self._stamp(written)))
        await self.store.entities.update(
            DEFAULT_TENANT, sensor(number), change, keep_newer=keep_newer
        )

    async def delete(self, written: int, number: int = 1) -> None:
        """Delete an entity at a minute."""
        self._stamp(written)
        change = existing(sensor(number), deleting)
        await self.store.entities.update(DEFAULT_TENANT, sensor(number), change)

    async def add(self, number: int = 1, **members: Any) -> bool:
        """Add to an evolution; tell whether it was created."""
        document = {"id": sensor(number), "type": "Sensor", **members}
        evolution = expand_evolution(document, CORE)
        return await self.store.temporal.add(DEFAULT_TENANT, evolution, creates=True)

    async def evolution(
        self, selection: TemporalSelection = ALL, number: int = 1
    ) -> Evolution | None:
        """Return the evolution of an entity."""
        page = await self.store.temporal.evolution(DEFAULT_TENANT, sensor(number), selection)
        return page.evolutions[0] if page.evolutions else None

    async def instances(
        self, name: str, selection: TemporalSelection = ALL, number: int = 1
    ) -> list[dict[str, Any]]:
        """Return the instances of an attribute."""
        evolution = await self.evolution(selection, number)
        found: list[dict[str, Any]] = (
            [] if evolution is None else evolution["attributes"].get(iri(name), [])
        )
        return found

    async def values(
        self, name: str, selection: TemporalSelection = ALL, number: int = 1
    ) -> list[Any]:
        """Return the values of an attribute in order of time."""
        return [one["value"] for one in await self.instances(name, selection, number)]


@asynccontextmanager
async def past(directory: Path) -> AsyncIterator[Past]:
    """Open a store with a time of its own."""
    told = Past()
    async with open_store(
        directory / "broker.db", Nobody(), lambda _commit: None, told.now, readers=1
    ) as store:
        told.store = store
        yield told


def measure(value: Any, observed: int, **members: Any) -> dict[str, Any]:
    """Return a Property observed at a minute."""
    return {"type": "Property", "value": value, "observedAt": minute(observed), **members}
