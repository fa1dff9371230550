"""Streams over WebSocket: the same events on the same paths."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import ClientSession, ClientWebSocketResponse, WSCloseCode, WSServerHandshakeError

from broker.server import RunningBroker
from tests.support.api import ROOT, Api
from tests.support.builders import entity, prop
from tests.support.eventually import PATIENCE, eventually
from tests.support.serve import running_broker

ROADS = "urn:ngsi-ld:Subscription:roads"
ROAD = "urn:ngsi-ld:Road:7"
QUERY = f"{ROOT}/stream?type=Road"


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[RunningBroker]:
    async with running_broker(tmp_path) as broker:
        yield broker


@pytest.fixture
async def api(running: RunningBroker) -> AsyncIterator[Api]:
    async with ClientSession() as session:
        yield Api(session, running.url)


@pytest.fixture
async def session() -> AsyncIterator[ClientSession]:
    async with ClientSession() as made:
        yield made


async def told(socket: ClientWebSocketResponse) -> dict[str, Any]:
    """Return the next message."""
    message: dict[str, Any] = msgspec.json.decode(await socket.receive_str(timeout=PATIENCE))
    return message


async def test_a_query_is_streamed(api: Api, session: ClientSession) -> None:
    async with session.ws_connect(api.url + QUERY) as socket:
        ready = await told(socket)
        await api.create(entity(7, "Road", speed=prop(10)))
        notification = await told(socket)

    assert ready["event"] == "ready"
    assert notification["event"] == "notification"
    assert notification["id"] > ready["id"]
    assert notification["data"]["data"][0]["id"] == ROAD


async def test_a_stream_is_resumed_where_it_was_left(api: Api, session: ClientSession) -> None:
    async with session.ws_connect(api.url + QUERY) as socket:
        ready = await told(socket)
    await api.create(entity(7, "Road", speed=prop(10)))

    url = f"{api.url}{QUERY}&lastEventId={ready['id']}"
    async with session.ws_connect(url) as again:
        assert (await told(again))["event"] == "ready"
        assert (await told(again))["data"]["data"][0]["id"] == ROAD


async def test_a_reader_that_goes_is_forgotten(
    running: RunningBroker, session: ClientSession
) -> None:
    async with session.ws_connect(running.url + QUERY) as socket:
        await told(socket)
        assert running.broker.streams.readers == 1

    await eventually(lambda: running.broker.streams.readers == 0)


async def test_the_end_of_a_subscription_ends_its_stream(api: Api, session: ClientSession) -> None:
    document = {
        "id": ROADS,
        "type": "Subscription",
        "entities": [{"type": "Road"}],
        "notification": {"endpoint": {"uri": "http://127.0.0.1:9/"}},
    }
    await api("POST", "/subscriptions", document)
    async with session.ws_connect(f"{api.url}{ROOT}/subscriptions/{ROADS}/stream") as socket:
        await told(socket)

        await api("DELETE", f"/subscriptions/{ROADS}")

        assert (await told(socket))["event"] == "end"
        await socket.receive(timeout=PATIENCE)
        assert socket.close_code == WSCloseCode.GOING_AWAY


async def test_a_reader_that_takes_nothing_is_cut_off(
    tmp_path: Path, session: ClientSession
) -> None:
    numbers, text = count(), "x" * 500_000
    async with running_broker(tmp_path, stream_patience=0.05) as broker:
        api = Api(session, broker.url)
        await api.create(entity(7, "Road", note=prop("")))
        parts = broker.url.removeprefix("http://").split(":")
        _, writer = await asyncio.open_connection(parts[0], int(parts[1]), limit=1024)
        request = (
            f"GET {QUERY} HTTP/1.1\r\nHost: {parts[0]}\r\nConnection: Upgrade\r\n"
            "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        writer.write(request.encode())
        await eventually(lambda: broker.broker.streams.readers == 1)

        async def is_cut_off() -> bool:
            note = f"{next(numbers)} {text}"
            await api("PATCH", f"/entities/{ROAD}/attrs", {"note": prop(note)})
            return broker.broker.streams.readers == 0

        await eventually(is_cut_off)
        writer.transport.abort()


@pytest.mark.parametrize(
    ("origin", "opens"),
    [
        ("https://elsewhere.example", False),
        ("https://map.example", True),
        ("http://127.0.0.1:{port}", True),
    ],
    ids=["foreign", "allowed", "own"],
)
async def test_pages_of_foreign_origins_may_not_open_a_stream(
    tmp_path: Path,
    session: ClientSession,
    origin: str,
    opens: bool,  # noqa: FBT001 - a table's column
) -> None:
    async with running_broker(tmp_path, cors_origins="https://map.example") as broker:
        sent = origin.format(port=broker.url.rpartition(":")[2])
        status = 101
        try:
            async with session.ws_connect(broker.url + QUERY, headers={"Origin": sent}) as socket:
                await told(socket)
        except WSServerHandshakeError as error:
            status = error.status

    assert status == (101 if opens else 403)
