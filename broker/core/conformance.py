"""Entities for clients of earlier versions of the standard (clause 4.3.6.8)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from broker.core.errors import InvalidRequest
from broker.core.identifiers import DEFAULT_INSTANCE, ExpandedEntity
from broker.core.vocabulary import KINDS

Version = tuple[int, int]

NATIVE: Version = (1, 9)
"""The version this broker implements."""

_VERSION = re.compile(r"(\d{1,2})\.(\d{1,3})")
# What each version brought: members of an entity or an instance, and kinds of attributes with the
# kind they are shown as before.
_ENTITY_MEMBERS: Mapping[str, Version] = {"expiresAt": (1, 9), "scope": (1, 4)}
_MEMBERS: Mapping[str, Version] = {
    "expiresAt": (1, 9),
    "valueType": (1, 9),
    "objectType": (1, 8),
    "observedAt": (1, 3),
    "unitCode": (1, 3),
}
_KINDS: Mapping[str, tuple[Version, str]] = {
    "LanguageProperty": ((1, 4), "Property"),
    "JsonProperty": ((1, 8), "Property"),
    "VocabProperty": ((1, 8), "Property"),
    "ListProperty": ((1, 8), "Property"),
    "ListRelationship": ((1, 8), "Relationship"),
}
_MULTIPLE: Version = (1, 3)


def parse_version(text: str) -> Version:
    """Read a version such as `1.5`; a later one than the native means the native one.

    Raises:
        InvalidRequest: it is none.
    """
    found = _VERSION.fullmatch(text)
    if found is None:
        raise InvalidRequest(f"Prefer: expected a version such as ngsi-ld=1.5, got {text!r:.40}")
    return min((int(found[1]), int(found[2])), NATIVE)


def conform(
    entity: ExpandedEntity, version: Version, compact: Callable[[str], str]
) -> ExpandedEntity:
    """Return an entity with nothing in it that came after a version.

    Args:
        compact: the @context's way back to names, for the values of a VocabProperty, which become
            those of a Property and are not looked at again.
    """
    shown: dict[str, Any] = {
        name: value
        for name, value in entity.items()
        if _ENTITY_MEMBERS.get(name, version) <= version
    }
    if version < _MULTIPLE:
        shown["type"] = entity["type"][:1]
    shown["attributes"] = _attributes(entity["attributes"], version, compact)
    return ExpandedEntity(shown)


def conform_instance(
    instance: Mapping[str, Any], version: Version, compact: Callable[[str], str]
) -> dict[str, Any]:
    """Return an attribute instance with nothing in it that came after a version."""
    shown = {
        name: value for name, value in instance.items() if _MEMBERS.get(name, version) <= version
    }
    kind = instance["type"]
    since, fallback = _KINDS.get(kind, (version, kind))
    if version < since:
        shown["type"] = fallback
        value = shown.pop(KINDS[kind].value)
        if kind == "VocabProperty":
            value = [compact(one) for one in value] if isinstance(value, list) else compact(value)
        shown[KINDS[fallback].value] = value
    if "attributes" in instance:
        shown["attributes"] = _attributes(instance["attributes"], version, compact)
    return shown


def _attributes(
    attributes: Mapping[str, Any], version: Version, compact: Callable[[str], str]
) -> dict[str, Any]:
    found = {}
    for name, instances in attributes.items():
        if version < _MULTIPLE:
            key = DEFAULT_INSTANCE if DEFAULT_INSTANCE in instances else next(iter(instances))
            found[name] = {DEFAULT_INSTANCE: conform_instance(instances[key], version, compact)}
        else:
            found[name] = {
                key: conform_instance(one, version, compact) for key, one in instances.items()
            }
    return found
