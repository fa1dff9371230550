"""Writes to the broker: in order, durable, tried again, refused with a reason."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from broker.client import Client
from subscribers.common.journal import COMMON_TABLES, Journal
from subscribers.common.outbox import Operation, Outbox, Write, read_refused
from tests.support.eventually import eventually
from tests.support.other_broker import OtherBroker, Request, other_broker, problem

ALERT = "urn:ngsi-ld:Alert:1"


def create(entity_id: str = ALERT) -> Write:
    return Write(f"open {entity_id}", Operation.CREATE, {"id": entity_id, "type": "Alert"})


def close(entity_id: str = ALERT) -> Write:
    return Write(f"close {entity_id}", Operation.APPEND, {"id": entity_id, "alertState": "closed"})


def upsert(name: str, value: int, key: str | None = None) -> Write:
    entity = {"id": f"urn:ngsi-ld:Kpi:{name}", "type": "Kpi", "kpiValue": value}
    return Write(key or f"{name} {value}", Operation.UPSERT, entity)


async def put(journal: Journal, *writes: Write) -> None:
    await journal.commit([write.statement() for write in writes])


@asynccontextmanager
async def sending(broker: OtherBroker, file: Path, *writes: Write) -> AsyncIterator[Outbox]:
    """Run an outbox with writes in it."""
    async with (
        Client.connect(broker.url, timeout=5.0) as client,
        Journal.open(file, (COMMON_TABLES,)) as journal,
        asyncio.TaskGroup() as tasks,
    ):
        await put(journal, *writes)
        outbox = Outbox(journal, client)
        task = tasks.create_task(outbox.run(), name="outbox")
        try:
            yield outbox
        finally:
            task.cancel()


async def emptied(outbox: Outbox) -> None:
    async def is_empty() -> bool:
        return not await outbox.waiting()

    await eventually(is_empty)


async def refused(outbox: Outbox) -> list[dict[str, Any]]:
    return await outbox._journal.run(read_refused)


def refusing(status: int, *entity_ids: str) -> Any:
    """Refuse requests with any of these entities in them."""

    def respond(request: Request) -> web.Response | None:
        bodies: Sequence[Any] = request.body if isinstance(request.body, list) else [request.body]
        named = {body["id"] for body in bodies if body is not None and "id" in body}
        return problem(status, "not that one") if named & set(entity_ids) else None

    return respond


async def test_writes_arrive_in_order_and_leave_the_outbox(tmp_path: Path) -> None:
    async with (
        other_broker() as broker,
        sending(broker, tmp_path / "o.db", create(), close(), upsert("a", 1)) as outbox,
    ):
        await emptied(outbox)

    assert [(method, path) for method, path, _ in broker.writes] == [
        ("POST", "entities"),
        ("POST", f"entities/{ALERT}/attrs"),
        ("POST", "entityOperations/upsert"),
    ]
    assert broker.entities[ALERT]["alertState"] == "closed"


async def test_upserts_of_different_entities_go_together(tmp_path: Path) -> None:
    writes = (upsert("a", 1), upsert("b", 1), upsert("a", 2), upsert("c", 1))
    async with (
        other_broker() as broker,
        sending(broker, tmp_path / "o.db", *writes) as outbox,
    ):
        await emptied(outbox)

    assert [[entity["id"][-1] for entity in body] for *_, body in broker.writes] == [
        ["a", "b"],
        ["a", "c"],
    ]


async def test_a_newer_write_takes_the_place_of_one_that_still_waits(tmp_path: Path) -> None:
    writes = (upsert("a", 1, "running"), upsert("b", 1), upsert("a", 2, "running"))
    async with (
        other_broker() as broker,
        sending(broker, tmp_path / "o.db", *writes) as outbox,
    ):
        await emptied(outbox)

    assert [[entity["id"][-1] for entity in body] for *_, body in broker.writes] == [["b", "a"]]
    assert broker.entities["urn:ngsi-ld:Kpi:a"]["kpiValue"] == 2


async def test_writes_wait_while_the_broker_is_overloaded(tmp_path: Path) -> None:
    async with other_broker() as broker:
        broker.respond = lambda _: problem(503, "busy")
        async with sending(broker, tmp_path / "o.db", create()) as outbox:
            await broker.until(lambda: len(broker.requests) >= 2)
            said = outbox.problem
            broker.respond = lambda _: None
            await emptied(outbox)

    assert said == "writes wait: 503: busy"
    assert len(broker.writes) == 1


async def test_writes_wait_while_the_broker_is_away(tmp_path: Path) -> None:
    broker = OtherBroker()
    async with broker.listening():
        pass
    async with sending(broker, tmp_path / "o.db", create()) as outbox:
        await eventually(lambda: outbox.problem)
        async with broker.listening():
            await emptied(outbox)

    assert ALERT in broker.entities


async def test_writes_survive_the_end_of_the_process(tmp_path: Path) -> None:
    async with other_broker() as broker:
        broker.respond = lambda _: problem(503, "busy")
        async with sending(broker, tmp_path / "o.db", create()):
            await broker.until(lambda: broker.requests)
        broker.respond = lambda _: None
        async with sending(broker, tmp_path / "o.db") as outbox:
            await emptied(outbox)

    assert ALERT in broker.entities


async def test_an_alert_that_was_created_before_is_left_alone(tmp_path: Path) -> None:
    async with other_broker() as broker:
        broker.entities[ALERT] = {"id": ALERT, "type": "Alert", "alertState": "acknowledged"}
        async with sending(broker, tmp_path / "o.db", create()) as outbox:
            await emptied(outbox)
            left = await refused(outbox)

    assert broker.entities[ALERT]["alertState"] == "acknowledged"
    assert left == []


async def test_an_alert_that_somebody_deleted_is_not_brought_back(tmp_path: Path) -> None:
    async with (
        other_broker() as broker,
        sending(broker, tmp_path / "o.db", close()) as outbox,
    ):
        await emptied(outbox)
        left = await refused(outbox)

    assert (broker.entities, left) == ({}, [])


async def test_what_the_broker_refuses_is_kept_with_the_reason_and_stops_nothing(
    tmp_path: Path,
) -> None:
    async with other_broker() as broker:
        broker.respond = refusing(400, ALERT)
        async with sending(broker, tmp_path / "o.db", create(), upsert("a", 1)) as outbox:
            await emptied(outbox)
            (left,) = await refused(outbox)

    assert left["entity"]["id"] == ALERT
    assert left["operation"] == "create"
    assert left["problem"] == "400: not that one"
    assert "urn:ngsi-ld:Kpi:a" in broker.entities
    assert outbox.counts == {"written": 1, "refused": 1}


async def test_of_a_batch_only_the_guilty_entity_is_refused(tmp_path: Path) -> None:
    async with other_broker() as broker:
        broker.respond = refusing(400, "urn:ngsi-ld:Kpi:b")
        writes = (upsert("a", 1), upsert("b", 1), upsert("c", 1))
        async with sending(broker, tmp_path / "o.db", *writes) as outbox:
            await emptied(outbox)
            left = await refused(outbox)

    assert [row["entity"]["id"][-1] for row in left] == ["b"]
    assert sorted(entity_id[-1] for entity_id in broker.entities) == ["a", "c"]


async def test_entities_that_a_batch_answer_names_are_sent_again_alone(tmp_path: Path) -> None:
    def respond(request: Request) -> web.Response | None:
        if len(request.body) == 1:
            return None
        error = {"entityId": "urn:ngsi-ld:Kpi:b", "error": {"title": "odd", "status": 503}}
        body = {"success": ["urn:ngsi-ld:Kpi:a"], "errors": [error]}
        return web.json_response(body, status=207)

    async with other_broker() as broker:
        broker.respond = respond
        writes = (upsert("a", 1), upsert("b", 1))
        async with sending(broker, tmp_path / "o.db", *writes) as outbox:
            await emptied(outbox)

    assert [[entity["id"][-1] for entity in body] for *_, body in broker.writes] == [["b"]]
