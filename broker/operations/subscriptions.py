"""Operations on subscriptions, and their return after a restart (clauses 5.8.1 to 5.8.5)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from math import inf
from typing import Any, Final

import msgspec
from msgspec import UNSET

from broker.core import subscription_documents as documents
from broker.core.errors import (
    AlreadyExists,
    BadRequestData,
    LdContextNotAvailable,
    NgsiLdError,
    NonexistentTenant,
    OperationNotSupported,
    ResourceNotFound,
)
from broker.core.identifiers import Iri, Tenant
from broker.core.kafka import KAFKA
from broker.core.ld_context import LdContext
from broker.core.subscription import Subscription
from broker.operations.broker import Broker
from broker.store.interface import Matcher
from broker.subscriptions.compiled import CompiledSubscription, Contexts, compile_subscription
from broker.subscriptions.endpoints import kafka
from broker.subscriptions.endpoints.target import target_of
from broker.subscriptions.registry import DeliveryRecord, Entry

_log = logging.getLogger(__name__)
_PATIENCE_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class SubscriptionPage:
    """A part of the list of subscriptions.

    Attributes:
        count: how many there are in all.
    """

    subscriptions: list[dict[str, Any]]
    count: int


async def create_subscription(
    broker: Broker, tenant: Tenant, document: object, ld_context: LdContext
) -> Iri:
    """Create a subscription and return its id (clause 5.8.1).

    Raises:
        BadRequestData: the document is no subscription; the detail names the member.
        OperationNotSupported: it asks for what is not offered here.
        AlreadyExists: there is one of this id.
        LdContextNotAvailable: its `jsonldContext` could not be had.
    """
    subscription = documents.parse(document, ld_context, broker.clock())
    subscription, compiled = await _prepare(broker, tenant, subscription)
    subscription_id = Iri(subscription.id)
    if broker.registry.get(tenant, subscription_id) is not None:
        raise AlreadyExists(f"subscription {subscription_id} exists")
    # Known before it is written: the next write in the same transaction may already match it.
    entry = Entry(tenant, subscription, target_of(tenant, subscription), durable=False)
    entry.compiled = compiled
    broker.registry.add(entry)
    try:
        await broker.subscriptions.put_subscription(
            tenant, subscription_id, documents.stored(subscription), compiled, creates=True
        )
    except NgsiLdError:
        broker.registry.remove(entry)
        raise
    finally:
        entry.durable = True
    return subscription_id


async def update_subscription(
    broker: Broker, tenant: Tenant, subscription_id: Iri, fragment: object, ld_context: LdContext
) -> None:
    """Replace members of a subscription or remove them (clause 5.8.2).

    Raises:
        ResourceNotFound: there is none of this id.
        BadRequestData: the result would be no subscription; the detail names the member.
        OperationNotSupported: it would ask for what is not offered here.
        LdContextNotAvailable: one of its @contexts could not be had.
    """
    entry = await entry_of(broker, tenant, subscription_id)
    async with entry.lock:
        changed = documents.update(entry.subscription, fragment, ld_context, broker.clock())
        changed, compiled = await _prepare(broker, tenant, changed)
        await broker.subscriptions.put_subscription(
            tenant, subscription_id, documents.stored(changed), compiled, creates=False
        )
        entry.problem, entry.compiled = None, compiled
        broker.registry.change(entry, changed, target_of(tenant, changed))


async def retrieve_subscription(
    broker: Broker,
    tenant: Tenant,
    subscription_id: Iri,
    ld_context: LdContext,
    *,
    sys_attrs: bool = False,
) -> dict[str, Any]:
    """Return a subscription as it is served (clause 5.8.3).

    Raises:
        ResourceNotFound: there is none of this id.
    """
    entry = await entry_of(broker, tenant, subscription_id)
    return served(broker, entry, ld_context, sys_attrs=sys_attrs)


async def query_subscriptions(
    broker: Broker,
    tenant: Tenant,
    ld_context: LdContext,
    *,
    limit: int,
    offset: int = 0,
    sys_attrs: bool = False,
) -> SubscriptionPage:
    """Return a page of the subscriptions in the order of their creation (clause 5.8.4)."""
    await _check_tenant(broker, tenant)
    entries = broker.registry.served(tenant)
    page = [
        served(broker, entry, ld_context, sys_attrs=sys_attrs)
        for entry in entries[offset : offset + limit]
    ]
    return SubscriptionPage(page, len(entries))


async def delete_subscription(broker: Broker, tenant: Tenant, subscription_id: Iri) -> None:
    """Delete a subscription and what waits for delivery (clause 5.8.5).

    Raises:
        ResourceNotFound: there is none of this id.
    """
    if (tenant, subscription_id) in broker.registry.unreadable:
        await broker.subscriptions.delete_subscription(tenant, subscription_id)
        del broker.registry.unreadable[tenant, subscription_id]
        return
    entry = await entry_of(broker, tenant, subscription_id)
    async with entry.lock:
        if not await broker.subscriptions.delete_subscription(tenant, subscription_id):
            raise unknown(subscription_id)
        broker.registry.remove(entry)
        broker.streams.close(tenant, subscription_id, "the subscription was deleted")


@asynccontextmanager
async def load(
    broker: Broker, matcher: Matcher, *, repair_every: float = 10.0
) -> AsyncIterator[None]:
    """Bring the stored subscriptions back, and go on trying with those that cannot be matched yet.

    What cannot be read, or needs an @context that cannot be had, is isolated and reported; it does
    not hold up the start.

    Args:
        matcher: the store's; nothing may be written before this is entered.
        repair_every: seconds between two tries with what is isolated.
    """
    attempts = _Attempts(_PATIENCE_SECONDS)
    for tenant, subscription_id, document in await broker.subscriptions.subscriptions():
        entry = _restored(broker, tenant, subscription_id, document)
        if entry is None:
            continue
        broker.registry.add(entry)
        compiled = await _compiled(broker, entry, attempts)
        if compiled is not None:
            matcher.put(tenant, subscription_id, compiled)
    async with asyncio.TaskGroup() as group:
        repairs = group.create_task(_repair(broker, repair_every), name="subscriptions-repair")
        try:
            yield
        finally:
            repairs.cancel()


async def _repair(broker: Broker, pause: float) -> None:
    """Try again and again to match what was isolated."""
    while True:
        attempts = _Attempts(inf)
        for entry in broker.registry.isolated():
            async with entry.lock:
                compiled = await _compiled(broker, entry, attempts)
                if compiled is not None:
                    await _rewrite(broker, entry, compiled)
        await asyncio.sleep(pause)


async def _rewrite(broker: Broker, entry: Entry, compiled: CompiledSubscription) -> None:
    """Give a subscription to the matcher by the way that keeps the order of writes."""
    try:
        await broker.subscriptions.put_subscription(
            entry.tenant,
            entry.id,
            documents.stored(entry.subscription),
            compiled,
            creates=False,
        )
    except NgsiLdError as error:
        entry.problem = error.detail
    else:
        _log.info("subscription %s is matched again", entry.id)


def _restored(
    broker: Broker, tenant: Tenant, subscription_id: Iri, document: dict[str, Any]
) -> Entry | None:
    try:
        subscription, delivery = documents.restore(document)
    except NgsiLdError as error:
        broker.registry.unreadable[tenant, subscription_id] = error.detail
        _log.error("subscription %s cannot be read: %s", subscription_id, error.detail)
        return None
    target = target_of(tenant, subscription)
    return Entry(tenant, subscription, target, DeliveryRecord.of(delivery))


@dataclass(slots=True)
class _Attempts:
    """What is known of @contexts while many subscriptions are compiled one after the other.

    Attributes:
        patience: seconds that may still be spent on @contexts that cannot be had.
    """

    patience: float
    available: set[bytes] = field(default_factory=set)
    failed: set[bytes] = field(default_factory=set)

    def are_in_vain(self, key: bytes) -> bool:
        """Tell whether an @context cannot be had, or nobody waits for it now."""
        return key in self.failed or (self.patience <= 0 and key not in self.available)


async def _compiled(
    broker: Broker, entry: Entry, attempts: _Attempts
) -> CompiledSubscription | None:
    """Compile a stored subscription, or note why it cannot be."""
    subscription = entry.subscription
    sources = (subscription.ld_context, subscription.q_context, subscription.jsonld_context)
    key = msgspec.json.encode([source for source in sources if source is not UNSET])
    if attempts.are_in_vain(key):
        entry.problem = entry.problem or "its @context is not available"
        return None
    started = asyncio.get_running_loop().time()
    try:
        contexts = await contexts_of(broker, entry.tenant, subscription)
        compiled = compile_subscription(subscription, contexts)
    except NgsiLdError as error:
        if isinstance(error, LdContextNotAvailable):
            attempts.failed.add(key)
            attempts.patience -= asyncio.get_running_loop().time() - started
        if entry.problem != error.detail:
            _log.warning("subscription %s is not matched: %s", entry.id, error.detail)
        entry.problem = error.detail
        return None
    attempts.available.add(key)
    entry.problem, entry.compiled = None, compiled
    return compiled


async def _prepare(
    broker: Broker, tenant: Tenant, subscription: Subscription
) -> tuple[Subscription, CompiledSubscription]:
    """Check all that has to be asked for: the endpoint's address, @contexts, query languages."""
    uri = subscription.notification.endpoint.uri
    if uri.startswith(f"{KAFKA}:") and not kafka.is_available():
        raise OperationNotSupported(f"notification.endpoint.uri: {kafka.MISSING}")
    reason = broker.egress.check(uri)
    if reason is not None:
        raise BadRequestData(f"notification.endpoint.uri: {uri!r:.200} may not be called: {reason}")
    contexts = await contexts_of(broker, tenant, subscription)
    compiled = compile_subscription(subscription, contexts)
    link = await broker.contexts.link(contexts.notified, tenant)
    return msgspec.structs.replace(subscription, context_link=link), compiled


