"""MQTT in, against a real Mosquitto and the embedded broker: nothing acknowledged too early."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import aiomqtt
import pytest

from broker.core.backoff import Backoff
from iot_agents.common.deliveries import Delivery
from iot_agents.common.embedded_mqtt import embedded_broker
from iot_agents.common.measure import Outcome, Ticket
from iot_agents.common.mqtt_client import MqttOptions, MqttSource, NotPublished
from tests.support.eventually import PATIENCE, eventually
from tests.support.mosquitto import Mosquitto, mosquitto, needs_mosquitto
from tests.support.relay import join
from tests.support.sockets import listening

QUICK = Backoff(first=0.01, limit=0.1)


class Disk:
    """Takes messages; they become durable when the test says so."""

    def __init__(self, *, durable: bool = True) -> None:
        self.durable = durable
        self.payloads: list[bytes] = []
        self.tickets: list[asyncio.Future[bool]] = []
        self.acknowledgements = 0
        self.drops = 0
        self.leaves = "nothing"
        self.open = asyncio.Event()
        self.open.set()
        self._changed = asyncio.Event()

    async def accept(
        self, topic: str, payload: bytes, _delivery: Delivery | None = None
    ) -> Ticket | None:
        if topic.startswith(self.leaves):
            return None
        await self.open.wait()
        stored: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        if self.durable:
            stored.set_result(True)
        self.payloads.append(payload)
        self.tickets.append(stored)
        self._changed.set()
        return Ticket(Outcome.SPOOLED, stored)

    def acknowledged(self) -> None:
        self.acknowledgements += 1
        self._changed.set()

    def drop(self) -> None:
        self.drops += 1
        self._changed.set()

    async def dropped(self, count: int) -> None:
        async with asyncio.timeout(PATIENCE):
            while self.drops < count:
                self._changed.clear()
                await self._changed.wait()

    async def took(self, count: int) -> list[bytes]:
        async with asyncio.timeout(PATIENCE):
            while len(self.payloads) < count:
                self._changed.clear()
                await self._changed.wait()
        return self.payloads

    async def acked(self, count: int) -> None:
        async with asyncio.timeout(PATIENCE):
            while self.acknowledgements < count:
                self._changed.clear()
                await self._changed.wait()


def options(url: str, **more: object) -> MqttOptions:
    given = {"client_id": "agent", "topics": ("up/#",), "backoff": QUICK, **more}
    return MqttOptions(url=url, **given)  # type: ignore[arg-type]


@asynccontextmanager
async def source(given: MqttOptions, disk: Disk) -> AsyncIterator[MqttSource]:
    """Run a source until the block ends, as a process would that is then stopped."""
    running = MqttSource(given, disk.accept, acknowledged=disk.acknowledged, dropped=disk.drop)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(running.run())
        async with asyncio.timeout(PATIENCE):
            await running.subscribed.wait()
        yield running
        task.cancel()


@asynccontextmanager
async def publisher(url: str) -> AsyncIterator[aiomqtt.Client]:
    address = urlsplit(url)
    assert address.hostname is not None
    assert address.port is not None
    async with aiomqtt.Client(address.hostname, address.port, timeout=5) as client:
        client.pending_calls_threshold = 10_000
        yield client


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Mosquitto]:
    async with mosquitto(tmp_path) as running:
        yield running


@needs_mosquitto
@pytest.mark.parametrize("version", ["5", "3.1.1"])
async def test_messages_arrive_in_order_and_are_acknowledged(
    server: Mosquitto, version: str
) -> None:
    disk = Disk()
    async with source(options(server.url, version=version), disk), publisher(server.url) as client:
        for number in range(200):
            await client.publish("up/1", str(number), qos=1)

        assert await disk.took(200) == [str(number).encode() for number in range(200)]
        await disk.acked(200)


@needs_mosquitto
@pytest.mark.parametrize("version", ["5", "3.1.1"])
async def test_what_is_not_durable_comes_again_to_the_next_process(
    server: Mosquitto, version: str
) -> None:
    chosen = options(server.url, version=version)
    before = Disk(durable=False)
    async with source(chosen, before), publisher(server.url) as client:
        await client.publish("up/1", b"one", qos=1)
        await client.publish("up/1", b"two", qos=1)
        await before.took(2)
        before.tickets[0].set_result(True)
        await before.acked(1)

    after = Disk()
    async with source(chosen, after):
        assert await after.took(1) == [b"two"]
        await after.acked(1)


@needs_mosquitto
async def test_what_is_published_while_the_agent_is_away_is_kept_for_it(server: Mosquitto) -> None:
    async with source(options(server.url), Disk()):
        pass
    async with publisher(server.url) as client:
        await client.publish("up/1", b"meanwhile", qos=1)

    disk = Disk()
    async with source(options(server.url), disk):
        assert await disk.took(1) == [b"meanwhile"]


@needs_mosquitto
async def test_a_restarted_server_is_subscribed_to_again(server: Mosquitto) -> None:
    disk = Disk()
    async with source(options(server.url), disk) as running:
        await server.stop()
        await server.start()
        async with asyncio.timeout(PATIENCE):
            await running.subscribed.wait()

        async with publisher(server.url) as client:
            await client.publish("up/1", b"after", qos=1)
        assert await disk.took(1) == [b"after"]


@needs_mosquitto
async def test_a_disk_that_fails_leaves_the_message_with_the_server(server: Mosquitto) -> None:
    disk = Disk(durable=False)
    async with source(options(server.url), disk), publisher(server.url) as client:
        await client.publish("up/1", b"one", qos=1)
        await disk.took(1)
        disk.durable = True
        disk.tickets[0].set_exception(_disk_full())

        assert await disk.took(2) == [b"one", b"one"]
        await disk.acked(1)
        assert disk.acknowledgements == 1


@needs_mosquitto
async def test_no_more_messages_are_taken_than_may_be_in_flight(server: Mosquitto) -> None:
    disk = Disk(durable=False)
    async with (
        source(options(server.url, in_flight=3), disk),
        publisher(server.url) as client,
    ):
        for number in range(10):
            await client.publish("up/1", str(number), qos=1)
        await disk.took(3)
        async with publisher(server.url) as other, asyncio.timeout(PATIENCE):
            # The server answers in order, so by now a fourth message would have come.
            await other.subscribe("nothing")
            await other.publish("nothing", b"", qos=1)
        assert len(disk.payloads) == 3

        disk.durable = True
        for ticket in list(disk.tickets):
            ticket.set_result(True)
        assert len(await disk.took(10)) == 10


@needs_mosquitto
async def test_what_comes_without_flow_control_and_finds_no_room_is_counted(
    server: Mosquitto,
) -> None:
    disk = Disk()
    disk.open.clear()
    limits = options(server.url, in_flight=1, max_queued=3)
    async with source(limits, disk), publisher(server.url) as client:
        for number in range(10):
            await client.publish("up/1", str(number), qos=0)
        await disk.dropped(10 - 3 - 1)  # one is being taken, three wait
        disk.open.set()
        await disk.took(10 - disk.drops)

        assert disk.drops + len(disk.payloads) == 10


@needs_mosquitto
async def test_what_waits_when_the_connection_is_lost_is_taken_once(server: Mosquitto) -> None:
    disk = Disk()
    disk.open.clear()
    async with source(options(server.url), disk) as running:
        connection = running._connected
        assert connection is not None
        async with publisher(server.url) as client:
            for number in range(20):
                await client.publish("up/1", str(number), qos=1)
        await server.stop()
        await eventually(lambda: connection.lost)
        disk.open.set()
        await server.start()

        # The first one was being taken, and its acknowledgement had nowhere to go.
        taken = await disk.took(21)
        assert sorted(taken[1:], key=int) == [str(number).encode() for number in range(20)]


@needs_mosquitto
async def test_others_get_a_turn_while_a_backlog_is_taken(server: Mosquitto) -> None:
    disk = Disk()
    async with source(options(server.url), disk):
        pass
    async with publisher(server.url) as client:
        for number in range(300):
            await client.publish("up/1", str(number), qos=1)

    turns: set[int] = set()
    async with source(options(server.url), disk):
        while len(disk.payloads) < 300:
            turns.add(len(disk.payloads))
            await asyncio.sleep(0)

    assert len(turns) > 300 / 100


@needs_mosquitto
async def test_two_instances_share_the_load(server: Mosquitto) -> None:
    first, second = Disk(), Disk()
    async with (
        source(options(server.url, share="agents", client_id="one"), first),
        source(options(server.url, share="agents", client_id="two"), second),
        publisher(server.url) as client,
    ):
        for number in range(20):
            await client.publish("up/1", str(number), qos=1)
        await first.took(10)
        await second.took(10)

        together = sorted(first.payloads + second.payloads, key=int)
        assert together == [str(number).encode() for number in range(20)]


async def test_a_server_of_mqtt_3_is_found_out_and_spoken_to() -> None:
    async with embedded_broker("127.0.0.1", 0, [Disk()]) as embedded:
        disk = Disk()
        async with source(options(embedded.url), disk), publisher(embedded.url) as client:
            await client.publish("up/1", b"hello", qos=1)

            assert await disk.took(1) == [b"hello"]


async def test_a_server_that_hangs_up_on_mqtt_5_is_spoken_to_in_the_older_version() -> None:
    async with (
        embedded_broker("127.0.0.1", 0, [Disk()]) as embedded,
        hanging_up_on_mqtt_5(embedded.url) as picky,
    ):
        disk = Disk()
        async with source(options(picky), disk), publisher(embedded.url) as client:
            await client.publish("up/1", b"hello", qos=1)

            assert await disk.took(1) == [b"hello"]


@asynccontextmanager
async def hanging_up_on_mqtt_5(url: str) -> AsyncIterator[str]:
    """Stand before a server and close every connection that begins with MQTT 5."""
    behind = urlsplit(url)

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readexactly(9)
        if head[8] == 5:
            writer.transport.abort()
            return
        there, back = await asyncio.open_connection(behind.hostname, behind.port)
        back.write(head)
        await join((reader, writer), (there, back))

    async with listening(take) as port:
        yield f"mqtt://127.0.0.1:{port}"


async def test_the_embedded_broker_acknowledges_a_publisher_when_the_message_is_durable() -> None:
    disk = Disk(durable=False)
    async with (
        embedded_broker("127.0.0.1", 0, [disk]) as embedded,
        publisher(embedded.url) as client,
        asyncio.TaskGroup() as group,
    ):
        published = group.create_task(client.publish("up/1", b"one", qos=1))
        await disk.took(1)
        await client.subscribe("anything")  # answered, though the message before it is not
        assert not published.done()

        disk.tickets[0].set_result(True)
        await published

        await disk.acked(1)


@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_the_embedded_broker_takes_every_quality_of_service(qos: int) -> None:
    disk = Disk()
    async with (
        embedded_broker("127.0.0.1", 0, [disk]) as embedded,
        publisher(embedded.url) as client,
    ):
        await client.publish("up/1", b"one", qos=qos)

        assert await disk.took(1) == [b"one"]


async def test_the_embedded_broker_keeps_the_order_of_a_publisher() -> None:
    disk = Disk()
    async with (
        embedded_broker("127.0.0.1", 0, [disk]) as embedded,
        publisher(embedded.url) as client,
        asyncio.TaskGroup() as group,
    ):
        for number in range(300):
            group.create_task(client.publish("up/1", str(number), qos=1))
        await disk.acked(300)

        assert disk.payloads == [str(number).encode() for number in range(300)]


async def test_the_embedded_broker_hangs_up_on_a_message_it_cannot_keep() -> None:
    disk = Disk(durable=False)
    async with embedded_broker("127.0.0.1", 0, [disk]) as embedded:
        with pytest.raises(aiomqtt.MqttError):
            await _publish_in_vain(embedded.url, disk)

        disk.durable = True
        async with publisher(embedded.url) as client:
            await client.publish("up/1", b"one", qos=1)
        assert disk.acknowledgements == 1


@pytest.mark.parametrize(
    ("host", "warns"),
    [("127.0.0.1", False), ("0.0.0.0", True)],  # noqa: S104 - what this is about
    ids=["loopback", "all"],
)
async def test_an_embedded_broker_that_others_can_reach_says_so(
    host: str,
    warns: bool,  # noqa: FBT001
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with embedded_broker(host, 0, [Disk()]):
        assert ("everyone" in caplog.text) is warns


async def test_the_embedded_broker_gives_a_message_to_the_first_agent_that_takes_it() -> None:
    first, second = Disk(), Disk()
    first.leaves = "other/"
    async with (
        embedded_broker("127.0.0.1", 0, [first, second]) as embedded,
        publisher(embedded.url) as client,
    ):
        await client.publish("up/1", b"one", qos=1)
        await client.publish("other/1", b"two", qos=1)

        assert await first.took(1) == [b"one"]
        assert await second.took(1) == [b"two"]
        await first.acked(1)
        await second.acked(1)


async def test_the_embedded_broker_hands_messages_to_other_subscribers() -> None:
    disk = Disk()
    async with (
        embedded_broker("127.0.0.1", 0, [disk]) as embedded,
        publisher(embedded.url) as subscriber,
        publisher(embedded.url) as client,
    ):
        await subscriber.subscribe("up/#", qos=1)
        await client.publish("up/1", b"one", qos=1)

        message = await anext(aiter(subscriber.messages))
        assert message.payload == b"one"


async def _publish_in_vain(url: str, disk: Disk) -> None:
    async with publisher(url) as client:
        await client.publish("up/0", b"", qos=0)
        await disk.took(1)
        disk.tickets[0].set_exception(_disk_full())
        async for _ in client.messages:
            raise AssertionError("nothing was subscribed to")


def _disk_full() -> Exception:
    return sqlite3.OperationalError("database or disk is full")


async def test_the_embedded_broker_sends_messages_of_the_agents() -> None:
    async with (
        embedded_broker("127.0.0.1", 0, [Disk()]) as embedded,
        publisher(embedded.url) as device,
    ):
        await device.subscribe("down/#", qos=1)
        await embedded.publish("down/1", b"open", qos=1)
        async with asyncio.timeout(PATIENCE):
            assert (await anext(aiter(device.messages))).payload == b"open"


@needs_mosquitto
async def test_messages_go_out_over_the_connection_of_the_subscription(server: Mosquitto) -> None:
    async with source(options(server.url), Disk()) as running, publisher(server.url) as device:
        await device.subscribe("down/#", qos=1)
        await running.publish("down/1", b"open", qos=1)
        async with asyncio.timeout(PATIENCE):
            assert (await anext(aiter(device.messages))).payload == b"open"


async def test_without_a_connection_nothing_goes_out_and_that_is_said() -> None:
    disk = Disk()
    idle = MqttSource(
        options("mqtt://127.0.0.1:1"),
        disk.accept,
        acknowledged=disk.acknowledged,
        dropped=disk.drop,
    )
    with pytest.raises(NotPublished, match="not connected yet"):
        await idle.publish("down/1", b"open", qos=1)
