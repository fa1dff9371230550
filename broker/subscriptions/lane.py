"""What waits for one endpoint: strands that keep their order, and a bound on what is in memory.

A strand is what must arrive in order: the notifications of one subscription about one entity. Of a
throttled subscription there is one strand, in which a notification replaces an older one about the
same entity, so that the last state is what arrives when the time has come.
"""

from __future__ import annotations

from asyncio import TimerHandle
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from typing import Final
from uuid import NAMESPACE_URL, uuid5

from broker.core.identifiers import Iri, Tenant
from broker.core.notification import merge
from broker.store.interface import Delivery
from broker.subscriptions.breaker import Breaker
from broker.subscriptions.policy import DeliveryPolicy
from broker.subscriptions.registry import Entry

Key = tuple[Tenant, Iri, str]
_ROW_BYTES: Final = 500
"""About what a notification costs in memory beside its body."""
_PARCEL_BYTES: Final = 1024 * 1024


def cost(row: Delivery) -> int:
    """Return about how many bytes a notification takes in memory."""
    return len(row.body) + _ROW_BYTES


@dataclass(slots=True)
class Parcel:
    """What is sent in one request: a notification, or several that were held back, made one."""

    body: bytes
    rows: tuple[Delivery, ...]
    attempts: int = 0


@dataclass(slots=True, eq=False)
class Strand:
    """Notifications that are sent one after the other.

    Attributes:
        merges: whether a newer notification about an entity replaces one that waits.
        busy: whether a worker has it.
        leaves: the subscription that has moved to another endpoint or ended meanwhile.
        ticket: its present place among those that are ready or parked; older places are void.
    """

    key: Key
    merges: bool
    waiting: dict[int | str, Delivery] = field(default_factory=dict)
    current: Parcel | None = None
    busy: bool = False
    leaves: Entry | None = None
    ticket: int = 0

    def add(self, row: Delivery) -> Delivery | None:
        """Add a notification at the end and return the one it replaces, if any."""
        if not self.merges:
            self.waiting[row.sequence] = row
            return None
        replaced = self.waiting.pop(row.order_key, None)
        self.waiting[row.order_key] = row
        return replaced

    def parcel(self) -> Parcel:
        """Return what is to be sent now; it stays the same until `done`."""
        if self.current is None:
            rows = tuple(self._next_rows())
            body = rows[0].body if len(rows) == 1 else _merged(rows)
            self.current = Parcel(body, rows)
        return self.current

    def done(self) -> None:
        """Go on to what follows."""
        self.current = None

    def rows(self) -> list[Delivery]:
        """List all that is here."""
        return [*(self.current.rows if self.current is not None else ()), *self.waiting.values()]

    def _next_rows(self) -> Iterator[Delivery]:
        size = 0
        for key in list(self.waiting):
            row = self.waiting.pop(key)
            size += len(row.body)
            yield row
            if not self.merges or size > _PARCEL_BYTES:
                return


def _merged(rows: tuple[Delivery, ...]) -> bytes:
    # The id follows from the parts, so that the same notification has the same id after a restart.
    name = " ".join(row.id for row in rows)
    merged_id = Iri(f"urn:ngsi-ld:Notification:{uuid5(NAMESPACE_URL, name)}")
    return merge(merged_id, [row.body for row in rows])


@dataclass(slots=True)
class Budget:
    """Bytes of notifications in memory, over all lanes."""

    limit: int
    used: int = 0


