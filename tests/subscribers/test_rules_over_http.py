"""The rule subscriber between real sockets and a real file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from subscribers.common.journal import JournalUnusable
from subscribers.server import serve
from subscribers.settings import Settings
from tests.support.city_parts import BAY, POINT, bay, point, ready
from tests.support.eventually import eventually
from tests.support.other_broker import OtherBroker, other_broker, problem

SUBJECT, LINKED = "blocked-charging-point.subject", "blocked-charging-point.linked"


def settings(broker: OtherBroker, data_dir: Path, **changes: Any) -> Settings:
    chosen = {
        "broker_url": broker.url,
        "port": 0,
        "tick_interval": 0.02,
        "catch_up": 0.1,
        **changes,
    }
    return Settings(data_dir=data_dir, **chosen)


async def test_a_blocked_charging_point_raises_an_alert_and_leaving_closes_it(
    tmp_path: Path,
) -> None:
    async with other_broker() as broker, serve(settings(broker, tmp_path), {"rules"}) as running:
        await ready(running)
        assert await broker.notify(SUBJECT, point("available", 8)) == 204
        assert await broker.notify(LINKED, bay("occupied", 9)) == 204
        # Another bay lives on: it moves the time of the stream.
        assert await broker.notify(LINKED, bay("free", 10, BAY + "2")) == 204
        await broker.until(lambda: broker.alerts)
        await broker.notify(LINKED, bay("free", 11))
        await broker.notify(LINKED, bay("free", 12, BAY + "2"))
        await broker.until(lambda: "validTo" in broker.alerts[0])

    (alert,) = broker.alerts
    assert alert["alertSource"] == {"type": "Relationship", "object": BAY}
    assert alert["category"]["value"] == "traffic"
    assert alert["subCategory"]["value"] == "carStopped"
    assert alert["validFrom"]["value"]["@value"] == "2026-05-02T07:00:00.000Z"
    assert alert["dateIssued"]["value"]["@value"] == "2026-05-02T07:15:00.000Z"
    assert alert["alertState"]["value"] == "closed"
    assert alert["validTo"]["value"]["@value"] == "2026-05-02T09:00:00.000Z"
    assert alert["location"]["value"]["coordinates"] == [0.34, 46.58]


async def test_timers_and_alerts_survive_a_restart(tmp_path: Path) -> None:
    async with other_broker() as broker:
        async with serve(settings(broker, tmp_path), {"rules"}) as running:
            await ready(running)
            await broker.notify(SUBJECT, point("available", 8))
            await broker.notify(LINKED, bay("occupied", 9))
        async with serve(settings(broker, tmp_path), {"rules"}) as running:
            await ready(running)
            await broker.notify(LINKED, bay("free", 10, BAY + "2"))
            await broker.until(lambda: broker.alerts)
        async with serve(settings(broker, tmp_path), {"rules"}) as running:
            await ready(running)
            await broker.notify(LINKED, bay("occupied", 9))
            await broker.notify(LINKED, bay("free", 11))
            await broker.notify(LINKED, bay("free", 12, BAY + "2"))
            await broker.until(lambda: "validTo" in broker.alerts[0])

    created = [path for method, path, _ in broker.writes if (method, path) == ("POST", "entities")]
    assert len(created) == 1


async def test_what_happened_while_it_was_down_is_queried_before_anything_is_decided(
    tmp_path: Path,
) -> None:
    async with other_broker() as broker:
        async with serve(settings(broker, tmp_path), {"rules"}) as running:
            await ready(running)
            await broker.notify(SUBJECT, point("available", 8))
            await broker.notify(LINKED, bay("occupied", 9))
        broker.entities[POINT] = point("charging", 9.1)
        broker.entities[BAY] = bay("occupied", 9)
        broker.entities[BAY + "2"] = bay("free", 15, BAY + "2")
        async with serve(settings(broker, tmp_path), {"rules"}) as running:
            await ready(running)
            await broker.notify(SUBJECT, point("available", 15))
            await broker.notify(LINKED, bay("free", 15.5, BAY + "2"))
            await broker.until(lambda: broker.alerts)

    (alert,) = broker.alerts
    assert alert["validFrom"]["value"]["@value"] == "2026-05-02T13:00:00.000Z"


async def test_what_the_broker_still_has_to_tell_is_waited_for_after_a_restart(
    tmp_path: Path,
) -> None:
    async with other_broker() as broker:
        async with serve(settings(broker, tmp_path), {"rules"}) as running:
            await ready(running)
            await broker.notify(SUBJECT, point("available", 8))
            await broker.notify(LINKED, bay("free", 8))
        broker.entities[BAY] = bay("free", 12)
        async with serve(settings(broker, tmp_path, catch_up=60.0), {"rules"}) as running:
            await eventually(lambda: "is catching up with 1 entities" in str(running.problems()))
            for old_news in (bay("occupied", 9), bay("free", 11), bay("free", 12)):
                await broker.notify(LINKED, old_news)

            await ready(running)
            await broker.notify(LINKED, bay("free", 13))
            await broker.until(lambda: broker.alerts and "validTo" in broker.alerts[0])

    (alert,) = broker.alerts
    assert alert["validFrom"]["value"]["@value"] == "2026-05-02T07:00:00.000Z"
    assert alert["validTo"]["value"]["@value"] == "2026-05-02T09:00:00.000Z"


async def test_the_starting_state_comes_from_the_broker(tmp_path: Path) -> None:
    async with other_broker() as broker:
        broker.entities[POINT] = point("available", 8)
        broker.entities[BAY] = bay("occupied", 9)
        broker.entities[BAY + "2"] = bay("free", 15, BAY + "2")
        async with serve(settings(broker, tmp_path), {"rules"}):
            await broker.until(lambda: broker.alerts)


async def test_an_alert_waits_for_a_broker_that_is_away(tmp_path: Path) -> None:
    async with other_broker() as broker:
        chosen = settings(broker, tmp_path)
        async with serve(chosen, {"rules"}) as running:
            await ready(running)
            await broker.notify(SUBJECT, point("available", 8))
            await broker.notify(LINKED, bay("occupied", 9))
            broker.respond = lambda _: problem(503)
            await broker.notify(LINKED, bay("free", 10, BAY + "2"))
            await broker.until(lambda: any(r.path == "entities" for r in broker.requests[-1:]))
        broker.respond = lambda _: None
        async with serve(chosen, {"rules"}):
            await broker.until(lambda: broker.alerts)


async def test_rules_and_their_runs_can_be_read(tmp_path: Path) -> None:
    async with (
        other_broker() as broker,
        serve(settings(broker, tmp_path), {"rules"}) as running,
        ClientSession(running.url) as session,
    ):
        await ready(running)
        await broker.notify(SUBJECT, point("available", 8))
        await broker.notify(LINKED, bay("occupied", 9), bay("free", 10, BAY + "2"))
        await broker.until(lambda: broker.alerts)

        rules = await (await session.get("/rules")).json()
        runs = await (await session.get("/rules/blocked-charging-point/runs")).json()
        unknown = await session.get("/rules/nothing/runs")

    assert rules[0]["rule"] == "blocked-charging-point"
    assert rules[0]["openAlerts"] == 1
    assert rules[0]["runs"] == {"raised": 1}
    assert [run["outcome"] for run in runs] == ["raised"]
    assert unknown.status == 404


@pytest.mark.parametrize("name", ["rules", "kpi"])
async def test_two_processes_cannot_share_one_state(tmp_path: Path, name: str) -> None:
    async with other_broker() as broker, serve(settings(broker, tmp_path), {name}):
        with pytest.raises(JournalUnusable, match="is another process using it"):
            async with serve(settings(broker, tmp_path), {name}):
                pass
