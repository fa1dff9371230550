"""What the store keeps for streams, and when."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from broker.core.errors import NonexistentTenant, Overloaded
from broker.core.identifiers import DEFAULT_TENANT, ExpandedEntity, Iri, Tenant
from broker.store.interface import Changed, Channel, Commit
from broker.store.sqlite.store import SqliteStore, open_store
from broker.subscriptions.matcher import SubscriptionMatcher
from tests.support.clock import Clock
from tests.support.subscriptions import compiled, road

ROADS = Channel(DEFAULT_TENANT, Iri("urn:ngsi-ld:Stream:roads"), {"a": 1})


class Opened:
    """A store, its clock, and what it told its listener."""

    def __init__(self, store: SqliteStore, clock: Clock, commits: list[Commit]) -> None:
        self.store = store
        self.streams = store.streams
        self.clock = clock
        self.commits = commits

    async def write(self, number: int = 1) -> None:
        """Create a road."""
        entity: ExpandedEntity = road(number)

        def change(_: ExpandedEntity | None) -> Changed:
            return Changed(entity, None)

        await self.store.entities.update(DEFAULT_TENANT, entity["id"], change, creates=True)

    async def sequences(self, after: int = 0) -> list[int]:
        """Return the sequences of the events that are kept."""
        _, events = await self.streams.events(ROADS, after=after, limit=1000)
        return [event.sequence for event in events]

    async def open(self, **changes: Any) -> tuple[int, int]:
        """Open a channel of roads."""
        subscription = compiled(notificationTrigger=["entityCreated"], id=ROADS.id)
        span = await self.streams.open(ROADS, subscription, most=changes.get("most", 10))
        return span.after, span.last


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[Opened]:
    commits: list[Commit] = []
    clock = Clock()
    async with open_store(
        path / "broker.db", SubscriptionMatcher(), commits.append, clock
    ) as store:
        yield Opened(store, clock, commits)


async def test_nothing_is_written_for_streams_that_are_not_open(tmp_path: Path) -> None:
    async with opened(tmp_path) as made:
        await made.write(1)
        after, last = await made.open()

        assert after == last
        assert await made.sequences() == []


async def test_an_event_of_a_query_is_kept_and_told_and_not_in_the_outbox(tmp_path: Path) -> None:
    async with opened(tmp_path) as made:
        _, last = await made.open()
        await made.write(1)

        assert await made.sequences() == [last + 1]
        assert [event.sequence for event in made.commits[-1].streamed] == [last + 1]
        assert await made.store.outbox.pending(after=0, limit=10) == []


async def test_events_are_forgotten_after_the_window_and_the_floor_tells(tmp_path: Path) -> None:
    async with opened(tmp_path) as made:
        _, last = await made.open()
        await made.write(1)
        made.clock.pass_seconds(7200)

        closed = await made.streams.tidy([ROADS], window=3600)

        assert closed == []
        assert await made.streams.events(ROADS, after=last, limit=10) == (last + 1, [])


async def test_a_channel_that_nobody_uses_is_closed(tmp_path: Path) -> None:
    async with opened(tmp_path) as made:
        await made.open()
        made.clock.pass_seconds(7200)

        assert await made.streams.tidy([], window=3600) == [ROADS]

        await made.write(1)
        assert made.commits[-1].streamed == []
        assert await made.streams.events(ROADS, after=0, limit=10) == (None, [])


async def test_a_channel_opened_anew_admits_what_it_missed(tmp_path: Path) -> None:
    async with opened(tmp_path) as made:
        _, last_seen = await made.open()
        made.clock.pass_seconds(7200)
        await made.streams.tidy([], window=3600)
        await made.write(1)

        floor, _ = await made.open()

        assert floor > last_seen


async def test_a_subscription_s_stream_is_closed_with_it(tmp_path: Path) -> None:
    async with opened(tmp_path) as made:
        await made.open()

        await made.store.subscriptions.delete_subscription(DEFAULT_TENANT, ROADS.id)

        assert await made.streams.channels() == []


async def test_open_channels_are_known_after_a_restart(tmp_path: Path) -> None:
    async with opened(tmp_path) as made:
        await made.open()

    async with opened(tmp_path) as made:
        assert await made.streams.channels() == [ROADS]
        await made.streams.forget(ROADS)
        assert await made.streams.channels() == []


async def test_no_more_channels_than_allowed_are_opened(tmp_path: Path) -> None:
    async with opened(tmp_path) as made:
        with pytest.raises(Overloaded):
            await made.open(most=0)


async def test_a_stream_makes_no_tenant(tmp_path: Path) -> None:
    async with opened(tmp_path) as made:
        channel = Channel(Tenant("nobody"), ROADS.id)

        with pytest.raises(NonexistentTenant):
            await made.streams.open(channel, None, most=10)
