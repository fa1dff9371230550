"""What a store owes the broker: atomic updates, durable before they answer, and queries.

A write is `update(tenant, id, change)`: the store reads the entity, runs the pure function
`change`, asks its `Matcher` what is to be delivered, and commits entity, history and outbox in
one transaction. It answers after the commit, never before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any, NamedTuple, Protocol, TypeVar

from broker.core.errors import NgsiLdError
from broker.core.events import EntityChanged
from broker.core.identifiers import ExpandedEntity, Iri, Tenant
from broker.core.query.entity_query import EntityQuery

R = TypeVar("R")


@dataclass(frozen=True, slots=True, eq=False)
class StoredEntity:
    """An entity as committed, with room for the bytes it was rendered to.

    Attributes:
        expires: when the entity or one of its attributes expires, in seconds since the epoch.
        renderings: lives and dies with this version of the entity; its keys belong to the caller.
    """

    entity: ExpandedEntity
    version: int
    expires: float = inf
    renderings: dict[object, bytes] = field(default_factory=dict)


class Changed(NamedTuple):
    """What a change makes of an entity (None deletes it), and what its caller is answered."""

    entity: ExpandedEntity | None
    answer: Any


Change = Callable[[ExpandedEntity | None], Changed]
"""A pure function of the present state (None: no such entity); what it raises is the answer.

Returning the entity it was given unchanged writes nothing.
"""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One notification that waits in the outbox.

    Attributes:
        id: the notification's id, the same on every attempt.
        order_key: deliveries of one subscription with equal keys keep their order (the entity id).
        body: the notification as it is to be sent.
        sequence: its place in the outbox; the store gives it.
    """

    id: Iri
    tenant: Tenant
    subscription_id: Iri
    order_key: str
    body: bytes
    created_at: str
    sequence: int = 0


class Matcher(Protocol):
    """Decides, inside the write, which notifications a change makes.

    All methods are called by the store's writer only, one at a time, so that a subscription sees
    exactly the writes that were committed after it.
    """

    def match(
        self, event: EntityChanged, read: Callable[[Iri], ExpandedEntity | None] = ...
    ) -> Sequence[Delivery]:
        """Return the notifications that this change is to make.

        Args:
            read: returns another entity of the tenant as the open transaction sees it.
        """
        ...

    def put(self, tenant: Tenant, subscription_id: Iri, compiled: Any) -> None:
        """Add or replace a subscription."""
        ...

    def discard(self, tenant: Tenant, subscription_id: Iri) -> None:
        """Forget a subscription."""
        ...


@dataclass(frozen=True, slots=True)
class Channel:
    """What a stream shows: the notifications of a subscription, or of a query of its own.

    Attributes:
        id: the subscription's id, or one that the same query always has.
        document: what the query is compiled from again after a restart; None for a subscription.
    """

    tenant: Tenant
    id: Iri
    document: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """One notification on a channel; its sequence grows with each of any channel."""

    sequence: int
    tenant: Tenant
    channel: Iri
    body: bytes


@dataclass(frozen=True, slots=True)
class Span:
    """Which events of a channel can be had.

    Attributes:
        after: every event with a higher sequence is there; what is not higher may be gone.
        last: no event so far has a higher sequence.
    """

    after: int
    last: int


@dataclass(frozen=True, slots=True)
class Commit:
    """What one transaction wrote, told to the listener on the event loop after it is durable."""

    events: Sequence[EntityChanged]
    deliveries: Sequence[Delivery]
    streamed: Sequence[StreamEvent] = ()


@dataclass(frozen=True, slots=True)
class EntityPage:
    """A page of entities; `more` tells whether there are others behind it."""

    entities: list[StoredEntity]
    more: bool


@dataclass(frozen=True, slots=True)
class TypeUse:
    """A type that entities have: how many, and which attributes they have in which kinds."""

    type: Iri
    count: int
    attributes: Mapping[Iri, frozenset[str]]


@dataclass(frozen=True, slots=True)
class AttributeUse:
    """An attribute that entities have: how many, in which kinds, and the types of the entities."""

    attribute: Iri
    count: int
    kinds: frozenset[str]
    types: frozenset[Iri]


class EntityStore(Protocol):
    """Entities of all tenants."""

    def generation(self, tenant: Tenant) -> int:
        """Return a number that is another after each committed write to the tenant's entities."""
        ...

    async def update(
        self,
        tenant: Tenant,
        entity_id: Iri,
        change: Change,
        *,
        creates: bool = False,
        keep_newer: bool = False,
    ) -> Any:
        """Run a change on one entity atomically and return its answer once it is durable.

        Args:
            creates: the operation may create the tenant (clause 5.5.10).
            keep_newer: an instance observed earlier than the current one becomes history and
                leaves the current one as it is.

        Raises:
            NonexistentTenant: the tenant is not there and `creates` is false.
            Overloaded: the write queue is full.
        """
        ...

    async def update_many(
        self,
        tenant: Tenant,
        changes: Sequence[tuple[Iri, Change]],
        *,
        creates: bool = False,
        keep_newer: bool = False,
    ) -> list[Any | NgsiLdError]:
        """Run changes in order, each atomic for itself, in one transaction; errors are values."""
        ...

    async def get(self, tenant: Tenant, entity_id: Iri) -> StoredEntity | None:
        """Return an entity that has not expired.

        Raises:
            NonexistentTenant: the tenant is not there.
        """
        ...

    async def query(
        self,
        tenant: Tenant,
        query: EntityQuery,
        *,
        limit: int,
        offset: int = 0,
        reader: str | None = None,
    ) -> EntityPage:
        """Return a page of the matching entities, in the query's order or that of creation.

        Args:
            reader: who goes through the pages; in order of creation, one reader who asks for the
                offsets of page after page meets every entity once that is there all the time.
        """
        ...

    async def count(self, tenant: Tenant, query: EntityQuery) -> int:
        """Count all entities that match."""
        ...

    async def types(self, tenant: Tenant) -> list[TypeUse]:
        """List the types that entities have, by name."""
        ...

    async def attributes(self, tenant: Tenant) -> list[AttributeUse]:
        """List the attributes that entities have, by name."""
        ...

    async def tenants(self) -> list[Tenant]:
        """List the tenants that exist, the default one included."""
        ...


