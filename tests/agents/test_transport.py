"""From the spool to a broker over HTTP: batches, order, outages, refusals."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web

from broker.client import BrokerRefused, Client, wait_after
from broker.core.backoff import Backoff
from iot_agents.common.counters import Counters
from iot_agents.common.dead_letters import DeadLetters
from iot_agents.common.spool import Entry, Operation, Spool
from iot_agents.common.transport import Pace, Sender
from tests.support.eventually import PATIENCE
from tests.support.mosquitto import free_port
from tests.support.ngsi_receiver import NgsiReceiver, ngsi_receiver, problem
from tests.support.serve import running_broker
from tests.support.sockets import listening

CONTEXT = "https://example.org/context.jsonld"
QUICK = Backoff(first=0.01, limit=0.05)


class Agent:
    """A spool with its sender, and what they counted."""

    def __init__(self, spool: Spool, sender: Sender, counters: Counters) -> None:
        self.spool = spool
        self.sender = sender
        self.counters = counters
        self.letters = DeadLetters(spool.database, limit=100, counters=counters)

    async def put(self, *entities: dict[str, Any], tenant: str = "city") -> None:
        await self.spool.put(Entry(tenant, "device-1", entities))


@asynccontextmanager
async def agent(
    directory: Path, url: str, *, ld_context: str | None = CONTEXT, **pace: Any
) -> AsyncIterator[Agent]:
    counters = Counters()
    clock = lambda: datetime.now(UTC)  # noqa: E731
    async with (
        ClientSession() as session,
        Spool.open(directory / "spool.db", counters=counters, clock=clock) as spool,
        asyncio.TaskGroup() as group,
    ):
        sender = Sender(
            spool,
            lambda tenant: Client(session, url, tenant=tenant, ld_context=ld_context),
            counters=counters,
            clock=clock,
            pace=Pace(backoff=QUICK, **pace),
        )
        task = group.create_task(sender.run())
        yield Agent(spool, sender, counters)
        task.cancel()


def entity(name: str, value: float = 0) -> dict[str, Any]:
    return {
        "id": f"urn:ngsi-ld:Device:{name}",
        "type": "Device",
        "value": {"type": "Property", "value": value},
    }


async def refuse_one_connection(port: int) -> None:
    """Listen, hang up on the first who comes, and listen no more."""
    came = asyncio.Event()

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()
        came.set()

    async with listening(hang_up, port):
        await came.wait()


def values(receiver: NgsiReceiver) -> list[tuple[str, float]]:
    return [(e["id"].rsplit(":", 1)[1], e["value"]["value"]) for e in receiver.entities]


async def settled(agent: Agent) -> None:
    """Wait until nothing is left in the spool."""
    async with asyncio.timeout(PATIENCE):
        await agent.spool.drained()


async def test_measures_reach_the_broker_as_upserts_that_keep_other_attributes(
    tmp_path: Path,
) -> None:
    async with ngsi_receiver() as receiver, agent(tmp_path, receiver.url) as sender:
        await sender.put(entity("a", 1))
        await receiver.received(1)

        (upsert,) = receiver.upserts
        assert upsert.tenant == "city"
        assert upsert.options == "update"
        assert CONTEXT in upsert.link
        assert list(upsert.entities) == [entity("a", 1)]
        await settled(sender)
        assert sender.counters.delivered == 1


async def test_a_batch_names_an_entity_once_and_the_next_one_follows_in_order(
    tmp_path: Path,
) -> None:
    async with ngsi_receiver() as receiver, agent(tmp_path, receiver.url) as sender:
        async with asyncio.TaskGroup() as group:
            for number in range(50):
                group.create_task(sender.put(entity("a", number)))
                group.create_task(sender.put(entity("b", number)))
        await receiver.received(100)

        assert [value for name, value in values(receiver) if name == "a"] == list(range(50))
        assert [value for name, value in values(receiver) if name == "b"] == list(range(50))
        for upsert in receiver.upserts:
            ids = [sent["id"] for sent in upsert.entities]
            assert len(ids) == len(set(ids))


async def test_a_late_measure_is_history_only_where_that_is_set(tmp_path: Path) -> None:
    def observed(value: float, at: str) -> dict[str, Any]:
        measure = {"type": "Property", "value": value, "observedAt": at}
        return {**entity("a"), "value": measure}

    async with (
        running_broker(tmp_path / "broker") as broker,
        agent(tmp_path, broker.url, ld_context=None, keep_newer=True) as sender,
        ClientSession() as session,
    ):
        await sender.put(observed(2, "2026-05-01T11:00:00Z"))
        await settled(sender)
        await sender.put(observed(1, "2026-05-01T10:00:00Z"))
        await settled(sender)

        client = Client(session, broker.url, tenant="city")
        present = await client.request("GET", "/entities/urn:ngsi-ld:Device:a")
        past = await client.request("GET", "/temporal/entities/urn:ngsi-ld:Device:a")

    assert present["value"]["value"] == 2
    assert [one["value"] for one in past["value"]] == [1, 2]


async def test_what_waits_is_sent_in_batches(tmp_path: Path) -> None:
    async with ngsi_receiver() as receiver:
        async with agent(tmp_path, "http://127.0.0.1:9") as away:
            for number in range(30):
                await away.put(entity(str(number)))

        async with agent(tmp_path, receiver.url, batch=10) as sender:
            await receiver.received(30)
            await settled(sender)

        assert [len(upsert.entities) for upsert in receiver.upserts] == [10, 10, 10]


async def test_a_broker_that_is_away_gets_everything_when_it_comes(tmp_path: Path) -> None:
    port = free_port()
    async with agent(tmp_path, f"http://127.0.0.1:{port}") as sender:
        for number in range(20):
            await sender.put(entity("a", number))
        async with asyncio.timeout(PATIENCE):
            await refuse_one_connection(port)

        async with ngsi_receiver(port) as receiver:
            await receiver.received(20)
            await settled(sender)

        assert [value for _, value in values(receiver)] == list(range(20))
        assert sender.counters.retries > 0
        assert sender.sender.trouble == ""


@pytest.mark.parametrize("status", [429, 500, 503, 401, 404], ids=str)
async def test_a_broker_that_fails_or_lets_nobody_in_loses_nothing(
    tmp_path: Path, status: int
) -> None:
    answers = iter([problem(status, "not now") for _ in range(3)])
    async with ngsi_receiver() as receiver, agent(tmp_path, receiver.url) as sender:
        receiver.respond = lambda _: next(answers, None)

        await sender.put(entity("a", 7))
        await receiver.received(1)

        assert values(receiver) == [("a", 7)]
        assert sender.counters.dead_letters == 0


@pytest.mark.parametrize(
    ("retry_after", "wait"), [(None, 1.0), (0.1, 1.0), (30.0, 30.0), (1e9, 3600.0)]
)
def test_the_broker_may_ask_for_a_longer_wait_within_reason(
    retry_after: float | None, wait: float
) -> None:
    error = BrokerRefused(503, {}, retry_after)

    assert wait / 2 <= wait_after(error, 1, Backoff(first=1.0)) <= wait


async def test_a_busy_broker_is_asked_again_when_it_said_so(tmp_path: Path) -> None:
    answers = iter([problem(503, "busy", **{"Retry-After": "0"})])
    async with ngsi_receiver() as receiver, agent(tmp_path, receiver.url) as sender:
        receiver.respond = lambda _: next(answers, None)

        await sender.put(entity("a"))

        await receiver.received(1)


async def test_an_answer_that_no_broker_gives_is_an_outage(tmp_path: Path) -> None:
    strange = iter(
        [
            web.Response(text="<html>please log in</html>"),
            web.json_response({"errors": [{"entity": "?"}]}, status=207),
        ]
    )
    async with ngsi_receiver() as receiver, agent(tmp_path, receiver.url) as sender:
        receiver.respond = lambda _: next(strange, None)

        await sender.put(entity("a", 5))
        await settled(sender)

        assert sender.counters.delivered == 1
        assert sender.counters.retries == 2
        assert values(receiver)[-1] == ("a", 5)


async def test_rigels_own_broker_takes_what_is_good_of_a_batch(tmp_path: Path) -> None:
    async with running_broker(tmp_path / "broker") as broker:
        async with agent(tmp_path, "http://127.0.0.1:9") as away:
            for number in range(5):
                await away.put(plain(number))
            bad = {"id": "urn:ngsi-ld:Device:bad", "type": "Device", "value": {"type": "Nothing"}}
            await away.put(bad, plain(5))

        async with agent(tmp_path, broker.url, ld_context=None) as sender:
            await settled(sender)
            (letter,) = await sender.letters.newest()

        async with Client.connect(broker.url, tenant="city") as client:
            arrived = sorted([e["id"] async for e in client.query_entities(type="Device")])

    assert arrived == [f"urn:ngsi-ld:Device:{number}" for number in range(6)]
    assert b"Device:bad" in letter.payload
    assert "value" in letter.reason


def plain(number: int) -> dict[str, Any]:
    return entity(str(number), number)


async def test_bad_data_in_a_batch_is_found_and_the_rest_goes_through(tmp_path: Path) -> None:
    def respond(entities: Sequence[Any]) -> web.Response | None:
        bad = any(sent["value"]["value"] == 13 for sent in entities)
        return problem(400, "13 is not a value") if bad else None

    async with ngsi_receiver() as receiver:
        receiver.respond = respond
        async with agent(tmp_path, "http://127.0.0.1:9") as away:
            for number in range(20):
                await away.put(entity(str(number), number))

        async with agent(tmp_path, receiver.url) as sender:
            await receiver.received(19)
            await settled(sender)
            (letter,) = await sender.letters.newest()

    assert sorted(value for _, value in values(receiver)) == [n for n in range(20) if n != 13]
    assert "13 is not a value" in letter.reason
    assert b'"urn:ngsi-ld:Device:13"' in letter.payload
    assert sender.counters.dead_letters == 1


async def test_of_a_partial_answer_each_entity_gets_its_own_fate(tmp_path: Path) -> None:
    tried: list[str] = []

    def respond(entities: Sequence[Any]) -> web.Response | None:
        errors = []
        for sent in entities:
            name = sent["id"]
            tried.append(name)
            if name.endswith(":bad"):
                error = {"type": "https://uri.etsi.org/ngsi-ld/errors/BadRequestData"}
            elif name.endswith(":late") and tried.count(name) < 3:
                error = {"type": "https://uri.etsi.org/ngsi-ld/errors/InternalError"}
            else:
                continue
            errors.append({"entityId": name, "error": {**error, "title": "refused"}})
        return web.json_response({"success": [], "errors": errors}, status=207) if errors else None

    async with ngsi_receiver() as receiver, agent(tmp_path, receiver.url) as sender:
        receiver.respond = respond
        await sender.put(entity("good"), entity("bad"))
        await sender.put(entity("late"))
        await settled(sender)

        assert tried.count("urn:ngsi-ld:Device:good") == 1
        assert tried.count("urn:ngsi-ld:Device:bad") == 1
        assert tried.count("urn:ngsi-ld:Device:late") == 3
        (letter,) = await sender.letters.newest()
        assert b":bad" in letter.payload


async def test_deletions_go_out_after_the_updates_before_them(tmp_path: Path) -> None:
    async with ngsi_receiver() as receiver, agent(tmp_path, receiver.url) as sender:
        await sender.put(entity("a"))
        await sender.spool.put(Entry("city", "d", (entity("a"),), operation=Operation.DELETE))

        assert await receiver.has_deleted(1) == ["urn:ngsi-ld:Device:a"]
        assert values(receiver) == [("a", 0)]


async def test_tenants_are_kept_apart(tmp_path: Path) -> None:
    async with ngsi_receiver() as receiver, agent(tmp_path, receiver.url) as sender:
        await sender.put(entity("a", 1), tenant="one")
        await sender.put(entity("a", 2), tenant="two")
        await receiver.received(2)

        sent = {
            (upsert.tenant, upsert.entities[0]["value"]["value"]) for upsert in receiver.upserts
        }
        assert sent == {("one", 1), ("two", 2)}


async def test_what_a_killed_process_left_is_sent_by_the_next(tmp_path: Path) -> None:
    async with agent(tmp_path, "http://127.0.0.1:9") as killed:
        await killed.put(entity("a", 1))

    async with ngsi_receiver() as receiver, agent(tmp_path, receiver.url) as sender:
        await receiver.received(1)
        await settled(sender)

        assert values(receiver) == [("a", 1)]


async def test_measures_of_one_entity_share_requests_where_the_broker_takes_that(
    tmp_path: Path,
) -> None:
    async with ngsi_receiver() as receiver, agent(tmp_path, receiver.url, repeats=True) as sender:
        receiver.hold = asyncio.Event()
        await sender.put(entity("a", 0))
        for number in range(1, 200):
            await sender.put(entity("a", number))
        receiver.hold.set()
        await settled(sender)

        assert values(receiver) == [("a", number) for number in range(200)]
        assert len(receiver.upserts) == 2


async def test_of_measures_that_share_a_request_only_those_at_fault_are_given_up_or_repeated(
    tmp_path: Path,
) -> None:
    taken: list[tuple[str, float]] = []
    failing = iter([True, True])

    def respond(entities: Sequence[Any]) -> web.Response | None:
        for each in entities:
            number = each["value"]["value"]
            status = 400 if number == 3 else 500 if number == 6 and next(failing, None) else 0
            if status:
                error = {"entityId": each["id"], "error": {"title": "no", "status": status}}
                return web.json_response({"success": [], "errors": [error]}, status=207)
            taken.append((each["id"][-1], number))
        return None

    async with ngsi_receiver() as receiver, agent(tmp_path, receiver.url, repeats=True) as sender:
        receiver.respond = respond
        receiver.hold = asyncio.Event()
        for number in range(10):
            await sender.put(entity("a", number))
            await sender.put(entity("b", 100 + number))
        receiver.hold.set()
        await settled(sender)

        letters = await sender.letters.newest()

    assert [letter.reason for letter in letters] == ["no"]
    for name, numbers in (("a", [0, 1, 2, 4, 5, 6, 7, 8, 9]), ("b", list(range(100, 110)))):
        last = {value: at for at, (sent, value) in enumerate(taken) if sent == name}
        assert list(last) == numbers
        assert sorted(last, key=last.__getitem__) == numbers
