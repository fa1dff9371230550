"""An MQTT 3.1.1 broker inside the process, for installations without one of their own.

amqtt acknowledges a publisher as soon as it has read the message, when nothing is on disk yet; a
crash would then lose what was acknowledged. Here the message goes to the agents first and is
acknowledged once they have it in the spool; after that amqtt goes on as always and hands it to the
other subscribers. The two methods of amqtt this hangs on, `Broker._initialize_client_session` (who
makes the handler of a connection) and `BrokerProtocolHandler.handle_publish` (who answers a
PUBLISH), are guarded by tests.

The publisher of a message that cannot be kept is disconnected: MQTT 3.1.1 knows no refusal, and
clients send again what was not acknowledged when they have reconnected.

amqtt reads an MQTT 5 CONNECT as if it were 3.1.1 and waits for bytes that never come. So the head
of a connection is read here first, and a client of MQTT 5 is told which version is spoken:

    fixed header  1 byte type and flags, 1 to 4 bytes remaining length
    protocol      2 bytes length, the name (`MQTT`), 1 byte level (4 is 3.1.1, 5 is 5)
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Protocol

from amqtt.adapters import ReaderAdapter, WriterAdapter
from amqtt.broker import Broker, BrokerContext
from amqtt.codecs_amqtt import read_or_raise
from amqtt.contexts import BrokerConfig, ListenerConfig
from amqtt.errors import AMQTTError, NoDataError
from amqtt.mqtt.protocol.broker_handler import BrokerProtocolHandler
from amqtt.mqtt.publish import PublishPacket
from amqtt.plugins.manager import PluginManager
from amqtt.session import Session

from iot_agents.common.deliveries import Delivery
from iot_agents.common.measure import NotDurable, Ticket
from iot_agents.common.mqtt_client import Publish

_log = logging.getLogger(__name__)
_ANONYMOUS = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}
_MAX_CONNECTIONS = 1000
_MAX_UNANSWERED = 2000
_CONNECT_TIMEOUT = 10.0
_LONGEST_FIXED_HEADER = 5
_LONGEST_NAME = 6
_LEVEL_5 = b"\x05"
_VERSION_REFUSED = bytes((0x20, 3, 0, 0x84, 0))


@dataclass(frozen=True, slots=True)
class EmbeddedMqtt:
    """The running broker: where it listens, and what sends messages to its clients."""

    url: str
    publish: Publish


class Listener(Protocol):
    """An agent, as far as the broker knows it."""

    def accept(
        self, topic: str, payload: bytes, delivery: Delivery | None, /
    ) -> Awaitable[Ticket | None]:
        """Take a message, or leave it and return None; see `Accept`."""
        ...

    def acknowledged(self) -> None:
        """Note that a publisher was told we have its message."""
        ...


class _Handler(BrokerProtocolHandler):  # type: ignore[misc] # amqtt says nothing of its types
    """One connection; answers a PUBLISH once it is durable."""

    def __init__(
        self,
        plugins: PluginManager[BrokerContext],
        listeners: Sequence[Listener],
    ) -> None:
        super().__init__(plugins)
        self._listeners = listeners
        self._order = asyncio.Lock()
        self._unanswered = 0

    async def handle_publish(self, publish_packet: PublishPacket) -> None:
        self._unanswered += 1
        try:
            keeper = await self._keep(publish_packet)
        except NotDurable as error:
            _log.warning("a publisher is disconnected: %s", error)
            await self.handle_connection_closed()
        else:
            await super().handle_publish(publish_packet)
            if keeper is not None:
                keeper.acknowledged()
        finally:
            self._unanswered -= 1

    async def _keep(self, packet: PublishPacket) -> Listener | None:
        if self._unanswered > _MAX_UNANSWERED:
            raise NotDurable(f"more than {_MAX_UNANSWERED} messages wait for their answer")
        topic, payload = packet.topic_name or "", bytes(packet.data or b"")
        # amqtt starts a task per packet; the lock keeps them in the order of the packets.
        async with self._order:
            for listener in self._listeners:
                ticket = await listener.accept(topic, payload, None)
                if ticket is not None:
                    break
            else:
                return None
        await ticket.durable()
        return listener


class _Replay(ReaderAdapter):  # type: ignore[misc] # amqtt says nothing of its types
    """A reader whose first bytes were read already."""

    def __init__(self, reader: ReaderAdapter, head: bytes) -> None:
        self._reader = reader
        self._head = head

    async def read(self, n: int = -1) -> bytes:
        taken, self._head = (self._head, b"") if n < 0 else (self._head[:n], self._head[n:])
        if len(taken) == n:
            return taken
        rest: bytes = await self._reader.read(n if n < 0 else n - len(taken))
        return taken + rest

    def feed_eof(self) -> None:
        self._reader.feed_eof()


async def _read_head(reader: ReaderAdapter) -> bytes:
    head = await read_or_raise(reader, 2)
    while head[-1] & 0x80 and len(head) < _LONGEST_FIXED_HEADER:
        head += await read_or_raise(reader, 1)
    length = await read_or_raise(reader, 2)
    name_and_level = await read_or_raise(reader, min(int.from_bytes(length), _LONGEST_NAME) + 1)
    return bytes(head + length + name_and_level)


def _check_version(head: bytes, writer: WriterAdapter) -> None:
    if head.endswith(_LEVEL_5):
        writer.write(_VERSION_REFUSED)
        raise AMQTTError("MQTT 5 is not spoken here")


class _Broker(Broker):  # type: ignore[misc] # amqtt says nothing of its types
    """amqtt with our handler on every connection."""

    def __init__(self, config: BrokerConfig, listeners: Sequence[Listener]) -> None:
        super().__init__(config)
        self._listeners = listeners

    async def _initialize_client_session(
        self, reader: ReaderAdapter, writer: WriterAdapter, remote_address: str, remote_port: int
    ) -> tuple[BrokerProtocolHandler, Session]:
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT):
                head = await _read_head(reader)
                _check_version(head, writer)
                _, session = await super()._initialize_client_session(
                    _Replay(reader, head), writer, remote_address, remote_port
                )
        except TimeoutError as error:
            await writer.close()
            raise AMQTTError("no CONNECT came in time") from error
        except (AMQTTError, NoDataError):
            await writer.close()
            raise
        return _Handler(self.plugins_manager, self._listeners), session

    async def publish(
        self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False
    ) -> None:
        """Send a message to those who subscribed to its topic; see `Publish`."""
        # Without a QoS each subscriber gets the one it asked for.
        await self.internal_message_broadcast(topic, payload)
        if retain:
            await self.retain_message(None, topic, payload, qos)

    @property
    def port(self) -> int:
        """The port the listener got."""
        listener = self._servers["default"].instance
        port: int = next(iter(listener.sockets)).getsockname()[1]
        return port


def is_loopback(host: str) -> bool:
    """Tell whether an address can be reached from this machine only."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@asynccontextmanager
async def embedded_broker(
    host: str, port: int, listeners: Sequence[Listener]
) -> AsyncIterator[EmbeddedMqtt]:
    """Run the broker.

    Args:
        port: 0 takes a free one.
        listeners: each message goes to the first that takes it.
    """
    if not is_loopback(host):
        _log.warning("the embedded MQTT broker takes messages of everyone who reaches %s", host)
    # A line per connection and per packet says nothing to an operator.
    logging.getLogger("amqtt").setLevel(logging.ERROR)
    own = ListenerConfig(bind=f"{host}:{port}", max_connections=_MAX_CONNECTIONS)
    config = BrokerConfig(listeners={"default": own}, plugins=dict(_ANONYMOUS))
    broker = _Broker(config, listeners)
    await broker.start()
    try:
        yield EmbeddedMqtt(f"mqtt://{host}:{broker.port}", broker.publish)
    finally:
        await broker.shutdown()