class Lane:
    """One endpoint: its strands, ready or waiting for their time, and its circuit breaker.

    Attributes:
        workers: tasks that are sending.
        is_wanted: whether notifications were left in the outbox because there was no room.
    """

    def __init__(self, name: str, policy: DeliveryPolicy, budget: Budget) -> None:
        self.name = name
        self.breaker = Breaker(policy)
        self.strands: dict[Key, Strand] = {}
        self.workers = 0
        self.is_wanted = False
        self.timer: TimerHandle | None = None
        self._policy = policy
        self._budget = budget
        self._bytes = 0
        self._ready: deque[tuple[int, Strand]] = deque()
        self._parked: list[tuple[float, int, Strand]] = []
        self._tickets = count(1)

    def has_room(self, row: Delivery) -> bool:
        """Tell whether a notification may be taken into memory; an empty lane always takes one."""
        size = cost(row)
        if not self.strands:
            return True
        return (
            self._bytes + size <= self._policy.lane_bytes
            and self._budget.used + size <= self._budget.limit
        )

    @property
    def is_half_empty(self) -> bool:
        """Whether it is worth reading more from the outbox."""
        return self._bytes * 2 <= self._policy.lane_bytes

    @property
    def is_idle(self) -> bool:
        """Whether nothing would be lost by forgetting the lane."""
        return not self.strands and not self.workers and self.breaker.open_until is None

    def add(self, row: Delivery, *, merges: bool) -> Delivery | None:
        """Take a notification and return the one it replaces, if any."""
        key = (row.tenant, row.subscription_id, "" if merges else row.order_key)
        strand = self.strands.get(key)
        if strand is None:
            strand = self.strands[key] = Strand(key, merges)
            self.rouse(strand)
        self._count(cost(row))
        replaced = strand.add(row)
        if replaced is not None:
            self._count(-cost(replaced))
        return replaced

    def take(self, now: float) -> Strand | None:
        """Return a strand whose time has come; it is the caller's until it is given back."""
        if not self._may_work(now):
            return None
        self._wake_parked(now)
        while self._ready:
            ticket, strand = self._ready.popleft()
            if ticket == strand.ticket:
                strand.ticket = 0
                strand.busy = True
                return strand
        return None

    def rouse(self, strand: Strand) -> None:
        """Let a strand be taken at once, wherever it waits."""
        if not strand.busy:
            strand.ticket = next(self._tickets)
            self._ready.append((strand.ticket, strand))

    def give_back(self, strand: Strand, *, at: float | None = None) -> None:
        """Put a strand back, to be taken again at once or not before a moment."""
        strand.busy = False
        if not strand.rows():
            del self.strands[strand.key]
        elif at is None:
            self.rouse(strand)
        else:
            strand.ticket = next(self._tickets)
            heappush(self._parked, (at, strand.ticket, strand))

    def settled(self, parcel: Parcel) -> None:
        """Count what a parcel took in memory as free."""
        self._count(-sum(map(cost, parcel.rows)))

    def drop(self, strand: Strand) -> list[Delivery]:
        """Take out what is in a strand and return it, but for what is under way."""
        rows = list(strand.waiting.values()) if strand.busy else strand.rows()
        strand.waiting.clear()
        if not strand.busy:
            strand.current = None
        self._count(-sum(map(cost, rows)))
        if not strand.busy and self.strands.get(strand.key) is strand:
            strand.ticket = 0
            del self.strands[strand.key]
        return rows

    def strands_of(self, tenant: Tenant, subscription_id: Iri) -> list[Strand]:
        """List what is here for one subscription."""
        return [s for s in self.strands.values() if s.key[:2] == (tenant, subscription_id)]

    def next_attempt(self, tenant: Tenant, subscription_id: Iri, now: float) -> float | None:
        """Return when something of a subscription is to be sent; None when nothing waits."""
        waiting = [strand for strand in self.strands_of(tenant, subscription_id) if strand.rows()]
        if not waiting:
            return None
        parked = {ticket: at for at, ticket, _ in self._parked}
        first = min(parked.get(strand.ticket, now) for strand in waiting)
        return max(first, self.breaker.open_until or 0.0)

    def more_workers(self, now: float) -> int:
        """Return how many workers have something to do beside those there are."""
        self._wake_parked(now)
        limit = self.breaker.limit(now, self._policy.concurrency)
        return max(min(limit - self.workers, len(self._ready)), 0)

    def next_time(self) -> float | None:
        """Return when to look again, if nothing else happens."""
        if not self.strands:
            return None
        first = 0.0 if self._ready else self._parked[0][0] if self._parked else None
        return None if first is None else max(first, self.breaker.open_until or 0.0)

    def _may_work(self, now: float) -> bool:
        # The worker that asks is one of those counted.
        limit = self.breaker.limit(now, self._policy.concurrency)
        return self.workers <= limit

    def _wake_parked(self, now: float) -> None:
        while self._parked and self._parked[0][0] <= now:
            _, ticket, strand = heappop(self._parked)
            if ticket == strand.ticket:
                self._ready.append((ticket, strand))

    def _count(self, size: int) -> None:
        self._bytes += size
        self._budget.used += size
