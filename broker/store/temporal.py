"""What a store owes the temporal API: the evolution of entities, read, written and kept in bounds.

Every write of `EntityStore.update` adds to the evolution in its own transaction. What is asked of
an evolution is a `TemporalSelection`; what comes back are plain dicts with expanded names.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NewType, Protocol

from broker.core.errors import NgsiLdError
from broker.core.identifiers import ExpandedEntity, Iri, Tenant
from broker.core.query.entity_query import EntityQuery
from broker.core.query.temporal import TemporalQuery

MOST_INSTANCES: Final = 100_000
"""Instances that one answer may have over all its entities."""

TemporalEntity = NewType("TemporalEntity", dict[str, Any])
"""The evolution of an entity, or a part of it:

    {"id": iri, "type": [iri, …], "createdAt": ts, "modifiedAt": ts, "deletedAt"?: ts,
     "scope"?: [instance, …], "attributes": {attribute iri: [instance, …], …}}

An instance has the shape of `core.entity`, with its `instanceId`, its `datasetId` if it is no
default instance, and its times; one that stands for a deletion (clause 4.5.7) has `deletedAt` and
no other time. Instances are in the order of the temporal property that was asked for. An attribute
whose instances were all cut off has an empty list.

Of an aggregation, `attributes` is {attribute iri: {dataset_id or "@none": {"type": kind,
method: [[value, start, end], …], …}, …}, …}.
"""

TemporalFragment = NewType("TemporalFragment", dict[str, Any])
"""What is added to an evolution (clauses 5.6.11, 5.6.12), in the shape of a `TemporalEntity`:

    {"type"?: [iri, …], "scope"?: [instance, …], "attributes": {attribute iri: [instance, …], …}}

