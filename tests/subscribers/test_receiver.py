"""What notifications are answered with."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web

from subscribers.common.engine import Changes
from subscribers.common.instants import Duration, Instant
from subscribers.common.intake import Intake, NotTaken
from subscribers.common.journal import COMMON_TABLES, Journal
from subscribers.common.observations import Observation, read_entity
from subscribers.common.receiver import Inside, build_app
from subscribers.common.stream_clock import StreamClock
from tests.support.eventually import eventually
from tests.support.manual_time import ManualTime

POISON = "urn:ngsi-ld:Poison:1"
BROKEN = "urn:ngsi-ld:Broken:1"


class Diary:
    """An engine that writes down whom it saw, and cannot bear everything."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._seen = {row[0] for row in connection.execute("SELECT entity FROM seen")}
        self._changes = Changes()

    def observe(self, binding: str, observation: Observation, now: Instant) -> None:
        del binding, now
        self._seen.add(observation.entity_id)
        if observation.entity_id == POISON:
            raise ValueError("poison")
        sql = _INVALID if observation.entity_id == BROKEN else _SEEN
        self._changes.statements.append((sql, (observation.entity_id,)))
        self._changes.counts["observations", "taken"] += 1

    def start(self, now: Instant | None) -> None:
        del now

    def forget(self, binding: str, entity_id: str, now: Instant) -> None:
        del binding, entity_id, now

    def known(self, binding: str) -> Iterable[str]:
        del binding
        return self._seen

    def newest(self, binding: str) -> Mapping[tuple[str, str], Instant]:
        del binding
        return {}

    def advance(self, now: Instant, wall: Instant) -> None:
        del now, wall

    def drain(self) -> Changes:
        changes, self._changes = self._changes, Changes()
        return changes


_INVALID = "INSERT INTO definitions VALUES (?, NULL)"
_SEEN = "INSERT OR IGNORE INTO seen VALUES (?)"
_MIGRATION = COMMON_TABLES + "CREATE TABLE seen (entity TEXT PRIMARY KEY);"


@asynccontextmanager
async def receiving(
    directory: Path, *, max_waiting: int = 100, work: bool = True
) -> AsyncIterator[tuple[ClientSession, Intake, Journal]]:
    """Run a receiver before a diary."""
    async with Journal.open(directory / "diary.db", (_MIGRATION,)) as journal:
        clock = StreamClock(ManualTime().source, Duration.read("5min"))
        intake = Intake(
            journal, Diary, clock, committed=lambda: None, tick=0.02, max_waiting=max_waiting
        )
        inside = Inside({"diary": intake}, frozenset({("diary", "all")}), {}, list, _no_metrics)
        runner = web.AppRunner(build_app(inside, max_body=10_000), shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with asyncio.TaskGroup() as tasks:
            worker = tasks.create_task(intake.run(), name="intake") if work else None
            try:
                address = f"http://127.0.0.1:{runner.addresses[0][1]}"
                async with ClientSession(address) as session:
                    yield session, intake, journal
            finally:
                await runner.cleanup()
                if worker is not None:
                    worker.cancel()


async def _no_metrics() -> bytes:
    return b""


def notification(*entity_ids: str, **members: Any) -> dict[str, Any]:
    data = [{"id": entity_id, "type": "T", **members} for entity_id in entity_ids]
    return {"id": "urn:n:1", "type": "Notification", "subscriptionId": "urn:s:1", "data": data}


async def seen(journal: Journal) -> set[str]:
    return await journal.run(lambda c: {row[0] for row in c.execute("SELECT entity FROM seen")})


async def post(session: ClientSession, body: Any, path: str = "/notify/diary/all") -> int:
    async with session.post(path, json=body) as answer:
        return answer.status


async def test_a_notification_is_answered_when_it_is_on_disk(tmp_path: Path) -> None:
    async with receiving(tmp_path) as (session, _, journal):
        status = await post(session, notification("urn:a:1", "urn:a:2"))

        assert status == 204
        assert await seen(journal) == {"urn:a:1", "urn:a:2"}


async def test_many_notifications_share_transactions_and_all_are_on_disk(tmp_path: Path) -> None:
    async with receiving(tmp_path) as (session, _, journal):
        async with asyncio.TaskGroup() as tasks:
            posts = [
                tasks.create_task(post(session, notification(f"urn:a:{number}")))
                for number in range(60)
            ]

        assert {task.result() for task in posts} == {204}
        assert len(await seen(journal)) == 60


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"data": 3}', b'{"data": ["x"]}', b"\xff"], ids=repr
)
async def test_what_is_no_notification_is_refused(tmp_path: Path, body: bytes) -> None:
    async with (
        receiving(tmp_path) as (session, intake, _),
        session.post("/notify/diary/all", data=body) as answer,
    ):
        problem = await answer.json()

    assert answer.status == 400
    assert "not a notification" in problem["detail"]
    assert intake.counts["notifications", "invalid"] == 1


