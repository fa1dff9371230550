"""When an entity, or the first of its attribute instances, expires (clause 4.22)."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Any

from broker.core.identifiers import ExpandedEntity
from broker.core.timestamps import instant_key


def earliest_expiry(entity: ExpandedEntity) -> float:
    """Return the first moment anything of the entity expires, in seconds since the epoch.

    Sub-attributes count as well; what never expires gives infinity.
    """
    earliest = _earliest(entity["attributes"])
    return min(earliest, instant_key(entity["expiresAt"])) if "expiresAt" in entity else earliest


def _earliest(attributes: Mapping[str, Any]) -> float:
    earliest = inf
    for instances in attributes.values():
        for instance in instances.values():
            if "expiresAt" in instance:
                earliest = min(earliest, instant_key(instance["expiresAt"]))
            if "attributes" in instance:
                earliest = min(earliest, _earliest(instance["attributes"]))
    return earliest
