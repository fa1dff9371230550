"""The committed entities that are kept decoded, with what they were rendered to.

The writer publishes each commit here before it is answered; readers look here first. A reader that
fetched a row must not overwrite what was published meanwhile: it fills only a free place, and only
while fewer entries were published since it began than the cache holds, as else the entry that
replaced its row might already have been evicted again.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import NamedTuple

from broker.core.identifiers import Iri, Tenant
from broker.store.interface import StoredEntity

Key = tuple[Tenant, Iri]


class Held(NamedTuple):
    """An entity with the number of its row."""

    seq: int
    stored: StoredEntity


class EntityCache:
    """A bounded map from tenant and id to the committed entity; None says it was deleted."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        # In a plain dict the first key costs a walk over all that were deleted before it.
        self._held: OrderedDict[Key, Held | None] = OrderedDict()
        self._lock = threading.Lock()
        self._published = 0

    def get(self, key: Key) -> Held | None:
        """Return the entity if it is kept and exists."""
        return self._held.get(key)

    def knows(self, key: Key) -> bool:
        """Tell whether the cache can say what the key's committed state is, deleted or not."""
        return key in self._held

    @property
    def published(self) -> int:
        """A count that grows with each entity published; give it back to `fill`."""
        return self._published

    def publish(self, committed: Mapping[Key, Held | None]) -> None:
        """Take over what a transaction committed."""
        with self._lock:
            held = self._held
            for key, entry in committed.items():
                held.pop(key, None)
                held[key] = entry
            self._published += len(committed)
            self._evict()

    def fill(self, key: Key, entry: Held, since: int) -> Held:
        """Keep a row that was read when `published` was `since`; return what is kept."""
        with self._lock:
            present = self._held.get(key)
            if present is not None:
                return present
            if key not in self._held and self._published - since < self._capacity:
                self._held[key] = entry
                self._evict()
        return entry

    def _evict(self) -> None:
        held = self._held
        while len(held) > self._capacity:
            held.popitem(last=False)
