"""When an entity, or the first of its attribute instances, expires (clause 4.22)."""

from __future__ import annotations

from math import inf

from broker.core.identifiers import ExpandedEntity
from broker.core.timestamps import instant_key


def earliest_expiry(entity: ExpandedEntity) -> float:
    """Return the first moment anything of the entity expires, in seconds since the epoch."""
    earliest = instant_key(entity["expiresAt"]) if "expiresAt" in entity else inf
    for instances in entity["attributes"].values():
        for instance in instances.values():
            if "expiresAt" in instance:
                earliest = min(earliest, instant_key(instance["expiresAt"]))
    return earliest
