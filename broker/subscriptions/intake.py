"""Bring notifications from the outbox into lanes, without losing the order or filling the memory.

Of a subscription either everything that is committed is in its lane, or it has a backlog: a
sequence behind which the outbox may hold more. While there is a backlog, what is newly committed
stays in the outbox too, and all of it is read in order once there is room. At the start every
subscription has a backlog that begins with the first row; one that moves to another endpoint has
one that begins with what it had in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

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
        """Begin with a backlog of every subscription there is.

        Args:
            wake: called with a lane that has something new to do.
        """
        self.lanes: dict[str, Lane] = {}
        self.budget = Budget(policy.total_bytes)
        self._registry = registry
        self._settlement = settlement
        self._policy = policy
        self._wake = wake
        self._behind: dict[int, Entry] = {}
        self._left_to = 0
        self._has_read_all = False
        for entry in registry:
            self._fall_behind(entry, 0)

    @property
    def behind(self) -> int:
        """How many subscriptions have a backlog."""
        return len(self._behind)

    def offer(self, rows: Iterable[Delivery]) -> None:
        """Take notifications that were just committed, or leave them in the outbox for later."""
        lanes = {}
        for row in rows:
            lane = self._offer(row)
            if lane is not None:
                lanes[lane.name] = lane
        for lane in lanes.values():
            self._wake(lane)

    def _offer(self, row: Delivery) -> Lane | None:
        """Take one and return the lane that has it now."""
        if row.sequence in self._settlement.known:
            return None
        entry = self._registry.get(row.tenant, row.subscription_id)
        if entry is None:  # deleted since; the outbox has forgotten the row too
            return None
        lane = self._lane(entry)
        if entry.backlog.after is None and lane.has_room(row):
            self._put(lane, entry, row)
            return lane
        self._leave(lane, entry, row)
        return None

    async def read(self, outbox: Outbox) -> None:
        """Read the outbox into the lanes that have room, to its end or until all are full.

        Raises:
            NgsiLdError: the outbox cannot be read now.
        """
        for entry in self._behind.values():
            lane = self.lanes.get(entry.target.lane)
            is_full = lane is not None and not lane.is_half_empty
            entry.backlog.closed = is_full or entry.backlog.leaving > 0
        after = min((entry.backlog.after or 0 for entry in self._open()), default=0)
        while any(self._open()) or not self._has_read_all:
            committed = self._left_to  # what was left up to here is among what is read now
            async with self._settlement.lock:
                page = await outbox.pending(after=after, limit=self._policy.page)
                for row in page:
                    self._reconsider(row)
            after = page[-1].sequence if page else after
            if len(page) < self._policy.page:
                self._has_read_all = True
                self._catch_up(max(after, committed))
        for lane in [lane for lane in self.lanes.values() if lane.is_idle]:
            del self.lanes[lane.name]

    def moved(self, entry: Entry) -> None:
        """Follow a subscription that was changed or deleted."""
        lane = self.lanes.get(entry.lane)
        strands = lane.strands_of(entry.tenant, entry.id) if lane is not None else []
        is_gone = self._registry.get(entry.tenant, entry.id) is not entry
        if is_gone:
            self._behind.pop(id(entry), None)
        if lane is None or not strands:
            return
        merges = entry.target.throttling > 0
        stays = entry.target.lane == lane.name and all(s.merges == merges for s in strands)
        if stays and not is_gone:
            for strand in strands:
                lane.rouse(strand)
            self._wake(lane)
            return
        for strand in strands:
            self._leave_lane(lane, strand, entry)

    def released(self, lane: Lane, strand: Strand) -> None:
        """Leave to the outbox what is still in a strand after its subscription moved or ended."""
        rows = lane.drop(strand)
        self._settlement.forget(rows)
        if strand.leaves is not None:
            strand.leaves.backlog.leaving -= 1
            strand.leaves = None
        tenant, subscription_id, _ = strand.key
        entry = self._registry.get(tenant, subscription_id)
        if entry is not None:
            self._fall_behind(entry, *(row.sequence - 1 for row in rows))

    def _leave_lane(self, lane: Lane, strand: Strand, entry: Entry) -> None:
        """Give a strand back to the outbox; what is under way keeps the rest waiting."""
        first = [row.sequence - 1 for row in strand.rows()]
        if strand.busy and strand.leaves is None:
            strand.leaves = entry
            entry.backlog.leaving += 1
        self._settlement.forget(lane.drop(strand))
        if self._registry.get(entry.tenant, entry.id) is entry:
            self._fall_behind(entry, *first)

    def _fall_behind(self, entry: Entry, *sequences: int) -> None:
        """Have a subscription read what is behind the smallest of some sequences."""
        backlog = entry.backlog
        known = [sequence for sequence in (*sequences, backlog.after) if sequence is not None]
        if known:
            backlog.after = min(known)
            # A reading that is under way may be past that already; the next one begins there.
            backlog.closed = True
            self._behind[id(entry)] = entry

    def _lane(self, entry: Entry) -> Lane:
        name = entry.target.lane
        lane = self.lanes.get(name)
        if lane is None:
            lane = self.lanes[name] = Lane(name, self._policy, self.budget)
        return lane

    def _leave(self, lane: Lane, entry: Entry, row: Delivery) -> None:
        """Note that a notification stays in the outbox for now."""
        lane.is_wanted = True
        entry.backlog.left_to = max(entry.backlog.left_to, row.sequence)
        self._left_to = max(self._left_to, row.sequence)
        if entry.backlog.after is None:
            self._fall_behind(entry, row.sequence - 1)

    def _open(self) -> Iterator[Entry]:
        """Yield the subscriptions that the present reading still brings forward."""
        return (entry for entry in self._behind.values() if not entry.backlog.closed)

    def _catch_up(self, seen: int) -> None:
        """End the backlogs of which all up to a sequence was read."""
        for entry in list(self._open()):
            if entry.backlog.left_to <= seen:
                entry.backlog.after = None
                del self._behind[id(entry)]

    def _reconsider(self, row: Delivery) -> None:
        """Take a notification read from the outbox, if its lane lacks it and has room."""
        if row.sequence in self._settlement.known:
            return
        entry = self._registry.get(row.tenant, row.subscription_id)
        if entry is None:
            self._give_up_orphans([row])
            return
        backlog = entry.backlog
        if backlog.after is None or row.sequence <= backlog.after:
            return
        lane = self._lane(entry)
        if not backlog.closed and (backlog.leaving > 0 or not lane.has_room(row)):
            backlog.closed = True
            backlog.after = row.sequence - 1
        if backlog.closed:
            self._leave(lane, entry, row)
        else:
            self._put(lane, entry, row)
            self._wake(lane)

    def _give_up_orphans(self, rows: Iterable[Delivery]) -> None:
        rows = list(rows)
        self._settlement.known.update(row.sequence for row in rows)
        self._settlement.failed(rows, "its subscription is gone")

    def _put(self, lane: Lane, entry: Entry, row: Delivery) -> None:
        self._settlement.known.add(row.sequence)
        entry.lane = lane.name
        replaced = lane.add(row, merges=entry.target.throttling > 0)
        if replaced is not None:
            self._settlement.replaced(replaced)
