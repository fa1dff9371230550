"""Operations that consume entities (clauses 5.7.1, 5.7.2)."""

from __future__ import annotations

from dataclasses import dataclass

from broker.core.errors import ResourceNotFound
from broker.core.identifiers import Iri, Tenant
from broker.core.query import evaluate
from broker.core.query.entity_query import EntityQuery
from broker.core.query.evaluate import of_types
from broker.core.query.nodes import TypeNode
from broker.operations.broker import Broker
from broker.store.interface import EntityPage, StoredEntity

ALL = EntityQuery()
"""The query that every entity matches."""


@dataclass(frozen=True, slots=True)
class ResultPage:
    """A page of a query's results.

    Attributes:
        count: how many results there are in all, if that was asked for.
    """

    page: EntityPage
    count: int | None


async def retrieve_entity(
    broker: Broker,
    tenant: Tenant,
    entity_id: Iri,
    *,
    types: TypeNode | None = None,
    query: EntityQuery = ALL,
    as_of: int | None = None,
) -> StoredEntity:
    """Return an entity (clause 5.7.1).

    Args:
        as_of: the instant of the state that is wanted, in microseconds since the epoch.
        query: what else must be true of it, such as having one of the attributes asked for.

    Raises:
        ResourceNotFound: there is no such entity, or it is not of the types.
    """
    if as_of is None:
        stored = await broker.entities.get(tenant, entity_id)
    else:
        past = await broker.temporal.as_of(tenant, entity_id, as_of)
        stored = None if past is None else StoredEntity(past, version=0)
    if stored is None or (types is not None and not of_types(types, stored.entity)):
        raise ResourceNotFound(f"there is no entity {entity_id}")
    if query is not ALL and not evaluate.matches(query, stored.entity):
        raise ResourceNotFound(f"entity {entity_id} has none of the attributes asked for")
    return stored


async def query_entities(
    broker: Broker,
    tenant: Tenant,
    query: EntityQuery,
    *,
    limit: int,
    offset: int = 0,
    count: bool = False,
    reader: str | None = None,
    as_of: int | None = None,
) -> ResultPage:
    """Return a page of the entities that match, in order of creation unless told (5.7.2).

    Args:
        as_of: the instant of the state that is wanted, in microseconds since the epoch.
        reader: who goes through the pages, see `EntityStore.query`.
    """
    if as_of is not None:
        page = await broker.temporal.query_as_of(tenant, query, as_of, limit=limit, offset=offset)
        past = await broker.temporal.count_as_of(tenant, query, as_of) if count else None
        return ResultPage(page, past)
    page = await broker.entities.query(tenant, query, limit=limit, offset=offset, reader=reader)
    total = await broker.entities.count(tenant, query) if count else None
    return ResultPage(page, total)
