"""What subscribers say of themselves."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from prometheus_client.parser import text_string_to_metric_families

from subscribers.server import serve
from subscribers.settings import Settings
from tests.support.city_parts import bay, point, ready
from tests.support.eventually import eventually
from tests.support.other_broker import OtherBroker, other_broker, problem

SUBJECT, LINKED = "blocked-charging-point.subject", "blocked-charging-point.linked"


def settings(broker: OtherBroker, data_dir: Path, **changes: Any) -> Settings:
    quick = {"tick_interval": 0.02, "running_interval": 0.0}
    chosen = {"broker_url": broker.url, "port": 0, **quick, **changes}
    return Settings(data_dir=data_dir, **chosen)


async def metrics(url: str) -> dict[tuple[str, ...], float]:
    async with ClientSession() as session, session.get(url + "/metrics") as answer:
        text = await answer.text()
    return {
        (sample.name.removeprefix("rigel_subscriber_"), *_labels(sample.labels)): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def _labels(labels: dict[str, str]) -> list[str]:
    """Return the values of labels, that of `outcome` or `kind` last."""
    order = ("role", "rule", "kpi", "outcome", "kind")
    return [labels[name] for name in order if name in labels]


async def test_what_happens_is_counted(tmp_path: Path) -> None:
    async with other_broker() as broker, serve(settings(broker, tmp_path)) as running:
        await ready(running)
        await broker.notify(SUBJECT, point("available", 8))
        await broker.notify(LINKED, bay("occupied", 9), bay("free", 10, bay_id="urn:x:2"))
        await broker.until(lambda: broker.alerts)
        (kpis,) = (name for name in broker.subscriptions if ":kpi:ParkingSpot" in name)
        await broker.notify(kpis, bay("occupied", 9))
        await broker.notify(kpis, bay("free", 24))
        await broker.until(lambda: any("rotations" in entity_id for entity_id in broker.entities))
        await eventually(lambda: running.roles["kpi"].outbox.counts["written"] >= 2)

        counts = await metrics(running.url)

    assert counts["notifications_total", "rules", "taken"] == 2
    assert counts["notifications_total", "kpi", "taken"] == 2
    assert counts["observations_total", "rules", "taken"] == 3
    assert counts["rule_runs_total", "rules", "blocked-charging-point", "raised"] == 1
    assert counts["kpi_values_total", "kpi", "parking-rotations", "closed"] == 1
    assert counts["writes_total", "rules", "written"] == 1
    assert counts["waiting_writes", "rules"] == 0
    assert counts["stream_time_seconds", "kpi"] >= 1_777_759_200


async def test_writes_that_wait_are_a_reason_not_to_be_ready(tmp_path: Path) -> None:
    async with other_broker() as broker, serve(settings(broker, tmp_path), {"rules"}) as running:
        await ready(running)
        await broker.notify(SUBJECT, point("available", 8))
        broker.respond = lambda request: problem(503, "busy") if request.method == "POST" else None
        await broker.notify(LINKED, bay("occupied", 9), bay("free", 10, bay_id="urn:x:2"))
        await eventually(lambda: running.problems() == ["rules: writes wait: 503: busy"])
        counts = await metrics(running.url)

        broker.respond = lambda _: None
        await ready(running)

    assert counts["waiting_writes", "rules"] == 1


async def test_each_role_may_run_alone(tmp_path: Path) -> None:
    async with other_broker() as broker, serve(settings(broker, tmp_path), {"kpi"}) as running:
        await ready(running)

        assert running.roles.keys() == {"kpi"}
        assert not (tmp_path / "rules.db").exists()
        assert all(":kpi:" in subscription for subscription in broker.subscriptions)


async def test_a_role_there_is_not_cannot_run(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="rule"):
        async with serve(Settings(data_dir=tmp_path), {"rule"}):
            pass


async def test_an_answer_that_is_no_json_is_no_end(tmp_path: Path) -> None:
    async with other_broker() as broker:
        broker.garbled = True
        async with serve(settings(broker, tmp_path), {"rules"}) as running:
            await eventually(lambda: "malformed" in str(running.problems()))
            broker.garbled = False

            await ready(running)


async def test_it_tells_its_version_like_every_other_role(tmp_path: Path) -> None:
    async with (
        other_broker() as broker,
        serve(settings(broker, tmp_path), {"kpi"}) as running,
        ClientSession(running.url) as session,
        session.get("/version") as answer,
    ):
        assert await answer.json() == {"name": "Rigel", "version": version("rigel")}
