"""Temporal evolutions of entities: their documents and how they are read (clauses 4.5.6–4.5.8).

The expanded form is a plain dict:

    {"id": iri, "type": [iri, …], "scope"?: [instance, …],
     "attributes": {attribute iri: [instance, …], …},
     "beyond"?: {attribute iri: kind, …}}

An instance is that of `core.entity` with its `datasetId`, unless it is the default one, and its
`instanceId`. One that stands for a deletion has a null for its value, and `deletedAt`. Those of
`scope` are Properties with an array of scopes. What is `beyond` has instances that were asked for,
and all of them are cut off from the answer (clause 6.3.10).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple, NewType

from broker.core import vocabulary
from broker.core.attribute import (
    RESERVED_IRIS,
    Bare,
    Instance,
    Instances,
    dataset_key,
    read_instance,
    settle,
)
from broker.core.entity import check_id, check_whole, read_document
from broker.core.errors import BadRequestData
from broker.core.identifiers import DEFAULT_INSTANCE, NGSI_LD_NULL, Iri, check_uri
from broker.core.ld_context import LdContext
from broker.core.reader import Reader, date_time
from broker.core.vocabulary import KINDS

Evolution = NewType("Evolution", dict[str, Any])
"""A temporal evolution in the shape given above."""

_NULLS: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "languageMap": {DEFAULT_INSTANCE: NGSI_LD_NULL},
        "valueList": [NGSI_LD_NULL],
        "objectList": [NGSI_LD_NULL],
    }
)

_ROW_MEMBERS: Final = frozenset(("entityId", "entityType", "attribute"))
MAX_EVOLUTION: Final = 10_000
"""Instances of one attribute in one document."""


def expand_evolution(document: object, ld_context: LdContext) -> Evolution:
    """Expand a whole temporal evolution (clause 5.6.11).

    Raises:
        BadRequestData: the document is none.
    """
    return _read(document, ld_context, None, whole=True)


def expand_instances(document: object, ld_context: LdContext, entity_id: Iri) -> Evolution:
    """Expand a fragment of a temporal evolution (clause 5.6.12).

    Raises:
        BadRequestData: the document is none, or of another entity.
    """
    return _read(document, ld_context, entity_id, whole=False)


def expand_instance(document: object, attribute: Iri, ld_context: LdContext) -> Instance:
    """Expand what an instance is to become: an instance, or an array of one (clause 5.6.14).

    Raises:
        BadRequestData: it is none.
    """
    where = ld_context.compact(attribute)
    if isinstance(document, dict) and not {"type", *vocabulary.VALUE_KINDS} & document.keys():
        members = {key: item for key, item in document.items() if key not in ("@context", "id")}
        if len(members) != 1 or ld_context.expand(next(iter(members))) != attribute:
            raise BadRequestData(f"{where}: expected one instance of this attribute")
        document = next(iter(members.values()))
    elif isinstance(document, dict):
        document = {key: item for key, item in document.items() if key != "@context"}
    found = _read_all(Reader(ld_context, whole=False), attribute, document, where)
    if len(found) != 1:
        raise BadRequestData(f"{where}: expected one instance, got {len(found)}")
    return next(iter(found.values()))


class PastInstance(NamedTuple):
    """An instance with all that says whose it is, for import and export."""

    entity_id: Iri
    types: tuple[Iri, ...]
    attribute: Iri
    instance: Instance


def expand_row(document: Mapping[str, Any], ld_context: LdContext) -> PastInstance:
    """Expand an instance that names its entity, the entity's type and its attribute itself.

    Raises:
        BadRequestData: one of these is missing, or it is no instance with `observedAt`.
    """
    for name in ("entityId", "entityType", "attribute", "observedAt"):
        if name not in document:
            raise BadRequestData(f"{name}: expected, there is none")
    members = {name: item for name, item in document.items() if name not in _ROW_MEMBERS}
    kinds = document["entityType"]
    named = kinds if isinstance(kinds, list) else [kinds]
    reader = Reader(ld_context, whole=False)
    types = tuple(dict.fromkeys(reader.name(name, "entityType") for name in named))
    if not types:
        raise BadRequestData("entityType: expected one type at least")
    reader = Reader(ld_context.for_types(types), whole=False)
    attribute = reader.name(document["attribute"], "attribute")
    if attribute in RESERVED_IRIS:
        raise BadRequestData(f"attribute: {document['attribute']} is none")
    return PastInstance(
        Iri(check_uri(document["entityId"], "entityId")),
        types,
        attribute,
        _read_one(reader, attribute, members, str(document["attribute"])),
    )


def is_deletion(instance: Instance) -> bool:
    """Tell whether an instance stands for a deletion."""
    value = KINDS[instance["type"]].value
    return bool(instance[value] == _NULLS.get(value, NGSI_LD_NULL))


def deleted_instance(kind: str, at: str) -> Instance:
    """Return the instance that stands for the deletion of an attribute (clause 4.5.7)."""
    return {**null_instance(kind), "deletedAt": at}


def null_instance(kind: str) -> Instance:
    """Return an instance of a kind whose value is null."""
    value = KINDS[kind].value
    return {"type": kind, value: _NULLS.get(value, NGSI_LD_NULL)}


def _read(
    document: object, ld_context: LdContext, entity_id: Iri | None, *, whole: bool
) -> Evolution:
    scopes = None
    if isinstance(document, dict) and "scope" in document:
        document = dict(document)
        scopes = _read_scopes(document.pop("scope"))
    fragment = read_document(document, ld_context, _read_all, whole=False)
    if whole:
        check_whole(fragment)
    check_id(fragment, entity_id)
    evolution = {name: item for name, item in fragment.items() if name in ("id", "type")}
    evolution["attributes"] = {
        name: list(instances.values()) for name, instances in fragment["attributes"].items()
    }
    if scopes is not None:
        evolution["scope"] = scopes
    return Evolution(evolution)


def _read_all(reader: Reader, iri: Iri, value: Any, where: str) -> dict[str, Any]:
    """Read the instances of an attribute, each under its place."""
    documents = value if isinstance(value, list) else [value]
    if not 0 < len(documents) <= MAX_EVOLUTION:
        raise BadRequestData(
            f"{where}: expected 1 to {MAX_EVOLUTION} instances, got {len(documents)}"
        )
    found: Instances = {}
    for place, document in enumerate(documents):
        path = f"{where}[{place}]" if documents is value else where
        found[str(place)] = _read_one(reader, iri, document, path)
    return found


def _read_one(reader: Reader, iri: Iri, document: Any, where: str) -> Instance:
    if not isinstance(document, dict):
        raise BadRequestData(f"{where}: expected an attribute instance, got {document!r:.80}")
    members = dict(document)
    instance_id = members.pop("instanceId", None)
    key = dataset_key(members.get("datasetId", DEFAULT_INSTANCE), where)
    read = read_instance(reader, iri, members, where)
    instance = settle(read) if isinstance(read, Bare) else read
    if instance is None:
        instance = _deleted(members, where)
    elif (kind := instance.get("type")) is None or KINDS[kind].value not in instance:
        raise BadRequestData(f"{where}: expected a type and a value, there is none")
    if key != DEFAULT_INSTANCE:
        instance = {**instance, "datasetId": key}
    if instance_id is not None:
        instance = {**instance, "instanceId": check_uri(instance_id, f"{where}.instanceId")}
    return instance


def _deleted(members: Mapping[str, Any], where: str) -> Instance:
    """Read an instance whose value is null; without a time it says that of its writing."""
    named = members.get("type")
    kind = named if isinstance(named, str) and named in KINDS else "Property"
    instance = null_instance(kind)
    if "deletedAt" in members:
        instance["deletedAt"] = date_time(members["deletedAt"], f"{where}.deletedAt")
    return instance


def _read_scopes(value: Any) -> list[Instance]:
    """Read scopes as they are now, or the instances of their history (clause 4.5.6)."""
    items = value if isinstance(value, list) else [value]
    if not 0 < len(items) <= MAX_EVOLUTION:
        raise BadRequestData(f"scope: expected 1 to {MAX_EVOLUTION}, got {len(items)}")
    if not any(isinstance(item, dict) for item in items):
        return [{"type": "Property", "value": _scopes(items, "scope")}]
    instances = []
    for place, item in enumerate(items):
        where = f"scope[{place}]"
        if not isinstance(item, dict) or item.get("type") != "Property" or "value" not in item:
            raise BadRequestData(f"{where}: expected a Property with scopes, got {item!r:.80}")
        scopes = item["value"] if isinstance(item["value"], list) else [item["value"]]
        instance: Instance = {"type": "Property", "value": _scopes(scopes, f"{where}.value")}
        if "observedAt" in item:
            instance["observedAt"] = date_time(item["observedAt"], f"{where}.observedAt")
        instances.append(instance)
    return instances


def _scopes(items: list[Any], where: str) -> list[str]:
    if not 0 < len(items) <= vocabulary.MAX_SCOPES:
        raise BadRequestData(f"{where}: expected 1 to {vocabulary.MAX_SCOPES} scopes")
    return list(dict.fromkeys(vocabulary.check_scope(scope, where) for scope in items))
