"""Apply fragments to entities: pure functions that share what they leave alone (clause 5.6).

What is not named by a fragment is the same object in the result, so that a change is what is not
the same object. `core.merge_patch` does the merging to any depth.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from broker.core.attribute import Instance
from broker.core.errors import BadRequestData, ResourceNotFound
from broker.core.identifiers import (
    DEFAULT_INSTANCE,
    NGSI_LD_NULL,
    ExpandedEntity,
    Fragment,
    Iri,
)
from broker.core.instances import (
    appended,
    patched,
    put,
    stamped_attributes,
    updated,
)
from broker.core.ld_context import CORE
from broker.core.merge_patch import Merging, merge_attribute
from broker.core.timestamps import instant_key
from broker.core.vocabulary import SCOPE

_EXPIRES_AT: Final = CORE.expand("expiresAt")
_EXISTS = "it is there and was not to be overwritten"


class Applied(NamedTuple):
    """An entity after an operation that may do only part of what was asked (clause 5.2.18).

    Attributes:
        updated: the attributes (IRIs) that were written.
        not_updated: the attributes that were left alone, each with the reason.
    """

    entity: ExpandedEntity
    updated: tuple[Iri, ...]
    not_updated: tuple[tuple[Iri, str], ...]


def create(fragment: Fragment, now: str) -> ExpandedEntity:
    """Make an entity of a whole, checked document (clause 5.6.1)."""
    return _renewed(fragment, {}, now, now)


def replace(entity: ExpandedEntity, fragment: Fragment, now: str) -> ExpandedEntity:
    """Replace an entity (clause 5.6.18).

    It keeps its `createdAt`, and so do the attribute instances that it had before.
    """
    return _renewed(fragment, entity["attributes"], entity["createdAt"], now)


def append(entity: ExpandedEntity, fragment: Fragment, now: str, *, overwrite: bool) -> Applied:
    """Append attributes, replacing those of the same name unless told not to (clause 5.6.3).

    Raises:
        BadRequestData: the fragment has a null, or an attribute without a value.
    """
    _refuse_nested_null(fragment)
    attributes = entity["attributes"].copy()
    written: list[Iri] = []
    kept: list[tuple[Iri, str]] = []
    for name, sent in fragment["attributes"].items():
        present = attributes.get(name)
        missing = sent
        if present is not None and not overwrite:
            missing = {key: item for key, item in sent.items() if key not in present}
            if len(missing) < len(sent):
                kept.append((name, _EXISTS))
        if missing:
            attributes[name] = appended(present, missing, name, now)
            written.append(name)
    members = _appended_members(entity, fragment, kept, overwrite=overwrite)
    if not written and not members:
        return Applied(entity, (), tuple(kept))
    return Applied(_changed(entity, attributes, members, now), tuple(written), tuple(kept))


def update(entity: ExpandedEntity, fragment: Fragment, now: str) -> Applied:
    """Replace the attributes that the fragment names, adding what is missing (5.6.2, 5.5.8).

    A null deletes an instance. A scope is replaced if the entity has one, and otherwise left out.

    Raises:
        BadRequestData: there is a null inside a value, or an attribute without a value.
    """
    _refuse_nested_null(fragment)
    attributes = entity["attributes"].copy()
    for name, sent in fragment["attributes"].items():
        put(attributes, name, updated(attributes.get(name), sent, name, now))
    members = _type_and_expiry(entity, fragment)
    kept: tuple[tuple[Iri, str], ...] = ()
    if "scope" in fragment:
        if "scope" in entity:
            members["scope"] = fragment["scope"]
        elif fragment["scope"] is not None:
            kept = ((SCOPE, "the entity has no scope to update"),)
    if not fragment["attributes"] and not members:
        return Applied(entity, (), kept)
    changed = _changed(entity, attributes, members, now)
    return Applied(changed, tuple(fragment["attributes"]), kept)


def partial_update(entity: ExpandedEntity, fragment: Fragment, now: str) -> ExpandedEntity:
    """Patch members of one attribute (clauses 5.5.8, 5.6.4).

    A sub-attribute is replaced as a whole; a null deletes a member, or the instance it is the
    value of.

    Raises:
        ResourceNotFound: the entity has no such attribute or instance.
        BadRequestData: the attribute would change its type, or there is a null inside a value.
    """
    _refuse_nested_null(fragment)

    attributes = entity["attributes"].copy()
    for name, sent in fragment["attributes"].items():
        _check_present(entity, name, sent)
        instances = attributes[name].copy()
        for key, instance in sent.items():
            if instance is None:
                del instances[key]
            else:
                instances[key] = patched(instances[key], instance, name, now)
        put(attributes, name, instances)
    return _changed(entity, attributes, {}, now)


def replace_attribute(entity: ExpandedEntity, fragment: Fragment, now: str) -> ExpandedEntity:
    """Replace instances of one attribute, each keeping its `createdAt` (clause 5.6.19).

    Raises:
        ResourceNotFound: the entity has no such attribute or instance.
        BadRequestData: there is no value, or a null somewhere.
    """
    _refuse_nested_null(fragment)
    for name, sent in fragment["attributes"].items():
        _check_present(entity, name, sent)
    attributes = entity["attributes"].copy()
    for name, sent in fragment["attributes"].items():
        attributes[name] = appended(attributes[name], sent, name, now)
    return _changed(entity, attributes, {}, now)


def merge(
    entity: ExpandedEntity,
    fragment: Fragment,
    now: str,
    *,
    observed_at: str | None = None,
    lang: str | None = None,
) -> ExpandedEntity:
    """Merge a fragment into an entity (clauses 5.5.12, 5.6.17).

    Args:
        observed_at: put on attributes that had an `observedAt` and come without one.
        lang: the language of plain texts that are merged into a LanguageProperty.

    Raises:
        BadRequestData: a value cannot be of its attribute's kind, or a new one has no value.
    """
    merging = Merging(now, observed_at, lang, fragment.get("keepsKinds", False))
    attributes = entity["attributes"].copy()
    for name, sent in fragment["attributes"].items():
        put(attributes, name, merge_attribute(attributes.get(name), sent, name, merging))
    members = _type_and_expiry(entity, fragment)
    if "scope" in fragment:
        members["scope"] = fragment["scope"]
    if not fragment["attributes"] and not members:
        return entity
    return _changed(entity, attributes, members, now)


def delete_attribute(
    entity: ExpandedEntity, attribute: Iri, now: str, *, dataset_id: str | None, delete_all: bool
) -> ExpandedEntity:
    """Delete an attribute's default instance, a named one, or all; or the scope (clause 5.6.5).

    Raises:
        ResourceNotFound: there is no such attribute or instance.
    """
    if attribute == SCOPE and "scope" in entity:
        return _changed(entity, entity["attributes"], {"scope": None}, now)
    key = dataset_id or DEFAULT_INSTANCE
    _check_present(entity, attribute, () if delete_all else (key,))
    attributes = entity["attributes"].copy()
    instances = attributes.pop(attribute)
    if not delete_all:
        left = {other: instances[other] for other in instances if other != key}
        put(attributes, attribute, left)
    return _changed(entity, attributes, {}, now)


def drop_expired(entity: ExpandedEntity, now: str) -> ExpandedEntity | None:
    """Leave out what has expired (clause 4.22); None if that is the entity itself."""
    moment = instant_key(now)
    if _is_expired(entity, moment):
        return None
    attributes = _unexpired(entity["attributes"], moment)
    if attributes is entity["attributes"]:
        return entity
    return ExpandedEntity({**entity, "attributes": attributes})


def _renewed(
    fragment: Fragment, before: Mapping[Iri, Mapping[str, Instance]], created: str, now: str
) -> ExpandedEntity:
    entity = {**fragment, "createdAt": created, "modifiedAt": now}
    entity["attributes"] = stamped_attributes(fragment["attributes"], before, now)
    return ExpandedEntity(entity)


def _check_present(entity: ExpandedEntity, name: Iri, keys: Iterable[str]) -> None:
    present = entity["attributes"].get(name)
    if present is None:
        raise ResourceNotFound(f"the entity has no attribute {name}")
    for key in keys:
        if key not in present:
            raise ResourceNotFound(f"attribute {name} has no {_instance_name(key)}")


def _changed(
    entity: ExpandedEntity, attributes: Mapping[Iri, Any], members: Mapping[str, Any], now: str
) -> ExpandedEntity:
    changed = {**entity, "modifiedAt": now, "attributes": attributes}
    for member, value in members.items():
        if value is None:
            changed.pop(member, None)
        else:
            changed[member] = value
    return ExpandedEntity(changed)


def _type_and_expiry(entity: ExpandedEntity, fragment: Fragment) -> dict[str, Any]:
    """Return what a fragment changes in the types, to which it only adds, and in the expiry."""
    members: dict[str, Any] = {}
    if "type" in fragment:
        new = [name for name in fragment["type"] if name not in entity["type"]]
        if new:
            members["type"] = [*entity["type"], *new]
    if "expiresAt" in fragment:
        members["expiresAt"] = fragment["expiresAt"]
    return members


def _appended_members(
    entity: ExpandedEntity, fragment: Fragment, kept: list[tuple[Iri, str]], *, overwrite: bool
) -> dict[str, Any]:
    if fragment.get("scope", ()) is None or fragment.get("expiresAt", ()) is None:
        raise BadRequestData(f"{NGSI_LD_NULL} deletes nothing here")
    members = _type_and_expiry(entity, fragment)
    if "scope" in fragment:
        old = entity.get("scope", [])
        new = fragment["scope"] if overwrite else list(dict.fromkeys((*old, *fragment["scope"])))
        if new != old:
            members["scope"] = new
    if not overwrite and "expiresAt" in members and "expiresAt" in entity:
        del members["expiresAt"]
        kept.append((_EXPIRES_AT, _EXISTS))
    return members


def _refuse_nested_null(fragment: Fragment) -> None:
    where = fragment.get("nestedNull")
    if where is not None:
        raise BadRequestData(f"{where}: {NGSI_LD_NULL} inside a value is for merging only")


def _instance_name(key: str) -> str:
    return "default instance" if key == DEFAULT_INSTANCE else f"instance with datasetId {key}"


def _is_expired(holder: Mapping[str, Any], moment: float) -> bool:
    return "expiresAt" in holder and instant_key(holder["expiresAt"]) <= moment


def _unexpired(
    attributes: Mapping[Iri, Mapping[str, Instance]], moment: float
) -> Mapping[Iri, Mapping[str, Instance]]:
    """Return attributes without expired instances and parts, the same if there are none."""
    left: dict[Iri, Mapping[str, Instance]] = {}
    for name, instances in attributes.items():
        kept = {
            key: _without_expired_parts(instance, moment)
            for key, instance in instances.items()
            if not _is_expired(instance, moment)
        }
        same = len(kept) == len(instances) and all(kept[k] is instances[k] for k in kept)
        if kept:
            left[name] = instances if same else kept
    same = len(left) == len(attributes) and all(left[n] is attributes[n] for n in left)
    return attributes if same else left


def _without_expired_parts(instance: Instance, moment: float) -> Instance:
    present = instance.get("attributes")
    if present is None:
        return instance
    left = _unexpired(present, moment)
    if left is present:
        return instance
    if left:
        return {**instance, "attributes": left}
    return {member: item for member, item in instance.items() if member != "attributes"}
