"""Receivers that fail in every way: what was notified and what was given up are all there was.

P5: delivered and dead letters together are what is expected. P6: as many ids as notifications.
P7: in order per entity. P10: a dead endpoint changes nothing for the others. P15: a flood is
refused before anything is dropped.
"""

from __future__ import annotations

import ssl
from collections import defaultdict
from collections.abc import Iterable
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import ClientSession, web

from broker.subscriptions.endpoints.tls import Trust
from tests.support.api import Api
from tests.support.builders import entity, prop
from tests.support.certificates import certified, needs_openssl
from tests.support.clock import Clock
from tests.support.delivery import QUICK, Delivering, delivering, now, opened, road
from tests.support.eventually import eventually
from tests.support.receiver import (
    Received,
    Receiver,
    Respond,
    accept,
    answering,
    drip,
    hang,
    receiver,
    reset,
)
from tests.support.serve import running_broker

ROADS = 6
CHANGES = 6
HATED = road(0)
"""Of this road the receivers take nothing."""

POLICY = replace(QUICK, timeout=0.15, attempts=3, failures_to_open=50)
EXPECTED = {(road(number), speed) for number in range(ROADS) for speed in range(CHANGES)}

Facts = dict[str, set[tuple[str, int]]]
"""What each notification told, by its id; one has one fact."""


def told(bodies: Iterable[dict[str, Any]]) -> Facts:
    found: Facts = defaultdict(set)
    for body in bodies:
        for one in body["data"]:
            found[body["id"]].add((one["id"], one["speed"]["value"]))
    return found


def in_order(bodies: Iterable[dict[str, Any]]) -> dict[str, list[int]]:
    """Return the values per entity in the order in which each first came."""
    found: dict[str, dict[int, None]] = defaultdict(dict)
    for body in bodies:
        for one in body["data"]:
            found[one["id"]].setdefault(one["speed"]["value"])
    return {entity_id: list(values) for entity_id, values in found.items()}


def failing(way: Respond) -> Respond:
    """Fail for one road always, and else for every third notification."""

    async def respond(received: Received, request: web.Request) -> web.StreamResponse:
        is_hated = received.entities[0]["id"] == HATED
        chosen = way if is_hated or received.number % 3 == 0 else accept
        return await chosen(received, request)

    return respond


async def drive(broker: Delivering) -> None:
    for speed in range(CHANGES):
        for number in range(ROADS):
            await broker.drive(number, speed)


async def has_tried_again(broker: Delivering) -> None:
    """Wait for one more attempt that failed."""
    before = failures(broker)
    await eventually(lambda: failures(broker) > before)


def failures(broker: Delivering) -> float:
    return broker.notifier.gauges()["notifications_failed_attempts"]


async def given_up(broker: Delivering) -> list[dict[str, Any]]:
    """Return the notifications among the dead letters, oldest first."""
    letters = await broker.dead()
    return [msgspec.json.decode(letter["notification"]) for letter in reversed(letters)]


def is_all_there(delivered: Iterable[dict[str, Any]], dead: Iterable[dict[str, Any]]) -> bool:
    """Check the promises on what arrived and what was given up."""
    delivered, dead = list(delivered), list(dead)
    everything = told([*delivered, *dead])
    return (
        set().union(*everything.values()) == EXPECTED
        and len(everything) == len(EXPECTED)
        and all(len(facts) == 1 for facts in everything.values())
        and all(values == sorted(values) for values in in_order(delivered).values())
        and all(values == sorted(values) for values in in_order(dead).values())
    )


@pytest.mark.parametrize(
    "way",
    [
        answering(500),
        answering(301, Location="http://127.0.0.1:1/"),
        answering(404),
        answering(429, Retry_After="0"),
        reset,
        hang,
        drip,
    ],
    ids=["500", "301", "404", "429", "reset", "hang", "slow-body"],
)
async def test_p5_p6_p7_delivered_and_dead_letters_are_all_there_was(
    tmp_path: Path, way: Respond
) -> None:
    async with receiver(failing(way)) as there, opened(tmp_path, POLICY) as broker:
        async with broker.notifier.deliver(broker.store.outbox):
            await broker.subscribe(there.url())

            await drive(broker)
            await eventually(broker.is_settled)

        dead = await given_up(broker)

    assert is_all_there((one.body for one in there.accepted), dead)
    assert in_order(dead)[HATED] == list(range(CHANGES))


async def test_p5_p7_a_receiver_gone_for_ten_minutes_misses_nothing(tmp_path: Path) -> None:
    clock = Clock(now())
    policy = replace(QUICK, attempts=1_000_000)
    there = Receiver()
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(opened(tmp_path, policy, clock=clock))
        async with there.listening():
            pass  # so that there is a port, at which nobody listens any more
        await stack.enter_async_context(broker.notifier.deliver(broker.store.outbox))
        await broker.subscribe(there.url())

        await drive(broker)
        for _ in range(10):
            clock.pass_seconds(60)
            await has_tried_again(broker)
        await stack.enter_async_context(there.listening())
        await eventually(broker.is_settled)

        assert await broker.dead() == []

    assert is_all_there((one.body for one in there.accepted), [])


async def test_p5_a_receiver_gone_for_longer_than_patience_lasts_leaves_dead_letters(
    tmp_path: Path,
) -> None:
    clock = Clock(now())
    policy = replace(QUICK, attempts=1_000_000)
    there = Receiver()
    async with there.listening():
        pass
    async with (
        opened(tmp_path, policy, clock=clock) as broker,
        broker.notifier.deliver(broker.store.outbox),
    ):
        await broker.subscribe(there.url())
        await drive(broker)

        clock.now += timedelta(seconds=policy.max_age + 1)
        await eventually(broker.is_settled)
        dead = await given_up(broker)

    assert is_all_there([], dead)


