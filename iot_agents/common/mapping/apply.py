"""Turn a payload into entities by a mapping."""

from __future__ import annotations

from collections.abc import Mapping as Dict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from iot_agents.common.mapping.model import Drops, Entity, Mapping


def apply(
    mapping: Mapping,
    payload: Any,
    device: Dict[str, Any] | None = None,
    *,
    drops: Drops | None = None,
) -> list[Entity]:
    """Return the normalized entities (short names, no @context) a payload gives.

    An entity left without attributes is not returned.

    Args:
        device: what is provisioned of the device; the scope's `device`, or for a mapping made by
            `provisioned.compile_mapping` its `id`, `type`, `entity_name`, `service`, `subservice`.
        drops: where attributes that had to be left out are noted.

    Raises:
        MappingError: an expression failed or a value cannot be.
    """
    raise NotImplementedError
