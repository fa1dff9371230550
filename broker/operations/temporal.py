"""Operations on the temporal evolution of entities (clauses 5.6.11–5.6.16, 5.7.3, 5.7.4)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from broker.core import evolution as documents
from broker.core.attribute import Instance
from broker.core.errors import NgsiLdError, ResourceNotFound
from broker.core.evolution import Evolution, PastInstance
from broker.core.identifiers import Iri, Tenant
from broker.core.instances import stamped
from broker.core.ld_context import LdContext
from broker.core.query.entity_query import EntityQuery, EntitySelector
from broker.operations.broker import Broker
from broker.store.temporal import EvolutionPage, TemporalSelection

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class EvolutionResult:
    """A page of evolutions.

    Attributes:
        count: how many entities match in all, if that was asked for.
    """

    page: EvolutionPage
    count: int | None


async def upsert_temporal(
    broker: Broker, tenant: Tenant, document: Document, ld_context: LdContext
) -> tuple[Iri, bool]:
    """Create an evolution or add to it, and return its id and whether it is new (5.6.11).

    Raises:
        BadRequestData: the document is no evolution.
    """
    evolution = documents.expand_evolution(document, ld_context)
    created = await broker.temporal.add(tenant, _stamped(evolution, broker.now()), creates=True)
    return Iri(evolution["id"]), created


async def append_attrs_temporal(
    broker: Broker, tenant: Tenant, entity_id: Iri, document: Document, ld_context: LdContext
) -> None:
    """Add instances to an evolution (clause 5.6.12).

    Raises:
        BadRequestData: the document is no fragment of an evolution.
        ResourceNotFound: the entity has no history.
    """
    evolution = documents.expand_instances(document, ld_context, entity_id)
    evolution["id"] = entity_id
    await broker.temporal.add(tenant, _stamped(evolution, broker.now()), creates=False)


async def delete_attrs_temporal(
    broker: Broker,
    tenant: Tenant,
    entity_id: Iri,
    attribute: Iri,
    *,
    dataset_id: str | None,
    delete_all: bool,
) -> None:
    """Delete an attribute from an evolution (clause 5.6.13).

    Raises:
        ResourceNotFound: the entity has no such attribute in its history.
    """
    await broker.temporal.remove_attribute(
        tenant, entity_id, attribute, dataset_id=dataset_id, delete_all=delete_all
    )


async def update_attrs_temporal(
    broker: Broker,
    tenant: Tenant,
    entity_id: Iri,
    attribute: Iri,
    instance_id: Iri,
    document: Any,
    ld_context: LdContext,
) -> None:
    """Replace an instance of an attribute in an evolution (clause 5.6.14).

    Raises:
        BadRequestData: the document is no instance.
        ResourceNotFound: the attribute has no such instance.
    """
    instance = documents.expand_instance(document, attribute, ld_context)
    await broker.temporal.modify_instance(
        tenant, entity_id, attribute, instance_id, _timed(instance, broker.now())
    )


async def delete_attr_instance_temporal(
    broker: Broker, tenant: Tenant, entity_id: Iri, attribute: Iri, instance_id: Iri
) -> None:
    """Delete an instance of an attribute from an evolution (clause 5.6.15).

    Raises:
        ResourceNotFound: the attribute has no such instance.
    """
    await broker.temporal.remove_instance(tenant, entity_id, attribute, instance_id)


async def delete_temporal(broker: Broker, tenant: Tenant, entity_id: Iri) -> None:
    """Delete the evolution of an entity; what it is at present stays (clause 5.6.16).

    Raises:
        ResourceNotFound: the entity has no history.
    """
    await broker.temporal.remove_evolution(tenant, entity_id)


async def retrieve_temporal(
    broker: Broker, tenant: Tenant, entity_id: Iri, selection: TemporalSelection
) -> EvolutionPage:
    """Return the evolution of an entity (clause 5.7.3).

    Raises:
        ResourceNotFound: the entity has no history, or none in the window of time.
    """
    page = await broker.temporal.evolution(tenant, entity_id, selection)
    if not page.evolutions:
        raise ResourceNotFound(f"there is no history of an entity {entity_id}")
    evolution = page.evolutions[0]
    if selection.window.relation is None or evolution["attributes"] or "scope" in evolution:
        return page
    # Where members such as `id` alone are wanted, no instance was looked for until now.
    query = EntityQuery(selectors=(EntitySelector(ids=(entity_id,)),))
    if not await broker.temporal.count_evolutions(tenant, query, selection):
        raise ResourceNotFound(f"the history of {entity_id} has nothing in this time")
    return page


async def query_temporal(
    broker: Broker,
    tenant: Tenant,
    query: EntityQuery,
    selection: TemporalSelection,
    *,
    limit: int,
    offset: int = 0,
    count: bool = False,
) -> EvolutionResult:
    """Return a page of the evolutions that match within a window (clause 5.7.4)."""
    page = await broker.temporal.evolutions(tenant, query, selection, limit=limit, offset=offset)
    total = await broker.temporal.count_evolutions(tenant, query, selection) if count else None
    return EvolutionResult(page, total)


async def import_instances(
    broker: Broker, tenant: Tenant, rows: Sequence[Mapping[str, Any]], ld_context: LdContext
) -> list[tuple[int, NgsiLdError]]:
    """Add past instances of any entities and return place and error of rows that are none.

    The present state of the entities stays as it is. A row that comes again replaces itself.
    """
    now = broker.now()
    past: list[PastInstance] = []
    errors: list[tuple[int, NgsiLdError]] = []
    for place, document in enumerate(rows):
        try:
            row = documents.expand_row(document, ld_context)
        except NgsiLdError as error:
            errors.append((place, error))
        else:
            past.append(row._replace(instance=_timed(row.instance, now)))
    if past:
        await broker.temporal.add_many(tenant, past)
    return errors


def export_instances(
    broker: Broker, tenant: Tenant, query: EntityQuery, selection: TemporalSelection
) -> AsyncIterator[Sequence[PastInstance]]:
    """Yield all instances that match, entity after entity, in pieces (an extension)."""
    return broker.temporal.export(tenant, query, selection)


def _stamped(evolution: Evolution, now: str) -> Evolution:
    """Return an evolution whose instances have their times."""
    attributes = {
        name: [_timed(instance, now) for instance in instances]
        for name, instances in evolution["attributes"].items()
    }
    timed = {**evolution, "attributes": attributes}
    if "scope" in evolution:
        timed["scope"] = [_timed(instance, now) for instance in evolution["scope"]]
    return Evolution(timed)


def _timed(instance: Instance, now: str) -> Instance:
    if documents.is_deletion(instance):
        return {"deletedAt": now, **instance}
    return stamped(instance, None, now)
