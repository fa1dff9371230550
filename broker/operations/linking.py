"""Linked entities: those that the relationships of an answer point to (clause 4.5.23)."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from broker.core import linking
from broker.core.errors import TooManyResults
from broker.core.identifiers import Iri, Tenant
from broker.core.representations import Representation
from broker.operations.broker import Broker
from broker.store.interface import StoredEntity

MAX_LINKED = 1000
"""Most entities that one answer brings along with those asked for."""


@dataclass(frozen=True, slots=True)
class LinkedEntity:
    """An entity that was reached over relationships, and how it is to be shown.

    Attributes:
        representation: what is left for it of the projection of those on the way (clause 4.21).
    """

    stored: StoredEntity
    representation: Representation


async def linked_entities(
    broker: Broker,
    tenant: Tenant,
    entities: Iterable[StoredEntity],
    representation: Representation,
    *,
    level: int,
    contained_by: Collection[Iri] = (),
) -> dict[Iri, LinkedEntity]:
    """Return the entities that relationships point to, as far as they are here, nearest first.

    Only relationships that are shown are followed.

    Args:
        representation: how the entities are to be shown.
        level: how many relationships to follow one after the other.
        contained_by: ids that were met on the way here and are not to be returned again.

    Raises:
        TooManyResults: there are more than `MAX_LINKED`.
    """
    found: dict[Iri, LinkedEntity] = {}
    front = [LinkedEntity(stored, representation) for stored in entities]
    seen = set(contained_by)
    for _ in range(level):
        front = await _next(broker, tenant, front, seen)
        for linked in front:
            found[linked.stored.entity["id"]] = linked
        if len(found) > MAX_LINKED:
            raise TooManyResults(f"join: more than {MAX_LINKED} linked entities")
    return found


async def _next(
    broker: Broker, tenant: Tenant, front: Iterable[LinkedEntity], seen: set[Iri]
) -> list[LinkedEntity]:
    """Return the entities one relationship further on that were not met before."""
    reached = []
    at = [linking.Linked(linked.stored.entity, linked.representation) for linked in front]
    for target, shown in linking.steps(at, seen):
        stored = await broker.entities.get(tenant, target)
        if stored is not None:
            reached.append(LinkedEntity(stored, shown))
    return reached
