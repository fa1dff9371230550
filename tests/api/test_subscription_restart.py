"""Stored subscriptions after a restart: none of them may hold up the others or the start."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import ClientSession, web

from broker.contexts.documents import ContextLimits
from broker.contexts.resolution import Contexts
from broker.core.identifiers import DEFAULT_TENANT, Iri
from broker.core.ld_context import CORE
from broker.core.subscription_documents import parse, stored
from broker.egress import Egress, EgressPolicy
from broker.operations.broker import Broker, Limits
from broker.operations.subscriptions import delete_subscription, load, query_subscriptions
from broker.store.sqlite.connection import connect
from broker.store.sqlite.migrations import STEPS, migrate
from broker.subscriptions.streams import Streams
from tests.support.api import Api
from tests.support.builders import entity, prop
from tests.support.delivery import Delivering, now, opened, road
from tests.support.eventually import PATIENCE, eventually
from tests.support.receiver import Receiver, receiver
from tests.support.serve import running_broker

IMPATIENT = ContextLimits(timeout=PATIENCE, retry=0.01, max_retry=0.01)


class ContextHost:
    """Serves one @context from a port of its own, once it is told to listen."""

    port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/context.jsonld"

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        async def answer(request: web.Request) -> web.Response:
            del request
            return web.json_response({"@context": {"speed": "https://city.example/speed"}})

        app = web.Application()
        app.router.add_get("/context.jsonld", answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", self.port)
            await site.start()
            self.port = runner.addresses[0][1]
            yield
        finally:
            await runner.cleanup()


@asynccontextmanager
async def restarted(data_dir: Path) -> AsyncIterator[tuple[Broker, Delivering]]:
    """Open a broker's operations and delivery over a store, as the server does."""
    async with AsyncExitStack() as stack:
        parts = await stack.enter_async_context(opened(data_dir, restore=False))
        egress = await stack.enter_async_context(Egress(EgressPolicy(allow_private=True)))
        contexts = await stack.enter_async_context(
            Contexts(parts.store.documents, egress, clock=now, limits=IMPATIENT)
        )
        broker = Broker(
            entities=parts.store.entities,
            temporal=parts.store.temporal,
            documents=parts.store.documents,
            subscriptions=parts.store.subscriptions,
            outbox=parts.store.outbox,
            stream_events=parts.store.streams,
            contexts=contexts,
            registry=parts.registry,
            matcher=parts.matcher,
            notifier=parts.notifier,
            streams=Streams(),
            egress=egress,
            clock=now,
            limits=Limits(),
        )
        await stack.enter_async_context(load(broker, parts.matcher, repair_every=0.01))
        await stack.enter_async_context(parts.notifier.deliver(parts.store.outbox))
        yield broker, parts


async def keep(data_dir: Path, subscription_id: str, uri: str, **changes: Any) -> None:
    """Write a subscription to the store as an earlier process left it."""
    async with opened(data_dir, restore=False) as parts:
        sent = {
            "id": subscription_id,
            "type": "Subscription",
            "entities": [{"type": "Road"}],
            "notification": {"endpoint": {"uri": uri}},
        }
        document = {**stored(parse(sent, CORE, now())), **changes}
        await parts.store.subscriptions.put_subscription(
            DEFAULT_TENANT, Iri(subscription_id), document, None, creates=True
        )


async def test_a_context_that_cannot_be_had_isolates_its_subscription_alone(tmp_path: Path) -> None:
    async with receiver() as there:
        await keep(tmp_path, "urn:x:bad", there.url("/bad"), **{"@context": "http://127.0.0.1:9/c"})
        await keep(tmp_path, "urn:x:good", there.url("/good"))

        async with restarted(tmp_path) as (broker, parts):
            await parts.drive(1, 30)
            (notification,) = await there.received(1)
            isolated = broker.registry.isolated()
            page = await query_subscriptions(broker, DEFAULT_TENANT, CORE, limit=10)

    assert notification.path == "/good"
    assert [entry.id for entry in isolated] == ["urn:x:bad"]
    assert isolated[0].problem is not None
    assert "127.0.0.1:9" in isolated[0].problem
    assert page.count == 2