async def test_an_entity_that_cannot_be_read_does_not_keep_the_others_out(tmp_path: Path) -> None:
    body = notification("urn:a:1")
    body["data"] += [{"type": "T"}, {"id": "urn:a:2", "type": "T", "x": _observed("yesterday")}]
    async with receiving(tmp_path) as (session, intake, journal):
        status = await post(session, body)

        assert status == 204
        assert await seen(journal) == {"urn:a:1"}
        assert intake.counts["observations", "invalid"] == 2


def _observed(at: str) -> dict[str, Any]:
    return {"type": "Property", "value": 1, "observedAt": at}


@pytest.mark.parametrize("path", ["/notify/diary/other", "/notify/nobody/all"])
async def test_a_notification_nobody_listens_to_is_not_found(tmp_path: Path, path: str) -> None:
    async with receiving(tmp_path) as (session, _, _):
        assert await post(session, notification("urn:a:1"), path) == 404


async def test_a_notification_that_is_too_large_is_refused(tmp_path: Path) -> None:
    async with receiving(tmp_path) as (session, _, _):
        assert await post(session, notification("urn:a:1", x="x" * 20_000)) == 413


async def test_a_full_queue_asks_to_come_again(tmp_path: Path) -> None:
    async with (
        receiving(tmp_path, max_waiting=1, work=False) as (session, intake, _),
        asyncio.TaskGroup() as tasks,
    ):
        waiting = tasks.create_task(post(session, notification("urn:a:1")))
        await eventually(lambda: intake.waiting == 1)
        async with session.post("/notify/diary/all", json=notification("urn:a:2")) as answer:
            assert answer.status == 503
            assert answer.headers["Retry-After"] == "1"
        waiting.cancel()
    assert intake.counts["notifications", "overloaded"] == 1


@pytest.mark.parametrize("bad", [POISON, BROKEN])
async def test_one_that_cannot_be_taken_does_not_keep_the_others_out(
    tmp_path: Path, bad: str
) -> None:
    async with receiving(tmp_path) as (session, intake, journal):
        async with asyncio.TaskGroup() as tasks:
            posts = {
                entity_id: tasks.create_task(post(session, notification(entity_id)))
                for entity_id in ("urn:a:1", bad, "urn:a:2")
            }

        assert {entity_id: task.result() for entity_id, task in posts.items()} == {
            "urn:a:1": 204,
            bad: 503,
            "urn:a:2": 204,
        }
        assert await seen(journal) == {"urn:a:1", "urn:a:2"}
        assert await intake.known("all") == {"urn:a:1", "urn:a:2"}


async def test_what_lies_in_the_future_is_counted_and_not_taken(tmp_path: Path) -> None:
    async with receiving(tmp_path) as (session, intake, _):
        await post(session, notification("urn:a:1", x=_observed("2035-01-01T00:00:00Z")))

    assert intake.counts == Counter(
        {("observations", "future"): 1, ("observations", "taken"): 1, ("notifications", "taken"): 1}
    )


async def test_what_cannot_be_taken_is_told_to_the_caller(tmp_path: Path) -> None:
    entity = read_entity({"id": POISON})
    async with receiving(tmp_path) as (_, intake, _):
        with pytest.raises(NotTaken, match="poison"):
            await intake.take("all", [entity])
