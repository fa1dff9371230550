"""Storing, listing, serving and deleting @contexts (clause 5.13)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from broker.contexts import Entry
from broker.core.errors import (
    BadRequestData,
    InvalidRequest,
    OperationNotSupported,
    ResourceNotFound,
)
from broker.core.identifiers import Tenant
from broker.core.timestamps import format_timestamp
from broker.operations.broker import Broker


async def create_context(broker: Broker, tenant: Tenant, document: object) -> str:
    """Store an @context and return the path it is served under (clause 5.13.2).

    Raises:
        InvalidRequest: the document is no object with an `@context`.
        BadRequestData: the @context is not valid.
    """
    if not isinstance(document, dict) or "@context" not in document:
        raise InvalidRequest("the body: expected a JSON object with a member @context")
    entry = await broker.contexts.add(tenant, document)
    return entry.path


def list_contexts(
    broker: Broker, tenant: Tenant, *, kind: str | None, details: bool
) -> list[str] | list[Mapping[str, Any]]:
    """Return the URLs of a tenant's @contexts, or what is known of each (clause 5.13.3)."""
    entries = [
        entry for entry in broker.contexts.entries(tenant) if kind is None or entry.kind == kind
    ]
    if details:
        return [_details(broker, entry) for entry in entries]
    return [broker.contexts.url(entry) for entry in entries]


def retrieve_context(broker: Broker, tenant: Tenant, identifier: str) -> bytes:
    """Return a stored document with its `@context` (clause 5.13.4).

    Raises:
        ResourceNotFound: the tenant has no such @context.
        OperationNotSupported: it is a Cached one, which its origin serves.
    """
    entry = _found(broker, tenant, identifier)
    if entry.body is None:
        raise OperationNotSupported(
            f"{identifier:.200}: a Cached @context is served by its origin, not here"
        )
    entry.use(broker.clock())
    return entry.body


def describe_context(broker: Broker, tenant: Tenant, identifier: str) -> Mapping[str, Any]:
    """Return what is known of an @context (clause 5.13.4 with details).

    Looking an entry up is a use of it, counted after what is told here.

    Raises:
        ResourceNotFound: the tenant has no such @context.
    """
    entry = _found(broker, tenant, identifier)
    described = _details(broker, entry)
    entry.use(broker.clock())
    return described


async def delete_context(broker: Broker, tenant: Tenant, identifier: str, *, reload: bool) -> None:
    """Delete an @context, or with `reload` fetch a Cached one again (clause 5.13.5).

    Raises:
        ResourceNotFound: the tenant has no such @context.
        BadRequestData: only Cached ones can be reloaded, and the core @context not deleted.
        LdContextNotAvailable: the reload failed; the @context is as before.
    """
    entry = broker.contexts.entry(tenant, identifier)
    if reload:
        if entry is None or entry.kind != "Cached":
            raise BadRequestData(f"reload: {identifier:.200} is no Cached @context")
        await broker.contexts.reload(entry)
        return
    if entry is None:
        raise _unknown(identifier)
    if broker.contexts.is_core(entry):
        raise BadRequestData("the core @context cannot be deleted")
    await broker.contexts.remove(tenant, entry)


def _found(broker: Broker, tenant: Tenant, identifier: str) -> Entry:
    entry = broker.contexts.entry(tenant, identifier)
    if entry is None:
        raise _unknown(identifier)
    return entry


def _unknown(identifier: str) -> ResourceNotFound:
    return ResourceNotFound(f"there is no @context {identifier!r:.200}")


def _details(broker: Broker, entry: Entry) -> Mapping[str, Any]:
    described: dict[str, Any] = {
        "URL": broker.contexts.url(entry),
        "localId": entry.local_id,
        "kind": entry.kind,
        "createdAt": format_timestamp(entry.created_at),
        "numberOfHits": entry.hits,
    }
    if entry.last_usage is not None:
        described["lastUsage"] = format_timestamp(entry.last_usage)
    document = broker.contexts.document(entry)
    if document is not None:
        if document.newer is not None:
            described["extraInfo"] = {"digest": document.digest, "newerDigest": document.newer}
        if document.expires_at is not None:
            described["expiresAt"] = format_timestamp(document.expires_at)
    return described
