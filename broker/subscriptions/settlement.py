"""What became of notifications, gathered and written to the outbox a few at a time."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable
from typing import Final

from broker.core.errors import NgsiLdError
from broker.core.identifiers import Iri, Tenant
from broker.store.interface import Delivery, Outbox
from broker.subscriptions.registry import Entry, SubscriptionRegistry

_log = logging.getLogger(__name__)
_PAUSE: Final = 1.0


class Settlement:
    """Knows every notification in memory until the outbox has forgotten it.

    Attributes:
        known: the sequences of notifications that are in memory or whose outcome is not written.
        lock: held while outcomes are written and while the outbox is read, so that what is read is
            never older than what `known` says.
    """

    def __init__(
        self,
        outbox: Outbox,
        registry: SubscriptionRegistry,
        interval: float,
        counts: Counter[str],
    ) -> None:
        self._outbox = outbox
        self._registry = registry
        self._interval = interval
        self._delivered: list[int] = []
        self._failed: dict[int, str] = {}
        self._changed: dict[int, Entry] = {}
        self._wanted = asyncio.Event()
        self.known: set[int] = set()
        self.lock = asyncio.Lock()
        self._counts = counts

    def delivered(self, rows: Iterable[Delivery]) -> None:
        """Note that notifications arrived."""
        before = len(self._delivered)
        self._delivered += [row.sequence for row in rows]
        self._counts["delivered"] += len(self._delivered) - before
        self._wanted.set()

    def replaced(self, row: Delivery) -> None:
        """Note that a newer notification stands for this one."""
        self._delivered.append(row.sequence)
        self._counts["replaced"] += 1
        self._wanted.set()

    def failed(self, rows: Iterable[Delivery], reason: str) -> None:
        """Note that notifications are given up."""
        for row in rows:
            self._failed[row.sequence] = reason
            self._counts["dead"] += 1
            _log.warning(
                "notification %s of subscription %s is given up: %s",
                row.id,
                row.subscription_id,
                reason,
            )
        self._wanted.set()

    def changed(self, entry: Entry) -> None:
        """Note that the delivery members of a subscription are to be written."""
        self._changed[id(entry)] = entry
        self._wanted.set()

    def forget(self, rows: Iterable[Delivery]) -> None:
        """Leave notifications to the outbox again."""
        self.known.difference_update(row.sequence for row in rows)

    async def run(self) -> None:
        """Write outcomes until cancelled."""
        while True:
            await self._wanted.wait()
            await asyncio.sleep(self._interval)
            try:
                await self.flush()
            except NgsiLdError as error:
                _log.warning("outcomes of notifications will be written later: %s", error)
                await asyncio.sleep(_PAUSE)

    async def flush(self) -> None:
        """Write the outcomes there are, in one transaction.

        Raises:
            NgsiLdError: they could not be written, and are kept.
        """
        async with self.lock:
            self._wanted.clear()
            delivered, failed, changed = self._delivered, self._failed, self._changed
            if not (delivered or failed or changed):
                return
            self._delivered, self._failed, self._changed = [], {}, {}
            stats = {(e.tenant, e.id): e.delivery.stored() for e in changed.values()}
            try:
                dropped = await self._outbox.settle(delivered, failed, stats)
            except BaseException:
                self._delivered = delivered + self._delivered
                self._failed = failed | self._failed
                self._changed = changed | self._changed
                self._wanted.set()
                raise
            self.known.difference_update(delivered, failed)
            for key, count in dropped.items():
                self._dropped(key, count)

    def _dropped(self, key: tuple[Tenant, Iri], count: int) -> None:
        """Tell that there were too many dead letters."""
        self._counts["letters_dropped"] += count
        _log.error("%s dead letters of subscription %s are dropped, the oldest", count, key[1])
        entry = self._registry.get(*key)
        if entry is not None:
            entry.delivery.letters_dropped += count
            self.changed(entry)
