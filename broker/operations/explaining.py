"""Explain what a subscription is and is not notified of (an extension of the standard)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import unquote

from msgspec import UNSET

from broker.core.errors import NgsiLdError
from broker.core.identifiers import ExpandedEntity, Iri, Tenant
from broker.core.ld_context import LdContext
from broker.core.query import evaluate, q
from broker.core.query.entity_query import EntityQuery
from broker.core.subscription_documents import selected_types
from broker.core.timestamps import format_timestamp
from broker.operations.broker import Broker
from broker.operations.subscriptions import contexts_of, entry_of, served
from broker.store.interface import Standing
from broker.subscriptions.candidates import Candidate
from broker.subscriptions.compiled import CompiledSubscription
from broker.subscriptions.explanation import (
    Explained,
    explain_change,
    explain_entity,
    state_obstacle,
)
from broker.subscriptions.period import next_moment
from broker.subscriptions.registry import Entry

_MOST_LINKED: Final = 200
"""Linked entities that are read for one explanation."""


async def explain_subscription(
    broker: Broker,
    tenant: Tenant,
    subscription_id: Iri,
    ld_context: LdContext,
    *,
    entity_id: Iri | None = None,
) -> dict[str, Any]:
    """Tell which of the last changes were notified and which condition stopped the others.

    Of one that tells at intervals it says when, and of how many entities.

    Args:
        entity_id: only changes of this entity, and whether an update of it would be notified now.

    Raises:
        ResourceNotFound: there is no such subscription.
    """
    entry = await entry_of(broker, tenant, subscription_id)
    compiled = entry.compiled
    status = "isolated" if entry.problem else entry.subscription.status(broker.clock())
    answer: dict[str, Any] = {"id": subscription_id, "type": "SubscriptionExplanation"}
    answer["status"] = status
    if entry.problem:
        answer["problem"] = entry.problem
    if compiled is not None:
        shown = served(broker, entry, ld_context, sys_attrs=False)
        answer |= await _matched(broker, entry, compiled, shown, entity_id)
    changes = [change for change in answer.get("changes", ()) if change["notified"]]
    ids = [change["notificationId"] for change in changes]
    standing = await broker.outbox.standing(tenant, subscription_id, ids)
    for change in changes:
        change["delivery"] = standing.places.get(change["notificationId"], "settled")
    return answer | {"delivery": _delivery(broker, entry, standing)}


async def _matched(
    broker: Broker,
    entry: Entry,
    compiled: CompiledSubscription,
    shown: Mapping[str, Any],
    entity_id: Iri | None,
) -> dict[str, Any]:
    """Tell what became of the last changes or what is due at the interval, and of an entity."""
    found = broker.matcher.candidates(entry.tenant, compiled)
    candidates = [one for one in found if entity_id in (None, one.event.entity_id)]
    stored = None if entity_id is None else await broker.entities.get(entry.tenant, entity_id)
    present = [] if stored is None else [stored.entity]
    explained = Explained(
        entry.subscription,
        shown,
        compiled,
        await _looked_at(broker, entry),
        await _linked(broker, entry.tenant, compiled, [*map(_entity, candidates), *present]),
    )
    told: dict[str, Any] = {}
    if compiled.periodic is None:
        told["changes"] = [explain_change(explained, one) for one in candidates]
    else:
        told["period"] = await _period(broker, entry, explained, compiled.periodic)
    if entity_id is not None:
        told["entity"] = _present(broker, entity_id, present, explained)
    return told


def _present(
    broker: Broker, entity_id: Iri, present: Sequence[ExpandedEntity], explained: Explained
) -> dict[str, Any]:
    if not present:
        return {"id": entity_id, "wouldBeNotified": False, "stoppedBy": "there is no such entity"}
    return explain_entity(explained, present[0], broker.clock().timestamp())


async def _period(
    broker: Broker, entry: Entry, explained: Explained, periodic: EntityQuery
) -> dict[str, Any]:
    """Tell when a subscription tells of its entities, and of how many it would now."""
    now = broker.clock()
    interval = explained.subscription.time_interval
    matching = await broker.entities.count(entry.tenant, periodic)
    told: dict[str, Any] = {"timeInterval": interval, "matching": matching}
    if entry.delivery.last_period is not None:
        told["last"] = entry.delivery.last_period
    if interval is not UNSET:
        moment = next_moment(entry.subscription, interval, entry.delivery.last_period)
        told["next"] = _moment(moment - now.timestamp(), now)
    stopped_by = state_obstacle(explained, now.timestamp())
    if stopped_by is None and not matching:
        stopped_by = "no entity matches"
    return told if stopped_by is None else told | {"stoppedBy": stopped_by}


def _entity(candidate: Candidate) -> ExpandedEntity:
    event = candidate.event
    entity = event.after if event.after is not None else event.before
    if entity is None:
        raise ValueError(f"a change of {event.entity_id} from nothing to nothing")
    return entity


async def _linked(
    broker: Broker,
    tenant: Tenant,
    compiled: CompiledSubscription,
    entities: Sequence[ExpandedEntity],
) -> dict[Iri, ExpandedEntity | None]:
    """Read the linked entities that `q` asks for, as they are now: it is asked until it knows."""
    known: dict[Iri, ExpandedEntity | None] = {}
    while compiled.linked is not None and len(known) < _MOST_LINKED:
        missing: dict[Iri, None] = {}

        def read(target: Iri, missing: dict[Iri, None] = missing) -> ExpandedEntity | None:
            if target not in known:
                missing[target] = None
            return known.get(target)

        for entity in entities:
            evaluate.matches(compiled.linked, entity, linked=read)
        if not missing:
            break
        for target in list(missing)[: _MOST_LINKED - len(known)]:
            stored = await broker.entities.get(tenant, target)
            known[target] = None if stored is None else stored.entity
    return known


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
        found["linked"] = q.linked_attributes(parsed)
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
    moments = {"throttledUntil": entry.not_before, "heldUntil": entry.held_until}
    if lane is not None:
        until = lane.breaker.open_until
        if until is not None:
            told["circuit"] = "open" if until > loop_now else "halfOpen"
        moments["circuitOpenUntil"] = until or 0.0
        attempt = lane.next_attempt(entry.tenant, entry.id, loop_now)
        if attempt is not None:
            attempt = max(attempt, entry.not_before, entry.held_until)
            told["nextAttempt"] = _moment(attempt - loop_now, now)
    for name, moment in moments.items():
        if moment > loop_now:
            told[name] = _moment(moment - loop_now, now)
    if entry.delivery.letters_dropped:
        told["deadLettersDropped"] = entry.delivery.letters_dropped
    if entry.last_error is not None:
        told["lastError"] = entry.last_error
    return told


def _moment(seconds: float, now: datetime) -> str:
    return format_timestamp(now + timedelta(seconds=max(seconds, 0.0)))
