"""A connection to an MQTT server, against Mosquitto and against servers that misbehave."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiomqtt
import pytest

from iot_agents.common.mqtt_connection import (
    Address,
    Connection,
    MqttError,
    NoAnswer,
    Refused,
    Room,
    connected,
)
from iot_agents.common.mqtt_packets import FIVE, THREE, Connect
from tests.support.certificates import certified, needs_openssl
from tests.support.eventually import PATIENCE
from tests.support.mosquitto import Mosquitto, mosquitto, needs_mosquitto
from tests.support.sockets import listening

CONNACK = b"\x20\x02\x00\x00"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Mosquitto]:
    async with mosquitto(tmp_path) as running:
        yield running


@asynccontextmanager
async def joined(
    port: int,
    *,
    level: int = FIVE,
    largest: int = 1_000_000,
    keep_alive: int = 60,
    tls: ssl.SSLContext | None = None,
    password: str | None = None,
    patience: float = PATIENCE,
) -> AsyncIterator[Connection]:
    address = Address(host="localhost", port=port, tls=tls, timeout=patience)
    user = "agent" if password else None
    connect = Connect(
        level=level,
        client_id="agent",
        keep_alive=keep_alive,
        clean=True,
        user=user,
        password=password,
    )
    room = Room(messages=100, packet=largest, dropped=lambda: None)
    async with connected(address, connect, room) as connection:
        yield connection


@asynccontextmanager
async def saying(answer: bytes) -> AsyncIterator[int]:
    """Stand in for a server that answers a CONNECT with certain bytes, and is silent then."""

    async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(answer)
        await reader.read()

    async with listening(answers) as port:
        yield port


@needs_mosquitto
@pytest.mark.parametrize("level", [THREE, FIVE])
@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_messages_go_out_in_every_quality_of_service(
    server: Mosquitto, level: int, qos: int
) -> None:
    async with (
        joined(server.port, level=level) as connection,
        aiomqtt.Client("127.0.0.1", server.port) as device,
    ):
        await device.subscribe("down", qos=2)

        await connection.publish("down", b"open", qos=qos, retain=False)

        async with asyncio.timeout(PATIENCE):
            message = await anext(aiter(device.messages))
        assert (message.payload, message.qos) == (b"open", qos)


@needs_mosquitto
@pytest.mark.parametrize("level", [THREE, FIVE])
async def test_a_message_that_is_too_large_comes_cut_off_and_the_next_one_whole(
    server: Mosquitto, level: int
) -> None:
    async with (
        joined(server.port, level=level, largest=1000) as connection,
        aiomqtt.Client("127.0.0.1", server.port) as device,
    ):
        await connection.subscribe("up")
        await device.publish("up", b"x" * 500_000, qos=1)
        await device.publish("up", b"small", qos=1)

        found: list[bytes] = []
        async with asyncio.timeout(PATIENCE):
            while len(found) < 2:
                for message in await connection.arrived():
                    connection.acknowledge(message.packet_id)
                    found.append(message.payload)

        assert 900 < len(found[0]) < 500_000
        assert set(found[0]) == {ord("x")}
        assert found[1] == b"small"


@needs_mosquitto
async def test_a_wrong_password_is_refused_with_its_code(tmp_path: Path) -> None:
    words = tmp_path / "words"
    words.write_text("", encoding="utf-8")
    settings = ("allow_anonymous false", f"password_file {words}")
    async with mosquitto(tmp_path, *settings) as server:
        with pytest.raises(Refused, match="refused with code 0x87") as refusal:
            async with joined(server.port, password="wrong"):
                pass

        assert refusal.value.code == 0x87


@needs_mosquitto
@needs_openssl
async def test_a_secure_server_must_be_who_it_should_be(tmp_path: Path) -> None:
    certificate, key = await certified(tmp_path, "localhost")
    settings = (f"certfile {certificate}", f"keyfile {key}")
    async with mosquitto(tmp_path, *settings) as server:
        trusted = ssl.create_default_context(cafile=str(certificate))
        async with joined(server.port, tls=trusted) as connection:
            await connection.publish("up", b"x", qos=1, retain=False)

        with pytest.raises(MqttError, match="certificate verify failed"):
            async with joined(server.port, tls=ssl.create_default_context()):
                pass


async def test_a_server_that_says_nothing_any_more_is_left() -> None:
    async with saying(CONNACK) as port, joined(port, level=THREE, keep_alive=1) as connection:
        with pytest.raises(MqttError, match="the server has said nothing"):
            async with asyncio.timeout(PATIENCE):
                await connection.arrived()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"", "no answer to the CONNECT"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n" * 10, "speaks no MQTT"),
        (b"\x20\xff\xff\xff\xff\x01", "more than four bytes"),
    ],
    ids=["silent", "http", "length"],
)
async def test_what_is_no_mqtt_server_is_told_from_one(answer: bytes, said: str) -> None:
    async with saying(answer) as port:
        with pytest.raises(NoAnswer, match=said):
            async with joined(port, patience=PATIENCE if answer else 0.2):
                pass


async def test_a_server_that_disconnects_us_says_why() -> None:
    async with saying(b"\x20\x03\x00\x00\x00" + b"\xe0\x01\x8e") as port, joined(port) as broken:
        with pytest.raises(Refused, match="0x8e"):
            async with asyncio.timeout(PATIENCE):
                await broken.arrived()


async def test_where_nobody_listens_there_is_no_connection() -> None:
    async with saying(b"") as port:
        pass
    with pytest.raises(MqttError, match="no connection"):
        async with joined(port):
            pass
