"""Subscriptions over HTTP: create, read, change, delete, and be notified."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from tests.support.api import Api
from tests.support.builders import entity, prop
from tests.support.receiver import answering, receiver
from tests.support.serve import running_broker

ROAD = "urn:ngsi-ld:Subscription:roads"
ANY = {"uri": "http://127.0.0.1:9/notify"}
WEBSOCKET = {"endpoint": {"uri": "ws://broker.example/topic"}}
LD_JSON = {"Content-Type": "application/ld+json"}


def subscription(**members: Any) -> dict[str, Any]:
    return {
        "id": ROAD,
        "type": "Subscription",
        "entities": [{"type": "Road"}],
        "notification": {"endpoint": ANY},
        **members,
    }


def to(uri: str, **members: Any) -> dict[str, Any]:
    return subscription(notification={"endpoint": {"uri": uri}}, **members)


async def test_a_subscription_is_created_and_served(api: Api) -> None:
    created = await api("POST", "/subscriptions", subscription(watchedAttributes=["speed"]))

    retrieved = await api("GET", f"/subscriptions/{ROAD}")

    assert created.status == 201
    assert created.headers["Location"] == f"/ngsi-ld/v1/subscriptions/{ROAD}"
    assert created.body is None
    assert retrieved.status == 200
    assert retrieved.headers["Content-Type"] == "application/json"
    assert retrieved.body["watchedAttributes"] == ["speed"]
    assert retrieved.body["status"] == "active"
    assert "jsonldContext" in retrieved.body
    assert "timesSent" not in retrieved.body["notification"]


async def test_a_subscription_without_id_is_found_at_its_location(api: Api) -> None:
    sent = subscription()
    del sent["id"]

    created = await api("POST", "/subscriptions", sent)

    path = created.headers["Location"].removeprefix("/ngsi-ld/v1")
    assert (await api("GET", path)).body["id"].startswith("urn:ngsi-ld:Subscription:")


async def test_an_id_is_taken_once(api: Api) -> None:
    await api("POST", "/subscriptions", subscription())

    again = await api("POST", "/subscriptions", subscription())

    assert again.status == 409
    assert again.body["type"].endswith("/AlreadyExists")


async def test_the_context_is_where_the_media_type_has_it(api: Api) -> None:
    terms = {"Road": "https://city.example/Road"}
    await api("POST", "/subscriptions", subscription() | {"@context": terms}, headers=LD_JSON)

    as_json = await api("GET", f"/subscriptions/{ROAD}")
    as_ld_json = await api(
        "GET", f"/subscriptions/{ROAD}", headers={"Accept": "application/ld+json"}
    )

    assert as_json.body["entities"] == [{"type": "https://city.example/Road"}]
    assert "@context" not in as_json.body
    assert "@context" in as_ld_json.body


async def test_a_context_of_its_own_is_served_under_the_subscriptions_json_ld_context(
    api: Api,
) -> None:
    terms = {"Road": "https://city.example/Road"}
    await api("POST", "/subscriptions", subscription() | {"@context": terms}, headers=LD_JSON)

    url = (await api("GET", f"/subscriptions/{ROAD}")).body["jsonldContext"]

    path = "//" + url.removeprefix(api.url + "/")
    assert (await api("GET", "/" + path.removeprefix("//ngsi-ld/v1/"))).body["@context"] == terms


@pytest.mark.parametrize(
    ("sent", "path"),
    [
        (subscription(entities=[]), "entities"),
        (subscription(notificationTrigger=["whenever"]), "notificationTrigger[0]"),
        (subscription(q="speed>"), "q"),
        (subscription(expiresAt="2020-01-01T00:00:00Z"), "expiresAt"),
        (to("http://user:secret@127.0.0.1/"), "notification.endpoint.uri"),
        (to("gopher://127.0.0.1/"), "notification.endpoint.uri"),
        (subscription(jsonldContext="nowhere"), "jsonldContext"),
    ],
)
async def test_what_is_wrong_is_answered_with_its_path(
    api: Api, sent: dict[str, Any], path: str
) -> None:
    answered = await api("POST", "/subscriptions", sent)

    assert answered.status == 400
    assert answered.body["type"].endswith("/BadRequestData")
    assert answered.detail.startswith(path)
    assert (await api("GET", "/subscriptions")).body == []


async def test_an_address_that_may_not_be_called_is_refused_at_creation(tmp_path: Path) -> None:
    async with (
        running_broker(tmp_path, egress_allow_private=False) as broker,
        ClientSession() as session,
    ):
        answered = await Api(session, broker.url)("POST", "/subscriptions", subscription())

    assert answered.status == 400
    assert answered.detail.startswith("notification.endpoint.uri")
    assert "loopback" in answered.detail


async def test_what_is_not_offered_is_answered_422(api: Api) -> None:
    answered = await api("POST", "/subscriptions", subscription(notification=WEBSOCKET))

    assert answered.status == 422
    assert answered.body["type"].endswith("/OperationNotSupported")


async def test_a_context_that_cannot_be_had_is_answered_504(api: Api) -> None:
    url = "http://127.0.0.1:9/context.jsonld"

    answered = await api("POST", "/subscriptions", subscription(jsonldContext=url))

    assert answered.status == 504
    assert answered.body["type"].endswith("/LdContextNotAvailable")


async def test_subscriptions_are_listed_page_by_page(api: Api) -> None:
    for number in range(3):
        await api("POST", "/subscriptions", subscription(id=f"urn:ngsi-ld:Subscription:{number}"))

    page = await api("GET", "/subscriptions?limit=1&offset=1")

    assert [one["id"] for one in page.body] == ["urn:ngsi-ld:Subscription:1"]
    assert "NGSILD-Results-Count" not in page.headers
    assert '</ngsi-ld/v1/subscriptions?limit=1&offset=0>;rel="prev"' in page.headers["Link"]
    assert '</ngsi-ld/v1/subscriptions?limit=1&offset=2>;rel="next"' in page.headers["Link"]


async def test_an_empty_page_still_counts(api: Api) -> None:
    await api("POST", "/subscriptions", subscription())

    page = await api("GET", "/subscriptions?limit=0&count=true")

    assert page.body == []
    assert page.headers["NGSILD-Results-Count"] == "1"


async def test_an_update_changes_what_it_names(api: Api) -> None:
    await api("POST", "/subscriptions", subscription(description="roads", throttling=5))

    answered = await api(
        "PATCH", f"/subscriptions/{ROAD}", {"isActive": False, "throttling": "urn:ngsi-ld:null"}
    )

    body = (await api("GET", f"/subscriptions/{ROAD}")).body
    assert (answered.status, answered.body) == (204, None)
    assert body["status"] == "paused"
    assert body["isActive"] is False
    assert body["description"] == "roads"
    assert "throttling" not in body


async def test_system_attributes_are_served_when_asked_for(api: Api) -> None:
    await api("POST", "/subscriptions", subscription())

    one = await api("GET", f"/subscriptions/{ROAD}?options=sysAttrs")
    listed = await api("GET", "/subscriptions?options=sysAttrs")

    assert {"createdAt", "modifiedAt"} <= one.body.keys()
    assert {"createdAt", "modifiedAt"} <= listed.body[0].keys()


async def test_a_deleted_subscription_is_gone(api: Api) -> None:
    await api("POST", "/subscriptions", subscription())

    answered = await api("DELETE", f"/subscriptions/{ROAD}")

    assert (answered.status, answered.body) == (204, None)
    assert (await api("GET", f"/subscriptions/{ROAD}")).status == 404
    assert (await api("DELETE", f"/subscriptions/{ROAD}")).status == 404
    assert (await api("GET", "/subscriptions")).body == []


@pytest.mark.parametrize(
    ("method", "body"), [("GET", None), ("PATCH", {"isActive": True}), ("DELETE", None)]
)
async def test_ids_are_uris_and_unknown_ones_are_not_found(
    api: Api, method: str, body: dict[str, Any] | None
) -> None:
    assert (await api(method, "/subscriptions/roads", body)).status == 400
    assert (await api(method, f"/subscriptions/{ROAD}", body)).status == 404


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
async def test_there_is_nothing_to_change_without_an_id(api: Api, method: str) -> None:
    body = {"isActive": True} if method == "PATCH" else None

    assert (await api(method, "/subscriptions/", body)).status == 405


async def test_tenants_have_their_own_subscriptions(api: Api) -> None:
    north = {"NGSILD-Tenant": "north"}
    missing = await api("GET", "/subscriptions", headers=north)

    await api("POST", "/subscriptions", subscription(), headers=north)

    assert missing.status == 404
    assert missing.body["type"].endswith("/NonexistentTenant")
    assert (await api("GET", f"/subscriptions/{ROAD}", headers=north)).status == 200
    assert (await api("GET", f"/subscriptions/{ROAD}")).status == 404
    assert (await api("GET", "/subscriptions")).body == []


async def test_a_write_is_notified_and_counted(api: Api) -> None:
    async with receiver() as there:
        await api("POST", "/subscriptions", to(there.url()))

        await api.create(entity(1, "Road", speed=prop(50)))
        (notification,) = await there.has_accepted(1)
        await api("PATCH", "/entities/urn:ngsi-ld:Road:1", {"speed": prop(80)})
        await there.has_accepted(2)
        await api("DELETE", f"/subscriptions/{ROAD}")
        await api("PATCH", "/entities/urn:ngsi-ld:Road:1", {"speed": prop(90)})

    assert notification.body["subscriptionId"] == ROAD
    assert [one.entities[0]["speed"]["value"] for one in there.all] == [50, 80]


async def test_notifications_use_the_subscriptions_context_and_name_it(api: Api) -> None:
    terms = {"speed": "https://city.example/speed"}
    async with receiver() as there:
        sent = to(there.url()) | {"@context": terms}
        await api("POST", "/subscriptions", sent, headers=LD_JSON)

        road = {"id": "urn:ngsi-ld:Road:1", "type": "Road", "https://city.example/speed": prop(5)}
        await api.create(road)
        (notification,) = await there.received(1)

    served = (await api("GET", f"/subscriptions/{ROAD}")).body
    assert notification.entities[0]["speed"] == prop(5)
    assert "@context" not in notification.entities[0]
    assert f"<{served['jsonldContext']}>" in notification.headers["Link"]


async def test_a_failed_delivery_shows_in_the_subscription(api: Api) -> None:
    async with receiver(answering(500)) as there:
        await api("POST", "/subscriptions", to(there.url()))

        await api.create(entity(1, "Road", speed=prop(50)))
        await there.received(2)

        body = (await api("GET", f"/subscriptions/{ROAD}")).body["notification"]
    assert body["status"] == "failed"
    assert body["timesFailed"] >= 1
    assert body["lastFailure"] == body["lastNotification"]


async def test_subscriptions_fire_after_a_restart(tmp_path: Path) -> None:
    async with receiver() as there, ClientSession() as session:
        async with running_broker(tmp_path) as broker:
            api = Api(session, broker.url)
            terms = {"speed": "https://city.example/speed"}
            sent = to(there.url(), q="speed>10") | {"@context": terms}
            await api("POST", "/subscriptions", sent, headers=LD_JSON)

        async with running_broker(tmp_path) as broker:
            api = Api(session, broker.url)
            for number, speed in ((1, 5), (2, 50)):
                road = entity(number, "Road") | {"https://city.example/speed": prop(speed)}
                await api.create(road)
            (notification,) = await there.received(1)
            served = await api("GET", f"/subscriptions/{ROAD}")

    assert notification.entities[0]["id"] == "urn:ngsi-ld:Road:2"
    assert served.body["q"] == "speed>10"


async def test_a_periodic_subscription_goes_on_after_a_restart(tmp_path: Path) -> None:
    async with receiver() as there:
        async with running_broker(tmp_path) as broker, ClientSession() as session:
            api = Api(session, broker.url)
            await api("POST", "/entities", entity(1, "Road", speed=prop(30)))
            created = await api("POST", "/subscriptions", to(there.url(), timeInterval=0.05))
            await there.received(2)
        before = len(there.all)
        async with running_broker(tmp_path):
            found = await there.received(before + 2)

    assert created.status == 201
    assert len({one.id for one in found}) == len(found)
    assert {one.body["subscriptionId"] for one in found} == {ROAD}


@pytest.mark.parametrize("join", ["inline", "flat"])
async def test_linked_entities_are_shown_as_the_same_write_left_them(api: Api, join: str) -> None:
    async with receiver() as there:
        asked = {"endpoint": {"uri": there.url()}, "join": join, "format": "simplified"}
        await api("POST", "/subscriptions", subscription(notification=asked))
        connected = {"type": "Relationship", "object": "urn:ngsi-ld:Lane:2"}

        await api(
            "POST",
            "/entityOperations/create",
            [entity(2, "Lane", width=prop(3)), entity(1, "Road", has=connected)],
        )
        (notification,) = await there.received(1)

    lane = {"id": "urn:ngsi-ld:Lane:2", "type": "Lane", "width": 3}
    first = notification.entities[0]
    assert (first["has"] if join == "inline" else notification.entities[1]) == lane


async def test_a_periodic_notification_brings_linked_entities_along_once(api: Api) -> None:
    async with receiver() as there:
        asked = {"endpoint": {"uri": there.url()}, "join": "flat", "joinLevel": 2}
        lane = {"type": "Relationship", "object": "urn:ngsi-ld:Lane:1"}
        surface = {"type": "Relationship", "object": "urn:ngsi-ld:Surface:1"}
        roads = [entity(number, "Road", has=lane) for number in (1, 2)]
        linked = [entity(1, "Lane", has=surface), entity(1, "Surface", wet=prop(value=True))]
        await api("POST", "/entityOperations/create", [*roads, *linked])

        await api("POST", "/subscriptions", subscription(timeInterval=0.05, notification=asked))
        first, *_ = await there.received(1)

    assert [one["id"].removeprefix("urn:ngsi-ld:") for one in first.entities] == [
        "Road:1",
        "Road:2",
        "Lane:1",
        "Surface:1",
    ]
