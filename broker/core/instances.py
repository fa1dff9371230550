"""Write attribute instances: new ones, whole ones over old ones, and patches of one (clause 5.5.8).

What comes from a fragment gets its times here, and has no nulls left in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, TypeVar

from broker.core.attribute import Bare, Instance, Instances, settle
from broker.core.errors import BadRequestData
from broker.core.identifiers import NGSI_LD_NULL, Iri
from broker.core.members import TABLES
from broker.core.vocabulary import KINDS

K = TypeVar("K", bound=str)

_NONE: Final[Mapping[Any, Any]] = MappingProxyType({})


def complete(instance: Instance | Bare, name: str) -> Instance:
    """Return an instance that can stand for itself: a bare value gets its kind.

    Raises:
        BadRequestData: it has no value.
    """
    if isinstance(instance, Bare):
        return settle(instance)
    kind = instance.get("type")
    if kind is None or KINDS[kind].value not in instance:
        raise BadRequestData(f"{name}: expected a type and a value, there is none")
    return instance


def check_members(instance: Instance, kind: str, name: str) -> None:
    """Check that an instance which came without a type fits a kind.

    Raises:
        BadRequestData: it has a member that the kind has not.
    """
    for member in instance.keys() - TABLES[kind].allowed - {"attributes"}:
        raise BadRequestData(f"{name}.{member}: has no place in a {kind}")


def appended(
    present: Mapping[str, Instance] | None, sent: Instances, name: Iri, now: str
) -> dict[str, Instance]:
    """Put whole instances beside those present, or over those with the same datasetId (5.6.3).

    Raises:
        BadRequestData: one has no value, or has a null somewhere.
    """
    instances = dict(present) if present else {}
    for key, instance in sent.items():
        whole = complete(_with_no_null(instance, name), name)
        instances[key] = stamped(whole, instances.get(key), now)
    return instances


def updated(
    present: Mapping[str, Instance] | None, sent: Instances, name: Iri, now: str
) -> dict[str, Instance]:
    """Do the same, with nulls that delete (5.6.2); what is left may be empty.

    Raises:
        BadRequestData: an instance has no value.
    """
    instances = dict(present) if present else {}
    for key, instance in sent.items():
        if instance is None:
            instances.pop(key, None)
        else:
            whole = _without_nulls(complete(instance, name))
            instances[key] = stamped(whole, instances.get(key), now)
    return instances


def patched(target: Instance, sent: Instance, name: Iri, now: str) -> Instance:
    """Overwrite members of an instance; its sub-attributes are updated as wholes (5.6.4).

    Raises:
        BadRequestData: the type would change, or a member has no place in it.
    """
    kind = sent.get("type")
    if kind is None:
        check_members(sent, target["type"], name)
    elif kind != target["type"]:
        raise BadRequestData(f"{name}.type: is {target['type']} and cannot become {kind}")
    instance = _without_nulls({**target, **sent, "modifiedAt": now})
    if "attributes" in sent:
        attributes = dict(target.get("attributes", {}))
        for sub_name, instances in sent["attributes"].items():
            put(attributes, sub_name, updated(attributes.get(sub_name), instances, sub_name, now))
        put(instance, "attributes", attributes)
    return instance


def stamped(instance: Instance, before: Instance | None, now: str) -> Instance:
    """Return an instance with its times, the first of them from the one it replaces."""
    created = now if before is None else before["createdAt"]
    whole = {**instance, "createdAt": created, "modifiedAt": now}
    if "attributes" in instance:
        old = {} if before is None else before.get("attributes", {})
        put(whole, "attributes", stamped_attributes(_settled(instance["attributes"]), old, now))
    return whole


def stamped_attributes(
    sent: Mapping[Iri, Mapping[str, Instance]],
    before: Mapping[Iri, Mapping[str, Instance]],
    now: str,
) -> dict[Iri, dict[str, Instance]]:
    """Return whole attributes with their times, the first from instances of the same name."""
    attributes = {}
    for name, instances in sent.items():
        old = before.get(name, _NONE)
        attributes[name] = {
            key: stamped(instance, old.get(key), now) for key, instance in instances.items()
        }
    return attributes


def put(holder: dict[K, Any], name: K, value: Mapping[Any, Any]) -> None:
    """Set a member, or remove it when there is nothing in it."""
    if value:
        holder[name] = value
    else:
        holder.pop(name, None)


def _without_nulls(instance: Instance) -> Instance:
    if None not in instance.values():
        return instance
    return {member: item for member, item in instance.items() if item is not None}


def _settled(attributes: Mapping[Iri, Instances]) -> dict[Iri, dict[str, Instance]]:
    """Leave out deletions of sub-attributes: what is written whole has nothing to delete."""
    settled = {}
    for name, instances in attributes.items():
        left = {
            key: _without_nulls(complete(instance, name))
            for key, instance in instances.items()
            if instance is not None
        }
        if left:
            settled[name] = left
    return settled


def _with_no_null(instance: Instance | Bare | None, name: str) -> Instance | Bare:
    if isinstance(instance, Bare):
        return instance
    if instance is None or None in instance.values():
        raise BadRequestData(f"{name}: {NGSI_LD_NULL} deletes nothing here")
    for sub_name, instances in instance.get("attributes", _NONE).items():
        for sub_instance in instances.values():
            _with_no_null(sub_instance, sub_name)
    return instance
