"""Which entities a page held, remembered for as long as no write could have changed that.

A query on types and ids alone depends on which entities there are; any other on every write.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence

from broker.core.events import EntityChanged
from broker.core.identifiers import Iri, Tenant
from broker.core.query.entity_query import EntityQuery

PageKey = tuple[EntityQuery, int, int, int | None]
Row = tuple[int, Iri]
"""An entity's row number and id."""


class PageCache:
    """A bounded map from tenant, query, limit, offset and the row before to a page's rows."""

    def __init__(self, capacity: int) -> None:
        """Bound the cache.

        Args:
            capacity: how many rows all pages may hold together.
        """
        self._capacity = capacity
        self._size = 0
        self._pages: OrderedDict[tuple[Tenant, PageKey], tuple[int, Sequence[Row]]] = OrderedDict()
        self._writes: dict[Tenant, int] = {}
        self._memberships: dict[Tenant, int] = {}
        self._lock = threading.Lock()

    def generation(self, tenant: Tenant, query: EntityQuery) -> int:
        """Return a number that is different once a write could have changed the query's result."""
        counters = self._memberships if query.by_membership else self._writes
        return counters.get(tenant, 0)

    def writes(self, tenant: Tenant) -> int:
        """Return a number that grows with each transaction that wrote to the tenant."""
        return self._writes.get(tenant, 0)

    def changed(self, events: Iterable[EntityChanged]) -> None:
        """Take note of what was committed."""
        with self._lock:
            for event in events:
                tenant = event.tenant
                self._writes[tenant] = self._writes.get(tenant, 0) + 1
                if _moves(event):
                    self._memberships[tenant] = self._memberships.get(tenant, 0) + 1

    def get(self, tenant: Tenant, key: PageKey) -> Sequence[Row] | None:
        """Return a page's rows if they are still what a query would find."""
        found = self._pages.get((tenant, key))
        if found is None or found[0] != self.generation(tenant, key[0]):
            return None
        return found[1]

    def put(self, tenant: Tenant, key: PageKey, generation: int, rows: Sequence[Row]) -> None:
        """Remember a page that was read after `generation` was."""
        with self._lock:
            old = self._pages.pop((tenant, key), None)
            self._size += len(rows) + 1 - (0 if old is None else len(old[1]) + 1)
            self._pages[tenant, key] = (generation, rows)
            while self._size > self._capacity:
                _, (_, dropped) = self._pages.popitem(last=False)
                self._size -= len(dropped) + 1


def _moves(event: EntityChanged) -> bool:
    before, after = event.before, event.after
    return before is None or after is None or before["type"] != after["type"]