class DocumentStore(Protocol):
    """Small documents of one kind by tenant and id: subscriptions, registrations, contexts."""

    async def put(self, tenant: Tenant, kind: str, key: str, document: Mapping[str, Any]) -> None:
        """Create or replace a document; durable when it returns."""
        ...

    async def remove(self, tenant: Tenant, kind: str, key: str) -> bool:
        """Delete a document and tell whether it was there."""
        ...

    async def all(self, kind: str) -> list[tuple[Tenant, str, dict[str, Any]]]:
        """Return every document of a kind, of all tenants, oldest first (start-up)."""
        ...


class SubscriptionStore(Protocol):
    """Subscriptions; a change takes effect in the matcher inside the writer, in commit order."""

    async def put_subscription(
        self,
        tenant: Tenant,
        subscription_id: Iri,
        document: Mapping[str, Any],
        compiled: Any,
        *,
        creates: bool,
    ) -> None:
        """Write a subscription and give its compiled form to the matcher.

        Raises:
            AlreadyExists: `creates` is true and there is one of this id.
            ResourceNotFound: `creates` is false and there is none.
        """
        ...

    async def delete_subscription(self, tenant: Tenant, subscription_id: Iri) -> bool:
        """Delete a subscription with what waits for it in the outbox; tell whether it was there."""
        ...

    async def subscriptions(self) -> list[tuple[Tenant, Iri, dict[str, Any]]]:
        """Return every subscription of all tenants, oldest first (start-up)."""
        ...


@dataclass(frozen=True, slots=True)
class Standing:
    """Where the notifications of a subscription are.

    Attributes:
        waiting: how many are in the outbox.
        dead: how many are among the dead letters.
        places: where some of them are: `waiting` or `dead`; one in neither place is not named.
    """

    waiting: int
    dead: int
    places: Mapping[Iri, str]


class Outbox(Protocol):
    """Notifications that are committed and not yet settled."""

    async def pending(self, *, after: int, limit: int) -> list[Delivery]:
        """Return waiting deliveries in order of their sequence, from the one after `after`."""
        ...

    async def post(self, deliveries: Sequence[Delivery], stats: Mapping[str, Any]) -> None:
        """Add notifications that no write made, with the delivery members of their subscription.

        All are of one subscription; nothing is written when that is gone.
        """
        ...

    async def settle(
        self,
        delivered: Sequence[int],
        failed: Mapping[int, str],
        stats: Mapping[tuple[Tenant, Iri], Mapping[str, Any]],
    ) -> Mapping[tuple[Tenant, Iri], int]:
        """Remove delivered rows, and move failed ones to the dead letters with their reason.

        Args:
            stats: the delivery members of subscriptions as they are now (timesSent …).

        Returns:
            How many older dead letters were dropped for these, and of which subscriptions.
        """
        ...

    async def dead_letters(
        self, tenant: Tenant, subscription_id: Iri | None = None, *, limit: int, offset: int = 0
    ) -> list[dict[str, Any]]:
        """List what was given up, newest first: id, subscriptionId, reason, failedAt, body."""
        ...

    async def standing(
        self, tenant: Tenant, subscription_id: Iri, ids: Sequence[Iri] = ()
    ) -> Standing:
        """Return how many notifications of a subscription are where, and where some of them are."""
        ...

    async def replay(
        self, tenant: Tenant, subscription_id: Iri, ids: Sequence[Iri] | None = None
    ) -> list[Iri]:
        """Put dead letters back, oldest first, with their ids, and return those; None is all.

        They are told to the listener like new ones.
        """
        ...

    async def purge(
        self, tenant: Tenant, subscription_id: Iri, ids: Sequence[Iri] | None = None
    ) -> int:
        """Delete dead letters and return how many; None is all of the subscription."""
        ...


class StreamStore(Protocol):
    """Notifications for streams, written with the change that made them, kept for a while.

    They are written for channels that are open; one stays open for as long as it is used.
    """

    async def open(self, channel: Channel, compiled: Any, *, most: int) -> Span:
        """Open a channel, or note that it is used, and return what can be had of it.

        Args:
            compiled: what the matcher is to match for it; None for a subscription's channel.
            most: channels that may be open.

        Raises:
            Overloaded: as many are open.
            NonexistentTenant: the tenant is not there.
        """
        ...

    async def events(
        self, channel: Channel, *, after: int, limit: int
    ) -> tuple[int | None, list[StreamEvent]]:
        """Return events in order, and after which sequence all are there; None: it is closed."""
        ...

    async def tidy(self, used: Sequence[Channel], *, window: float) -> list[Channel]:
        """Forget events older than a window and close channels not used in it; return those.

        Args:
            used: channels that are used now.
        """
        ...

    async def channels(self) -> list[Channel]:
        """Return the channels that were open when the process ended (start-up)."""
        ...

    async def forget(self, channel: Channel) -> None:
        """Close a channel that cannot be restored."""
        ...

    def restore(self, channel: Channel, compiled: Any) -> None:
        """Have a channel written to again; nothing may be written before (start-up)."""
        ...
