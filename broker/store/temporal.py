"""What a store owes the temporal API: evolutions of entities, read in windows of time.

What the broker's other operations write is in the history from the transaction of that write on.
The operations here change the history alone, never the present state of an entity; an entity may
have a history and no present.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from broker.core.evolution import Evolution, PastInstance
from broker.core.identifiers import ExpandedEntity, Iri, Tenant
from broker.core.query.entity_query import EntityQuery
from broker.core.query.temporal import TemporalQuery
from broker.store.interface import EntityPage

Instance = dict[str, Any]


@dataclass(frozen=True, slots=True)
class TemporalSelection:
    """Which instances are wanted of the entities that are.

    Attributes:
        window: the time, lastN, and the aggregation that is asked for instead of instances.
        attributes: only these; None is all.
        omitted: all but these.
        scopes: whether the scopes are wanted too.
        dataset_ids: only instances of these datasets, `@none` for the default one; None is all.
        instances: how many may be served of each series of an answer.
    """

    window: TemporalQuery
    attributes: frozenset[Iri] | None = None
    omitted: frozenset[Iri] = frozenset()
    scopes: bool = True
    dataset_ids: frozenset[str] | None = None
    instances: int = 15


@dataclass(frozen=True, slots=True)
class EvolutionPage:
    """Evolutions, in ascending order of the Temporal Property.

    With an aggregation, an attribute has a list of (dataset, kind, buckets) instead of instances.

    Attributes:
        more: there are entities behind the page.
        cut: the time that is answered, first and last instant in microseconds since the epoch,
            when there were more instances than may be served (clause 6.3.10); None: all are there.
            With `last_n` the first is the later one.
    """

    evolutions: Sequence[Evolution]
    more: bool = False
    cut: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Retention:
    """How long history is kept.

    Attributes:
        keep: microseconds; older instances are deleted, but of an entity that is there the last
            one before stays, for it tells what was so when the time kept begins.
        tenant: None is every tenant.
        type: an IRI or the last part of one; None is every type.

    Of several policies that mean an entity that counts which names a type, then one that names a
    tenant, then the shortest.
    """

    keep: int
    tenant: Tenant | None = None
    type: Iri | None = None


class TemporalStore(Protocol):
    """Histories of the entities of all tenants."""

    async def evolution(
        self, tenant: Tenant, entity_id: Iri, selection: TemporalSelection
    ) -> EvolutionPage:
        """Return the evolution of an entity (5.7.3); no entity is there when it has no history.

        Raises:
            NonexistentTenant: the tenant is not there.
        """
        ...

    async def evolutions(
        self,
        tenant: Tenant,
        query: EntityQuery,
        selection: TemporalSelection,
        *,
        limit: int,
        offset: int = 0,
    ) -> EvolutionPage:
        """Return a page of the evolutions that match within the window (5.7.4).

        Raises:
            NonexistentTenant: the tenant is not there.
            InvalidRequest: an aggregation does not fit the values.
        """
        ...

    async def count_evolutions(
        self, tenant: Tenant, query: EntityQuery, selection: TemporalSelection
    ) -> int:
        """Count all that match."""
        ...

    async def add(self, tenant: Tenant, evolution: Evolution, *, creates: bool) -> bool:
        """Add instances to an evolution, and tell whether it was created (5.6.11, 5.6.12).

        Of each instant a series has one instance with `observedAt`: a later one replaces it.

        Args:
            creates: the evolution and the tenant may be created; `type` is there then.

        Raises:
            ResourceNotFound: the evolution is not there and may not be created.
            NonexistentTenant: likewise the tenant.
        """
        ...

    async def add_many(self, tenant: Tenant, past: Sequence[PastInstance]) -> None:
        """Add instances of many entities in one transaction, creating what is not there."""
        ...

    async def note_deleted(
        self, tenant: Tenant, entity_id: Iri, attribute: Iri, dataset_id: str | None
    ) -> bool:
        """Take down that an attribute was deleted of what is history only (clause 4.5.7).

        Args:
            dataset_id: None is every instance that is not deleted yet.

        Returns:
            Whether there was one.
        """
        ...

    async def remove_attribute(
        self,
        tenant: Tenant,
        entity_id: Iri,
        attribute: Iri,
        *,
        dataset_id: str | None,
        delete_all: bool,
    ) -> None:
        """Delete an attribute from an evolution, in steps (5.6.13).

        Raises:
            ResourceNotFound: the evolution, the attribute or the dataset is not there.
        """
        ...

    async def modify_instance(
        self, tenant: Tenant, entity_id: Iri, attribute: Iri, instance_id: str, instance: Instance
    ) -> None:
        """Replace an instance, keeping its instanceId (5.6.14).

        Raises:
            ResourceNotFound: there is no such instance of this attribute.
        """
        ...

    async def remove_instance(
        self, tenant: Tenant, entity_id: Iri, attribute: Iri, instance_id: str
    ) -> None:
        """Delete an instance (5.6.15).

        Raises:
            ResourceNotFound: there is no such instance of this attribute.
        """
        ...

    async def remove_evolution(self, tenant: Tenant, entity_id: Iri) -> None:
        """Delete all history of an entity, in steps (5.6.16).

        Raises:
            ResourceNotFound: it has none.
        """
        ...

    async def as_of(self, tenant: Tenant, entity_id: Iri, at: int) -> ExpandedEntity | None:
        """Return an entity as it was at an instant; None: it was not there.

        Of each attribute instance that is the one with the latest time not after the instant: its
        `observedAt`, or when it was written. A late measure is part of the past that it tells of.
        """
        ...

    async def query_as_of(
        self, tenant: Tenant, query: EntityQuery, at: int, *, limit: int, offset: int = 0
    ) -> EntityPage:
        """Return a page of the entities that matched at an instant."""
        ...

    async def count_as_of(self, tenant: Tenant, query: EntityQuery, at: int) -> int:
        """Count the entities that matched at an instant."""
        ...

    async def sweep(self, policies: Sequence[Retention], limit: int) -> int:
        """Delete what was kept too long, at most `limit` instances, and return how many.

        One call looks at some of the entities, and the next one goes on behind them.
        """
        ...

    def export(
        self, tenant: Tenant, query: EntityQuery, selection: TemporalSelection
    ) -> AsyncIterator[Sequence[PastInstance]]:
        """Yield all instances of the window, entity after entity, in pieces.

        Of the query only types and ids count. An instance without `observedAt` is given the time
        when it was written, so that it can be imported.
        """
        ...
