"""Service groups: what many devices have in common, and what is in force for one of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from iot_agents.common.device import (
    Attribute,
    Device,
    Provisioned,
    StaticAttribute,
    document_of,
    internal_section,
    internal_sections,
)

_DEFAULT_CONJUNCTION = ":"


class ServiceGroup(Provisioned, frozen=True, kw_only=True, omit_defaults=True):
    """A service group; its identity is resource and apikey, over all services."""

    resource: str
    apikey: str
    subservice: str = "/"
    entity_name_exp: str = msgspec.field(default="", name="entityNameExp")
    conjunction: str = msgspec.field(default="", name="defaultEntityNameConjunction")
    cb_host: str = msgspec.field(default="", name="cbHost")
    description: str = ""

    @property
    def identity(self) -> tuple[str, str]:
        """What no two groups share."""
        return self.resource, self.apikey


def in_force(device: Device, group: ServiceGroup | None) -> dict[str, Any]:
    """Return what holds for a device: its own members over those of its group."""
    own, shared = document_of(device), {} if group is None else document_of(group)
    merged = {**shared, **own}
    for member in ("attributes", "lazy", "commands", "static_attributes"):
        inherited = getattr(group, member) if group is not None else ()
        merged[member] = _merge(inherited, getattr(device, member))
    if "internal_attributes" in own and "internal_attributes" in shared:
        merged["internal_attributes"] = merge_internal(
            shared["internal_attributes"], own["internal_attributes"]
        )
    conjunction = merged.get("defaultEntityNameConjunction") or _DEFAULT_CONJUNCTION
    kind = merged.get("entity_type")
    if kind and not merged.get("entity_name"):
        merged["entity_name"] = f"urn:ngsi-ld:{kind}{conjunction}{device.device_id}"
    return merged


def _merge(
    inherited: Iterable[Attribute | StaticAttribute], own: Sequence[Attribute | StaticAttribute]
) -> list[Mapping[str, Any]]:
    """Return a device's elements and then those of its group that it does not replace."""
    replaced = {_key(attribute) for attribute in own}
    kept = [attribute for attribute in inherited if _key(attribute) not in replaced]
    return [document_of(attribute) for attribute in (*own, *kept)]


def merge_internal(inherited: Any, own: Any) -> Mapping[str, Any]:
    """Return each section of `internal_attributes` with one's own members over inherited ones."""
    shared, mine = internal_sections(inherited), internal_sections(own)
    return {
        name: {**internal_section(shared, name), **internal_section(mine, name)}
        or mine.get(name, shared.get(name))
        for name in (*shared, *mine)
    }


def _key(attribute: Attribute | StaticAttribute) -> str:
    return getattr(attribute, "object_id", "") or attribute.name
