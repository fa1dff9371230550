"""Which spooled rows may be sent now: oldest first, but never two at once for one entity.

A row is ready when it is the first of each of its entities. It stays the first while it is being
sent and while it waits for another try, so that an entity's updates arrive in their order. Where
the broker takes an entity several times in one request, the rows that follow the first may go with
it, and wait behind it again when it does not arrive.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from itertools import islice, takewhile
from operator import attrgetter

from iot_agents.common.spool import Operation, Row

_Entity = tuple[str, str]
_Lane = tuple[str, Operation]


class Window:
    """The rows loaded from the spool and not settled yet."""

    def __init__(self) -> None:
        self._rows: dict[int, Row] = {}
        # Lists, because most have one row, and an empty deque is as large as seventy numbers.
        self._queues: dict[_Entity, list[int]] = {}
        self._blockers: dict[int, int] = {}
        self._ready: dict[_Lane, list[int]] = {}
        self._expired = 0
        self.last = 0
        """The highest number of a row ever added."""

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def ready(self) -> bool:
        """Whether a row could be sent now."""
        return any(self._ready.values())

    def add(self, rows: Iterable[Row]) -> None:
        """Take rows in, in the order of their numbers."""
        for row in rows:
            self._rows[row.seq] = row
            self.last = row.seq
            blockers = 0
            for entity in _entities(row):
                queue = self._queues.setdefault(entity, [])
                blockers += bool(queue)
                queue.append(row.seq)
            self._blockers[row.seq] = blockers
            if not blockers:
                self._push(row)

    def take(self, limit: int, *, repeats: bool = False) -> list[Row]:
        """Return up to `limit` rows for one request: of one tenant and operation.

        Args:
            repeats: let rows of one entity go together, in their order.
        """
        taken: list[Row] = []
        while not taken and (lanes := [(heap[0], lane) for lane, heap in self._heaps() if heap]):
            heap = self._ready[min(lanes)[1]]
            while heap and len(taken) < limit:
                row = self._rows[heapq.heappop(heap)]
                if row.seq <= self._expired:
                    self.settle((row,))
                else:
                    taken.append(row)
                    taken += self._followers(row, limit - len(taken)) if repeats else ()
        return taken

    def leads(self, row: Row) -> bool:
        """Tell whether no other row has to be settled before one."""
        return not self._blockers[row.seq]

    def settle(self, rows: Iterable[Row]) -> None:
        """Let go of rows that were sent or given up; what they held back becomes ready."""
        # Backwards, so that a row's followers are gone before it makes the next one ready.
        for row in sorted(rows, key=attrgetter("seq"), reverse=True):
            if self._rows.pop(row.seq, None) is None:
                continue
            del self._blockers[row.seq]
            for entity in _entities(row):
                self._advance(entity, row.seq)

    def put_back(self, rows: Iterable[Row]) -> None:
        """Make rows that were taken ready again."""
        for row in rows:
            if row.seq in self._rows and self.leads(row):
                self._push(row)

    def expire(self, newest: int) -> None:
        """Never send rows up to a number again; they are not in the spool any more."""
        self._expired = max(self._expired, newest)

    def _followers(self, row: Row, most: int) -> list[Row]:
        if len(row.ids) > 1:
            return []
        queue = self._queues[row.tenant, row.ids[0]]
        behind = (self._rows[seq] for seq in islice(queue, 1, 1 + most))
        same = (row.ids, row.operation)
        return list(takewhile(lambda other: (other.ids, other.operation) == same, behind))

    def _heaps(self) -> list[tuple[_Lane, list[int]]]:
        return list(self._ready.items())

    def _advance(self, entity: _Entity, seq: int) -> None:
        queue = self._queues[entity]
        was_first = queue[0] == seq
        queue.remove(seq)
        if not queue:
            del self._queues[entity]
        elif was_first:
            first = queue[0]
            self._blockers[first] -= 1
            if not self._blockers[first]:
                self._push(self._rows[first])

    def _push(self, row: Row) -> None:
        heapq.heappush(self._ready.setdefault((row.tenant, row.operation), []), row.seq)


def _entities(row: Row) -> set[_Entity]:
    return {(row.tenant, entity_id) for entity_id in row.ids}
