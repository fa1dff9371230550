"""Where readers who go through the pages of a query have got to.

Clients ask for the next page by its offset. Had an entity before it been deleted meanwhile, that
would pass over one that was never shown. So it is remembered, per reader and query, behind which
row each offset that was announced begins; for as long as that is remembered, the page begins there,
and it costs the same at any depth.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from broker.core.identifiers import Tenant
from broker.core.query.entity_query import EntityQuery

_SECONDS = 300.0

_Key = tuple[str, Tenant, EntityQuery, int]


class Scans:
    """The last row before each announced offset; the oldest are forgotten first."""

    def __init__(self, capacity: int, clock: Callable[[], float]) -> None:
        """Bound what is remembered.

        Args:
            clock: seconds that only grow.
        """
        self._capacity = capacity
        self._clock = clock
        self._rows: OrderedDict[_Key, tuple[float, int]] = OrderedDict()

    def announce(
        self, reader: str, tenant: Tenant, query: EntityQuery, offset: int, row: int
    ) -> None:
        """Remember that the reader's page from `offset` on begins behind a row."""
        key = (reader, tenant, query, offset)
        self._rows.pop(key, None)
        self._rows[key] = (self._clock(), row)
        if len(self._rows) > self._capacity:
            self._rows.popitem(last=False)

    def row_before(
        self, reader: str, tenant: Tenant, query: EntityQuery, offset: int
    ) -> int | None:
        """Return the row behind which the reader's page begins, None if it was not announced."""
        found = self._rows.get((reader, tenant, query, offset))
        if found is None or self._clock() - found[0] > _SECONDS:
            return None
        return found[1]
