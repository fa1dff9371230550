"""Show an entity as an earlier version of the standard knows it (clause 4.3.6.8).

What the version does not know yet is left out or, where it is the type of an attribute, turned
into a Property or a Relationship with the same value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from broker.core.attribute import Instance
from broker.core.identifiers import DEFAULT_INSTANCE, ExpandedEntity, Iri
from broker.core.vocabulary import KINDS

if TYPE_CHECKING:
    from broker.core.ld_context import LdContext

Version = tuple[int, int]

LATEST: Final[Version] = (1, 9)
_VERSION = re.compile(r"(\d{1,4})\.(\d{1,4})")
_SEVERAL: Final[Version] = (1, 3)
"""When entities got several types, and attributes several instances."""
_SCOPES: Final[Version] = (1, 4)
_KINDS: Final[Mapping[str, tuple[Version, str]]] = MappingProxyType(
    {
        "LanguageProperty": ((1, 4), "Property"),
        "JsonProperty": ((1, 8), "Property"),
        "VocabProperty": ((1, 8), "Property"),
        "ListProperty": ((1, 8), "Property"),
        "ListRelationship": ((1, 8), "Relationship"),
    }
)
_MEMBERS: Final[Mapping[str, Version]] = MappingProxyType(
    {
        "observedAt": (1, 3),
        "unitCode": (1, 3),
        "objectType": (1, 8),
        "valueType": (1, 9),
        "expiresAt": (1, 9),
    }
)


def parse_version(text: str) -> Version | None:
    """Read a version such as `1.5`; None when it is none."""
    match = _VERSION.fullmatch(text)
    return None if match is None else (int(match[1]), int(match[2]))


def conform(entity: ExpandedEntity, ld_context: LdContext, version: Version) -> ExpandedEntity:
    """Return an entity as a version knows it, the same object if that is how it is already.

    Args:
        ld_context: gives vocabulary values the names they have as values of a Property.
    """
    if version >= LATEST:
        return entity
    conforming = {
        member: item
        for member, item in entity.items()
        if version >= _MEMBERS.get(member, version) and (member != "scope" or version >= _SCOPES)
    }
    if version < _SEVERAL:
        conforming["type"] = entity["type"][:1]
    names = ld_context.for_types(entity["type"])
    conforming["attributes"] = _attributes(entity["attributes"], names, version)
    return entity if conforming == entity else ExpandedEntity(conforming)


def _attributes(
    attributes: Mapping[Iri, Mapping[str, Instance]], names: LdContext, version: Version
) -> dict[Iri, dict[str, Instance]]:
    return {
        name: {
            key: _instance(instance, names, version)
            for key, instance in _instances(instances, version).items()
        }
        for name, instances in attributes.items()
    }


def _instances(instances: Mapping[str, Instance], version: Version) -> Mapping[str, Instance]:
    if version >= _SEVERAL:
        return instances
    key = DEFAULT_INSTANCE if DEFAULT_INSTANCE in instances else next(iter(instances))
    return {DEFAULT_INSTANCE: instances[key]}


def _instance(instance: Instance, names: LdContext, version: Version) -> Instance:
    conforming = {
        member: item
        for member, item in instance.items()
        if version >= _MEMBERS.get(member, version)
    }
    since, kind = _KINDS.get(instance["type"], (version, ""))
    if version < since:
        value = conforming.pop(KINDS[instance["type"]].value)
        conforming["type"] = kind
        conforming[KINDS[kind].value] = _value(instance["type"], value, names)
    if "attributes" in instance:
        conforming["attributes"] = _attributes(instance["attributes"], names, version)
    return conforming


def _value(kind: str, value: Any, names: LdContext) -> Any:
    if kind != "VocabProperty":
        return value
    return names.compact(value) if isinstance(value, str) else [names.compact(v) for v in value]
