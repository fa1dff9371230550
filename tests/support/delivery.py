"""A store, a matcher and a notifier put together as the server does, without the HTTP API."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from broker.core.identifiers import DEFAULT_TENANT, ExpandedEntity, Iri
from broker.core.ld_context import CORE
from broker.core.subscription import Subscription
from broker.core.subscription_documents import parse, restore, stored, update
from broker.core.timestamps import format_timestamp
from broker.egress import Egress, EgressPolicy
from broker.store.interface import Changed
from broker.store.sqlite.store import SqliteStore, open_store
from broker.subscriptions.compiled import Contexts, compile_subscription
from broker.subscriptions.endpoints.target import target_of
from broker.subscriptions.endpoints.tls import SYSTEM, Trust
from broker.subscriptions.matcher import SubscriptionMatcher
from broker.subscriptions.notifier import Notifier
from broker.subscriptions.policy import DeliveryPolicy
from broker.subscriptions.registry import DeliveryRecord, Entry, SubscriptionRegistry
from tests.support.eventually import PATIENCE, eventually

SPEED = CORE.expand("speed")
ROAD = CORE.expand("Road")
CONTEXTS = Contexts(CORE, CORE, CORE)
QUICK = DeliveryPolicy(
    timeout=PATIENCE, attempts=4, first_wait=0.01, longest_wait=0.05, flush_interval=0.001, drain=5
)
"""A policy under which what takes minutes in a city takes milliseconds.

Only for an answer it waits as long as any test does: one that is slow is no failure.
"""


def now() -> datetime:
    """Return the present moment."""
    return datetime.now(UTC)


def road(number: int) -> Iri:
    """Return the id of a road."""
    return Iri(f"urn:ngsi-ld:Road:{number}")


@dataclass(slots=True)
class Delivering:
    """What a test of delivery works with."""

    store: SqliteStore
    matcher: SubscriptionMatcher
    registry: SubscriptionRegistry
    notifier: Notifier

    async def subscribe(self, uri: str, **members: Any) -> Entry:
        """Create a subscription to all changes of roads."""
        notification = {"endpoint": {"uri": uri}, **members.pop("notification", {})}
        document = {
            "type": "Subscription",
            "entities": [{"type": "Road"}],
            "notification": notification,
            **members,
        }
        subscription = parse(document, CORE, now())
        entry = Entry(DEFAULT_TENANT, subscription, target_of(DEFAULT_TENANT, subscription))
        entry.compiled = compile_subscription(subscription, CONTEXTS)
        self.registry.add(entry)
        await self._put(entry, subscription, creates=True)
        return entry

    async def update(self, entry: Entry, fragment: dict[str, Any]) -> None:
        """Update a subscription."""
        subscription = update(entry.subscription, fragment, CORE, now())
        await self._put(entry, subscription, creates=False)
        self.registry.change(entry, subscription, target_of(DEFAULT_TENANT, subscription))

    async def delete(self, entry: Entry) -> None:
        """Delete a subscription."""
        await self.store.subscriptions.delete_subscription(entry.tenant, entry.id)
        self.registry.remove(entry)

    async def drive(self, number: int, speed: int) -> None:
        """Set the speed measured on a road."""
        moment = format_timestamp(now())

        def change(before: ExpandedEntity | None) -> Changed:
            created = before["createdAt"] if before is not None else moment
            instance = {
                "type": "Property",
                "value": speed,
                "createdAt": created,
                "modifiedAt": moment,
            }
            after = {
                "id": road(number),
                "type": [ROAD],
                "createdAt": created,
                "modifiedAt": moment,
                "attributes": {SPEED: {"@none": instance}},
            }
            return Changed(ExpandedEntity(after), None)

        await self.store.entities.update(DEFAULT_TENANT, road(number), change, creates=True)

    async def waiting(self) -> int:
        """Return how many notifications the outbox holds."""
        return len(await self.store.outbox.pending(after=0, limit=100_000))

    async def is_settled(self) -> bool:
        """Tell whether the outbox is empty."""
        return await self.waiting() == 0

    async def dead(self) -> list[dict[str, Any]]:
        """Return the dead letters."""
        return await self.store.outbox.dead_letters(DEFAULT_TENANT, limit=100_000)

    async def has_dead(self, count: int) -> list[dict[str, Any]]:
        """Wait until there are this many dead letters."""

        async def are_there() -> bool:
            return len(await self.dead()) >= count

        await eventually(are_there)
        return await self.dead()

    async def _put(self, entry: Entry, subscription: Subscription, *, creates: bool) -> None:
        await self.store.subscriptions.put_subscription(
            DEFAULT_TENANT,
            entry.id,
            stored(subscription),
            compile_subscription(subscription, CONTEXTS),
            creates=creates,
        )


@asynccontextmanager
async def opened(
    data_dir: Path,
    policy: DeliveryPolicy = QUICK,
    *,
    restore: bool = True,
    clock: Callable[[], datetime] = now,
    trust: Trust = SYSTEM,
    max_waiting: int = 1_000_000,
    max_dead: int = 100_000,
) -> AsyncIterator[Delivering]:
    """Open the store and restore its subscriptions; delivery begins with `deliver`."""
    matcher, registry = SubscriptionMatcher(), SubscriptionRegistry()
    async with AsyncExitStack() as stack:
        egress = await stack.enter_async_context(Egress(EgressPolicy(allow_private=True)))
        notifier = Notifier(registry, egress, clock, policy, trust)
        store = await stack.enter_async_context(
            open_store(
                data_dir / "broker.db",
                matcher,
                notifier.accept,
                now,
                max_waiting=max_waiting,
                max_dead=max_dead,
            )
        )
        if restore:
            await _restore(store, matcher, registry)
        yield Delivering(store, matcher, registry, notifier)


@asynccontextmanager
async def delivering(data_dir: Path, policy: DeliveryPolicy = QUICK) -> AsyncIterator[Delivering]:
    """Open everything and deliver; what is known at the end of the block is written."""
    async with opened(data_dir, policy) as made, made.notifier.deliver(made.store.outbox):
        yield made


async def _restore(
    store: SqliteStore, matcher: SubscriptionMatcher, registry: SubscriptionRegistry
) -> None:
    for tenant, subscription_id, document in await store.subscriptions.subscriptions():
        subscription, delivery = restore(document)
        target = target_of(tenant, subscription)
        compiled = compile_subscription(subscription, CONTEXTS)
        entry = Entry(tenant, subscription, target, DeliveryRecord.of(delivery), compiled=compiled)
        registry.add(entry)
        matcher.put(tenant, subscription_id, compiled)
