"""The subscriptions as the event loop knows them: what is served, and where notifications go."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from broker.core.identifiers import Iri, Tenant
from broker.core.subscription import Subscription
from broker.subscriptions.compiled import CompiledSubscription
from broker.subscriptions.endpoints.target import Target

LAST_PERIOD: Final = "lastPeriod"
"""A stored member that is not served."""

LETTERS_DROPPED: Final = "lettersDropped"
"""A stored member that `explain` serves."""


@dataclass(slots=True)
class DeliveryRecord:
    """What became of a subscription's notifications (clause 5.2.14.2).

    Attributes:
        last_period: the moment for which it last told of the entities at its interval.
        letters_dropped: dead letters of which there were too many.
    """

    status: str | None = None
    times_sent: int = 0
    times_failed: int = 0
    last_notification: str | None = None
    last_success: str | None = None
    last_failure: str | None = None
    last_period: str | None = None
    letters_dropped: int = 0

    @classmethod
    def of(cls, members: Mapping[str, Any]) -> DeliveryRecord:
        """Read the members of a stored subscription."""
        return cls(
            members.get("status"),
            members.get("timesSent", 0),
            members.get("timesFailed", 0),
            members.get("lastNotification"),
            members.get("lastSuccess"),
            members.get("lastFailure"),
            members.get(LAST_PERIOD),
            members.get(LETTERS_DROPPED, 0),
        )

    def succeeded(self, at: str) -> None:
        """Count an attempt that was answered 2xx."""
        self.times_sent += 1
        self.status = "ok"
        self.last_notification = self.last_success = at

    def failed(self, at: str) -> None:
        """Count an attempt that was not."""
        self.times_sent += 1
        self.times_failed += 1
        self.status = "failed"
        self.last_notification = self.last_failure = at

    def members(self) -> dict[str, Any]:
        """Return what there is to serve; what is none or zero is left out."""
        all_members = {
            "status": self.status,
            "timesSent": self.times_sent,
            "timesFailed": self.times_failed,
            "lastNotification": self.last_notification,
            "lastSuccess": self.last_success,
            "lastFailure": self.last_failure,
        }
        return {name: value for name, value in all_members.items() if value}

    def stored(self) -> dict[str, Any]:
        """Return what there is to keep: what is served, and what only the broker needs."""
        own = {LAST_PERIOD: self.last_period, LETTERS_DROPPED: self.letters_dropped}
        return self.members() | {name: value for name, value in own.items() if value}


@dataclass(slots=True)
class Backlog:
    """What of a subscription's notifications is in the outbox alone.

    Attributes:
        after: those with a higher sequence may be; None when none are.
        left_to: the highest sequence that was left there.
        closed: whether the present reading of the outbox has already left one of them there.
        leaving: how many of them are under way to an endpoint that the subscription has left.
    """

    after: int | None = None
    left_to: int = 0
    closed: bool = False
    leaving: int = 0


@dataclass(slots=True, eq=False)
class Entry:
    """One subscription.

    Attributes:
        target: where its notifications go and how.
        delivery: what became of them so far.
        problem: why it is not matched, such as an @context that cannot be had; None if it is.
        durable: false while its creation is being written: it is not served yet.
        not_before: the moment of the event loop's clock before which nothing is sent (throttling).
        held_until: the same by the receiver's word, in Retry-After.
        last_error: why the last attempt that failed did; not kept over a restart.
        lane: the endpoint at which its notifications wait.
        backlog: what waits in the outbox alone.
        compiled: what is matched; None while there is a problem.
        lock: held while it is read, changed and written.
    """

    tenant: Tenant
    subscription: Subscription
    target: Target
    delivery: DeliveryRecord = field(default_factory=DeliveryRecord)
    problem: str | None = None
    durable: bool = True
    not_before: float = 0.0
    held_until: float = 0.0
    last_error: str | None = None
    lane: str = ""
    backlog: Backlog = field(default_factory=Backlog)
    compiled: CompiledSubscription | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def id(self) -> Iri:
        """The subscription's id."""
        return Iri(self.subscription.id)


Listener = Callable[[Entry], None]


class SubscriptionRegistry:
    """All subscriptions by tenant and id, in the order of their creation.

    Attributes:
        unreadable: stored subscriptions that this version cannot read, and why.
    """

    def __init__(self) -> None:
        self.unreadable: dict[tuple[Tenant, Iri], str] = {}
        self._entries: dict[Tenant, dict[Iri, Entry]] = {}
        self._listeners: list[Listener] = []
        self._newcomers: list[Listener] = []

    def listen(self, listener: Listener, *, added: bool = False) -> None:
        """Have a function called after an entry was changed or removed.

        Args:
            added: also after one was added.
        """
        self._listeners.append(listener)
        if added:
            self._newcomers.append(listener)

    def get(self, tenant: Tenant, subscription_id: Iri) -> Entry | None:
        """Return an entry, also one that is not durable yet."""
        return self._entries.get(tenant, {}).get(subscription_id)

    def served(self, tenant: Tenant) -> list[Entry]:
        """List what a tenant's clients may see."""
        return [entry for entry in self._entries.get(tenant, {}).values() if entry.durable]

    def isolated(self) -> list[Entry]:
        """List the entries that are not matched though they should be."""
        return [entry for entry in self if entry.problem is not None]

    def add(self, entry: Entry) -> None:
        """Add an entry at the end."""
        self._entries.setdefault(entry.tenant, {})[entry.id] = entry
        for listener in self._newcomers:
            listener(entry)

    def change(self, entry: Entry, subscription: Subscription, target: Target) -> None:
        """Give an entry its new content."""
        entry.subscription, entry.target = subscription, target
        self._tell(entry)

    def remove(self, entry: Entry) -> None:
        """Forget an entry."""
        if self.get(entry.tenant, entry.id) is entry:
            del self._entries[entry.tenant][entry.id]
        self._tell(entry)

    def _tell(self, entry: Entry) -> None:
        for listener in self._listeners:
            listener(entry)

    def __iter__(self) -> Iterator[Entry]:
        return (entry for entries in self._entries.values() for entry in entries.values())

    def __len__(self) -> int:
        return sum(map(len, self._entries.values()))
