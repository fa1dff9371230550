"""Check attributes and bring their instances into the broker's own form (clauses 4.5.2–4.5.5).

An attribute comes as one instance or an array of them, normalized, concise or as a bare value. It
is read to `{dataset_id: instance}` in the shape given in `core.entity`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sized
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from broker.core import vocabulary
from broker.core.errors import BadRequestData
from broker.core.geometry import check_geometry, is_geometry
from broker.core.identifiers import DEFAULT_INSTANCE, NGSI_LD_NULL, Iri, check_uri
from broker.core.ld_context import CORE
from broker.core.members import PROOF_TABLE, TABLES, UNTYPED_TABLE, Table, is_text
from broker.core.reader import Reader
from broker.core.vocabulary import name_error

Instance = dict[str, Any]
"""One instance of an attribute, in the shape given in `core.entity`."""


class Bare(NamedTuple):
    """A value in a fragment that came without a type: the target's kind decides what it means."""

    value: Any
    reader: Reader
    where: str
    depth: int = 0


Instances = dict[str, Instance | Bare | None]
"""The instances of one attribute by datasetId; None deletes."""

_TABLE_BY_IRI: Final = MappingProxyType({CORE.expand(name): TABLES[name] for name in TABLES})
_PROOF_IRI: Final = CORE.expand(vocabulary.PROOF)
RESERVED_IRIS: Final = frozenset(
    CORE.expand(name)
    for name in vocabulary.RESERVED_NAMES | vocabulary.READ_ONLY_MEMBERS | {"expiresAt", "scope"}
)
"""What core terms that are no attribute names stand for; an attribute cannot have these either."""
_SUB_RESERVED_IRIS: Final = RESERVED_IRIS | set(map(CORE.expand, vocabulary.VALUE_KINDS))


def read_attribute(reader: Reader, iri: Iri, value: Any, where: str, depth: int = 0) -> Instances:
    """Read an attribute: an instance, an array of instances, or a bare value.

    Raises:
        BadRequestData: see the clauses; the detail names the path below `where`.
    """
    if type(value) is dict:
        key = value.get("datasetId", DEFAULT_INSTANCE)
        if key != DEFAULT_INSTANCE:
            key = dataset_key(key, where)
        return {key: read_instance(reader, iri, value, where, depth)}
    if type(value) is list and are_instances(value):
        return _read_array(reader, iri, value, where, depth)
    if iri == _PROOF_IRI and value != NGSI_LD_NULL:
        raise BadRequestData(f"{where}: expected a Property with a proof, got {value!r:.80}")
    return {DEFAULT_INSTANCE: read_bare(reader, value, where, depth)}


def read_fragment(reader: Reader, iri: Iri, value: Any, where: str) -> Instances:
    """Read the attribute fragment of an operation on one attribute (clauses 5.6.4, 5.6.19).

    There is no bare value here but a geometry (4.7.3): an object without type and value has
    sub-attributes.

    Raises:
        BadRequestData: see `read_attribute`.
    """
    documents = value if type(value) is list else [value]
    _check_count(documents, where)
    instances: Instances = {}
    for place, document in enumerate(documents):
        path = f"{where}[{place}]" if documents is value else where
        if type(document) is not dict or not document:
            raise BadRequestData(f"{path}: expected an attribute object, got {document!r:.80}")
        key = dataset_key(document.get("datasetId", DEFAULT_INSTANCE), path)
        if key in instances:
            raise BadRequestData(f"{path}.datasetId: {key} is there twice")
        if is_geometry(document):
            instances[key] = settle_value(document, path)
            continue
        table = _infer(reader, document, path)
        if table is None:
            instances[key] = _read_members(reader, UNTYPED_TABLE, document, path, 0)
        else:
            table = PROOF_TABLE if iri == _PROOF_IRI else table
            instances[key] = _read_members(reader, table, document, path, 0)
    if not instances:
        raise BadRequestData(f"{where}: expected an attribute object, got an empty array")
    return instances


def read_bare(reader: Reader, value: Any, where: str, depth: int = 0) -> Instance | Bare | None:
    """Read a value that stands for a whole attribute (clauses 4.5.2.3, 4.5.4).

    Raises:
        BadRequestData: it is null, or its nesting is too deep.
    """
    kind = type(value)
    if value in (NGSI_LD_NULL, [NGSI_LD_NULL]):
        reader.null(where)
        return None
    if kind is dict or kind is list:
        reader.scan(value, where)
    elif value is None:
        raise BadRequestData(f"{where}: expected an attribute, got null")
    if reader.whole:
        return settle_value(value, where)
    return Bare(value, reader, where, depth)