`instanceId` and the times that the broker makes are passed over.
"""


@dataclass(frozen=True, slots=True)
class TemporalSelection:
    """What is wanted of each evolution.

    Attributes:
        window: which instances, and their aggregation.
        attributes: None is every attribute.
        omitted: attributes that are left out.
        dataset_ids: None is every instance, `@none` the default one.
        scopes: whether the scopes are wanted, too.
        most: instances of one attribute in one dataset that an answer may have; when there are
            more, all of the answer is cut at one moment.
    """

    window: TemporalQuery
    attributes: frozenset[Iri] | None = None
    omitted: frozenset[Iri] = frozenset()
    dataset_ids: frozenset[str] | None = None
    scopes: bool = True
    most: int = MOST_INSTANCES


@dataclass(frozen=True, slots=True)
class TemporalPage:
    """A page of evolutions.

    Attributes:
        more: whether there are others behind it.
        cut: the first and the last moment (DateTimes) of what was answered, when that is less than
            what was asked for (clause 6.3.10); with `last_n` the later one comes first.
    """

    entities: list[TemporalEntity]
    more: bool = False
    cut: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class HistoryRow:
    """One instance on its own: what is imported and exported.

    Attributes:
        types: of the entity; needed where the entity is not known yet.
        instance: as in a `TemporalEntity`, its `datasetId` included; it has `observedAt`.
    """

    entity_id: Iri
    types: tuple[Iri, ...]
    attribute: Iri
    instance: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Retention:
    """How long history is kept.

    Attributes:
        keep: microseconds; older instances are deleted, but of an entity that is there the last
            one before that is kept, for it tells what was true when the time kept begins.
        tenant: None is every tenant.
        type: None is every type. Of an entity that several policies mean the shortest time counts.
    """

    keep: int
    tenant: Tenant | None = None
    type: Iri | None = None


class TemporalStore(Protocol):
    """The evolution of entities of all tenants.

    Methods raise `NonexistentTenant` when the tenant is not there, unless they may create it.
    """

    async def retrieve(
        self, tenant: Tenant, entity_id: Iri, selection: TemporalSelection
    ) -> TemporalPage:
        """Return the evolution of an entity; no entities on the page: there is none of this id.

        Raises:
            InvalidRequest: a value does not fit an aggregation method.
            TooComplexQuery: more would have to be looked at than one request may.
        """
        ...

    async def query(
        self,
        tenant: Tenant,
        query: EntityQuery,
        selection: TemporalSelection,
        *,
        limit: int,
        offset: int = 0,
    ) -> TemporalPage:
        """Return evolutions of what matches in the window (clause 5.7.4), oldest entity first.

        Raises:
            InvalidRequest, TooComplexQuery: see `retrieve`.
        """
        ...

    async def count(self, tenant: Tenant, query: EntityQuery, selection: TemporalSelection) -> int:
        """Count the entities that match.

        Raises:
            TooComplexQuery: see `retrieve`.
        """
        ...

    async def upsert(self, tenant: Tenant, entity_id: Iri, fragment: TemporalFragment) -> bool:
        """Create an evolution or add to it, and tell whether it was created (clause 5.6.11).

        An instance that has the same `observedAt` as one that is there replaces it. The entity
        itself is not touched. The tenant is created if need be.
        """
        ...

    async def append(self, tenant: Tenant, entity_id: Iri, fragment: TemporalFragment) -> None:
        """Add to an evolution (clause 5.6.12).

        Raises:
            ResourceNotFound: there is none of this id.
        """
        ...

    async def note_deleted(
        self, tenant: Tenant, entity_id: Iri, attribute: Iri, dataset_id: str | None
    ) -> bool:
        """Take down that an attribute of what is history only was deleted (clause 4.5.7).

        Args:
            dataset_id: None is every instance that is not deleted yet.

        Returns:
            Whether there was one.
        """
        ...

    async def delete_attribute(
        self, tenant: Tenant, entity_id: Iri, attribute: Iri, dataset_id: str | None
    ) -> None:
        """Delete an attribute from an evolution (clause 5.6.13).

        Args:
            dataset_id: `@none` is the default instance, None every instance.

        Raises:
            ResourceNotFound: the evolution has none such.
        """
        ...

    async def update_instance(
        self,
        tenant: Tenant,
        entity_id: Iri,
        attribute: Iri,
        instance_id: str,
        instance: Mapping[str, Any],
    ) -> None:
        """Replace an instance; it keeps its `instanceId` and its `createdAt` (clause 5.6.14).

        Raises:
            ResourceNotFound: there is none such.
        """
        ...

    async def delete_instance(
        self, tenant: Tenant, entity_id: Iri, attribute: Iri, instance_id: str
    ) -> None:
        """Delete an instance (clause 5.6.15).

        Raises:
            ResourceNotFound: there is none such.
        """
        ...

    async def delete(self, tenant: Tenant, entity_id: Iri) -> None:
        """Delete an evolution, in steps; the entity itself is not touched (clause 5.6.16).

        Raises:
            ResourceNotFound: there is none of this id.
        """
        ...

    async def as_of(self, tenant: Tenant, entity_id: Iri, at: int) -> ExpandedEntity | None:
        """Return an entity as it was, by its history; None if it was not there.

        Of each attribute instance that is the one with the latest time not after the moment: its
        `observedAt`, or when it was written.

        Args:
            at: microseconds since the epoch.
        """
        ...

    async def query_as_of(
        self, tenant: Tenant, query: EntityQuery, at: int, *, limit: int, offset: int = 0
    ) -> tuple[list[ExpandedEntity], bool]:
        """Return a page of the entities that matched then, and whether there are more.

        Raises:
            TooComplexQuery: see `retrieve`.
        """
        ...

    async def import_rows(
        self, tenant: Tenant, rows: Sequence[HistoryRow]
    ) -> list[NgsiLdError | None]:
        """Add instances; one that comes again replaces itself. Errors are values.

        The tenant is created if need be.
        """
        ...

    def export(
        self, tenant: Tenant, query: EntityQuery, selection: TemporalSelection
    ) -> AsyncIterator[HistoryRow]:
        """Yield instances, entity by entity, attribute by attribute, in order of time.

        Of the query only types and ids count, of the window only the times.
        """
        ...

    async def sweep(self, policies: Sequence[Retention], limit: int) -> int:
        """Delete what is kept too long, at most `limit` instances; return how many.

        One call looks at a part of the entities and the next one goes on behind it.
        """
        ...
