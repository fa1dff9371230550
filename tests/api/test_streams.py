"""Streams: server-sent events that can be resumed without a gap (P17)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import pytest
from aiohttp import ClientSession

from broker.server import RunningBroker
from tests.support.api import ROOT, Api
from tests.support.builders import entity, prop
from tests.support.eventually import eventually
from tests.support.receiver import receiver
from tests.support.serve import running_broker
from tests.support.sse import EventStream, stream

ROADS = "urn:ngsi-ld:Subscription:roads"
ROAD = "urn:ngsi-ld:Road:7"
QUERY = f"{ROOT}/stream?type=Road&q=speed%3E60"


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[RunningBroker]:
    async with running_broker(tmp_path) as broker:
        yield broker


@pytest.fixture
async def session() -> AsyncIterator[ClientSession]:
    async with ClientSession() as made:
        yield made


async def drive(api: Api, *speeds: int) -> None:
    """Set the speed of a road, one after the other."""
    for speed in speeds:
        await api("PATCH", f"/entities/{ROAD}/attrs", {"speed": prop(speed)})


def subscription(uri: str = "http://127.0.0.1:9/", **members: Any) -> dict[str, Any]:
    return {
        "id": ROADS,
        "type": "Subscription",
        "entities": [{"type": "Road"}],
        "notification": {"endpoint": {"uri": uri}},
        **members,
    }


async def test_a_query_is_streamed_to_whoever_asks(
    running: RunningBroker, session: ClientSession
) -> None:
    api = Api(session, running.url)
    await api.create(entity(7, "Road", speed=prop(10)), entity(1, "Tree", speed=prop(10)))

    async with stream(session, running.url + QUERY) as events:
        ready = await events.next()
        await drive(api, 50, 70, 60, 80)
        await api("PATCH", "/entities/urn:ngsi-ld:Tree:1/attrs", {"speed": prop(90)})
        await api("DELETE", f"/entities/{ROAD}")
        seen = await events.speeds(2)
        gone = await events.next()

    assert events.response.headers["Content-Type"] == "text/event-stream"
    assert events.response.headers["X-Accel-Buffering"] == "no"
    assert events.response.headers["Cache-Control"] == "no-store"
    assert ready.name == "ready"
    assert seen == [70, 80]
    assert gone.data["data"][0].keys() == {"id", "type", "deletedAt"}
    assert gone.data["type"] == "Notification"


async def test_a_stream_is_resumed_where_it_was_left(
    running: RunningBroker, session: ClientSession
) -> None:
    api = Api(session, running.url)
    await api.create(entity(7, "Road", speed=prop(10)))
    async with stream(session, running.url + QUERY) as events:
        await events.next()
        await drive(api, 70)
        assert await events.speeds(1) == [70]

    await drive(api, 80, 90)
    async with stream(
        session, running.url + QUERY, headers={"Last-Event-ID": str(events.last_id)}
    ) as again:
        assert (await again.next()).name == "ready"
        assert await again.speeds(2) == [80, 90]
        await drive(api, 100)
        assert await again.speeds(1) == [100]


async def test_a_stream_that_saw_nothing_yet_can_be_resumed(
    running: RunningBroker, session: ClientSession
) -> None:
    api = Api(session, running.url)
    await api.create(entity(7, "Road", speed=prop(10)))
    async with stream(session, running.url + QUERY) as events:
        await events.next()

    await drive(api, 70)
    async with stream(session, f"{running.url}{QUERY}&lastEventId={events.last_id}") as again:
        await again.next()
        assert await again.speeds(1) == [70]


async def test_links_cut_at_random_leave_no_gap_and_no_double(
    running: RunningBroker, session: ClientSession
) -> None:
    api, random = Api(session, running.url), Random(17)  # noqa: S311 - places to cut at
    await api.create(entity(7, "Road", speed=prop(10)))
    sent, last = list(range(100, 300)), ""
    seen: list[int] = []
    async with stream(session, running.url + QUERY) as events:
        last = str((await events.next()).id)

    for begin in range(0, len(sent), 20):
        await drive(api, *sent[begin : begin + 20])
        async with stream(session, running.url + QUERY, headers={"Last-Event-ID": last}) as events:
            await events.next()
            seen += await events.speeds(random.randint(1, begin + 20 - len(seen)))
            last = str(events.last_id)
    async with stream(session, running.url + QUERY, headers={"Last-Event-ID": last}) as events:
        await events.next()
        seen += await events.speeds(len(sent) - len(seen))

    assert seen == sent


async def test_a_stream_is_resumed_after_a_restart(tmp_path: Path, session: ClientSession) -> None:
    async with running_broker(tmp_path) as broker:
        api = Api(session, broker.url)
        await api.create(entity(7, "Road", speed=prop(10)))
        async with stream(session, broker.url + QUERY) as events:
            await events.next()
            await drive(api, 70)
            assert await events.speeds(1) == [70]
        await drive(api, 80)

    async with running_broker(tmp_path) as broker:
        await drive(Api(session, broker.url), 90)
        async with stream(
            session, broker.url + QUERY, headers={"Last-Event-ID": str(events.last_id)}
        ) as again:
            assert (await again.next()).name == "ready"
            assert await again.speeds(2) == [80, 90]


async def test_a_gap_is_told_and_not_passed_over(
    running: RunningBroker, session: ClientSession
) -> None:
    api = Api(session, running.url)
    await api.create(entity(7, "Road", speed=prop(10)))
    async with stream(session, running.url + QUERY) as events:
        await events.next()
        await drive(api, 70)
        await events.next()
    await running.broker.stream_events.tidy([], window=-1)
    await drive(api, 80)

    async with stream(
        session, running.url + QUERY, headers={"Last-Event-ID": str(events.last_id)}
    ) as again:
        assert [(await again.next()).name, (await again.next()).name] == ["gap", "ready"]
        await drive(api, 90)
        assert await again.speeds(1) == [90]


async def test_what_is_younger_than_the_window_is_kept(
    running: RunningBroker, session: ClientSession
) -> None:
    api = Api(session, running.url)
    await api.create(entity(7, "Road", speed=prop(10)))
    async with stream(session, running.url + QUERY) as events:
        await events.next()
    await drive(api, 70)
    assert await running.broker.stream_events.tidy([], window=3600) == []

    async with stream(
        session, running.url + QUERY, headers={"Last-Event-ID": str(events.last_id)}
    ) as again:
        await again.next()
        assert await again.speeds(1) == [70]


async def test_a_subscription_is_streamed_beside_its_endpoint(
    running: RunningBroker, session: ClientSession
) -> None:
    api = Api(session, running.url)
    async with receiver() as there:
        await api("POST", "/subscriptions", subscription(there.url()))
        url = f"{running.url}{ROOT}/subscriptions/{ROADS}/stream"
        async with stream(session, url) as events:
            await events.next()
            await api.create(entity(7, "Road", speed=prop(10)))
            streamed = await events.next()
            (received,) = await there.has_accepted(1)

            await api("DELETE", f"/subscriptions/{ROADS}")
            ended = await events.next()

    assert streamed.data == received.body
    assert (ended.name, ended.data) == ("end", {"reason": "the subscription was deleted"})


async def test_a_periodic_subscription_is_streamed_and_resumed(
    running: RunningBroker, session: ClientSession
) -> None:
    api = Api(session, running.url)
    await api.create(entity(7, "Road", speed=prop(10)))
    async with receiver() as there:
        await api("POST", "/subscriptions", subscription(there.url(), timeInterval=0.1))
        url = f"{running.url}{ROOT}/subscriptions/{ROADS}/stream"
        async with stream(session, url) as events:
            await events.next()
            first = await events.next()
        await there.received(len(there.all) + 2)
        last = {"Last-Event-ID": str(events.last_id)}
        async with stream(session, url, headers=last) as again:
            await again.next()
            second, third = await again.next(), await again.next()
        await there.until(lambda: third.data in [one.body for one in there.all])

    sent = [one.body for one in there.all]
    place = sent.index(first.data)
    assert [first.data, second.data, third.data] == sent[place : place + 3]


async def test_a_silent_stream_gives_signs_of_life(tmp_path: Path, session: ClientSession) -> None:
    async with (
        running_broker(tmp_path, stream_heartbeat=0.01) as broker,
        stream(session, broker.url + QUERY) as events,
    ):
        names = [(await events.next(comments=True)).name for _ in range(3)]

    assert names == ["ready", "comment", "comment"]


async def test_a_broker_that_stops_says_so(tmp_path: Path, session: ClientSession) -> None:
    events: EventStream
    async with running_broker(tmp_path) as broker:
        response = await session.get(broker.url + QUERY.replace("%3E", ">"))
        events = EventStream(response)
        await events.next()

    assert (await events.next()).name == "end"
    response.close()


async def test_a_reader_that_takes_nothing_is_cut_off_and_can_resume(
    tmp_path: Path, session: ClientSession
) -> None:
    text = "x" * 500_000
    async with running_broker(tmp_path, stream_patience=0.05) as broker:
        api = Api(session, broker.url)
        await api.create(entity(7, "Road", speed=prop(70), note=prop("")))
        numbers = count()
        async with stream(session, broker.url + QUERY) as events:
            await events.next()

            async def is_cut_off() -> bool:
                note = f"{next(numbers)} {text}"
                await api("PATCH", f"/entities/{ROAD}/attrs", {"note": prop(note)})
                return broker.broker.streams.readers == 0

            await eventually(is_cut_off)

        async with stream(
            session, broker.url + QUERY, headers={"Last-Event-ID": str(events.last_id)}
        ) as again:
            await again.next()
            found = await again.next()

    assert len(found.data["data"][0]["note"]["value"]) > len(text)


async def test_as_many_streams_as_are_allowed_can_be_open(
    tmp_path: Path, session: ClientSession
) -> None:
    async with running_broker(tmp_path, max_streams=1) as broker:
        api = Api(session, broker.url)
        async with stream(session, broker.url + QUERY) as first:
            await first.next()
            async with stream(session, broker.url + QUERY) as same:
                await same.next()
                refused = await api("GET", "/stream?type=Tree")

    assert refused.status == 503
    assert int(refused.headers["Retry-After"]) > 0


async def test_as_many_readers_as_are_allowed_can_read(
    tmp_path: Path, session: ClientSession
) -> None:
    async with (
        running_broker(tmp_path, max_stream_readers=1) as broker,
        stream(session, broker.url + QUERY) as first,
    ):
        await first.next()
        refused = await Api(session, broker.url)("GET", "/stream?type=Road&q=speed%3E60")

    assert refused.status == 503


async def test_a_reader_far_behind_the_others_gets_all_from_the_store(
    running: RunningBroker, session: ClientSession
) -> None:
    api = Api(session, running.url)
    await api.create(entity(7, "Road", speed=prop(10)))
    speeds = list(range(100, 400))
    async with stream(session, running.url + QUERY) as events:
        start = str((await events.next()).id)
        await drive(api, *speeds)
        assert await events.speeds(len(speeds)) == speeds

        async with stream(session, running.url + QUERY, headers={"Last-Event-ID": start}) as behind:
            await behind.next()
            assert await behind.speeds(len(speeds)) == speeds


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/stream", {}, 400),
        ("/stream?type=Road&q=speed%3E", {}, 400),
        ("/stream?type=Road&limit=3", {}, 400),
        ("/stream?type=Road", {"Last-Event-ID": "x"}, 400),
        ("/stream?type=Road&lastEventId=-1", {}, 400),
        ("/stream?type=Road", {"NGSILD-Tenant": "nobody"}, 404),
        ("/stream?type=Road", {"Accept": "application/json"}, 406),
        (f"/subscriptions/{ROADS}/stream", {}, 404),
    ],
    ids=["wide", "q", "limit", "header", "parameter", "tenant", "accept", "subscription"],
)
async def test_a_stream_of_nonsense_is_refused(
    api: Api, path: str, headers: dict[str, str], status: int
) -> None:
    assert (await api("GET", path, headers=headers)).status == status


async def test_a_page_of_an_allowed_origin_may_read_a_stream(
    tmp_path: Path, session: ClientSession
) -> None:
    origin = "https://map.example"
    async with (
        running_broker(tmp_path, cors_origins=origin) as broker,
        stream(session, broker.url + QUERY, headers={"Origin": origin}) as events,
    ):
        assert events.response.headers["Access-Control-Allow-Origin"] == origin