def read_simplified(reader: Reader, value: Any, where: str) -> Instances:
    """Read an attribute in simplified representation (clause 4.5.4).

    Raises:
        BadRequestData: a wrapped value is none of its kind.
    """
    datasets = value.get("dataset") if type(value) is dict and len(value) == 1 else None
    if type(datasets) is dict and datasets:
        _check_count(datasets, where)
        return {
            dataset_key(key, where): _read_simplified_value(reader, item, f"{where}.dataset.{key}")
            for key, item in datasets.items()
        }
    return {DEFAULT_INSTANCE: _read_simplified_value(reader, value, where)}


def _read_simplified_value(reader: Reader, value: Any, where: str) -> Instance | Bare | None:
    if type(value) is dict and len(value) == 1:
        table = _WRAPPED.get(next(iter(value)))
        if table is not None:
            return _read_members(reader, table, value, where, 0)
    return read_bare(reader, value, where)


def settle(bare: Bare) -> Instance:
    """Take a bare value as what it looks like: a GeoProperty, or else a Property (4.5.2.3).

    Raises:
        BadRequestData: it is a wrong geometry.
    """
    return settle_value(bare.value, bare.where)


def settle_value(value: Any, where: str) -> Instance:
    """Make an instance of a bare value; see `settle`."""
    if is_geometry(value):
        return {"type": "GeoProperty", "value": check_geometry(value, where)}
    return {"type": "Property", "value": value}


def take_as(bare: Bare, kind: str, lang: str | None) -> Instance:
    """Take a bare value as an instance of a kind, for a merge that keeps the kind (5.6.17.4).

    Args:
        lang: the language of a text that is to become part of a LanguageProperty.

    Raises:
        BadRequestData: the value cannot be of this kind.
    """
    table = TABLES[kind]
    value = bare.value
    if kind == "LanguageProperty" and is_text(value):
        value = {lang or DEFAULT_INSTANCE: value}
    read = table.members[table.value]
    return {"type": kind, table.value: read(bare.reader, value, bare.where) if read else value}


def take_as_members(bare: Bare, present: Mapping[Iri, Any]) -> Instance | None:
    """Take a bare object as members of an instance, if that is what it can only be (5.5.12).

    It is where it names a sub-attribute that the instance has, or gives one with its type;
    otherwise it is a value, and the answer is None.

    Args:
        present: the sub-attributes of the instance that it is to be merged into.

    Raises:
        BadRequestData: one of the members cannot be read.
    """
    reader, document = bare.reader, bare.value
    if type(document) is not dict or not document:
        return None
    typed = any(type(item) is dict and _kind(item) in TABLES for item in document.values())
    if not typed and not (present and any(_is_name_of(reader, key, present) for key in document)):
        return None
    return _read_members(reader, UNTYPED_TABLE, document, bare.where, bare.depth)


def _is_name_of(reader: Reader, key: str, attributes: Mapping[Iri, Any]) -> bool:
    try:
        return name_error(key) is None and reader.expand(key) in attributes
    except BadRequestData:  # a keyword such as `id`, which has no IRI
        return False


def dataset_key(dataset_id: Any, where: str) -> str:
    """Check a datasetId; that of the default instance is `@none`.

    Raises:
        BadRequestData: it is no URI.
    """
    if dataset_id == DEFAULT_INSTANCE:
        return DEFAULT_INSTANCE
    if dataset_id == NGSI_LD_NULL:
        raise BadRequestData(f"{where}.datasetId: a datasetId cannot be deleted")
    return check_uri(dataset_id, f"{where}.datasetId")


def _read_array(
    reader: Reader, iri: Iri, documents: list[Any], where: str, depth: int
) -> Instances:
    _check_count(documents, where)
    instances: Instances = {}
    for place, document in enumerate(documents):
        path = f"{where}[{place}]"
        if type(document) is not dict:
            raise BadRequestData(f"{path}: expected an attribute instance, got {document!r:.80}")
        key = dataset_key(document.get("datasetId", DEFAULT_INSTANCE), path)
        if key in instances:
            instance = "the default instance" if key == DEFAULT_INSTANCE else f"datasetId {key}"
            raise BadRequestData(f"{path}: {instance} is there twice")
        instances[key] = read_instance(reader, iri, document, path, depth)
    return instances


