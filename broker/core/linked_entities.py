"""Which entities a join needs (clause 4.5.23): what the relationships of an entity point to."""

from __future__ import annotations

from broker.core.identifiers import ExpandedEntity, Iri
from broker.core.representations import Representation, for_linked

_TARGETS = {"Relationship": "object", "ListRelationship": "objectList"}


def targets(entity: ExpandedEntity, representation: Representation) -> dict[Iri, Representation]:
    """Return the ids that the shown relationships point to, and how each entity is to be shown.

    An entity to which several relationships point is shown as the first of them asks.
    """
    found: dict[Iri, Representation] = {}
    for name, instances in entity["attributes"].items():
        if representation.projection is not None and not representation.projection.shows(name):
            continue
        for key, instance in instances.items():
            member = _TARGETS.get(instance["type"])
            if member is None or not _is_shown(key, representation):
                continue
            uris = instance[member]
            for uri in [uris] if isinstance(uris, str) else uris:
                found.setdefault(Iri(uri), for_linked(representation, name))
    return found


def _is_shown(key: str, representation: Representation) -> bool:
    return representation.dataset_ids is None or key in representation.dataset_ids
