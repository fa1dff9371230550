"""Linked entities: those that the relationships of an entity point to (clause 4.5.23).

Deviates: clause 5.8.6 sets no limit to the linked entities in a notification; here they are at most
`MAX_NOTIFIED` for each entity, nearest first, as they are read while the change is written. What is
beyond stays a relationship.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from broker.core.identifiers import ExpandedEntity, Iri
from broker.core.representations import Representation, for_linked

Read = Callable[[Iri], ExpandedEntity | None]
"""Returns an entity as it is where a notification is made; None when it is not here."""

MAX_NOTIFIED: Final = 200
"""Most linked entities that one entity brings along in a notification."""


@dataclass(frozen=True, slots=True)
class Linked:
    """An entity reached over relationships, and what is left for it of the projection (4.21)."""

    entity: ExpandedEntity
    representation: Representation


def nowhere(entity_id: Iri) -> ExpandedEntity | None:
    """Read nothing: no relationship leads anywhere."""
    del entity_id
    return None


def links_of(entity: ExpandedEntity) -> Iterator[tuple[Iri, Iri]]:
    """Yield an entity's relationships and the ids they point to, in their order."""
    for name, instances in entity["attributes"].items():
        for instance in instances.values():
            for target in _targets(instance):
                yield name, target


def steps(front: Iterable[Linked], seen: set[Iri]) -> Iterator[tuple[Iri, Representation]]:
    """Yield what is one shown relationship further on, and how that is to be shown.

    Args:
        seen: ids met before, which are passed over; those yielded are added.
    """
    for linked in front:
        shown = linked.representation
        for relationship, target in links_of(linked.entity):
            hidden = shown.projection is not None and not shown.projection.shows(relationship)
            if not hidden and target not in seen:
                seen.add(target)
                yield target, for_linked(shown, relationship)


def reach(
    entity: ExpandedEntity, representation: Representation, read: Read, *, level: int
) -> dict[Iri, Linked]:
    """Return the entities linked to one, nearest first; those beyond `MAX_NOTIFIED` are left out.

    Args:
        level: how many relationships to follow one after the other.
    """
    found: dict[Iri, Linked] = {}
    front = [Linked(entity, representation)]
    seen = {Iri(entity["id"])}
    for _ in range(level):
        reached = []
        for target, shown in steps(front, seen):
            other = read(target) if len(found) < MAX_NOTIFIED else None
            if other is not None:
                found[target] = Linked(other, shown)
                reached.append(found[target])
        front = reached
    return found


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
