"""Delivery to receivers that behave badly: nothing lost, nothing out of order, nobody held up."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path
from typing import Any

import msgspec
import pytest

from broker.core.identifiers import DEFAULT_TENANT
from tests.support.delivery import QUICK, delivering, opened, road
from tests.support.eventually import eventually
from tests.support.receiver import (
    Received,
    Receiver,
    Respond,
    accept,
    answering,
    first,
    hang,
    receiver,
    reset,
)

PATIENT = replace(QUICK, attempts=1000)
"""Never gives up within the time of a test."""


def speeds(received: Iterable[Received]) -> dict[str, list[int]]:
    """Return what came per entity, in order and without immediate repetitions."""
    found: dict[str, list[int]] = defaultdict(list)
    for one in received:
        for entity in one.entities:
            speed = entity["speed"]["value"]
            if not found[entity["id"]] or found[entity["id"]][-1] != speed:
                found[entity["id"]].append(speed)
    return dict(found)


def ids(received: Iterable[Received]) -> list[str]:
    return [one.id for one in received]


async def test_a_change_is_notified_and_leaves_the_outbox(tmp_path: Path) -> None:
    async with receiver() as there, opened(tmp_path) as broker:
        async with broker.notifier.deliver(broker.store.outbox):
            entry = await broker.subscribe(there.url())

            await broker.drive(1, 30)
            (notification,) = await there.received(1)

        assert notification.body["type"] == "Notification"
        assert notification.body["subscriptionId"] == entry.id
        assert notification.entities[0]["speed"] == {"type": "Property", "value": 30}
        assert await broker.waiting() == 0


async def test_headers_are_sent_as_they_were_written(tmp_path: Path) -> None:
    info = [{"key": "X-Api-KEY", "value": "s3cret"}, {"key": "Authorization", "value": "Bearer a"}]
    async with receiver() as there, delivering(tmp_path) as broker:
        await broker.subscribe(
            there.url(), notification={"endpoint": {"uri": there.url(), "receiverInfo": info}}
        )

        await broker.drive(1, 30)
        (notification,) = await there.received(1)

    headers = notification.headers
    assert headers["X-Api-KEY"] == "s3cret"
    assert headers["Authorization"] == "Bearer a"
    assert headers["Content-Type"] == "application/json"
    assert int(headers["Content-Length"]) > 0
    assert "Transfer-Encoding" not in headers


async def test_the_delivery_members_follow_each_attempt(tmp_path: Path) -> None:
    async with receiver(first(1, answering(500))) as there, delivering(tmp_path) as broker:
        entry = await broker.subscribe(there.url())

        await broker.drive(1, 30)
        await there.received(1)
        await there.has_accepted(1)

    members = entry.delivery.members()
    assert (members["timesSent"], members["timesFailed"]) == (2, 1)
    assert members["status"] == "ok"
    assert members["lastFailure"] <= members["lastSuccess"] == members["lastNotification"]


async def test_delivery_members_are_there_after_a_restart(tmp_path: Path) -> None:
    async with receiver() as there:
        async with delivering(tmp_path) as broker:
            entry = await broker.subscribe(there.url())
            await broker.drive(1, 30)
            await there.received(1)

        async with opened(tmp_path) as broker:
            again = broker.registry.get(DEFAULT_TENANT, entry.id)

    assert again is not None
    assert again.delivery.members() == entry.delivery.members()


@pytest.mark.parametrize(
    "failing",
    [
        answering(500),
        answering(503, Retry_After="0"),
        answering(301, Location="http://127.0.0.1:1/"),
        answering(408),
        answering(429, Retry_After="0"),
        answering(429, Retry_After="1"),
        answering(503, Retry_After=formatdate(0, usegmt=True)),
        answering(503, Retry_After="soon"),
        answering(404),
        reset,
    ],
    ids=[
        "500",
        "503-at-once",
        "301",
        "408",
        "429-at-once",
        "429-in-a-second",
        "503-since-1970",
        "503-nonsense",
        "404",
        "reset",
    ],
)
async def test_a_failed_attempt_is_repeated_with_the_same_id(
    tmp_path: Path, failing: Respond
) -> None:
    async with receiver(first(2, failing)) as there, delivering(tmp_path) as broker:
        await broker.subscribe(there.url())

        await broker.drive(1, 30)
        await there.has_accepted(1)

    assert len(set(ids(there.all))) == 1
    assert len(there.all) == 3


async def test_an_attempt_without_an_answer_is_repeated_with_the_same_id(tmp_path: Path) -> None:
    policy = replace(PATIENT, timeout=0.3)
    async with receiver(first(2, hang)) as there, delivering(tmp_path, policy) as broker:
        await broker.subscribe(there.url())

        await broker.drive(1, 30)
        await there.has_accepted(1)

    assert len(set(ids(there.all))) == 1
    assert len(there.all) >= 3


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
async def test_every_2xx_is_success(tmp_path: Path, status: int) -> None:
    async with receiver(answering(status)) as there, delivering(tmp_path) as broker:
        entry = await broker.subscribe(there.url())

        await broker.drive(1, 30)
        await there.received(1)

    assert entry.delivery.members()["status"] == "ok"
    assert len(there.all) == 1


@pytest.mark.parametrize(
    ("failing", "attempts", "reason"),
    [
        (answering(500), QUICK.attempts, "answered 500"),
        (answering(302), QUICK.attempts, "answered 302"),
        (answering(400), QUICK.refusals, "answered 400"),
        (answering(410), QUICK.refusals, "answered 410"),
        (reset, QUICK.attempts, "127.0.0.1"),
    ],
    ids=["500", "302", "400", "410", "reset"],
)
async def test_what_is_given_up_is_a_dead_letter_with_its_reason(
    tmp_path: Path, failing: Respond, attempts: int, reason: str
) -> None:
    async with receiver(failing) as there, opened(tmp_path) as broker:
        async with broker.notifier.deliver(broker.store.outbox):
            entry = await broker.subscribe(there.url())
            await broker.drive(1, 30)
            await there.received(attempts)

        (letter,) = await broker.dead()

    assert reason in letter["reason"]
    assert letter["subscriptionId"] == entry.id
    assert msgspec.json.decode(letter["notification"])["id"] == there.all[0].id
    assert len(there.all) == attempts


async def test_what_is_given_up_does_not_stop_what_follows(tmp_path: Path) -> None:
    refusing = first(QUICK.refusals, answering(422))
    async with receiver(refusing) as there, delivering(tmp_path) as broker:
        await broker.subscribe(there.url())
        await broker.drive(1, 30)
        await broker.drive(1, 40)

        await there.has_accepted(1)

    assert speeds(there.accepted) == {road(1): [40]}


async def _unreliable(received: Received, request: Any) -> Any:
    """Fail about every third time, in one way after the other."""
    ways: dict[int, Respond] = {0: answering(500), 3: reset, 6: answering(301), 9: hang}
    return await ways.get(received.number % 12, accept)(received, request)


async def test_order_per_entity_is_kept_under_failures_and_nothing_is_lost(tmp_path: Path) -> None:
    policy = replace(PATIENT, timeout=0.3)
    async with receiver(_unreliable) as there, opened(tmp_path, policy) as broker:
        async with broker.notifier.deliver(broker.store.outbox):
            await broker.subscribe(there.url())
            for speed in range(12):
                for number in range(8):
                    await broker.drive(number, speed)

            await there.until(lambda: len(set(ids(there.accepted))) == 96)

        assert await broker.dead() == []
        assert await broker.waiting() == 0
    assert speeds(there.accepted) == {road(n): list(range(12)) for n in range(8)}


async def test_equal_moments_do_not_merge_notifications(tmp_path: Path) -> None:
    async with receiver() as there, delivering(tmp_path) as broker:
        await broker.subscribe(there.url())

        async with asyncio.TaskGroup() as group:
            for number in range(40):
                group.create_task(broker.drive(number, 1))
        await there.received(40)

    assert len(set(ids(there.all))) == 40


async def test_a_receiver_that_hangs_holds_up_no_other(tmp_path: Path) -> None:
    async with (
        receiver(hang) as hole,
        receiver() as good,
        delivering(tmp_path, replace(PATIENT, drain=0.01)) as broker,
    ):
        await broker.subscribe(hole.url())
        await broker.subscribe(good.url())

        for number in range(60):
            await broker.drive(number, 1)

        await good.received(60)
    assert len(hole.all) <= QUICK.concurrency


async def test_an_endpoint_that_keeps_failing_is_only_probed(tmp_path: Path) -> None:
    policy = replace(PATIENT, first_wait=60, longest_wait=60, drain=0.01)
    async with receiver(answering(500)) as there, delivering(tmp_path, policy) as broker:
        await broker.subscribe(there.url())
        for number in range(60):
            await broker.drive(number, 1)

        await eventually(lambda: broker.notifier.gauges()["endpoints_failing"] == 1)

    assert len(there.all) >= policy.failures_to_open
    assert len(there.all) < policy.failures_to_open + policy.concurrency


async def test_memory_is_bounded_and_the_rest_waits_in_the_outbox(tmp_path: Path) -> None:
    there = Receiver()
    policy = replace(PATIENT, lane_bytes=6000, page=10)
    async with there.listening(), opened(tmp_path, policy) as broker:
        there.respond = answering(500)
        async with broker.notifier.deliver(broker.store.outbox):
            await broker.subscribe(there.url())
            for speed in range(20):
                for number in range(10):
                    await broker.drive(number, speed)
            await eventually(lambda: broker.notifier.gauges()["subscriptions_behind"] == 1)
            gauges = broker.notifier.gauges()
            there.respond = accept

            await there.until(lambda: len(set(ids(there.accepted))) == 200)

        assert await broker.waiting() == 0
    assert gauges["notifications_in_memory"] <= 10
    assert speeds(there.accepted) == {road(n): list(range(20)) for n in range(10)}


async def test_what_waits_is_delivered_after_a_restart_in_order(tmp_path: Path) -> None:
    there = Receiver()
    async with there.listening():
        async with opened(tmp_path) as broker:
            await broker.subscribe(there.url())
            for speed in range(10):
                await broker.drive(1, speed)
                await broker.drive(2, speed)

        async with delivering(tmp_path) as broker:
            await there.received(20)

    assert speeds(there.all) == {road(1): list(range(10)), road(2): list(range(10))}


async def test_new_changes_do_not_overtake_those_from_before_a_restart(tmp_path: Path) -> None:
    policy = replace(QUICK, page=3)
    async with receiver() as there:
        async with opened(tmp_path) as broker:
            await broker.subscribe(there.url())
            for speed in range(20):
                await broker.drive(1, speed)

        async with delivering(tmp_path, policy) as broker:
            for speed in range(20, 40):
                await broker.drive(1, speed)
            await there.received(40)

    assert speeds(there.all) == {road(1): list(range(40))}


async def test_an_attempt_cut_off_by_a_stop_is_made_again_with_the_same_id(tmp_path: Path) -> None:
    policy = replace(QUICK, drain=0.01)
    async with receiver(first(1, hang)) as there:
        async with delivering(tmp_path, policy) as broker:
            await broker.subscribe(there.url())
            await broker.drive(1, 30)
            await there.received(1)

        async with delivering(tmp_path, policy):
            await there.has_accepted(1)

    assert len(set(ids(there.all))) == 1


async def test_a_receiver_that_comes_back_gets_what_it_missed(tmp_path: Path) -> None:
    there = Receiver()
    async with there.listening():
        pass
    async with delivering(tmp_path, PATIENT) as broker:
        await broker.subscribe(there.url())
        for speed in range(30):
            await broker.drive(1, speed)
        async with there.listening():
            await there.received(30)

    assert speeds(there.all) == {road(1): list(range(30))}


async def test_throttling_delays_and_keeps_the_last_state_of_each_entity(tmp_path: Path) -> None:
    async with receiver() as there, opened(tmp_path) as broker:
        async with broker.notifier.deliver(broker.store.outbox):
            await broker.subscribe(there.url(), throttling=0.3)
            for speed in range(20):
                await broker.drive(1, speed)
                await broker.drive(2, speed)

            await there.until(
                lambda: {speeds(there.all).get(road(n), [0])[-1] for n in (1, 2)} == {19}
            )

        assert await broker.waiting() == 0
    assert len(there.all) < 40


async def test_throttling_goes_on_after_a_restart(tmp_path: Path) -> None:
    policy = replace(QUICK, drain=0.01)
    async with receiver() as there:
        async with delivering(tmp_path, policy) as broker:
            await broker.subscribe(there.url(), throttling=3600)
            await broker.drive(1, 1)
            await there.received(1)

        async with receiver() as other, delivering(tmp_path, policy) as broker:
            await broker.subscribe(other.url())
            await broker.drive(1, 2)
            await other.received(1)
            waiting = broker.notifier.gauges()["notifications_in_memory"]

    assert len(there.all) == 1
    assert waiting >= 1


async def test_a_paused_subscription_sends_nothing_more_and_says_why(tmp_path: Path) -> None:
    async with receiver(answering(500)) as there, delivering(tmp_path, PATIENT) as broker:
        entry = await broker.subscribe(there.url())
        await broker.drive(1, 30)
        await there.received(1)

        await broker.update(entry, {"isActive": False})
        await broker.drive(1, 40)

        (letter,) = await broker.has_dead(1)
    assert letter["reason"] == "the subscription is paused"


async def test_a_deleted_subscription_sends_nothing_more(tmp_path: Path) -> None:
    async with (
        receiver(answering(500)) as there,
        receiver() as other,
        opened(tmp_path, PATIENT) as broker,
    ):
        async with broker.notifier.deliver(broker.store.outbox):
            entry = await broker.subscribe(there.url())
            await broker.subscribe(other.url())
            await broker.drive(1, 30)
            await there.received(1)

            await broker.delete(entry)
            tried = len(there.all)
            for speed in range(20):
                await broker.drive(1, speed)
            await other.received(21)

        assert await broker.waiting() == 0
        assert await broker.dead() == []
    assert len(there.all) <= tried + 1


async def test_what_waits_follows_a_subscription_to_its_new_endpoint_in_order(
    tmp_path: Path,
) -> None:
    async with (
        receiver(answering(500)) as old,
        receiver() as new,
        delivering(tmp_path, PATIENT) as broker,
    ):
        entry = await broker.subscribe(old.url())
        for speed in range(10):
            await broker.drive(1, speed)
        await old.received(1)

        await broker.update(entry, {"notification": {"endpoint": {"uri": new.url()}}})
        for speed in range(10, 20):
            await broker.drive(1, speed)

        await new.received(20)
    assert speeds(new.all) == {road(1): list(range(20))}


async def test_removing_the_throttling_lets_everything_through_at_once(tmp_path: Path) -> None:
    async with receiver() as there, delivering(tmp_path) as broker:
        entry = await broker.subscribe(there.url(), throttling=3600)
        await broker.drive(1, 1)
        await there.received(1)
        await broker.drive(1, 2)

        await broker.update(entry, {"throttling": None})
        await broker.drive(1, 3)

        await there.received(3)
    assert speeds(there.all) == {road(1): [1, 2, 3]}


async def test_a_cooldown_delays_the_next_attempt_and_loses_nothing(tmp_path: Path) -> None:
    async with receiver(first(1, answering(500))) as there, delivering(tmp_path) as broker:
        uri = there.url()
        await broker.subscribe(uri, notification={"endpoint": {"uri": uri, "cooldown": 50}})

        await broker.drive(1, 1)
        await broker.drive(2, 1)

        await there.until(lambda: len(speeds(there.accepted)) == 2)


async def test_rows_of_a_subscription_that_is_gone_do_not_stay_in_the_outbox(
    tmp_path: Path,
) -> None:
    async with receiver() as there:
        async with opened(tmp_path) as broker:
            entry = await broker.subscribe(there.url())
            await broker.drive(1, 1)

        async with opened(tmp_path) as broker:
            broker.registry.remove(entry)
            found = broker.registry.get(DEFAULT_TENANT, entry.id)
            assert found is not None
            broker.registry.remove(found)
            async with broker.notifier.deliver(broker.store.outbox):
                (letter,) = await broker.has_dead(1)

    assert letter["reason"] == "its subscription is gone"
    assert there.all == []


async def test_what_is_older_than_its_time_is_given_up(tmp_path: Path) -> None:
    async with (
        receiver(answering(500)) as there,
        delivering(tmp_path, replace(PATIENT, max_age=0)) as broker,
    ):
        await broker.subscribe(there.url())
        await broker.drive(1, 1)

        (letter,) = await broker.has_dead(1)
    assert letter["reason"].startswith("answered 500 (attempt 1,")