@needs_openssl
async def test_p5_a_receiver_with_a_bad_certificate_gets_nothing_until_it_is_trusted(
    tmp_path: Path,
) -> None:
    policy = replace(QUICK, attempts=1)
    certificate, key = await certified(tmp_path, "localhost")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate, key)
    async with receiver(tls=tls) as there:
        url = there.url().replace("127.0.0.1", "localhost")
        async with delivering(tmp_path, policy) as broker:
            entry = await broker.subscribe(url)
            await drive(broker)
            await eventually(broker.is_settled)
            dead = await given_up(broker)
            reasons = {letter["reason"] for letter in await broker.dead()}
        before = list(there.all)
        async with (
            opened(tmp_path, policy, trust=Trust(certificate)) as broker,
            broker.notifier.deliver(broker.store.outbox),
        ):
            await broker.store.outbox.replay(entry.tenant, entry.id)
            await eventually(broker.is_settled)

    assert before == []
    assert is_all_there([], dead)
    assert all("certificate verify failed" in reason for reason in reasons)
    assert is_all_there((one.body for one in there.accepted), [])
    assert told(one.body for one in there.accepted) == told(dead)


async def test_p10_nobody_waits_for_a_dead_endpoint(tmp_path: Path) -> None:
    """While it holds all it may hold of the broker, the others get all there is for them."""
    policy = replace(QUICK, drain=0.01)
    async with AsyncExitStack() as stack:
        hole = await stack.enter_async_context(receiver(hang))
        good = [await stack.enter_async_context(receiver()) for _ in range(9)]
        broker = await stack.enter_async_context(delivering(tmp_path, policy))
        for there in (hole, *good):
            await broker.subscribe(there.url())
        for number in range(policy.concurrency):
            await broker.drive(100 + number, 0)
        await hole.received(policy.concurrency)

        await drive(broker)
        for there in good:
            await there.has_accepted(len(EXPECTED) + policy.concurrency)

        assert len(hole.all) == policy.concurrency
        assert hole.accepted == []


async def test_p10_nobody_waits_because_another_receiver_on_the_server_asks_for_it(
    tmp_path: Path,
) -> None:
    async def respond(received: Received, request: web.Request) -> web.StreamResponse:
        chosen = answering(429, Retry_After="3600") if received.path == "/busy" else accept
        return await chosen(received, request)

    async with receiver(respond) as there, delivering(tmp_path) as broker:
        busy = await broker.subscribe(there.url("/busy"))
        await broker.subscribe(there.url("/free"))
        await broker.drive(0, 0)
        await there.until(lambda: {one.path for one in there.all} == {"/busy", "/free"})
        await eventually(lambda: busy.delivery.times_failed == 1)

        await drive(broker)  # the first of these is there already
        await there.has_accepted(len(EXPECTED))
        asked = [one for one in there.all if one.path == "/busy"]

        await broker.update(busy, {"notification": {"endpoint": {"uri": there.url("/free")}}})
        await eventually(broker.is_settled)

    assert len(asked) == 1
    assert is_all_there(
        (one.body for one in there.accepted if one.body["subscriptionId"] == busy.id), []
    )


async def test_p15_a_flood_is_answered_503_and_nothing_that_was_taken_is_lost(
    tmp_path: Path,
) -> None:
    there = Receiver()
    async with there.listening():
        pass
    async with (
        running_broker(tmp_path, max_waiting_notifications=5) as broker,
        ClientSession() as session,
    ):
        api = Api(session, broker.url)
        endpoint = {"notification": {"endpoint": {"uri": there.url()}}}
        await api(
            "POST",
            "/subscriptions",
            {"type": "Subscription", "entities": [{"type": "Road"}], **endpoint},
        )

        answers = [
            await api("POST", "/entities", entity(number, "Road", speed=prop(1)))
            for number in range(8)
        ]
        async with there.listening():
            await there.has_accepted(5)

            async def is_taken() -> bool:
                return (await api("POST", "/entities", entity(9, "Road"))).status == 201

            await eventually(is_taken)

    assert [answer.status for answer in answers] == [201] * 5 + [503] * 3
    assert answers[-1].headers["Retry-After"] == "5"
    assert "notifications wait" in answers[-1].detail


async def test_p15_dead_letters_that_are_too_many_are_dropped_and_told_of(tmp_path: Path) -> None:
    policy = replace(QUICK, attempts=1, failures_to_open=50)
    async with receiver(answering(500)) as there:
        async with (
            opened(tmp_path, policy, max_dead=ROADS) as broker,
            broker.notifier.deliver(broker.store.outbox),
        ):
            entry = await broker.subscribe(there.url())
            await drive(broker)
            await eventually(broker.is_settled)
            await eventually(lambda: entry.delivery.letters_dropped == CHANGES * ROADS - ROADS)
            gauges = broker.notifier.gauges()
            left = await given_up(broker)

        async with opened(tmp_path) as broker:
            again = broker.registry.get(entry.tenant, entry.id)

    assert gauges["dead_letters_dropped"] == CHANGES * ROADS - ROADS
    assert len(left) == ROADS
    assert again is not None
    assert again.delivery.letters_dropped == CHANGES * ROADS - ROADS
