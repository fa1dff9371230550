"""Bring notifications from the outbox into lanes, without losing the order or filling the memory.

A lane has everything that is committed for it, or it has a backlog: a sequence behind which the
outbox may hold more. While there is a backlog, what is newly committed stays in the outbox too, and
all of it is read in order once the lane has room. At the start every lane has a backlog that
begins with the first row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from broker.core.identifiers import Iri, Tenant
from broker.store.interface import Delivery, Outbox
from broker.subscriptions.lane import Budget, Lane, Strand
from broker.subscriptions.policy import DeliveryPolicy
from broker.subscriptions.registry import Entry, SubscriptionRegistry
from broker.subscriptions.settlement import Settlement


class Intake:
    """The lanes and what they take.

    Attributes:
        lanes: those in use, by endpoint.
        budget: what all lanes hold in memory.
    """

    def __init__(
        self,
        registry: SubscriptionRegistry,
        settlement: Settlement,
        policy: DeliveryPolicy,
        wake: Callable[[Lane], None],
    ) -> None:
        """Begin with no lane.

        Args:
            wake: called with a lane that has something new to do.
        """
        self.lanes: dict[str, Lane] = {}
        self.budget = Budget(policy.total_bytes)
        self._registry = registry
        self._settlement = settlement
        self._policy = policy
        self._wake = wake
        self._has_read_all = False
        self._moving: Counter[tuple[Tenant, Iri]] = Counter()

    def offer(self, row: Delivery) -> None:
        """Take a notification that was just committed, or leave it in the outbox for later."""
        if row.sequence in self._settlement.known:
            return
        entry = self._registry.get(row.tenant, row.subscription_id)
        if entry is None:  # deleted since; the outbox has forgotten the row too
            return
        lane = self.lane(entry.target.lane)
        if lane.backlog_after is not None or not lane.has_room(row):
            lane.leave(row)
        else:
            self._put(lane, entry, row)

    def lane(self, name: str) -> Lane:
        """Return the lane of an endpoint."""
        lane = self.lanes.get(name)
        if lane is None:
            lane = self.lanes[name] = Lane(name, self._policy, self.budget)
            if not self._has_read_all:
                lane.backlog_after = 0
        return lane

    @property
    def wants_to_read(self) -> bool:
        """Whether a lane with room has something in the outbox."""
        return not self._has_read_all or any(
            lane.backlog_after is not None and lane.is_half_empty for lane in self.lanes.values()
        )

    async def read(self, outbox: Outbox) -> None:
        """Read the outbox into the lanes that have room, to its end or until all are full.

        Raises:
            NgsiLdError: the outbox cannot be read now.
        """
        for lane in self.lanes.values():
            lane.closed = not lane.is_half_empty
        after = min((lane.backlog_after or 0 for lane in self._open()), default=0)
        after = after if self._has_read_all else 0
        while True:
            committed = max((lane.skipped_to for lane in self.lanes.values()), default=0)
            async with self._settlement.lock:
                page = await outbox.pending(after=after, limit=self._policy.page)
                for row in page:
                    self._reconsider(row)
            after = page[-1].sequence if page else after
            if len(page) < self._policy.page and self._has_caught_up(max(after, committed)):
                self._has_read_all = True
                break
            if self._has_read_all and not self._open():
                break
        for lane in [lane for lane in self.lanes.values() if lane.is_idle]:
            del self.lanes[lane.name]

    def moved(self, entry: Entry) -> None:
        """Follow a subscription that was changed or deleted."""
        lane = self.lanes.get(entry.lane)
        if lane is None:
            return
        is_gone = self._registry.get(entry.tenant, entry.id) is not entry
        strands = lane.strands_of(entry.tenant, entry.id)
        merges = entry.target.throttling > 0
        stays = entry.target.lane == lane.name and all(s.merges == merges for s in strands)
        if stays and not is_gone:
            for strand in strands:
                lane.rouse(strand)
            self._wake(lane)
            return
        for strand in strands:
            if strand.busy and not strand.leaves:
                strand.leaves = True
                self._moving[entry.tenant, entry.id] += 1
        rows = [row for strand in strands for row in lane.drop(strand)]
        self._settlement.forget(rows)
        if not is_gone:
            self._hand_over(lane, self.lane(entry.target.lane), rows)
        elif not lane.strands and not lane.workers and lane.backlog_after is None:
            del self.lanes[lane.name]

    def released(self, lane: Lane, strand: Strand) -> None:
        """Leave to the outbox what is still in a strand after its subscription moved or ended."""
        rows = lane.drop(strand)
        self._settlement.forget(rows)
        tenant, subscription_id, _ = strand.key
        if strand.leaves:
            strand.leaves = False
            self._moving[tenant, subscription_id] -= 1
            if not self._moving[tenant, subscription_id]:
                del self._moving[tenant, subscription_id]
        entry = self._registry.get(tenant, subscription_id)
        if entry is not None:
            self._hand_over(lane, self.lane(entry.target.lane), rows)

    def _hand_over(self, old: Lane, new: Lane, rows: list[Delivery]) -> None:
        """Have the new lane read from the outbox what the old one had or would have read."""
        first = [row.sequence - 1 for row in rows]
        first += [lane.backlog_after for lane in (old, new) if lane.backlog_after is not None]
        if first:
            new.backlog_after = min(first)
            last = max((row.sequence for row in rows), default=0)
            new.skipped_to = max(new.skipped_to, old.skipped_to, last)

    def _open(self) -> list[Lane]:
        return [
            lane
            for lane in self.lanes.values()
            if lane.backlog_after is not None and not lane.closed
        ]

    def _has_caught_up(self, seen: int) -> bool:
        """End the backlog of lanes of which all up to a sequence was read; tell whether all are."""
        for lane in self._open():
            if lane.skipped_to > seen:
                return False
            lane.backlog_after = None
        return True

    def _reconsider(self, row: Delivery) -> None:
        """Take a notification read from the outbox, if its lane lacks it and has room."""
        if row.sequence in self._settlement.known:
            return
        entry = self._registry.get(row.tenant, row.subscription_id)
        if entry is None:
            self._settlement.known.add(row.sequence)
            self._settlement.failed([row], "its subscription is gone")
            return
        lane = self.lane(entry.target.lane)
        if lane.backlog_after is None or row.sequence <= lane.backlog_after:
            return
        if not lane.closed and not self._may_take(lane, entry, row):
            lane.closed = True
            lane.backlog_after = row.sequence - 1
        if lane.closed:
            lane.leave(row)
        else:
            self._put(lane, entry, row)

    def _may_take(self, lane: Lane, entry: Entry, row: Delivery) -> bool:
        return (entry.tenant, entry.id) not in self._moving and lane.has_room(row)

    def _put(self, lane: Lane, entry: Entry, row: Delivery) -> None:
        self._settlement.known.add(row.sequence)
        entry.lane = lane.name
        replaced = lane.add(row, merges=entry.target.throttling > 0)
        if replaced is not None:
            self._settlement.replaced(replaced)
        self._wake(lane)
