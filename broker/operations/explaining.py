"""Explain what a subscription is and is not notified of (an extension of the standard)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import unquote

from msgspec import UNSET

from broker.core.errors import NgsiLdError
from broker.core.identifiers import Iri, Tenant
from broker.core.ld_context import LdContext
from broker.core.query import q
from broker.core.subscription_documents import selected_types
from broker.core.timestamps import format_timestamp
from broker.operations.broker import Broker
from broker.operations.subscriptions import contexts_of, entry_of, served
from broker.store.interface import Standing
from broker.subscriptions.candidates import Candidate
from broker.subscriptions.explanation import Explained, explain_change, explain_entity
from broker.subscriptions.registry import Entry


async def explain_subscription(
    broker: Broker,
    tenant: Tenant,
    subscription_id: Iri,
    ld_context: LdContext,
    *,
    entity_id: Iri | None = None,
) -> dict[str, Any]:
    """Tell which of the last changes were notified and which condition stopped the others.

    Args:
        entity_id: only changes of this entity, and whether an update of it would be notified now.

    Raises:
        ResourceNotFound: there is no such subscription.
    """
    entry = await entry_of(broker, tenant, subscription_id)
    compiled = broker.matcher.compiled(tenant, subscription_id)
    status = "isolated" if entry.problem else entry.subscription.status(broker.clock())
    answer: dict[str, Any] = {"id": subscription_id, "type": "SubscriptionExplanation"}
    answer["status"] = status
    if entry.problem:
        answer["problem"] = entry.problem
    candidates: list[Candidate] = []
    if compiled is not None:
        shown = served(broker, entry, ld_context, sys_attrs=False)
        looked_at = await _looked_at(broker, entry)
        explained = Explained(entry.subscription, shown, compiled, looked_at)
        found = broker.matcher.candidates(tenant, compiled)
        candidates = [one for one in found if entity_id in (None, one.event.entity_id)]
        answer["changes"] = [explain_change(explained, one) for one in candidates]
        if entity_id is not None:
            answer["entity"] = await _present(broker, tenant, entity_id, explained)
    ids = [one.notification for one in candidates if one.notification is not None]
    standing = await broker.outbox.standing(tenant, subscription_id, ids)
    for change in answer.get("changes", ()):
        if change["notified"]:
            change["delivery"] = standing.places.get(change["notificationId"], "settled")
    return answer | {"delivery": _delivery(broker, entry, standing)}


async def _present(
    broker: Broker, tenant: Tenant, entity_id: Iri, explained: Explained
) -> dict[str, Any]:
    stored = await broker.entities.get(tenant, entity_id)
    if stored is None:
        return {"id": entity_id, "wouldBeNotified": False, "stoppedBy": "there is no such entity"}
    return explain_entity(explained, stored.entity, broker.clock().timestamp())


async def _looked_at(broker: Broker, entry: Entry) -> Mapping[str, frozenset[Iri]]:
    """Return the attributes that the conditions of a subscription are about."""
    subscription = entry.subscription
    try:
        contexts = await contexts_of(broker, entry.tenant, subscription)
    except NgsiLdError:
        return {}
    found = {}
    types = selected_types(subscription)
    if subscription.q is not UNSET:
        parsed = q.parse(unquote(subscription.q), contexts.q.for_types(types).expand)
        found["q"] = q.attributes(parsed)
    if subscription.geo_q is not UNSET:
        name = subscription.geo_q.geoproperty
        expand = contexts.names.for_types(types).expand
        found["geoQ"] = frozenset({expand("location" if name is UNSET else name)})
    return found


def _delivery(broker: Broker, entry: Entry, standing: Standing) -> dict[str, Any]:
    """Tell how the notifications of a subscription get on."""
    lane = broker.notifier.lane(entry)
    loop_now, now = asyncio.get_running_loop().time(), broker.clock()
    told: dict[str, Any] = {
        "endpoint": entry.target.lane,
        "waiting": standing.waiting,
        "deadLetters": standing.dead,
        "circuit": "closed",
        **entry.delivery.members(),
    }
    moments = {"throttledUntil": entry.not_before}
    if lane is not None:
        until = lane.breaker.open_until
        if until is not None:
            told["circuit"] = "open" if until > loop_now else "halfOpen"
        moments["circuitOpenUntil"] = until or 0.0
        moments["heldUntil"] = lane.held_until
        attempt = lane.next_attempt(entry.tenant, entry.id, loop_now)
        if attempt is not None:
            told["nextAttempt"] = _moment(max(attempt, entry.not_before) - loop_now, now)
    for name, moment in moments.items():
        if moment > loop_now:
            told[name] = _moment(moment - loop_now, now)
    if entry.last_error is not None:
        told["lastError"] = entry.last_error
    return told


def _moment(seconds: float, now: datetime) -> str:
    return format_timestamp(now + timedelta(seconds=max(seconds, 0.0)))
