"""Periodic notifications: what matches when the interval is over, whatever changed (clause 5.8.6).

A notification goes into the outbox in the same transaction as the moment it stands for; so no
moment is used twice, and from there on it is delivered as any other.

Deviates: clause 5.8.6 has all matching entities in one notification; here one holds 1000 at most
and the others follow in further ones, so that none is too large for its receiver.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Final

from msgspec import UNSET

from broker.core.errors import NgsiLdError
from broker.core.identifiers import ExpandedEntity, Iri
from broker.core.linking import Linked, steps
from broker.core.notification import NotificationForm, envelope, state_data
from broker.core.timestamps import format_timestamp
from broker.store.interface import Delivery, EntityStore, Outbox, StoredEntity
from broker.subscriptions.period import latest_moment, next_moment
from broker.subscriptions.registry import Entry, SubscriptionRegistry

_log = logging.getLogger(__name__)
_LONGEST_REST: Final = 60.0
"""After so long the clock is looked at again, in case somebody set it."""
_PAUSE: Final = 1.0
_ENTITIES: Final = 1000
"""Entities in one notification."""


@dataclass(slots=True)
class _Timetable:
    """The moments to come, soonest first; a subscription that changed has its older ones void."""

    waiting: list[tuple[float, int, Entry]] = field(default_factory=list)
    tickets: dict[int, int] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def put(self, entry: Entry, moment: float) -> None:
        ticket = self.tickets[id(entry)] = next(self.numbers)
        heappush(self.waiting, (moment, ticket, entry))
        if len(self.waiting) > 2 * len(self.tickets):  # a client that updates all the time
            self.waiting = [row for row in self.waiting if self._is_valid(row)]
            heapify(self.waiting)

    def discard(self, entry: Entry) -> None:
        self.tickets.pop(id(entry), None)

    def due(self, now: float) -> Iterator[Entry]:
        while self.waiting and self.waiting[0][0] <= now:
            row = heappop(self.waiting)
            if self._is_valid(row):
                yield row[2]

    def soonest(self) -> float | None:
        return self.waiting[0][0] if self.waiting else None

    def _is_valid(self, row: tuple[float, int, Entry]) -> bool:
        return self.tickets.get(id(row[2])) == row[1]


class Scheduler:
    """Makes the periodic notifications for as long as `running` is entered."""

    def __init__(
        self,
        registry: SubscriptionRegistry,
        entities: EntityStore,
        outbox: Outbox,
        clock: Callable[[], datetime],
    ) -> None:
        self._registry = registry
        self._entities = entities
        self._outbox = outbox
        self._clock = clock
        self._table = _Timetable()
        self._looked = clock().timestamp()
        self._changed = asyncio.Event()
        for entry in registry:
            self._note(entry)
        registry.listen(self._note, added=True)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Make notifications when their time has come, until the block ends."""
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self._run(), name="scheduler")
            try:
                yield
            finally:
                task.cancel()

    async def make_due(self) -> None:
        """Make the notifications whose time has come."""
        now = self._clock().timestamp()
        if now < self._looked:  # the clock was set back, and what is waited for is far away
            for entry in self._registry:
                self._note(entry)
        self._looked = now
        for entry in list(self._table.due(now)):
            try:
                await self._make(entry, now)
            except NgsiLdError as error:
                _log.warning("subscription %s will be told later: %s", entry.id, error)
                self._table.put(entry, now + _PAUSE)
            except Exception:  # noqa: BLE001 - whatever it is, the others must be told
                _log.exception("subscription %s could not be told at its interval", entry.id)
                self._note(entry, since=now)
            else:
                self._note(entry)

    async def _run(self) -> None:
        while True:
            await self.make_due()
            self._changed.clear()
            soonest = self._table.soonest()
            rest = _LONGEST_REST if soonest is None else soonest - self._clock().timestamp()
            with suppress(TimeoutError):
                async with asyncio.timeout(min(max(rest, 0.0), _LONGEST_REST)):
                    await self._changed.wait()

    def _note(self, entry: Entry, since: float = 0.0) -> None:
        """Find out when a subscription is to be told next; the past is made up for at once.

        Args:
            since: what was due until then is left out.
        """
        interval = entry.subscription.time_interval
        if interval is UNSET or self._registry.get(entry.tenant, entry.id) is not entry:
            self._table.discard(entry)
            return
        moment = next_moment(entry.subscription, interval, entry.delivery.last_period)
        now = self._clock().timestamp()
        if moment > now + 2 * interval:  # the last one used was of a clock that went wrong
            used = latest_moment(moment, interval, now)
            entry.delivery.last_period = _text(used)
            moment = used + interval
        if moment <= since:
            moment = latest_moment(moment, interval, since) + interval
        self._table.put(entry, moment)
        self._changed.set()

    async def _make(self, entry: Entry, now: float) -> None:
        """Make one notification, or none where nothing matches, and note the moment as used."""
        interval = entry.subscription.time_interval
        if interval is UNSET or self._registry.get(entry.tenant, entry.id) is not entry:
            return
        delivery, before = entry.delivery, entry.delivery.last_period
        moment = next_moment(entry.subscription, interval, before)
        if moment > now:
            return
        used = latest_moment(moment, interval, now)
        deliveries: list[Delivery] = []
        if entry.durable and entry.subscription.status(self._clock()) == "active":
            deliveries = [one async for one in self._deliveries(entry)]
        delivery.last_period = _text(used)
        if not deliveries:
            return
        try:
            await self._outbox.post(deliveries, delivery.stored())
        except NgsiLdError:
            delivery.last_period = before
            raise

    async def _deliveries(self, entry: Entry) -> AsyncIterator[Delivery]:
        compiled = entry.compiled
        if compiled is None or compiled.periodic is None:
            return
        offset, more = 0, True
        while more:
            page = await self._entities.query(
                entry.tenant, compiled.periodic, limit=_ENTITIES, offset=offset, reader=entry.id
            )
            data = await self._data(entry, compiled.form, page.entities)
            if data is not None:
                at = format_timestamp(self._clock())
                notification_id, body = envelope(entry.id, at, data)
                yield Delivery(notification_id, entry.tenant, entry.id, "", body, at)
            offset, more = offset + _ENTITIES, page.more

    async def _data(
        self, entry: Entry, form: NotificationForm, found: list[StoredEntity]
    ) -> bytes | None:
        entities = [stored.entity for stored in found]
        linked = await self._linked(entry, form, entities) if form.join_level else {}
        return await asyncio.to_thread(state_data, entities, form, linked.get)

    async def _linked(
        self, entry: Entry, form: NotificationForm, entities: list[ExpandedEntity]
    ) -> dict[Iri, ExpandedEntity]:
        """Read what the entities link to, as deep as it is joined."""
        found: dict[Iri, ExpandedEntity] = {Iri(entity["id"]): entity for entity in entities}
        front = [Linked(entity, form.representation) for entity in entities]
        seen = set(found)
        for _ in range(form.join_level):
            reached = []
            for target, shown in steps(front, seen):
                stored = await self._entities.get(entry.tenant, target)
                if stored is not None:
                    found[target] = stored.entity
                    reached.append(Linked(stored.entity, shown))
            front = reached
        return found


def _text(moment: float) -> str:
    return format_timestamp(datetime.fromtimestamp(moment, UTC))
