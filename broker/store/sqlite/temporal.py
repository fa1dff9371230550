"""The evolution of entities: see `store.temporal.TemporalStore`."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime
from functools import partial
from itertools import islice
from typing import Any, Final, TypeVar

from broker.core import moments
from broker.core.errors import NonexistentTenant, ResourceNotFound
from broker.core.evolution import Evolution, PastInstance
from broker.core.identifiers import DEFAULT_INSTANCE, ExpandedEntity, Iri, Tenant
from broker.core.query.entity_query import EntityQuery
from broker.core.timestamps import format_timestamp
from broker.store.interface import EntityPage, StoredEntity
from broker.store.sqlite.connection import Readers, Writer
from broker.store.sqlite.history import COLUMNS, Key, read_instance
from broker.store.sqlite.history_changes import (
    EVER,
    STEP,
    Changes,
    find_instance,
    has_history,
)
from broker.store.sqlite.history_names import Names, Past
from broker.store.sqlite.history_reads import Answer
from broker.store.sqlite.history_retention import Overdue, Overdues, Place
from broker.store.sqlite.history_search import Candidates, Search
from broker.store.sqlite.history_states import States
from broker.store.sqlite.history_window import Window, series_of_entity
from broker.store.sqlite.q_sql import bounded
from broker.store.sqlite.transaction import EntityTransaction
from broker.store.temporal import EvolutionPage, Retention, TemporalSelection

R = TypeVar("R")

_ROWS_EXPORTED: Final = 1000


class SqliteTemporal:
    """See `store.temporal.TemporalStore`."""

    def __init__(
        self,
        writer: Writer,
        readers: Readers,
        transaction: EntityTransaction,
        clock: Callable[[], datetime],
    ) -> None:
        self._writer = writer
        self._readers = readers
        self._transaction = transaction
        self._clock = clock
        self._swept = Place()

    async def evolution(
        self, tenant: Tenant, entity_id: Iri, selection: TemporalSelection
    ) -> EvolutionPage:
        """See `TemporalStore.evolution`."""

        def read(connection: sqlite3.Connection, names: Names, number: int) -> EvolutionPage:
            past = names.find(number, entity_id)
            if past is None or not has_history(connection, past):
                return EvolutionPage([])
            return Answer(connection, names, selection, [past]).page()

        return await self._read(tenant, read)

    async def evolutions(
        self,
        tenant: Tenant,
        query: EntityQuery,
        selection: TemporalSelection,
        *,
        limit: int,
        offset: int = 0,
    ) -> EvolutionPage:
        """See `TemporalStore.evolutions`."""
        terms = self._transaction.terms

        def read(connection: sqlite3.Connection, names: Names, number: int) -> EvolutionPage:
            search = Search(connection, terms, number, query, selection)
            found = list(islice(search, offset, offset + limit + 1))
            page = found[:limit]
            return Answer(connection, names, selection, page).page(more=len(found) > limit)

        return await self._read(tenant, read)

    async def count_evolutions(
        self, tenant: Tenant, query: EntityQuery, selection: TemporalSelection
    ) -> int:
        """See `TemporalStore.count_evolutions`."""
        terms = self._transaction.terms
        return await self._read(
            tenant,
            lambda connection, _, number: sum(
                1 for _ in Search(connection, terms, number, query, selection)
            ),
        )

    async def add(self, tenant: Tenant, evolution: Evolution, *, creates: bool) -> bool:
        """See `TemporalStore.add`."""
        now = self._now()
        return await self._writer.write(
            lambda cursor: Changes(self._transaction, cursor).add(
                tenant, evolution, now, creates=creates
            )
        )

    async def add_many(self, tenant: Tenant, past: Sequence[PastInstance]) -> None:
        """See `TemporalStore.add_many`."""
        now = self._now()
        evolutions: dict[Iri, dict[str, Any]] = {}
        for entity_id, types, attribute, instance in past:
            evolution = evolutions.setdefault(
                entity_id, {"id": entity_id, "type": [], "attributes": {}}
            )
            evolution["type"] = list(dict.fromkeys([*evolution["type"], *types]))
            evolution["attributes"].setdefault(attribute, []).append(instance)

        def job(cursor: sqlite3.Cursor) -> None:
            changes = Changes(self._transaction, cursor)
            for evolution in evolutions.values():
                changes.add(tenant, Evolution(evolution), now, creates=True)

        await self._writer.write(job)

    async def note_deleted(
        self, tenant: Tenant, entity_id: Iri, attribute: Iri, dataset_id: str | None
    ) -> bool:
        """See `TemporalStore.note_deleted`."""
        now = self._now()
        return await self._writer.write(
            lambda cursor: Changes(self._transaction, cursor).note_deleted(
                tenant, entity_id, attribute, dataset_id, now
            )
        )

    async def remove_attribute(
        self,
        tenant: Tenant,
        entity_id: Iri,
        attribute: Iri,
        *,
        dataset_id: str | None,
        delete_all: bool,
    ) -> None:
        """See `TemporalStore.remove_attribute`."""
        wanted = None if delete_all else dataset_id or DEFAULT_INSTANCE
        past = await self._past(tenant, entity_id)
        series = await self._write(lambda changes: changes.series(past.seq, attribute, wanted))
        if not series:
            raise ResourceNotFound(
                f"the history of {entity_id} has no such instance of {attribute}"
            )
        await self._remove(past.seq, series)

    async def remove_evolution(self, tenant: Tenant, entity_id: Iri) -> None:
        """See `TemporalStore.remove_evolution`."""
        past = await self._past(tenant, entity_id)
        series = await self._readers.read(lambda connection: series_of_entity(connection, past.seq))
        await self._write(lambda changes: changes.forget_types(past.seq))
        await self._remove(past.seq, series)
        await self._write(lambda changes: changes.end(past.seq))

    async def _remove(self, seq: int, series: Sequence[int]) -> None:
        for one in series:
            remove = partial(_remove_before, overdue=Overdue(seq, one, EVER), most=STEP)
            while await self._write(remove):
                pass

    async def modify_instance(
        self,
        tenant: Tenant,
        entity_id: Iri,
        attribute: Iri,
        instance_id: str,
        instance: dict[str, Any],
    ) -> None:
        """See `TemporalStore.modify_instance`."""
        key = await self._key(tenant, entity_id, attribute, instance_id)
        now = moments.instant(self._now())
        if not await self._write(lambda changes: changes.modify(key, instance_id, instance, now)):
            raise _no_instance(attribute, instance_id)

    async def remove_instance(
        self, tenant: Tenant, entity_id: Iri, attribute: Iri, instance_id: str
    ) -> None:
        """See `TemporalStore.remove_instance`."""
        key = await self._key(tenant, entity_id, attribute, instance_id)
        if not await self._write(lambda changes: changes.remove(key)):
            raise _no_instance(attribute, instance_id)

    async def _key(self, tenant: Tenant, entity_id: Iri, attribute: Iri, instance_id: str) -> Key:
        past = await self._past(tenant, entity_id)
        key = await self._read(
            tenant,
            lambda connection, names, _: find_instance(
                connection, names, past, attribute, instance_id
            ),
        )
        if key is None:
            raise _no_instance(attribute, instance_id)
        return key

    async def _past(self, tenant: Tenant, entity_id: Iri) -> Past:
        def read(connection: sqlite3.Connection, names: Names, number: int) -> Past:
            past = names.find(number, entity_id)
            if past is None or not has_history(connection, past):
                raise ResourceNotFound(f"there is no history of an entity {entity_id}")
            return past

        return await self._read(tenant, read)

    async def as_of(self, tenant: Tenant, entity_id: Iri, at: int) -> ExpandedEntity | None:
        """See `TemporalStore.as_of`."""
        terms = self._transaction.terms
        return await self._read(
            tenant,
            lambda connection, _, number: States(connection, terms, number, at).of(entity_id),
        )

    async def query_as_of(
        self, tenant: Tenant, query: EntityQuery, at: int, *, limit: int, offset: int = 0
    ) -> EntityPage:
        """See `TemporalStore.query_as_of`."""
        terms = self._transaction.terms

        def read(connection: sqlite3.Connection, _: Names, number: int) -> EntityPage:
            states = States(connection, terms, number, at).matching(query)
            found = list(islice(states, offset, offset + limit + 1))
            page = [StoredEntity(entity, 0) for entity in found[:limit]]
            return EntityPage(page, len(found) > limit)

        return await self._read(tenant, read)

    async def count_as_of(self, tenant: Tenant, query: EntityQuery, at: int) -> int:
        """See `TemporalStore.count_as_of`."""
        terms = self._transaction.terms
        return await self._read(
            tenant,
            lambda connection, _, number: sum(
                1 for _ in States(connection, terms, number, at).matching(query)
            ),
        )

    async def sweep(self, policies: Sequence[Retention], limit: int) -> int:
        """See `TemporalStore.sweep`."""
        terms, place = self._transaction.terms, self._swept
        tenants = {number: tenant for tenant, number in self._transaction.tenants.items()}
        now = moments.instant(self._now())
        step = await self._readers.read(
            lambda connection: Overdues(connection, terms, policies, tenants, now).find(place)
        )
        removed = 0
        for one in step.overdue:
            remove = partial(_remove_before, overdue=one, most=limit - removed)
            removed += await self._write(remove)
            if removed >= limit:
                return removed
        for seq in step.ended:
            await self._write(partial(_end, seq=seq))
        self._swept = step.following
        return removed

    async def export(
        self, tenant: Tenant, query: EntityQuery, selection: TemporalSelection
    ) -> AsyncIterator[Sequence[PastInstance]]:
        """See `TemporalStore.export`."""
        terms, window = self._transaction.terms, Window(selection.window)
        entities = await self._read(
            tenant,
            lambda connection, _, number: list(Candidates(connection, terms, number, query)),
        )
        for past in entities:
            series = await self._read(tenant, partial(_series, past.seq, selection))
            for number, attribute, dataset in series:
                async for rows in self._pieces(past.seq, number, window):
                    yield [
                        PastInstance(
                            past.id, past.types, attribute, _exported(past, number, row, dataset)
                        )
                        for row in rows
                    ]

    async def _pieces(
        self, seq: int, series: int, window: Window
    ) -> AsyncIterator[Sequence[Sequence[Any]]]:
        """Yield the rows of a series by and by."""
        after: tuple[int, int] = (window.start, -1)
        sql = (
            f"SELECT {COLUMNS} FROM history WHERE entity = ? AND series = ? AND {window.there}"
            " AND at >= ? AND at < ? AND (at, n) > (?, ?) ORDER BY at, n LIMIT ?"
        )
        while True:
            values = (seq, series, after[0], window.end, *after, _ROWS_EXPORTED)
            rows = await self._readers.read(partial(_fetch, sql=sql, values=values))
            if rows:
                yield rows
            if len(rows) < _ROWS_EXPORTED:
                return
            after = rows[-1][:2]

    async def _write(self, change: Callable[[Changes], R]) -> R:
        return await self._writer.write(lambda cursor: change(Changes(self._transaction, cursor)))

    async def _read(self, tenant: Tenant, read: Callable[[sqlite3.Connection, Names, int], R]) -> R:
        number = self._transaction.tenants.get(tenant)
        if number is None:
            raise NonexistentTenant(f"tenant {tenant!r} does not exist; a create makes it")

        def job(connection: sqlite3.Connection) -> R:
            with bounded(connection):
                return read(connection, Names(connection, self._transaction.terms), number)

        return await self._readers.read(job)

    def _now(self) -> str:
        return format_timestamp(self._clock())


def _remove_before(changes: Changes, overdue: Overdue, most: int) -> int:
    return changes.remove_before(*overdue, most)


def _end(changes: Changes, seq: int) -> None:
    changes.end(seq)


def _series(
    seq: int,
    selection: TemporalSelection,
    connection: sqlite3.Connection,
    names: Names,
    _tenant: int,
) -> list[tuple[int, Iri, str]]:
    return [
        (number, attribute, dataset)
        for number, attribute, dataset in names.attributes(series_of_entity(connection, seq))
        if selection.attributes is None or attribute in selection.attributes
    ]


def _fetch(connection: sqlite3.Connection, sql: str, values: Sequence[Any]) -> list[Any]:
    return connection.execute(sql, values).fetchall()


def _exported(past: Past, series: int, row: Sequence[Any], dataset: str) -> dict[str, Any]:
    instance = read_instance(past.seq, series, row)
    instance.setdefault("observedAt", instance.get("modifiedAt"))
    if dataset != DEFAULT_INSTANCE:
        instance["datasetId"] = dataset
    return instance


def _no_instance(attribute: Iri, instance_id: str) -> ResourceNotFound:
    return ResourceNotFound(f"{attribute} has no instance {instance_id:.200}")
