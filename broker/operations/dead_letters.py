"""Notifications that were given up: listed, replayed, purged; and a test (all extensions)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from msgspec import Raw

from broker.core.errors import ResourceNotFound
from broker.core.events import EntityChanged
from broker.core.identifiers import ExpandedEntity, Iri, Tenant
from broker.core.notification import entity_data, envelope
from broker.core.query.entity_query import EntityQuery, EntitySelector
from broker.core.query.nodes import TypeIs
from broker.core.subscription_documents import selected_types
from broker.operations.broker import Broker
from broker.operations.subscriptions import contexts_of, entry_of, unknown
from broker.subscriptions.compiled import compile_subscription


@dataclass(frozen=True, slots=True)
class DeadLetterPage:
    """A part of the dead letters of a subscription; `count` is how many there are in all."""

    letters: list[dict[str, Any]]
    count: int


async def list_dead_letters(
    broker: Broker, tenant: Tenant, subscription_id: Iri, *, limit: int, offset: int = 0
) -> DeadLetterPage:
    """Return a page of what was given up, newest first, also of a subscription that is gone.

    Raises:
        ResourceNotFound: there is neither such a subscription nor a dead letter of it.
    """
    standing = await broker.outbox.standing(tenant, subscription_id)
    if not standing.dead:
        await entry_of(broker, tenant, subscription_id)
    letters = await broker.outbox.dead_letters(tenant, subscription_id, limit=limit, offset=offset)
    return DeadLetterPage(letters, standing.dead)


async def replay_dead_letters(
    broker: Broker, tenant: Tenant, subscription_id: Iri, ids: Sequence[Iri] | None = None
) -> list[Iri]:
    """Have dead letters delivered after all, with the ids they had; return those.

    They go to where the subscription sends now, behind what waits, oldest first.

    Raises:
        ResourceNotFound: there is no such subscription, or none of the letters named.
    """
    await entry_of(broker, tenant, subscription_id)
    replayed = await broker.outbox.replay(tenant, subscription_id, ids)
    if ids and not replayed:
        raise ResourceNotFound(f"none of the {len(ids)} ids is a dead letter of {subscription_id}")
    return replayed


async def purge_dead_letters(broker: Broker, tenant: Tenant, subscription_id: Iri) -> int:
    """Delete the dead letters of a subscription, which may be gone, and return how many.

    Raises:
        ResourceNotFound: there is neither such a subscription nor a dead letter of it.
    """
    purged = await broker.outbox.purge(tenant, subscription_id)
    if not purged and broker.registry.get(tenant, subscription_id) is None:
        raise unknown(subscription_id)
    return purged


async def test_subscription(broker: Broker, tenant: Tenant, subscription_id: Iri) -> dict[str, Any]:
    """Send the receiver of a subscription a sample, once, and return what it said.

    The sample shows an entity that the selectors choose, or a made-up one; it is not counted, and
    neither throttling nor the circuit breaker holds it back.

    Raises:
        ResourceNotFound: there is no such subscription.
        LdContextNotAvailable: one of its @contexts could not be had.
    """
    entry = await entry_of(broker, tenant, subscription_id)
    contexts = await contexts_of(broker, tenant, entry.subscription)
    form = compile_subscription(entry.subscription, contexts).form
    now = broker.now()
    entity = await _sample(broker, tenant, selected_types(entry.subscription), now)
    event = EntityChanged(tenant, entity["id"], None, entity, now, 1)
    data = entity_data(event, form, ()) or b"[]"
    notification_id, body = envelope(subscription_id, now, data)
    loop = asyncio.get_running_loop()
    started = loop.time()
    failure = await broker.notifier.send(entry.target, body)
    told = {
        "subscriptionId": subscription_id,
        "endpoint": entry.subscription.notification.endpoint.uri,
        "delivered": failure is None,
        "milliseconds": round((loop.time() - started) * 1000),
        "notificationId": notification_id,
        "notification": Raw(body),
    }
    return told if failure is None else told | {"reason": failure.reason}


async def _sample(broker: Broker, tenant: Tenant, types: Sequence[Iri], now: str) -> ExpandedEntity:
    """Return an entity of one of some types, or make one up."""
    selectors = tuple(EntitySelector(types=TypeIs(name)) for name in types)
    page = await broker.entities.query(tenant, EntityQuery(selectors=selectors), limit=1)
    if page.entities:
        return page.entities[0].entity
    return ExpandedEntity(
        {
            "id": Iri("urn:ngsi-ld:Sample:1"),
            "type": [
                types[0] if types else Iri("https://uri.etsi.org/ngsi-ld/default-context/Sample")
            ],
            "createdAt": now,
            "modifiedAt": now,
            "attributes": {},
        }
    )
