"""Explain, dead letters and tests of subscriptions over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from broker.core.timestamps import instant_key
from tests.support.api import Answered, Api
from tests.support.builders import entity, prop
from tests.support.eventually import eventually
from tests.support.receiver import Receiver, answering, first, receiver
from tests.support.serve import running_broker

ROADS = "urn:ngsi-ld:Subscription:roads"
PATH = f"/subscriptions/{ROADS}"
A7 = "urn:ngsi-ld:Road:7"


def to(uri: str, **members: Any) -> dict[str, Any]:
    return {
        "id": ROADS,
        "type": "Subscription",
        "entities": [{"type": "Road"}],
        "notification": {"endpoint": {"uri": uri}},
        **members,
    }


@pytest.fixture
async def once(tmp_path: Path) -> AsyncIterator[Api]:
    """A broker that gives up after the first attempt."""
    async with (
        running_broker(tmp_path, notification_attempts=1) as broker,
        ClientSession() as session,
    ):
        yield Api(session, broker.url)


async def dead(api: Api, count: int) -> list[dict[str, Any]]:
    """Wait until there are this many dead letters."""
    found: list[dict[str, Any]] = []

    async def are_there() -> bool:
        found[:] = (await api("GET", f"{PATH}/deadLetters?limit=1000")).body
        return len(found) == count

    await eventually(are_there)
    return found


async def give_up(api: Api, there: Receiver, count: int) -> list[dict[str, Any]]:
    await api("POST", "/subscriptions", to(there.url()))
    for number in range(count):
        await api.create(entity(number, "Road", speed=prop(number)))
    return await dead(api, count)


async def test_a_change_that_was_notified_is_explained(api: Api) -> None:
    async with receiver() as there:
        await api("POST", "/subscriptions", to(there.url(), q="speed>60"))
        await api.create(entity(7, "Road", speed=prop(80)))
        (received,) = await there.has_accepted(1)

        told = (await api("GET", f"{PATH}/explain")).body

    assert told["status"] == "active"
    assert told["changes"][0]["entityId"] == A7
    assert told["changes"][0]["notificationId"] == received.id
    assert told["delivery"]["circuit"] == "closed"


async def test_the_value_that_q_saw_is_shown(api: Api) -> None:
    await api("POST", "/subscriptions", to("http://127.0.0.1:9/", q="speed>60"))
    await api.create(entity(7, "Road", speed=prop(50)))

    told = (await api("GET", f"{PATH}/explain")).body

    (change,) = told["changes"]
    assert change["stoppedBy"] == "q"
    (condition,) = [one for one in change["conditions"] if one["condition"] == "q"]
    assert condition == {
        "condition": "q", "holds": False, "asked": "speed>60", "seen": {"speed": 50}
    }  # fmt: skip


async def test_what_geo_q_saw_is_shown(api: Api) -> None:
    point = {"type": "GeoProperty", "value": {"type": "Point", "coordinates": [4.0, 52.0]}}
    near = {"georel": "near;maxDistance==10", "geometry": "Point", "coordinates": [0.0, 0.0]}
    await api("POST", "/subscriptions", to("http://127.0.0.1:9/", geoQ=near))
    await api.create(entity(7, "Road", location=point))

    told = (await api("GET", f"{PATH}/explain")).body

    condition = told["changes"][0]["conditions"][-1]
    assert told["changes"][0]["stoppedBy"] == condition["condition"] == "geoQ"
    assert condition["seen"] == {"location": point["value"]}


async def test_an_entity_is_explained_as_it_is_now(api: Api) -> None:
    await api.create(entity(7, "Road", speed=prop(50)))
    await api.create(entity(8, "Road", speed=prop(80)))
    await api("POST", "/subscriptions", to("http://127.0.0.1:9/", q="speed>60"))

    slow = (await api("GET", f"{PATH}/explain?entityId={A7}")).body
    fast = (await api("GET", f"{PATH}/explain?entityId=urn:ngsi-ld:Road:8")).body
    none = (await api("GET", f"{PATH}/explain?entityId=urn:ngsi-ld:Road:9")).body

    assert slow["changes"] == []
    assert (slow["entity"]["wouldBeNotified"], slow["entity"]["stoppedBy"]) == (False, "q")
    assert fast["entity"]["wouldBeNotified"] is True
    assert none["entity"]["wouldBeNotified"] is False


async def test_a_paused_subscription_is_explained(api: Api) -> None:
    await api.create(entity(7, "Road", speed=prop(50)))
    await api("POST", "/subscriptions", to("http://127.0.0.1:9/", isActive=False))

    told = (await api("GET", f"{PATH}/explain?entityId={A7}")).body

    assert told["status"] == "paused"
    assert told["entity"]["stoppedBy"] == "isActive"


@pytest.mark.parametrize(
    ("members", "stopped_by"),
    [
        ({"isActive": False}, "isActive"),
        ({"expiresAt": "2999-01-01T00:00:00Z", "q": "speed>60"}, "q"),
        ({"watchedAttributes": ["lanes"]}, "watchedAttributes"),
        ({"notificationTrigger": ["entityDeleted"]}, "notificationTrigger"),
        ({"entities": [{"type": "Road", "idPattern": ".*:8$"}]}, "entities"),
        ({"scopeQ": "/elsewhere"}, "scopeQ"),
        ({"q": "connectsTo{lanes}>2"}, "q"),
    ],
    ids=["paused", "q", "attributes", "trigger", "selector", "scope", "linked"],
)
async def test_p16_each_condition_says_when_it_is_the_one(
    api: Api, members: dict[str, Any], stopped_by: str
) -> None:
    await api("POST", "/subscriptions", to("http://127.0.0.1:9/", **members))
    await api.create(entity(7, "Road", speed=prop(50), scope="/here"))

    told = (await api("GET", f"{PATH}/explain?entityId={A7}")).body

    assert told["entity"]["stoppedBy"] == stopped_by
    assert all(change["stoppedBy"] == stopped_by for change in told["changes"])


async def test_what_q_saw_of_linked_entities_is_shown(api: Api) -> None:
    link = {"type": "Relationship", "object": ["urn:ngsi-ld:Road:8", "urn:ngsi-ld:Road:9"]}
    await api.create(entity(8, "Road", lanes=prop(2), speed=prop(1)))
    await api("POST", "/subscriptions", to("http://127.0.0.1:9/", q="connectsTo{lanes}>2"))
    await api.create(entity(7, "Road", connectsTo=link))

    told = (await api("GET", f"{PATH}/explain?entityId={A7}")).body
    await api("PATCH", "/entities/urn:ngsi-ld:Road:8/attrs", {"lanes": prop(3)})
    later = (await api("GET", f"{PATH}/explain?entityId={A7}")).body

    condition = told["changes"][0]["conditions"][-1]
    assert told["changes"][0]["stoppedBy"] == condition["condition"] == "q"
    assert condition["asked"] == "connectsTo{lanes}>2"
    assert condition["seen"] == {
        "connectsTo": link["object"],
        "linked": {"urn:ngsi-ld:Road:8": {"lanes": 2}, "urn:ngsi-ld:Road:9": None},
    }
    assert told["entity"]["wouldBeNotified"] is False
    assert later["entity"]["wouldBeNotified"] is True


@pytest.mark.parametrize(
    ("members", "speed", "matching", "stopped_by"),
    [
        ({}, 80, 1, None),
        ({}, 50, 0, "no entity matches"),
        ({"isActive": False}, 80, 1, "isActive"),
    ],
    ids=["told", "nothing", "paused"],
)
async def test_a_periodic_subscription_says_when_it_tells_of_what(
    api: Api, members: dict[str, Any], speed: int, matching: int, stopped_by: str | None
) -> None:
    subscription = to("http://127.0.0.1:9/", timeInterval=3600, q="speed>60", **members)
    await api("POST", "/subscriptions", subscription)
    await api.create(entity(7, "Road", speed=prop(speed)))

    told = (await api("GET", f"{PATH}/explain?entityId={A7}")).body

    created = (await api("GET", f"{PATH}?options=sysAttrs")).body["createdAt"]
    assert "changes" not in told
    assert told["period"]["timeInterval"] == 3600
    assert told["period"]["matching"] == matching
    assert told["period"].get("stoppedBy") == stopped_by
    assert instant_key(told["period"]["next"]) == pytest.approx(
        instant_key(created) + 3600, abs=0.01
    )
    assert told["entity"]["wouldBeNotified"] is (stopped_by is None)


async def test_a_failing_endpoint_is_seen_in_the_delivery(api: Api) -> None:
    async with receiver(answering(500)) as there:
        await api("POST", "/subscriptions", to(there.url()))
        await api.create(entity(7, "Road", speed=prop(50)))
        await there.received(5)

        async def is_open() -> bool:
            told = (await api("GET", f"{PATH}/explain")).body["delivery"]
            return bool(told["circuit"] == "open")

        await eventually(is_open)
        told = (await api("GET", f"{PATH}/explain")).body

    assert told["delivery"]["lastError"] == "answered 500"
    assert told["delivery"]["waiting"] == 1
    assert "nextAttempt" in told["delivery"]
    assert told["changes"][0]["delivery"] == "waiting"


async def test_throttling_is_seen_in_the_delivery(api: Api) -> None:
    async with receiver() as there:
        await api("POST", "/subscriptions", to(there.url(), throttling=3600))
        await api.create(entity(7, "Road", speed=prop(50)))
        await there.has_accepted(1)
        await api.create(entity(8, "Road", speed=prop(50)))

        async def is_held() -> bool:
            told = (await api("GET", f"{PATH}/explain")).body["delivery"]
            return "throttledUntil" in told and told["waiting"] == 1

        await eventually(is_held)


async def test_nothing_is_explained_of_a_subscription_that_is_not_there(api: Api) -> None:
    assert (await api("GET", f"{PATH}/explain")).status == 404
    assert (await api("GET", f"{PATH}/deadLetters")).status == 404
    assert (await api("POST", f"{PATH}/deadLetters/replay")).status == 404
    assert (await api("DELETE", f"{PATH}/deadLetters")).status == 404
    assert (await api("POST", f"{PATH}/test")).status == 404


async def test_dead_letters_are_listed_in_pages_with_their_reason(once: Api) -> None:
    async with receiver(answering(500)) as there:
        await give_up(once, there, 3)

        page = await once("GET", f"{PATH}/deadLetters?limit=2&count=true")
        rest = await once("GET", f"{PATH}/deadLetters?limit=2&offset=2")

    assert page.headers["NGSILD-Results-Count"] == "3"
    assert 'rel="next"' in page.headers["Link"]
    assert [len(page.body), len(rest.body)] == [2, 1]
    assert page.body[0]["reason"].startswith("answered 500")
    assert page.body[0]["notification"]["id"] == page.body[0]["id"]
    assert page.body[0]["entityId"].startswith("urn:ngsi-ld:Road:")


async def test_replayed_dead_letters_arrive_with_the_ids_they_had(once: Api) -> None:
    async with receiver(first(3, answering(500))) as there:
        letters = await give_up(once, there, 3)

        replayed = await once("POST", f"{PATH}/deadLetters/replay")
        received = await there.has_accepted(3)

    assert sorted(replayed.body["replayed"]) == sorted(letter["id"] for letter in letters)
    assert sorted(one.id for one in received) == sorted(replayed.body["replayed"])
    assert await dead(once, 0) == []


async def test_one_dead_letter_is_replayed_by_its_id(once: Api) -> None:
    async with receiver(first(2, answering(500))) as there:
        letters = await give_up(once, there, 2)
        wanted = letters[1]["id"]

        replayed = await once("POST", f"{PATH}/deadLetters/replay", {"ids": [wanted]})
        (received,) = await there.has_accepted(1)

    assert replayed.body == {"replayed": [wanted]} == {"replayed": [received.id]}
    assert [letter["id"] for letter in await dead(once, 1)] == [letters[0]["id"]]


@pytest.mark.parametrize(
    "body", [[], {"ids": []}, {"ids": "x"}, {"ids": [1]}, {"id": ["urn:x:y"]}], ids=repr
)
async def test_a_replay_of_nonsense_is_refused(api: Api, body: object) -> None:
    await api("POST", "/subscriptions", to("http://127.0.0.1:9/"))

    refused: Answered = await api("POST", f"{PATH}/deadLetters/replay", body)

    assert refused.status == 400


async def test_purged_dead_letters_are_gone(once: Api) -> None:
    async with receiver(answering(500)) as there:
        await give_up(once, there, 2)

        purged = await once("DELETE", f"{PATH}/deadLetters")

    assert purged.body == {"purged": 2}
    assert await dead(once, 0) == []


async def test_dead_letters_outlive_their_subscription_until_they_are_purged(once: Api) -> None:
    async with receiver(answering(500)) as there:
        await give_up(once, there, 2)
        await once("DELETE", PATH)

        left = await once("GET", f"{PATH}/deadLetters")
        purged = await once("DELETE", f"{PATH}/deadLetters")
        nothing = await once("GET", f"{PATH}/deadLetters")

    assert len(left.body) == 2
    assert purged.body == {"purged": 2}
    assert nothing.status == 404


async def test_dead_letters_and_their_replay_outlive_the_process(tmp_path: Path) -> None:
    async with receiver(first(1, answering(500))) as there:
        async with (
            running_broker(tmp_path, notification_attempts=1) as broker,
            ClientSession() as session,
        ):
            (letter,) = await give_up(Api(session, broker.url), there, 1)

        async with running_broker(tmp_path) as broker, ClientSession() as session:
            await Api(session, broker.url)("POST", f"{PATH}/deadLetters/replay")
            (received,) = await there.has_accepted(1)

    assert received.id == letter["id"]


async def test_a_test_says_that_the_receiver_took_the_sample(api: Api) -> None:
    await api.create(entity(7, "Road", speed=prop(50)))
    async with receiver() as there:
        await api("POST", "/subscriptions", to(there.url()))

        told = await api("POST", f"{PATH}/test")
        (received,) = await there.has_accepted(1)

    assert told.body["delivered"] is True
    assert received.id == told.body["notificationId"]
    assert received.entities[0]["id"] == A7


async def test_a_test_says_what_the_receiver_refused_with(api: Api) -> None:
    async with receiver(answering(403)) as there:
        await api("POST", "/subscriptions", to(there.url()))

        told = await api("POST", f"{PATH}/test")
        (received,) = await there.received(1)

    assert (told.body["delivered"], told.body["reason"]) == (False, "answered 403")
    assert received.entities[0]["type"] == "Road"
    retrieved = await api("GET", PATH)
    assert "timesSent" not in retrieved.body["notification"]
