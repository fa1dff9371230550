"""Static attributes: sent with a device's first measure and then once a day, not with each.

They are repeated, because the broker may have lost them; they are not repeated each time, because
every repetition is a row of history that says nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta
from weakref import WeakKeyDictionary

from iot_agents.common.mapping.model import Entity
from iot_agents.common.registry_rows import Known

_REPEAT_AFTER = timedelta(days=1)


class Constants:
    """When the static attributes of each device were sent."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._sent: WeakKeyDictionary[Known, datetime] = WeakKeyDictionary()

    def due(self, known: Known) -> bool:
        """Tell whether a device's static attributes belong to its next measure."""
        sent = self._sent.get(known)
        return sent is None or self._clock() - sent >= _REPEAT_AFTER

    def sent(self, known: Known, stored: asyncio.Future[bool]) -> None:
        """Note that a measure with them is in the spool, unless it was a duplicate."""
        if not stored.cancelled() and stored.exception() is None and stored.result():
            self._sent[known] = self._clock()


def without(entities: Sequence[Entity], names: Collection[str], entity_id: str) -> Sequence[Entity]:
    """Return entities without some attributes of one, and without it if nothing is left of it."""
    if not names:
        return entities
    shortened = (
        {name: value for name, value in entity.items() if name not in names}
        if entity["id"] == entity_id
        else entity
        for entity in entities
    )
    return [entity for entity in shortened if len(entity) > 2]  # noqa: PLR2004 - id and type
