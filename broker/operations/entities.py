"""Operations that write one entity (clauses 5.6.1–5.6.6, 5.6.17–5.6.19)."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from broker.core import entity as documents
from broker.core.errors import BadRequestData, ResourceNotFound
from broker.core.fragments import Applied
from broker.core.identifiers import DEFAULT_INSTANCE, Iri, Tenant
from broker.core.ld_context import LdContext
from broker.operations.broker import Broker
from broker.operations.changes import (
    ANY,
    Narrowing,
    appending,
    creating,
    deleting,
    deleting_attribute,
    existing,
    merging,
    partially_updating,
    replacing,
    replacing_attribute,
    updating,
)

Document = dict[str, Any]
WriteAttribute = Callable[
    [Broker, Tenant, Iri, Iri, Any, LdContext, Narrowing], Coroutine[Any, Any, None]
]
"""An operation that writes one attribute of an entity."""


async def create_entity(
    broker: Broker, tenant: Tenant, document: Document, ld_context: LdContext
) -> Iri:
    """Create an entity and return its id (clause 5.6.1).

    Raises:
        AlreadyExists: the tenant has an entity with this id.
        BadRequestData: the document is no entity.
    """
    fragment = documents.expand_entity(document, ld_context)
    await broker.entities.update(
        tenant, fragment["id"], creating(fragment, broker.now()), creates=True
    )
    return Iri(fragment["id"])


async def append_attrs(
    broker: Broker,
    tenant: Tenant,
    entity_id: Iri,
    document: Document,
    ld_context: LdContext,
    *,
    overwrite: bool = True,
    narrowing: Narrowing = ANY,
) -> Applied:
    """Append attributes to an entity (clause 5.6.3).

    Raises:
        ResourceNotFound: there is no such entity, or it is not of the types.
    """
    fragment = documents.expand_fragment(document, ld_context, entity_id=entity_id)
    applied: Applied = await broker.entities.update(
        tenant,
        entity_id,
        existing(entity_id, appending(fragment, broker.now(), overwrite=overwrite), narrowing),
        keep_newer=narrowing.keep_newer,
    )
    return applied


async def update_attrs(
    broker: Broker,
    tenant: Tenant,
    entity_id: Iri,
    document: Document,
    ld_context: LdContext,
    *,
    narrowing: Narrowing = ANY,
) -> Applied:
    """Replace the attributes a fragment names, and add those that were missing (clause 5.6.2).

    Raises:
        ResourceNotFound: there is no such entity, or it is not of the types.
    """
    fragment = documents.expand_fragment(document, ld_context, entity_id=entity_id)
    change = updating(fragment, broker.now())
    applied: Applied = await broker.entities.update(
        tenant,
        entity_id,
        existing(entity_id, change, narrowing),
        keep_newer=narrowing.keep_newer,
    )
    return applied


async def partial_attr_update(
    broker: Broker,
    tenant: Tenant,
    entity_id: Iri,
    attribute: Iri,
    document: Any,
    ld_context: LdContext,
    narrowing: Narrowing = ANY,
) -> None:
    """Change members of one attribute (clause 5.6.4).

    Raises:
        ResourceNotFound: there is no such entity, attribute or instance.
    """
    fragment = documents.expand_attribute(document, attribute, ld_context)
    change = partially_updating(fragment, broker.now())
    await broker.entities.update(tenant, entity_id, existing(entity_id, change, narrowing))


async def replace_attr(
    broker: Broker,
    tenant: Tenant,
    entity_id: Iri,
    attribute: Iri,
    document: Any,
    ld_context: LdContext,
    narrowing: Narrowing = ANY,
) -> None:
    """Replace one attribute (clause 5.6.19).

    Raises:
        ResourceNotFound: there is no such entity, attribute or instance.
    """
    fragment = documents.expand_attribute(document, attribute, ld_context)
    change = replacing_attribute(fragment, broker.now())
    await broker.entities.update(tenant, entity_id, existing(entity_id, change, narrowing))


async def delete_attr(
    broker: Broker,
    tenant: Tenant,
    entity_id: Iri,
    attribute: Iri,
    *,
    dataset_id: str | None = None,
    delete_all: bool = False,
    narrowing: Narrowing = ANY,
) -> None:
    """Delete an attribute's default instance, the one of a datasetId, or all (clause 5.6.5).

    With `delete_all` a datasetId says nothing more.
    Of an entity that is history only, the history says from then on that it was deleted.

    Raises:
        ResourceNotFound: there is no such entity, attribute or instance.
    """
    change = deleting_attribute(
        attribute, broker.now(), dataset_id=dataset_id, delete_all=delete_all
    )
    try:
        await broker.entities.update(tenant, entity_id, existing(entity_id, change, narrowing))
    except ResourceNotFound:
        wanted = None if delete_all else dataset_id or DEFAULT_INSTANCE
        if not await broker.temporal.note_deleted(tenant, entity_id, attribute, wanted):
            raise


async def merge_entity(
    broker: Broker,
    tenant: Tenant,
    entity_id: Iri,
    document: Document,
    ld_context: LdContext,
    *,
    observed_at: str | None = None,
    lang: str | None = None,
    simplified: bool = False,
    narrowing: Narrowing = ANY,
) -> None:
    """Merge a fragment into an entity (clause 5.6.17).

    Sub-attributes are merged, not replaced; what is given as `urn:ngsi-ld:null` is removed.

    Args:
        observed_at: put on attributes that had an `observedAt` and come without one.
        lang: the language of plain strings that are merged into a LanguageProperty.
        simplified: the document is in simplified representation.

    Raises:
        ResourceNotFound: there is no such entity.
    """
    fragment = (
        documents.expand_simplified(document, ld_context, entity_id=entity_id, whole=False)
        if simplified
        else documents.expand_fragment(document, ld_context, entity_id=entity_id)
    )
    change = merging(fragment, broker.now(), observed_at=observed_at, lang=lang)
    await broker.entities.update(
        tenant,
        entity_id,
        existing(entity_id, change, narrowing),
        keep_newer=narrowing.keep_newer,
    )


async def replace_entity(
    broker: Broker,
    tenant: Tenant,
    entity_id: Iri,
    document: Document,
    ld_context: LdContext,
    *,
    narrowing: Narrowing = ANY,
) -> None:
    """Replace an entity, all but its `createdAt` (clause 5.6.18).

    Raises:
        ResourceNotFound: there is no such entity.
        BadRequestData: the document is of another id.
    """
    fragment = documents.expand_entity({"id": entity_id, **document}, ld_context)
    if fragment["id"] != entity_id:
        raise BadRequestData(f"id: expected {entity_id}, got {fragment['id']}")
    change = replacing(fragment, broker.now())
    await broker.entities.update(tenant, entity_id, existing(entity_id, change, narrowing))


async def delete_entity(
    broker: Broker, tenant: Tenant, entity_id: Iri, *, narrowing: Narrowing = ANY
) -> None:
    """Delete an entity (clause 5.6.6).

    Raises:
        ResourceNotFound: there is no such entity, or it is not of the types.
    """
    await broker.entities.update(tenant, entity_id, existing(entity_id, deleting, narrowing))
