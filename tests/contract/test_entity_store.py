"""What every store owes the broker, shown for the SQLite store (`broker.store.interface`)."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from broker.core import fragments
from broker.core.entity import expand_entity, expand_fragment
from broker.core.errors import AlreadyExists, NonexistentTenant, ResourceNotFound
from broker.core.events import EntityChanged
from broker.core.identifiers import DEFAULT_TENANT, ExpandedEntity, Iri, Tenant
from broker.core.ld_context import CORE
from broker.core.linking import Read, nowhere
from broker.core.query.entity_query import EntityQuery
from broker.operations.changes import creating, deleting, existing, updating
from broker.store.interface import Change, Changed, Commit, Delivery
from broker.store.sqlite.migrations import STEPS, NewerSchema, migrate
from broker.store.sqlite.store import SqliteStore, open_store
from tests.support.builders import entity, prop

NOW = "2026-05-01T08:00:00.000Z"
CITY = Tenant("city")


class EveryChange:
    """A matcher that makes one notification of every change."""

    def match(self, event: EntityChanged, read: Read = nowhere) -> Sequence[Delivery]:
        del read
        body = f"{event.entity_id} {event.version}".encode()
        return [
            Delivery(
                Iri(f"urn:n:{event.entity_id}:{event.version}"),
                event.tenant,
                Iri("urn:s:1"),
                event.entity_id,
                body,
                event.at,
            )
        ]

    def put(self, tenant: Tenant, subscription_id: Iri, compiled: Any) -> None:
        raise AssertionError((tenant, subscription_id, compiled))

    def discard(self, tenant: Tenant, subscription_id: Iri) -> None:
        raise AssertionError((tenant, subscription_id))


@asynccontextmanager
async def opened(path: Path, commits: list[Commit] | None = None) -> AsyncIterator[SqliteStore]:
    heard = commits if commits is not None else []
    async with open_store(path, EveryChange(), heard.append, lambda: datetime.now(UTC)) as store:
        yield store


def create(number: int = 1, **attributes: Any) -> tuple[Iri, Change]:
    fragment = expand_entity(entity(number, **attributes), CORE)
    return Iri(fragment["id"]), creating(fragment, NOW)


def update(number: int = 1, **attributes: Any) -> tuple[Iri, Change]:
    key = Iri(f"urn:ngsi-ld:Sensor:{number}")
    fragment = expand_fragment(attributes, CORE)
    return key, existing(key, updating(fragment, NOW))


def delete(number: int = 1) -> tuple[Iri, Change]:
    key = Iri(f"urn:ngsi-ld:Sensor:{number}")
    return key, existing(key, deleting)


async def value(store: SqliteStore, number: int, name: str = "count") -> Any:
    stored = await store.entities.get(DEFAULT_TENANT, Iri(f"urn:ngsi-ld:Sensor:{number}"))
    if stored is None:
        return None
    return stored.entity["attributes"][CORE.expand(name)]["@none"]["value"]


async def test_what_was_answered_is_there_after_the_store_was_closed(tmp_path: Path) -> None:
    path = tmp_path / "broker.db"
    async with opened(path) as store:
        await store.entities.update(DEFAULT_TENANT, *create(count=prop(1)), creates=True)
        await store.entities.update(CITY, *create(2, count=prop(5)), creates=True)
        await store.entities.update(DEFAULT_TENANT, *update(count=prop(2)))

    async with opened(path) as store:
        tenants = await store.entities.tenants()
        pending = await store.outbox.pending(after=0, limit=10)
        count = await value(store, 1)

    assert count == 2
    assert tenants == [DEFAULT_TENANT, CITY]
    assert [row.body for row in pending] == [
        b"urn:ngsi-ld:Sensor:1 1",
        b"urn:ngsi-ld:Sensor:2 1",
        b"urn:ngsi-ld:Sensor:1 2",
    ]


async def test_a_refused_change_writes_nothing(tmp_path: Path) -> None:
    commits: list[Commit] = []
    async with opened(tmp_path / "broker.db", commits) as store:
        await store.entities.update(DEFAULT_TENANT, *create(count=prop(1)), creates=True)

        with pytest.raises(AlreadyExists):
            await store.entities.update(DEFAULT_TENANT, *create(count=prop(2)), creates=True)
        with pytest.raises(ResourceNotFound):
            await store.entities.update(DEFAULT_TENANT, *update(9, count=prop(2)))

        assert await value(store, 1) == 1
        assert len(await store.outbox.pending(after=0, limit=10)) == 1
    assert len(commits) == 1


async def test_items_of_many_changes_succeed_and_fail_each_for_itself(tmp_path: Path) -> None:
    async with opened(tmp_path / "broker.db") as store:
        answers = await store.entities.update_many(
            DEFAULT_TENANT,
            [create(1, count=prop(1)), create(1, count=prop(2)), create(2, count=prop(3))],
            creates=True,
        )

        assert [type(answer) for answer in answers] == [bool, AlreadyExists, bool]
        assert [await value(store, number) for number in (1, 2)] == [1, 3]


async def test_only_a_create_makes_a_tenant(tmp_path: Path) -> None:
    async with opened(tmp_path / "broker.db") as store:
        with pytest.raises(NonexistentTenant):
            await store.entities.update(CITY, *update(count=prop(1)))
        with pytest.raises(NonexistentTenant):
            await store.entities.get(CITY, Iri("urn:ngsi-ld:Sensor:1"))
        with pytest.raises(NonexistentTenant):
            await store.entities.query(CITY, EntityQuery(), limit=1)

        assert await store.entities.tenants() == [DEFAULT_TENANT]


async def test_changes_of_one_entity_at_once_lose_none(tmp_path: Path) -> None:
    """P26."""

    def count_up(current: ExpandedEntity | None) -> Changed:
        assert current is not None
        before = current["attributes"][CORE.expand("count")]["@none"]["value"]
        fragment = expand_fragment({"count": prop(before + 1)}, CORE)
        return Changed(fragments.update(current, fragment, NOW).entity, before + 1)

    async with opened(tmp_path / "broker.db") as store:
        key, change = create(count=prop(0))
        await store.entities.update(DEFAULT_TENANT, key, change, creates=True)
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(store.entities.update(DEFAULT_TENANT, key, count_up))
                for _ in range(200)
            ]

        assert sorted(task.result() for task in tasks) == list(range(1, 201))
        assert await value(store, 1) == 200


async def test_entity_history_and_outbox_agree_on_every_version(tmp_path: Path) -> None:
    """P4."""
    path = tmp_path / "broker.db"
    async with opened(path) as store:
        await store.entities.update(
            DEFAULT_TENANT, *create(count=prop(1), name=prop("a")), creates=True
        )
        await store.entities.update(DEFAULT_TENANT, *update(count=prop(2)))
        await store.entities.update(DEFAULT_TENANT, *update(count=prop(3), name=prop("b")))
        await store.entities.update(DEFAULT_TENANT, *delete())

    connection = sqlite3.connect(path)
    rows = connection.execute(
        "SELECT n, count(*) FROM history WHERE series >> 24 IN"
        " (SELECT id FROM term WHERE iri LIKE 'https:%') GROUP BY n"
    ).fetchall()
    events = connection.execute("SELECT body FROM outbox ORDER BY seq").fetchall()
    connection.close()
    assert rows == [(1, 2), (2, 1), (3, 2), (4, 2)]
    assert [body for (body,) in events] == [
        f"urn:ngsi-ld:Sensor:1 {version}".encode() for version in (1, 2, 3, 4)
    ]


async def test_an_entity_that_is_made_again_goes_on_with_its_history(tmp_path: Path) -> None:
    path = tmp_path / "broker.db"
    for count in (1, 2):
        async with opened(path) as store:
            await store.entities.update(DEFAULT_TENANT, *create(count=prop(count)), creates=True)
            assert await value(store, 1) == count
            await store.entities.update(DEFAULT_TENANT, *delete())
            assert await value(store, 1) is None

    connection = sqlite3.connect(path)
    rows = connection.execute("SELECT seq, id, version FROM evolution").fetchall()
    (kept,) = connection.execute("SELECT count(*) FROM history WHERE value IN (1, 2)").fetchone()
    connection.close()
    assert rows == [(1, "urn:ngsi-ld:Sensor:1", 4)]
    assert kept >= 2


async def test_settled_notifications_leave_the_outbox_and_failed_ones_keep_their_reason(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path / "broker.db") as store:
        for number in (1, 2, 3):
            await store.entities.update(
                DEFAULT_TENANT, *create(number, count=prop(1)), creates=True
            )
        first, second, third = await store.outbox.pending(after=0, limit=10)

        await store.outbox.settle([first.sequence], {second.sequence: "gone"}, {})
        left = await store.outbox.pending(after=0, limit=10)
        dead = await store.outbox.dead_letters(DEFAULT_TENANT, limit=10)

    assert [row.id for row in left] == [third.id]
    assert [(letter["id"], letter["reason"]) for letter in dead] == [(second.id, "gone")]


async def test_what_has_expired_is_swept_with_an_event(tmp_path: Path) -> None:
    commits: list[Commit] = []
    async with opened(tmp_path / "broker.db", commits) as store:
        gone = entity(1, count=prop(1), expiresAt="2020-01-01T00:00:00Z")
        fragment = expand_entity(gone, CORE)
        await store.entities.update(
            DEFAULT_TENANT, fragment["id"], creating(fragment, NOW), creates=True
        )

        swept = await store.entities.sweep()
        again = await store.entities.sweep()

    assert (swept, again) == (1, 0)
    assert [event.after is None for commit in commits for event in commit.events] == [False, True]


def test_a_file_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "broker.db", isolation_level=None)
    migrate(connection)
    connection.execute(f"PRAGMA user_version = {len(STEPS) + 1}")

    with pytest.raises(NewerSchema, match="run a newer Rigel"):
        migrate(connection)
    connection.close()


def test_each_step_of_the_schema_is_taken_once(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "broker.db", isolation_level=None)
    steps = (*STEPS, "ALTER TABLE entity ADD COLUMN note TEXT;")

    migrate(connection)
    migrate(connection, steps)
    migrate(connection, steps)

    (version,) = connection.execute("PRAGMA user_version").fetchone()
    columns = [row[1] for row in connection.execute("PRAGMA table_info(entity)")]
    connection.close()
    assert version == len(steps)
    assert columns.count("note") == 1
