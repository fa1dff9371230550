"""Merge attribute instances to any depth (clause 5.5.12, RFC 7396).

An object is merged key by key, an NGSI-LD Null removes its key, and everything else replaces what
was there. What is left of an instance is kept: other members, and sub-attributes, which are merged
in their turn.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from broker.core.attribute import Bare, Instance, Instances, take_as, take_as_members
from broker.core.errors import BadRequestData
from broker.core.identifiers import NGSI_LD_NULL, Iri
from broker.core.instances import check_members, complete, put
from broker.core.members import TABLES, is_text
from broker.core.vocabulary import KINDS

_MERGED_VALUES = frozenset(("value", "json", "languageMap"))


def merge_value(target: Any, patch: Any) -> Any:
    """Merge a JSON value into another (RFC 7396, with the NGSI-LD Null for null)."""
    if type(patch) is not dict:
        return patch
    merged = dict(target) if type(target) is dict else {}
    for key, item in patch.items():
        if type(item) is dict:
            merged[key] = merge_value(merged.get(key), item)
        elif item == NGSI_LD_NULL:
            merged.pop(key, None)
        else:
            merged[key] = item
    return merged


@dataclass(frozen=True, slots=True)
class Merging:
    """How a fragment is merged.

    Attributes:
        observed_at: for attributes that had an `observedAt` and get none.
        lang: the language of plain texts for a LanguageProperty.
        keeps_kinds: no attribute may change its type (table 6.5.3.4-1).
    """

    now: str
    observed_at: str | None = None
    lang: str | None = None
    keeps_kinds: bool = False


def merge_attribute(
    present: Mapping[str, Instance] | None, sent: Instances, name: str, merging: Merging
) -> dict[str, Instance]:
    """Merge instances of an attribute by datasetId; what is left may be empty.

    Raises:
        BadRequestData: a value cannot be of the attribute's kind, or a new one has no value.
    """
    instances = dict(present) if present else {}
    for key, patch in sent.items():
        target = instances.get(key)
        merged: Instance | None = None
        if patch is not None:
            if target is None:
                merged = _new(patch, name, merging)
            else:
                merged = _merge_instance(target, patch, name, merging)
        if merged is None:
            instances.pop(key, None)
        else:
            instances[key] = merged
    return instances


def _new(patch: Instance | Bare, name: str, merging: Merging) -> Instance | None:
    """Make an instance of a patch: nulls in it delete nothing (RFC 7396)."""
    patch = complete(patch, name)
    instance = {member: item for member, item in patch.items() if item is not None}
    value = KINDS[instance["type"]].value
    instance[value] = merge_value(None, instance[value])
    if value == "languageMap" and not instance[value]:
        return None
    if "attributes" in instance:
        put(instance, "attributes", _merge_attributes({}, instance["attributes"], merging))
    instance["createdAt"] = instance["modifiedAt"] = merging.now
    return instance


def _merge_instance(
    target: Instance, patch: Instance | Bare, name: str, merging: Merging
) -> Instance | None:
    kind = target["type"]
    patch = _patch_for(target, patch, name, merging)
    merged = target.copy()
    if patch.get("type", kind) != kind:
        if merging.keeps_kinds:
            raise BadRequestData(f"{name}: is a {kind} and cannot become a {patch['type']}")
        _change_kind(merged, complete(patch, name)["type"])
    if merging.observed_at is not None and "observedAt" in target:
        merged["observedAt"] = merging.observed_at
    for member, item in patch.items():
        if member in _MERGED_VALUES:
            merged[member] = _merge_member(merged, member, item)
        elif item is None:
            merged.pop(member, None)
        elif member != "attributes":
            merged[member] = item
    if "attributes" in patch:
        attributes = target.get("attributes", {})
        inner = replace(merging, observed_at=None)
        put(merged, "attributes", _merge_attributes(attributes, patch["attributes"], inner))
    merged["modifiedAt"] = merging.now
    return None if merged.get("languageMap") == {} else merged


def _merge_member(merged: Instance, member: str, patch: Any) -> Any:
    if merged["type"] == "GeoProperty":
        return patch  # a geometry is one value: half of one and half of another is none
    return merge_value(merged.get(member), patch)


def _patch_for(target: Instance, patch: Instance | Bare, name: str, merging: Merging) -> Instance:
    """Read a patch that says nothing of its kind as one for the kind (clause 5.6.17.4)."""
    kind, lang = target["type"], merging.lang
    if isinstance(patch, Bare):
        # A simplified value is nothing but a value; a concise one may be members without it.
        present = target.get("attributes", {})
        members = None if merging.keeps_kinds else take_as_members(patch, present)
        return take_as(patch, kind, lang) if members is None else members
    sent = patch.get("type")
    if sent is None:
        check_members(patch, kind, name)
    elif (
        lang is not None
        and kind == "LanguageProperty"
        and sent == "Property"
        and is_text(patch.get("value"))
    ):
        others = {member: item for member, item in patch.items() if member not in ("type", "value")}
        check_members(others, kind, name)
        return {**others, "languageMap": {lang: patch["value"]}}
    return patch


def _change_kind(instance: Instance, kind: str) -> None:
    """Drop the old value, and with it what has no place beside the new one."""
    old = TABLES[instance["type"]].allowed
    for member in (old - TABLES[kind].allowed | {KINDS[instance["type"]].value}) & instance.keys():
        del instance[member]
    instance["type"] = kind


def _merge_attributes(
    present: Mapping[Iri, Mapping[str, Instance]], sent: Mapping[Iri, Instances], merging: Merging
) -> dict[Iri, Mapping[str, Instance]]:
    attributes = dict(present)
    for name, instances in sent.items():
        put(attributes, name, merge_attribute(attributes.get(name), instances, name, merging))
    return attributes