def _check_count(instances: Sized, where: str) -> None:
    if len(instances) > vocabulary.MAX_INSTANCES:
        raise BadRequestData(f"{where}: more than {vocabulary.MAX_INSTANCES} instances")


def are_instances(items: list[Any]) -> bool:
    """Tell the instances of an attribute from an array that is a bare value."""
    objects = [item for item in items if type(item) is dict]
    if any("datasetId" in item or _kind(item) in TABLES for item in objects):
        return True
    return 0 < len(items) == len(objects) and all(
        any(member in item for member in vocabulary.VALUE_KINDS) for item in objects
    )


def _kind(document: Mapping[str, Any]) -> str | None:
    kind = document.get("type")
    return kind if isinstance(kind, str) else None


def read_instance(
    reader: Reader, iri: Iri, document: dict[str, Any], where: str, depth: int = 0
) -> Instance | Bare | None:
    """Read one instance of an attribute; None deletes it.

    Raises:
        BadRequestData: see `read_attribute`.
    """
    kind = document.get("type")
    table = TABLES.get(kind) if type(kind) is str else None
    if table is None:
        if is_geometry(document):
            return {"type": "GeoProperty", "value": check_geometry(document, where)}
        table = _infer(reader, document, where)
        if table is None:
            if "datasetId" not in document and (
                reader.whole or not vocabulary.INSTANCE_MEMBERS & document.keys()
            ):
                return read_bare(reader, document, where, depth)
            table = UNTYPED_TABLE
    if iri == _PROOF_IRI:
        table = _proof_table(table, where)
    return _read_members(reader, table, document, where, depth)


def _proof_table(table: Table, where: str) -> Table:
    if table.kind not in ("Property", ""):
        raise BadRequestData(f"{where}.type: expected Property, got {table.kind}")
    return PROOF_TABLE


def _infer(reader: Reader, document: dict[str, Any], where: str) -> Table | None:
    """Find the kind of an instance by its `type` or the value it has; None if it has neither."""
    if "@context" in document:
        raise BadRequestData(f"{where}.@context: an @context stands at the top of a document only")
    named = document.get("type", document.get("@type"))
    if named is not None and "@value" not in document:
        return _named(reader, named, f"{where}.type")
    for member, kind in vocabulary.VALUE_KINDS.items():
        if member in document:
            if member == "value" and is_geometry(document["value"]):
                return TABLES["GeoProperty"]
            return TABLES[kind]
    return None


def _named(reader: Reader, name: Any, where: str) -> Table:
    if isinstance(name, str):
        table = TABLES.get(name) or _TABLE_BY_IRI.get(reader.term(name, where))
        if table is not None:
            return table
    raise BadRequestData(f"{where}: expected one of {', '.join(TABLES)}, got {name!r:.80}")


def _read_members(
    reader: Reader, table: Table, document: dict[str, Any], where: str, depth: int
) -> Instance | None:
    kind, value, members, _ = table
    instance: Instance = {"type": kind} if kind else {}
    for member, item in document.items():
        read = members.get(member)
        if read:
            instance[member] = read(reader, item, where)
        elif read is None:
            _read_sub_attribute(reader, instance, member, item, where, depth + 1)
    if instance.get(value) is None:
        if value in instance:
            return None
        if reader.whole:
            raise BadRequestData(f"{where}: expected the value of the {kind}, there is none")
    return instance


def _read_sub_attribute(
    reader: Reader, instance: Instance, name: str, value: Any, where: str, depth: int
) -> None:
    path = f"{where}.{name}"
    if depth > vocabulary.MAX_ATTRIBUTE_DEPTH:
        raise BadRequestData(
            f"{path:.200}: nested deeper than {vocabulary.MAX_ATTRIBUTE_DEPTH} attributes"
        )
    iri = reader.name(name, where)
    if iri in _SUB_RESERVED_IRIS:
        raise BadRequestData(f"{path}: is a term of the core model and no attribute name")
    attributes: dict[str, Instances] = instance.setdefault("attributes", {})
    if iri in attributes:
        raise BadRequestData(f"{path}: attribute {iri} is there twice")
    attributes[iri] = read_attribute(reader, iri, value, path, depth)
    if len(attributes) > vocabulary.MAX_ATTRIBUTES:
        raise BadRequestData(f"{where}: more than {vocabulary.MAX_ATTRIBUTES} sub-attributes")


_WRAPPED: Final = MappingProxyType(
    {kind.simplified: TABLES[kind.name] for kind in vocabulary.KINDS.values() if kind.simplified}
)