async def contexts_of(broker: Broker, tenant: Tenant, subscription: Subscription) -> Contexts:
    """Resolve the @contexts of a subscription.

    Raises:
        LdContextNotAvailable: one could not be had.
    """
    resolve = broker.contexts.resolve
    names = await resolve(subscription.ld_context, tenant)
    q, notified = subscription.q_context, subscription.jsonld_context
    return Contexts(
        names=names,
        q=names if q is UNSET else await resolve(q, tenant),
        notified=names if notified is UNSET else await resolve(notified, tenant),
    )


async def entry_of(broker: Broker, tenant: Tenant, subscription_id: Iri) -> Entry:
    """Return a subscription that clients may see.

    Raises:
        ResourceNotFound: there is none of this id.
        NonexistentTenant: the tenant is not there.
    """
    await _check_tenant(broker, tenant)
    entry = broker.registry.get(tenant, subscription_id)
    if entry is None or not entry.durable:
        raise unknown(subscription_id)
    return entry


async def _check_tenant(broker: Broker, tenant: Tenant) -> None:
    if tenant not in await broker.entities.tenants():
        raise NonexistentTenant(f"tenant {tenant!r} does not exist; a create makes it")


def unknown(subscription_id: Iri) -> ResourceNotFound:
    """Return the error that there is no such subscription."""
    return ResourceNotFound(f"there is no subscription {subscription_id}")


def served(
    broker: Broker, entry: Entry, ld_context: LdContext, *, sys_attrs: bool
) -> dict[str, Any]:
    """Return a subscription as a client sees it."""
    return documents.render(
        entry.subscription,
        entry.delivery.members(),
        ld_context,
        broker.clock(),
        sys_attrs=sys_attrs,
    )
