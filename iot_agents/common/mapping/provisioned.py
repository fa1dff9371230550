"""FIWARE provisioning attributes as a mapping: one pipeline, one expression language."""

from __future__ import annotations

from collections.abc import Mapping as Dict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from iot_agents.common.mapping.model import Mapping


def compile_mapping(provisioning: Dict[str, Any], *, name: str) -> Mapping:
    """Compile what is in force for a device (device over group over defaults, already merged).

    Read are `attributes`, `static_attributes`, `explicitAttrs`, `entityNameExp`, `entity_name`,
    `entity_type`. The payload to apply it to is the dict of measures by the names the device sent,
    with `TimeInstant` (the receive time when the device gave none) as their time; `device` is a
    dict with `id`, `type` and, where known, `entity_name`, `service`, `subservice`.

    Raises:
        InvalidMapping: an expression does not parse, or a member is not what it must be.
    """
    raise NotImplementedError
