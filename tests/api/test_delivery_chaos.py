"""Everything at once: failing receivers, little memory, moving subscriptions, restarts."""

from __future__ import annotations

from collections import defaultdict
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from aiohttp import web

from tests.support.delivery import QUICK, Delivering, opened, road
from tests.support.eventually import eventually
from tests.support.receiver import Received, Receiver, answering, hang, receiver, reset

RESTARTS = 3
SUBSCRIPTIONS = 5
THROTTLED = "/0"
ROADS = 4
CHANGES = 40
_FAILURES = (answering(500), reset, answering(503, Retry_After="0"), answering(301), hang)


class Chaos:
    """Receivers that fail at random and share one record of what they accepted, in order."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)  # noqa: S311 - repeatable, not secret
        self.accepted: list[Received] = []
        self.receivers: list[Receiver] = []
        self.policy = replace(
            QUICK,
            attempts=1_000_000,
            timeout=0.1,
            lane_bytes=self.random.choice((3_000, 8_000, 50_000)),
            total_bytes=self.random.choice((6_000, 20_000, 1_000_000)),
            page=self.random.choice((2, 7, 50)),
        )

    async def respond(self, received: Received, request: Any) -> web.StreamResponse:
        """Fail in one way or another about once in five times."""
        if self.random.random() < 0.2:
            return await self.random.choice(_FAILURES)(received, request)
        self.accepted.append(received)
        return web.Response(status=204)

    def uri(self, path: str) -> str:
        """Return an address at one of the receivers."""
        return self.random.choice(self.receivers).url(path)

    async def disturb(self, broker: Delivering) -> None:
        """Move a subscription to another endpoint, or change its throttling."""
        entry = self.random.choice(list(broker.registry))
        path = "/" + entry.target.url.rpartition("/")[2]
        if path == THROTTLED and self.random.random() < 0.5:
            throttling = self.random.choice((0.01, 0.05, None))
            await broker.update(entry, {"throttling": throttling})
        else:
            endpoint = {"uri": self.uri(path)}
            await broker.update(entry, {"notification": {"endpoint": endpoint}})

    def speeds(self) -> dict[tuple[str, str], list[int]]:
        """Return what was accepted per subscription and road, each value once."""
        found: dict[tuple[str, str], dict[int, None]] = defaultdict(dict)
        for received in self.accepted:
            for entity in received.entities:
                found[received.path, entity["id"]].setdefault(entity["speed"]["value"])
        return {key: list(values) for key, values in found.items()}


@pytest.mark.parametrize("seed", range(3))
async def test_nothing_is_lost_or_out_of_order_whatever_happens(tmp_path: Path, seed: int) -> None:
    chaos = Chaos(seed)
    driven: dict[str, list[int]] = defaultdict(list)
    async with AsyncExitStack() as stack:
        for _ in range(3):
            chaos.receivers.append(await stack.enter_async_context(receiver(chaos.respond)))
        for number in range(RESTARTS):
            await _live(tmp_path, chaos, driven, is_first=number == 0)
        async with opened(tmp_path, chaos.policy) as broker:
            async with broker.notifier.deliver(broker.store.outbox):
                await eventually(broker.is_settled)
            letters = await broker.dead()

    speeds = chaos.speeds()
    assert letters == []
    for number in range(1, SUBSCRIPTIONS):
        assert {key: speeds[f"/{number}", key] for key in driven} == driven
    for key, values in driven.items():
        throttled = speeds[THROTTLED, key]
        assert throttled == sorted(throttled)
        assert throttled[-1] == values[-1]


async def _live(
    data_dir: Path, chaos: Chaos, driven: dict[str, list[int]], *, is_first: bool
) -> None:
    async with opened(data_dir, chaos.policy) as broker:
        if is_first:
            for number in range(SUBSCRIPTIONS):
                await broker.subscribe(chaos.uri(f"/{number}"))
        async with broker.notifier.deliver(broker.store.outbox):
            await _drive(broker, chaos, driven)


async def _drive(broker: Delivering, chaos: Chaos, driven: dict[str, list[int]]) -> None:
    for _ in range(CHANGES):
        speed = sum(map(len, driven.values()))
        number = chaos.random.randrange(ROADS)
        driven[road(number)].append(speed)
        await broker.drive(number, speed)
        if chaos.random.random() < 0.15:
            await chaos.disturb(broker)
