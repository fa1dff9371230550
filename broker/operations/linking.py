"""Linked entities: those that the relationships of an answer point to (clause 4.5.23)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from broker.core.errors import TooManyResults
from broker.core.identifiers import Iri, Tenant
from broker.operations.broker import Broker
from broker.store.interface import StoredEntity

MAX_LINKED = 1000
"""Most entities that one answer brings along with those asked for."""


async def linked_entities(
    broker: Broker,
    tenant: Tenant,
    entities: Iterable[StoredEntity],
    *,
    level: int,
    contained_by: Collection[str] = (),
) -> dict[Iri, StoredEntity]:
    """Return the entities that relationships point to, as far as they are here, nearest first.

    Args:
        level: how many relationships to follow one after the other.
        contained_by: ids that were met on the way here and are not to be returned again.

    Raises:
        TooManyResults: there are more than `MAX_LINKED`.
    """
    seen = {stored.entity["id"] for stored in entities} | set(contained_by)
    found: dict[Iri, StoredEntity] = {}
    front = list(entities)
    for _ in range(level):
        targets = dict.fromkeys(
            target for stored in front for target in targets_of(stored) if target not in seen
        )
        seen.update(targets)
        front = []
        for target in targets:
            stored = await broker.entities.get(tenant, target)
            if stored is None:
                continue
            front.append(stored)
            found[target] = stored
            if len(found) > MAX_LINKED:
                raise TooManyResults(f"join: more than {MAX_LINKED} linked entities")
        if not front:
            break
    return found


def targets_of(stored: StoredEntity) -> Iterator[Iri]:
    """Yield the ids that an entity's relationships point to, in their order."""
    for instances in stored.entity["attributes"].values():
        for instance in instances.values():
            yield from _targets(instance)


def _targets(instance: Mapping[str, Any]) -> Iterator[Iri]:
    kind = instance["type"]
    if kind == "Relationship":
        value = instance["object"]
        if isinstance(value, list):
            yield from value
        else:
            yield value
    elif kind == "ListRelationship":
        yield from instance["objectList"]
