"""Who reads which stream, and how they are told that there is more.

A reader is a place in a channel. What is behind that place is in the store; of channels with
readers the last events are kept here besides, so that those who keep up cost the store nothing.
Nothing is queued for a reader: a slow one falls behind in the store, until it is told so.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from broker.core.identifiers import Iri, Tenant
from broker.store.interface import Channel, Commit, StreamEvent, StreamStore

Key = tuple[Tenant, Iri]

_PAGE: Final = 200
_TAIL: Final = 256
_TAIL_BYTES: Final = 1024 * 1024


class StreamEnded(Exception):
    """Nothing more can be read here; the text says why.

    Attributes:
        has_gap: whether events were missed, so that the present state has to be asked for.
    """

    def __init__(self, reason: str, *, has_gap: bool = False) -> None:
        super().__init__(reason)
        self.has_gap = has_gap


@dataclass(slots=True)
class _Tail:
    """The last events of a channel: all of those with a sequence above `since`."""

    channel: Channel
    since: int | None = None
    size: int = 0
    events: deque[StreamEvent] = field(default_factory=deque)
    readers: set[Reader] = field(default_factory=set)

    def add(self, event: StreamEvent) -> None:
        if self.since is None:
            self.since = event.sequence - 1
        self.events.append(event)
        self.size += len(event.body)
        while len(self.events) > _TAIL or self.size > _TAIL_BYTES:
            oldest = self.events.popleft()
            self.since = oldest.sequence
            self.size -= len(oldest.body)


class Reader:
    """One who reads a channel.

    Attributes:
        place: the sequence of the last event that was returned.
    """

    def __init__(self, store: StreamStore, tail: _Tail, place: int) -> None:
        self.place = place
        self._store = store
        self._tail = tail
        self._wake = asyncio.Event()
        self._ended: str | None = None

    async def next(self, patience: float) -> list[StreamEvent]:
        """Return the next events, none when there are none for a while.

        Raises:
            StreamEnded: the channel is closed, the broker ends, or events are no longer there.
        """
        found = await self._now()
        if not found:
            try:
                async with asyncio.timeout(patience):
                    await self._wake.wait()
            except TimeoutError:
                return []
            found = await self._now()
        if found:
            self.place = found[-1].sequence
        return found

    async def _now(self) -> list[StreamEvent]:
        if self._ended is not None:
            raise StreamEnded(self._ended)
        self._wake.clear()
        tail = self._tail
        if tail.since is not None and self.place >= tail.since:
            return [event for event in tail.events if event.sequence > self.place][:_PAGE]
        floor, events = await self._store.events(tail.channel, after=self.place, limit=_PAGE)
        if floor is None:
            raise StreamEnded("the stream was closed")
        if self.place < floor:
            raise StreamEnded("read too slowly: events were missed", has_gap=True)
        return events

    def wake(self) -> None:
        """Have it look for more."""
        self._wake.set()

    def end(self, reason: str) -> None:
        """Have it end at once."""
        self._ended = reason
        self._wake.set()


class Streams:
    """All readers of all channels."""

    def __init__(self) -> None:
        self._tails: dict[Key, _Tail] = {}
        self._ended: str | None = None

    def accept(self, commit: Commit) -> None:
        """Take what a transaction committed."""
        for event in commit.streamed:
            tail = self._tails.get((event.tenant, event.channel))
            if tail is not None:
                tail.add(event)
                for reader in tail.readers:
                    reader.wake()

    @contextmanager
    def reading(self, store: StreamStore, channel: Channel, place: int) -> Iterator[Reader]:
        """Read a channel from a place on."""
        key = (channel.tenant, channel.id)
        tail = self._tails.setdefault(key, _Tail(channel))
        reader = Reader(store, tail, place)
        tail.readers.add(reader)
        if self._ended is not None:
            reader.end(self._ended)
        try:
            yield reader
        finally:
            tail.readers.discard(reader)
            if not tail.readers and self._tails.get(key) is tail:
                del self._tails[key]

    def used(self) -> list[Channel]:
        """List the channels that have readers."""
        return [tail.channel for tail in self._tails.values()]

    @property
    def readers(self) -> int:
        """How many read."""
        return sum(len(tail.readers) for tail in self._tails.values())

    def close(self, tenant: Tenant, channel_id: Iri, reason: str) -> None:
        """End all who read a channel."""
        tail = self._tails.get((tenant, channel_id))
        for reader in () if tail is None else tail.readers:
            reader.end(reason)

    def stop(self) -> None:
        """End all who read, and all who come: the broker stops."""
        self._ended = "the broker stops; come back"
        for tail in self._tails.values():
            for reader in tail.readers:
                reader.end(self._ended)
