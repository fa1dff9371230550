"""The KPI subscriber between real sockets and a real file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aiohttp import ClientSession

from subscribers.server import serve
from subscribers.settings import Settings
from tests.support.city_parts import BAY, GROUP, bay, ready
from tests.support.other_broker import OtherBroker, other_broker

SOURCE = "kpi:ParkingSpot-status-"
RATE = "urn:ngsi-ld:KeyPerformanceIndicator:parking-occupancy-rate:ParkingGroup:market"
ROTATIONS = "urn:ngsi-ld:KeyPerformanceIndicator:parking-rotations:ParkingGroup:market"


def settings(broker: OtherBroker, data_dir: Path, **changes: Any) -> Settings:
    chosen = {
        "broker_url": broker.url,
        "port": 0,
        "tick_interval": 0.02,
        "catch_up": 0.1,
        **changes,
    }
    return Settings(data_dir=data_dir, **{"running_interval": 0.0, **chosen})


async def tell(broker: OtherBroker, *bays: dict[str, Any]) -> None:
    """Have the one subscription to bays told of some."""
    (name,) = (name for name in broker.subscriptions if SOURCE in name)
    assert await broker.notify(name, *bays) == 204


async def test_kpis_of_a_day_are_written_when_the_day_is_over(tmp_path: Path) -> None:
    async with other_broker() as broker, serve(settings(broker, tmp_path), {"kpi"}) as running:
        await ready(running)
        await tell(broker, bay("free", 0), bay("occupied", 0, BAY + "2"))
        await tell(broker, bay("occupied", 6))
        await tell(broker, bay("free", 12))
        await tell(broker, bay("free", 25))
        await broker.until(lambda: RATE in broker.entities and ROTATIONS in broker.entities)

    rate = broker.entities[RATE]
    assert rate["kpiValue"]["value"] == 0.625
    assert rate["kpiValue"]["observedAt"] == "2026-05-02T22:00:00.000Z"
    assert rate["calculationPeriod"]["value"] == {"from": "2026-05-02", "to": "2026-05-02"}
    assert rate["refEntity"]["object"] == GROUP
    assert broker.entities[ROTATIONS]["kpiValue"]["value"] == 1
    (longest,) = (entity for i, entity in broker.entities.items() if "longest" in i)
    assert longest["kpiValue"] == {
        "type": "Property",
        "value": 360.0,
        "unitCode": "MIN",
        "observedAt": "2026-05-02T22:00:00.000Z",
    }


async def test_kpis_go_on_from_where_they_were_after_a_restart(tmp_path: Path) -> None:
    async with other_broker() as broker:
        async with serve(settings(broker, tmp_path), {"kpi"}) as running:
            await ready(running)
            await tell(broker, bay("free", 0))
            await tell(broker, bay("occupied", 6))
        async with serve(settings(broker, tmp_path), {"kpi"}) as running:
            await ready(running)
            await tell(broker, bay("occupied", 6))
            await tell(broker, bay("free", 12))
            await tell(broker, bay("free", 24))
            await broker.until(lambda: RATE in broker.entities and ROTATIONS in broker.entities)

    assert broker.entities[RATE]["kpiValue"]["value"] == 0.25
    assert broker.entities[ROTATIONS]["kpiValue"]["value"] == 1


async def test_the_state_at_the_start_comes_from_the_broker(tmp_path: Path) -> None:
    async with other_broker() as broker:
        broker.entities[BAY] = bay("occupied", 0)
        async with serve(settings(broker, tmp_path), {"kpi"}) as running:
            await ready(running)
            await tell(broker, bay("free", 24))
            await broker.until(lambda: RATE in broker.entities)

    assert broker.entities[RATE]["kpiValue"]["value"] == 1.0


async def test_the_value_of_the_open_day_is_shown_while_it_lasts(tmp_path: Path) -> None:
    async with other_broker() as broker:
        chosen = settings(broker, tmp_path, running_interval=0.05)
        async with serve(chosen, {"kpi"}) as running:
            await ready(running)
            await tell(broker, bay("occupied", 0))
            await tell(broker, bay("occupied", 2))
            await broker.until(lambda: RATE in broker.entities)

    assert broker.entities[RATE]["runningValue"]["value"] == 1.0
    assert "kpiValue" not in broker.entities[RATE]


async def test_kpis_and_their_values_can_be_read(tmp_path: Path) -> None:
    async with (
        other_broker() as broker,
        serve(settings(broker, tmp_path), {"kpi"}) as running,
        ClientSession(running.url) as session,
    ):
        await ready(running)
        await tell(broker, bay("occupied", 0))
        await tell(broker, bay("free", 24))
        await broker.until(lambda: RATE in broker.entities)

        kpis = await (await session.get("/kpis")).json()

    (rate,) = (kpi for kpi in kpis if kpi["kpi"] == "parking-occupancy-rate")
    assert rate["values"] == [{"group": GROUP, "value": 1.0, "entity": RATE}]
