"""Which types and attributes the entities have (clauses 5.7.5–5.7.10)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from broker.core.errors import ResourceNotFound
from broker.core.identifiers import Iri, Tenant, check_name, new_id
from broker.core.ld_context import LdContext
from broker.operations.broker import Broker
from broker.store.interface import AttributeUse

Document = dict[str, Any]


async def entity_types(
    broker: Broker, tenant: Tenant, ld_context: LdContext, *, details: bool
) -> Document | list[Document]:
    """List the types there are entities of (clauses 5.7.5, 5.7.6)."""
    uses = await broker.entities.types(tenant)
    if not details:
        names = _names((use.type for use in uses), ld_context.compact)
        return {"id": new_id("EntityTypeList"), "type": "EntityTypeList", "typeList": names}
    return [
        {
            "id": use.type,
            "type": "EntityType",
            "typeName": ld_context.compact(use.type),
            "attributeNames": _names(use.attributes, ld_context.for_types((use.type,)).compact),
        }
        for use in uses
    ]


async def entity_type(broker: Broker, tenant: Tenant, name: str, ld_context: LdContext) -> Document:
    """Describe a type by its name or IRI (clause 5.7.7).

    Raises:
        ResourceNotFound: there is no entity of this type.
    """
    iri = ld_context.expand(check_name(name, "type"))
    use = next((use for use in await broker.entities.types(tenant) if use.type == iri), None)
    if use is None:
        raise ResourceNotFound(f"there is no entity of type {iri}")
    compact = ld_context.for_types((iri,)).compact
    return {
        "id": iri,
        "type": "EntityTypeInfo",
        "typeName": ld_context.compact(iri),
        "entityCount": use.count,
        "attributeDetails": [
            {
                "id": attribute,
                "type": "Attribute",
                "attributeName": compact(attribute),
                "attributeTypes": sorted(kinds),
            }
            for attribute, kinds in sorted(use.attributes.items())
        ],
    }


async def attributes(
    broker: Broker, tenant: Tenant, ld_context: LdContext, *, details: bool
) -> Document | list[Document]:
    """List the attributes that entities have (clauses 5.7.8, 5.7.9)."""
    uses = await broker.entities.attributes(tenant)
    if not details:
        names = _names((use.attribute for use in uses), ld_context.compact)
        return {"id": new_id("AttributeList"), "type": "AttributeList", "attributeList": names}
    return [
        {
            "id": use.attribute,
            "type": "Attribute",
            "attributeName": ld_context.compact(use.attribute),
            "typeNames": _names(use.types, ld_context.compact),
        }
        for use in uses
    ]


async def attribute(broker: Broker, tenant: Tenant, name: str, ld_context: LdContext) -> Document:
    """Describe an attribute by its name or IRI (clause 5.7.10).

    Raises:
        ResourceNotFound: no entity has this attribute.
    """
    iri = ld_context.expand(check_name(name, "attrId"))
    uses: list[AttributeUse] = await broker.entities.attributes(tenant)
    use = next((use for use in uses if use.attribute == iri), None)
    if use is None:
        raise ResourceNotFound(f"no entity has an attribute {iri}")
    return {
        "id": iri,
        "type": "Attribute",
        "attributeName": ld_context.compact(iri),
        "attributeCount": use.count,
        "attributeTypes": sorted(use.kinds),
        "typeNames": _names(use.types, ld_context.compact),
    }


def _names(iris: Iterable[Iri], compact: Callable[[str], str]) -> list[str]:
    return sorted(compact(iri) for iri in iris)
