"""What every operation works with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from broker.contexts.resolution import Contexts
from broker.core.errors import NgsiLdError
from broker.core.timestamps import format_timestamp
from broker.egress import Egress
from broker.store.interface import (
    DocumentStore,
    EntityStore,
    Outbox,
    StreamStore,
    SubscriptionStore,
)
from broker.store.temporal import TemporalStore
from broker.subscriptions.matcher import SubscriptionMatcher
from broker.subscriptions.notifier import Notifier
from broker.subscriptions.registry import SubscriptionRegistry
from broker.subscriptions.streams import Streams


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one request may ask for."""

    max_batch: int = 1000
    default_limit: int = 20
    max_limit: int = 1000
    max_streams: int = 1000
    max_stream_readers: int = 10_000
    stream_heartbeat: float = 15.0
    stream_patience: float = 10.0
    default_instances: int = 15
    max_instances: int = 10_000


@dataclass(frozen=True, slots=True)
class Broker:
    """The collaborators of the operations; the composition root makes one.

    Attributes:
        registry: the subscriptions as they are served.
        matcher: the subscriptions as the store matches them; written to by the store alone.
    """

    entities: EntityStore
    temporal: TemporalStore
    documents: DocumentStore
    subscriptions: SubscriptionStore
    outbox: Outbox
    stream_events: StreamStore
    contexts: Contexts
    registry: SubscriptionRegistry
    matcher: SubscriptionMatcher
    notifier: Notifier
    streams: Streams
    egress: Egress
    clock: Callable[[], datetime]
    limits: Limits

    def now(self) -> str:
        """Return the present moment as a DateTime text."""
        return format_timestamp(self.clock())

    async def not_ready(self) -> str | None:
        """Return why requests cannot be served now, None when they can."""
        try:
            await self.entities.tenants()
        except NgsiLdError as error:
            return error.detail
        return None
