"""From entities in Rigel's broker over notifications to alerts and KPIs in the same broker."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random
from typing import Any

from broker.client import Client
from subscribers.server import serve
from subscribers.settings import Settings
from tests.support.city_parts import BAY, POINT, bay, moment, point, ready
from tests.support.eventually import eventually
from tests.support.mosquitto import free_port
from tests.support.serve import running_broker
from tests.support.subscriber_process import subscriber_process

RATE = "urn:ngsi-ld:KeyPerformanceIndicator:parking-occupancy-rate:ParkingGroup:market"
ROTATIONS = "urn:ngsi-ld:KeyPerformanceIndicator:parking-rotations:ParkingGroup:market"
QUICK: dict[str, Any] = {"tick_interval": 0.02, "running_interval": 0.0}


async def value_of(client: Client, kpi: str, end: float) -> float | None:
    """Return the value of a KPI if it is that of the window which ended at an hour."""
    entity = await client.retrieve_entity(kpi)
    if entity is None or entity["kpiValue"]["observedAt"] != moment(end).replace("Z", ".000Z"):
        return None
    return float(entity["kpiValue"]["value"])


async def alerts(client: Client) -> list[dict[str, Any]]:
    return [alert async for alert in client.query_entities(type="Alert")]


async def test_bays_become_kpis_and_a_restart_in_between_changes_nothing(tmp_path: Path) -> None:
    async with running_broker(tmp_path / "broker") as broker, Client.connect(broker.url) as client:
        settings = Settings(
            broker_url=broker.url, port=free_port(), data_dir=tmp_path / "subscribers", **QUICK
        )
        async with serve(settings, {"kpi"}) as running:
            await ready(running)
            await client.upsert([bay("free", 1), bay("occupied", 1, BAY + "2")])
            await client.upsert([bay("occupied", 7)])
            taken = running.roles["kpi"].intake.counts
            await eventually(lambda: taken["observations", "taken"] == 3)
        await client.upsert([bay("free", 13)])
        async with serve(settings, {"kpi"}) as running:
            await ready(running)
            await client.upsert([bay("free", 24.5)])

            async def is_written() -> bool:
                return await value_of(client, ROTATIONS, 24) == 1.0

            await eventually(is_written)

        assert await value_of(client, RATE, 24) == round((6 + 23) / (23 + 23), 6)


async def test_a_blocked_charging_point_becomes_an_alert_that_is_closed(tmp_path: Path) -> None:
    async with running_broker(tmp_path / "broker") as broker, Client.connect(broker.url) as client:
        settings = Settings(broker_url=broker.url, port=0, data_dir=tmp_path, **QUICK)
        async with serve(settings, {"rules"}) as running:
            await ready(running)
            await client.upsert([point("available", 8)])
            await client.upsert([bay("occupied", 9)])
            await client.upsert([bay("free", 10, BAY + "2")])

            async def is_raised() -> bool:
                return len(await alerts(client)) == 1

            await eventually(is_raised)
            await client.upsert([point("charging", 10)])
            await client.upsert([bay("free", 11, BAY + "2")])

            async def is_closed() -> bool:
                return "validTo" in (await alerts(client))[0]

            await eventually(is_closed)

        (alert,) = await alerts(client)
    assert alert["alertState"]["value"] == "closed"
    assert alert["alertSource"]["object"] == BAY
    assert alert["validTo"]["value"]["@value"] == moment(10).replace("Z", ".000Z")


async def test_an_alert_is_closed_when_its_bay_is_deleted(tmp_path: Path) -> None:
    async with running_broker(tmp_path / "broker") as broker, Client.connect(broker.url) as client:
        settings = Settings(broker_url=broker.url, port=0, data_dir=tmp_path, **QUICK)
        async with serve(settings, {"rules"}) as running:
            await ready(running)
            await client.upsert([point("available", 8)])
            await client.upsert([bay("occupied", 9)])
            await client.upsert([bay("free", 10, BAY + "2")])

            async def is_raised() -> bool:
                return len(await alerts(client)) == 1

            await eventually(is_raised)
            await client.delete_entity(BAY)

            async def is_closed() -> bool:
                return "validTo" in (await alerts(client))[0]

            await eventually(is_closed)


def stays(random: Random) -> Iterator[tuple[float, float]]:
    """Yield arrivals and departures at a bay over two days, in hours."""
    hour = random.uniform(0.5, 4)
    while hour < 47:
        leaving = min(hour + random.uniform(0.4, 5), 47.5)
        yield hour, leaving
        hour = leaving + random.uniform(0.4, 4)


async def test_nothing_is_lost_or_done_twice_when_the_process_is_killed_again_and_again(
    tmp_path: Path,
) -> None:
    random = Random(2)  # noqa: S311 - a story, not a secret
    told: list[tuple[float, dict[str, Any]]] = []
    arrivals: list[float] = []
    for number in range(12):
        bay_id, point_id = f"{BAY}-{number}", f"{POINT}-{number}"
        told += [(0, bay("free", 0, bay_id)), (0, point("available", 0, point_id, bay_id))]
        for arrival, departure in stays(random):
            told.append((arrival, bay("occupied", arrival, bay_id)))
            told.append((departure, bay("free", departure, bay_id)))
            arrivals.append(arrival)
    told.sort(key=lambda item: item[0])
    settings = {"port": free_port(), "lateness": 12 * 3600.0, **QUICK}

    async with (
        running_broker(tmp_path / "broker") as broker,
        Client.connect(broker.url) as client,
        AsyncExitStack() as stack,
    ):
        settings["broker_url"] = broker.url
        process = await stack.enter_async_context(subscriber_process(tmp_path, **settings))
        for number, (_, entity) in enumerate(told):
            await client.upsert([entity])
            if number % (len(told) // 5) == 40:
                await process.kill()
                process = await stack.enter_async_context(subscriber_process(tmp_path, **settings))
        # A day later everything is due, and every timer has run.
        await client.upsert([bay("free", 48 + 12.5, f"{BAY}-0")])

        async def is_complete() -> bool:
            found = await alerts(client)
            closed = sum(alert["alertState"]["value"] == "closed" for alert in found)
            return closed >= len(arrivals) and await value_of(client, ROTATIONS, 48) is not None

        await eventually(is_complete)
        rotations = await value_of(client, ROTATIONS, 48)
        sources = [alert["validFrom"]["value"]["@value"] for alert in await alerts(client)]

    assert rotations == sum(24 <= arrival < 48 for arrival in arrivals)
    assert len(sources) == len(arrivals)
    assert sorted(sources) == sorted(moment(arrival).replace("Z", ".000Z") for arrival in arrivals)
