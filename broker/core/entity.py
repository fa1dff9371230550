"""Check entity documents once and bring them into the broker's own form (clauses 4.5, 5.5.4).

The expanded form is a plain dict with expanded names and normalized attributes, never mutated
after:

    {"id": iri, "type": [iri, …], "scope"?: ["/a/b", …], "expiresAt"?: ts,
     "createdAt": ts, "modifiedAt": ts,
     "attributes": {attribute iri: {dataset_id or "@none": instance, …}, …}}

An instance has its `type`, the value member of that type, other members such as `unitCode` and
`observedAt`, and its sub-attributes under `attributes`, in the same shape as those of an entity.

A `Fragment` has what was sent of this. A member or an instance that is None deletes; an instance
may lack its type and its value, or be a `Bare` value. `nestedNull` says where a null stands inside
a value, if one does; `keepsKinds` is there when the fragment must not change an attribute's type.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from broker.core import vocabulary
from broker.core.attribute import (
    RESERVED_IRIS,
    Bare,
    Instances,
    read_attribute,
    read_fragment,
    read_simplified,
)
from broker.core.errors import BadRequestData
from broker.core.geometry import check_geometry
from broker.core.identifiers import NGSI_LD_NULL, Fragment, Iri, check_uri
from broker.core.ld_context import CORE
from broker.core.reader import Reader, date_time

if TYPE_CHECKING:
    from broker.core.ld_context import LdContext

ReadAttribute = Callable[[Reader, Iri, Any, str], Instances]

_GEO_IRIS: Final = frozenset(map(CORE.expand, vocabulary.GEO_NAMES))
_KNOWN_ALIASES: Final = len(CORE.aliases)


def expand_entity(document: object, ld_context: LdContext) -> Fragment:
    """Expand a whole entity, normalized or concise, for create and replace (clause 5.6.1).

    Raises:
        BadRequestData: the document is no entity, or it contains a null.
    """
    return check_whole(read_document(document, ld_context, read_attribute, whole=True))


def expand_simplified(
    document: object, ld_context: LdContext, *, entity_id: Iri | None = None, whole: bool = True
) -> Fragment:
    """Expand an entity in simplified representation (clause 4.5.4).

    Args:
        whole: as for `expand_entity`; otherwise as for `expand_fragment`.

    Raises:
        BadRequestData: see there.
    """
    fragment = read_document(document, ld_context, _read_simplified, whole=whole)
    check_id(fragment, entity_id)
    if whole:
        return check_whole(fragment)
    fragment["keepsKinds"] = True
    return fragment


def expand_fragment(
    document: object, ld_context: LdContext, *, entity_id: Iri | None = None
) -> Fragment:
    """Expand an entity fragment for append, update and merge; nulls mean deletion (clause 5.5.4).

    Raises:
        BadRequestData: the document is no fragment, or it is of another entity.
    """
    fragment = read_document(document, ld_context, read_attribute, whole=False)
    check_id(fragment, entity_id)
    return fragment


def expand_attribute(document: object, attribute: Iri, ld_context: LdContext) -> Fragment:
    """Expand one attribute, an instance or an array of them, to a fragment with that attribute.

    Raises:
        BadRequestData: it is no attribute fragment, or the name is not that of an attribute.
    """
    where = ld_context.compact(attribute)
    if attribute in RESERVED_IRIS:
        raise BadRequestData(f"{where}: is a term of the core model and no attribute name")
    reader = Reader(ld_context, whole=False)
    instances = read_fragment(reader, attribute, document, where)
    return _fragment(reader, {}, {attribute: instances})


def read_document(
    document: object, ld_context: LdContext, read: ReadAttribute, *, whole: bool
) -> Fragment:
    """Expand an entity document whose attributes are read in one way or another.

    Raises:
        BadRequestData: the document is none.
    """
    if type(document) is not dict:
        raise BadRequestData(f"expected an entity, got {document!r:.80}")
    if len(document) > vocabulary.MAX_ATTRIBUTES:
        raise BadRequestData(f"more than {vocabulary.MAX_ATTRIBUTES} attributes")
    if len(ld_context.aliases) > _KNOWN_ALIASES:
        document = _without_aliases(document, ld_context)
    types = _read_types(document, ld_context)
    reader = Reader(ld_context.for_types(types) if types else ld_context, whole=whole)
    members: dict[str, Any] = {"type": types} if types else {}
    attributes: dict[Iri, Instances] = {}
    for name, value in document.items():
        member = _MEMBERS.get(name)
        if member is not None:
            member(reader, members, name, value)
            continue
        iri = reader.name(name, "entity")
        if iri in attributes or iri in RESERVED_IRIS:
            _refuse(iri, name, attributes)
        attributes[iri] = read(reader, iri, value, name)
    return _fragment(reader, members, attributes)


def _fragment(
    reader: Reader, members: dict[str, Any], attributes: dict[Iri, Instances]
) -> Fragment:
    _check_geo(attributes)
    members["attributes"] = attributes
    if reader.nested_null is not None:
        members["nestedNull"] = reader.nested_null
    return Fragment(members)


def _read_simplified(reader: Reader, iri: Iri, value: Any, where: str) -> Instances:
    del iri
    return read_simplified(reader, value, where)


def check_whole(fragment: Fragment) -> Fragment:
    """Return a fragment that has an id and a type.

    Raises:
        BadRequestData: one of them is missing.
    """
    if "id" not in fragment:
        raise BadRequestData("id: expected a URI, there is none")
    if "type" not in fragment:
        raise BadRequestData("type: expected the name of a type, there is none")
    return fragment


def check_id(fragment: Fragment, entity_id: Iri | None) -> None:
    """Check that a fragment is of an entity.

    Raises:
        BadRequestData: it is of another one.
    """
    if entity_id is not None and fragment.get("id", entity_id) != entity_id:
        raise BadRequestData(f"id: expected {entity_id}, got {fragment['id']}")


def _without_aliases(document: dict[str, Any], ld_context: LdContext) -> dict[str, Any]:
    """Write `id` and `type` for what the @context gives other names (clause 4.4)."""
    names = {"@id": "id", "@type": "type"}
    aliases = {alias: names[keyword] for alias, keyword in ld_context.aliases.items()}
    renamed = {aliases.get(name, name): value for name, value in document.items()}
    if len(renamed) < len(document):
        raise BadRequestData("id, type: there is an id or a type under two names")
    return renamed


def _read_types(document: dict[str, Any], ld_context: LdContext) -> list[Iri] | None:
    value = document.get("type", document.get("@type"))
    if value is None:
        if "type" in document or "@type" in document:
            raise BadRequestData("type: expected the name of a type, got null")
        return None
    reader = Reader(ld_context, whole=True)
    if type(value) is not list:
        return [reader.name(value, "type")]
    if not 0 < len(value) <= vocabulary.MAX_TYPES:
        raise BadRequestData(f"type: expected 1 to {vocabulary.MAX_TYPES} types, got {len(value)}")
    return list(dict.fromkeys(reader.name(name, f"type[{n}]") for n, name in enumerate(value)))


def _refuse(iri: Iri, name: str, attributes: dict[Iri, Instances]) -> None:
    if iri in attributes:
        raise BadRequestData(f"{name}: attribute {iri} is there twice")
    raise BadRequestData(f"{name}: is a term of the core model and no attribute name")


def _check_geo(attributes: Mapping[Iri, Instances]) -> None:
    """Check that `location` and its like are GeoProperties (clause 4.7.1)."""
    for iri in _GEO_IRIS & attributes.keys():
        for instance in attributes[iri].values():
            if isinstance(instance, Bare):
                check_geometry(instance.value, instance.where)
            elif instance is not None and instance.get("type", "GeoProperty") != "GeoProperty":
                name = CORE.compact(iri)
                raise BadRequestData(f"{name}.type: expected GeoProperty, got {instance['type']}")


def _read_id(reader: Reader, members: dict[str, Any], name: str, value: Any) -> None:
    del reader
    if "id" in members:
        raise BadRequestData(f"{name}: the entity has two ids")
    if value == NGSI_LD_NULL:
        raise BadRequestData(f"{name}: {NGSI_LD_NULL} is no id")
    members["id"] = check_uri(value, name)


def _read_scope(reader: Reader, members: dict[str, Any], name: str, value: Any) -> None:
    if value == NGSI_LD_NULL:
        members["scope"] = reader.null(name)
        return
    scopes = value if type(value) is list else [value]
    if not 0 < len(scopes) <= vocabulary.MAX_SCOPES:
        raise BadRequestData(f"scope: expected 1 to {vocabulary.MAX_SCOPES}, got {len(scopes)}")
    members["scope"] = list(dict.fromkeys(vocabulary.check_scope(scope, name) for scope in scopes))


def _read_expires_at(reader: Reader, members: dict[str, Any], name: str, value: Any) -> None:
    members["expiresAt"] = reader.null(name) if value == NGSI_LD_NULL else date_time(value, name)


def _pass_over(reader: Reader, members: dict[str, Any], name: str, value: Any) -> None:
    del reader, members, name, value


def _refuse_member(reader: Reader, members: dict[str, Any], name: str, value: Any) -> None:
    del reader, members, value
    raise BadRequestData(f"{name}: is a term of the core model and no attribute name")


_MEMBERS: Final = MappingProxyType(
    {
        **dict.fromkeys(vocabulary.RESERVED_NAMES, _refuse_member),
        "id": _read_id,
        "@id": _read_id,
        "type": _pass_over,
        "@type": _pass_over,
        "@context": _pass_over,
        "scope": _read_scope,
        "expiresAt": _read_expires_at,
        **dict.fromkeys(vocabulary.READ_ONLY_MEMBERS, _pass_over),
    }
)
"""What is done with the members of an entity that are no attributes (clause 4.5.1)."""