async def test_an_isolated_subscription_is_matched_once_its_context_can_be_had(
    tmp_path: Path,
) -> None:
    host = ContextHost()
    async with host.listening():
        pass
    async with receiver() as there:
        await keep(tmp_path, "urn:x:late", there.url(), **{"@context": host.url})

        async with restarted(tmp_path) as (broker, parts), host.listening():
            assert len(broker.registry.isolated()) == 1
            await eventually(lambda: not broker.registry.isolated())
            await parts.drive(1, 30)
            (notification,) = await there.received(1)

    assert notification.body["subscriptionId"] == "urn:x:late"


async def test_a_subscription_that_cannot_be_read_is_reported_and_can_be_deleted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with receiver() as there:
        await keep(tmp_path, "urn:x:odd", there.url(), notification={"endpoint": 5})
        await keep(tmp_path, "urn:x:good", there.url())

        async with restarted(tmp_path) as (broker, parts):
            unreadable = dict(broker.registry.unreadable)
            await delete_subscription(broker, DEFAULT_TENANT, Iri("urn:x:odd"))
            await parts.drive(1, 30)
            await there.received(1)
            left = await parts.store.subscriptions.subscriptions()

    assert "notification.endpoint" in unreadable[DEFAULT_TENANT, Iri("urn:x:odd")]
    assert "urn:x:odd cannot be read" in caplog.text
    assert [subscription_id for _, subscription_id, _ in left] == ["urn:x:good"]


async def test_subscriptions_of_an_earlier_process_are_matched_from_the_first_write(
    tmp_path: Path,
) -> None:
    async with receiver() as there:
        for number in range(20):
            await keep(tmp_path, f"urn:x:{number}", there.url())

        async with restarted(tmp_path) as (_, parts):
            await parts.drive(1, 30)
            await there.received(20)

    assert len({msgspec.json.encode(one.body["subscriptionId"]) for one in there.all}) == 20
    assert {one.entities[0]["id"] for one in there.all} == {road(1)}


KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "throttled": {"throttling": 0.2},
    "periodic": {"timeInterval": 0.2},
    "linked": {"q": "connectsTo{lanes}>2"},
}


def of_kind(kind: str, uri: str) -> dict[str, Any]:
    return {
        "id": f"urn:ngsi-ld:Subscription:{kind}",
        "type": "Subscription",
        "entities": [{"type": "Road"}],
        "notification": {"endpoint": {"uri": uri}},
        **KINDS[kind],
    }


async def fires(there: Receiver, api: Api) -> None:
    """Make a change that each kind of subscription tells of, and wait for it."""
    before = len(there.all)
    link = {"type": "Relationship", "object": "urn:ngsi-ld:Road:2"}
    road_2 = entity(2, "Road", lanes=prop(3))
    changed = entity(1, "Road", speed=prop(before), connectsTo=link)
    await api("POST", "/entityOperations/upsert?options=update", [road_2, changed])
    await there.received(before + 1)


@pytest.mark.parametrize("kind", KINDS)
async def test_p13_a_subscription_of_each_kind_fires_after_restarts(
    tmp_path: Path, kind: str
) -> None:
    async with receiver() as there, ClientSession() as session:
        for number in range(3):
            async with running_broker(tmp_path) as broker:
                api = Api(session, broker.url)
                if number == 0:
                    await api("POST", "/subscriptions", of_kind(kind, there.url()))

                await fires(there, api)

    assert {one.body["subscriptionId"] for one in there.all} == {f"urn:ngsi-ld:Subscription:{kind}"}


@pytest.mark.parametrize("version", range(1, len(STEPS)))
@pytest.mark.parametrize("kind", KINDS)
async def test_p13_a_subscription_of_each_kind_fires_after_an_upgrade(
    tmp_path: Path, kind: str, version: int
) -> None:
    async with receiver() as there, ClientSession() as session:
        connection = connect(tmp_path / "broker.db")
        migrate(connection, STEPS[:version])
        document = stored(parse(of_kind(kind, there.url()), CORE, now()))
        connection.execute(
            "INSERT INTO subscription (tenant, id, body) VALUES ('', ?, ?)",
            (document["id"], msgspec.json.encode(document)),
        )
        connection.close()

        async with running_broker(tmp_path) as broker:
            await fires(there, Api(session, broker.url))

    assert there.all[0].body["subscriptionId"] == document["id"]
