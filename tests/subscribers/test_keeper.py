"""Subscriptions are made, found again, put back, and deleted when nothing needs them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aiohttp import ClientSession, web

from subscribers.server import serve
from subscribers.settings import Settings
from tests.support.city_parts import BAY, POINT, bay, point, ready
from tests.support.eventually import eventually
from tests.support.other_broker import OtherBroker, Request, other_broker, problem

PREFIX = "urn:ngsi-ld:Subscription:rigel:rules:"
SUBJECT = PREFIX + "blocked-charging-point.subject"
LINKED = PREFIX + "blocked-charging-point.linked"


def settings(broker: OtherBroker, data_dir: Path, **changes: Any) -> Settings:
    quick = {
        "tick_interval": 0.02,
        "catch_up": 0.1,
        "check_interval": 0.05,
        "reconcile_interval": 0.1,
    }
    chosen = {"broker_url": broker.url, "port": 0, **quick, **changes}
    return Settings(data_dir=data_dir, **chosen)


async def test_a_subscription_says_what_is_wanted_and_where(tmp_path: Path) -> None:
    chosen = {"tenant": "city", "ld_context": "http://example.org/city.jsonld"}
    async with (
        other_broker() as broker,
        serve(settings(broker, tmp_path, **chosen), {"rules"}) as running,
    ):
        await ready(running)
        url = running.url

    assert broker.subscriptions[LINKED] == {
        "id": LINKED,
        "type": "Subscription",
        "description": (
            "Rule blocked-charging-point: Bay occupied while its charging point is not charging"
        ),
        "entities": [{"type": "ParkingSpot"}],
        "notificationTrigger": ["attributeCreated", "attributeUpdated", "entityDeleted"],
        "watchedAttributes": ["status", "location"],
        "notification": {
            "attributes": ["status", "location"],
            "format": "normalized",
            "endpoint": {
                "uri": f"{url}/notify/rules/blocked-charging-point.linked",
                "accept": "application/json",
            },
        },
    }
    made = next(request for request in broker.requests if request.method == "POST")
    assert made.headers["NGSILD-Tenant"] == "city"
    assert "http://example.org/city.jsonld" in made.headers["Link"]


async def test_the_broker_may_reach_this_process_under_another_url(tmp_path: Path) -> None:
    chosen = {"public_url": "https://city.example.org/rules/"}
    async with (
        other_broker() as broker,
        serve(settings(broker, tmp_path, **chosen), {"rules"}) as running,
    ):
        await ready(running)

    endpoint = broker.subscriptions[SUBJECT]["notification"]["endpoint"]["uri"]
    assert endpoint.startswith("https://city.example.org/rules/notify/rules/")


async def test_a_restart_finds_its_subscriptions_again_and_renews_them(tmp_path: Path) -> None:
    async with other_broker() as broker:
        async with serve(settings(broker, tmp_path), {"rules"}) as running:
            await ready(running)
        async with serve(settings(broker, tmp_path), {"rules"}) as running:
            await ready(running)
            url = running.url

    assert broker.subscriptions.keys() == {SUBJECT, LINKED}
    assert broker.subscriptions[LINKED]["notification"]["endpoint"]["uri"].startswith(url)


async def test_a_subscription_that_somebody_deleted_is_put_back_and_made_up_for(
    tmp_path: Path,
) -> None:
    chosen: dict[str, Any] = {"reconcile_interval": 3600.0}
    async with (
        other_broker() as broker,
        serve(settings(broker, tmp_path, **chosen), {"rules"}) as running,
    ):
        await ready(running)
        del broker.subscriptions[LINKED]
        broker.entities[POINT] = point("available", 8)
        broker.entities[BAY] = bay("occupied", 9)
        broker.entities[BAY + "2"] = bay("free", 12, BAY + "2")
        await broker.until(lambda: LINKED in broker.subscriptions)
        await broker.notify(SUBJECT, point("available", 8))

        await broker.until(lambda: broker.alerts)


async def test_subscriptions_nothing_needs_any_more_are_deleted_and_others_left(
    tmp_path: Path,
) -> None:
    kept = ("urn:ngsi-ld:Subscription:rigel:kpi:x", "urn:ngsi-ld:Subscription:other:rules:x")
    async with other_broker() as broker:
        for subscription in (*kept, PREFIX + "old-rule.subject"):
            broker.subscriptions[subscription] = {"id": subscription, "type": "Subscription"}
        async with serve(settings(broker, tmp_path), {"rules"}) as running:
            await ready(running)
            await broker.until(lambda: PREFIX + "old-rule.subject" not in broker.subscriptions)

    assert broker.subscriptions.keys() == {SUBJECT, LINKED, *kept}


async def test_a_broker_that_comes_later_is_waited_for(tmp_path: Path) -> None:
    broker = OtherBroker()
    async with broker.listening():
        pass
    async with (
        serve(settings(broker, tmp_path), {"rules"}) as running,
        ClientSession(running.url) as session,
    ):
        await eventually(lambda: "Connect call failed" in str(running.problems()))
        waiting = await session.get("/ready")
        reasons = (await waiting.json())["reasons"]
        async with broker.listening():
            await ready(running)
            answer = await session.get("/ready")
            alive = await session.get("/health")

    assert waiting.status == 503
    assert reasons[0].startswith("rules: subscription blocked-charging-point.")
    assert (answer.status, alive.status) == (200, 200)
    assert broker.subscriptions.keys() == {SUBJECT, LINKED}


async def test_a_subscription_the_broker_refuses_stops_no_other_rule(tmp_path: Path) -> None:
    rules = tmp_path / "rules"
    rules.mkdir()
    (rules / "heat.yaml").write_text(
        "rule: heat\ntitle: Heat\nsubject: {type: Odd, where: [{attribute: t, above: 35}]}\n"
        "alert: {category: weather, severity: high, description: hot}\n"
    )

    def respond(request: Request) -> web.Response | None:
        return problem(400, "odd type") if "heat.subject" in str(request.body) else None

    async with other_broker() as broker:
        broker.respond = respond
        broker.entities[POINT] = point("available", 8)
        broker.entities[BAY] = bay("occupied", 9)
        broker.entities[BAY + "2"] = bay("free", 12, BAY + "2")
        chosen = settings(broker, tmp_path, rules_dirs=(rules,))
        async with serve(chosen, {"rules"}) as running:
            await broker.until(lambda: broker.alerts)
            problems = running.problems()

    assert problems == ["rules: subscription heat.subject: 400: odd type"]


async def test_an_entity_that_is_gone_from_the_broker_is_forgotten(tmp_path: Path) -> None:
    async with other_broker() as broker:
        broker.entities[POINT] = point("available", 8)
        broker.entities[BAY] = bay("occupied", 9)
        broker.entities[BAY + "2"] = bay("free", 12, BAY + "2")
        async with serve(settings(broker, tmp_path), {"rules"}):
            await broker.until(lambda: broker.alerts)

            del broker.entities[BAY]

            await broker.until(lambda: broker.alerts[0]["alertState"]["value"] == "closed")


async def test_an_entity_that_only_a_page_left_out_is_not_forgotten(tmp_path: Path) -> None:
    async with other_broker() as broker:
        broker.entities[POINT] = point("available", 8)
        broker.entities[BAY] = bay("occupied", 9)
        broker.entities[BAY + "2"] = bay("free", 12, BAY + "2")
        async with serve(settings(broker, tmp_path), {"rules"}):
            await broker.until(lambda: broker.alerts)
            asked = f"entities/{BAY}"
            broker.respond = lambda request: (
                web.json_response([]) if request.path == "entities" else None
            )

            await broker.until(lambda: sum(r.path == asked for r in broker.requests) >= 2)

    assert broker.alerts[0]["alertState"]["value"] == "open"


async def test_many_entities_come_page_by_page(tmp_path: Path) -> None:
    async with other_broker() as broker:
        for number in range(1234):
            entity_id = f"{BAY}-{number}"
            broker.entities[entity_id] = bay("free", 1, entity_id)
        async with serve(settings(broker, tmp_path), {"rules"}) as running:
            await ready(running)
            held = await running.roles["rules"].intake.known("blocked-charging-point.linked")

    assert len(held) == 1234
