"""Delete what a query finds (clause 5.6.21)."""

from __future__ import annotations

import uuid

from broker.core import fragments
from broker.core.identifiers import ExpandedEntity, Iri, Tenant
from broker.core.query import evaluate
from broker.core.query.entity_query import EntityQuery
from broker.operations.broker import Broker
from broker.store.interface import Change, Changed

_STEP = 500


async def purge_entities(
    broker: Broker,
    tenant: Tenant,
    query: EntityQuery,
    *,
    keep: frozenset[Iri] | None = None,
    drop: frozenset[Iri] | None = None,
) -> None:
    """Delete the entities that match, or some of their attributes (clause 5.6.21).

    An entity that stopped matching meanwhile is left alone.

    Args:
        keep: delete all attributes but these, and keep the entities.
        drop: delete these attributes, and keep the entities.
    """
    ids = await _ids(broker, tenant, query)
    matches = evaluate.compile(query)
    now = broker.now()

    def change(current: ExpandedEntity | None) -> Changed:
        if current is None or not matches(current):
            return Changed(current, None)
        if keep is None and drop is None:
            return Changed(None, None)
        names = [
            name
            for name in current["attributes"]
            if (drop is not None and name in drop) or (keep is not None and name not in keep)
        ]
        for name in names:
            current = fragments.delete_attribute(
                current, name, now, dataset_id=None, delete_all=True
            )
        return Changed(current, None)

    for start in range(0, len(ids), _STEP):
        changes: list[tuple[Iri, Change]] = [(key, change) for key in ids[start : start + _STEP]]
        await broker.entities.update_many(tenant, changes)


async def _ids(broker: Broker, tenant: Tenant, query: EntityQuery) -> list[Iri]:
    found: list[Iri] = []
    offset, reader = 0, f"purge {uuid.uuid4()}"
    while True:
        page = await broker.entities.query(tenant, query, limit=_STEP, offset=offset, reader=reader)
        found.extend(stored.entity["id"] for stored in page.entities)
        if not page.more:
            return found
        offset += _STEP
