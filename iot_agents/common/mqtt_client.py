"""MQTT in: messages are acknowledged only when what they brought is durable.

MQTT 5 with a persistent session and a bounded receive window, or 3.1.1 where the server knows no
better; QoS 1; reconnected for ever.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import NoReturn, Protocol
from urllib.parse import unquote, urlsplit

from broker.core.backoff import Backoff
from iot_agents.common.deliveries import Delivery
from iot_agents.common.measure import NotDurable, Ticket
from iot_agents.common.mqtt_connection import (
    Address,
    Connection,
    MqttError,
    NoAnswer,
    Refused,
    Room,
    connected,
)
from iot_agents.common.mqtt_packets import FIVE, THREE, Connect, Message

_log = logging.getLogger(__name__)
# 0x84 and, from servers older than MQTT 5, 1: the server does not speak the version asked for.
_UNSUPPORTED_VERSION = {0x84, 1}
_OTHER = {FIVE: THREE, THREE: FIVE}
_DEFAULT_PORTS = {"mqtt": 1883, "mqtts": 8883}
_RECEIVE_MAXIMUM = 65_535
_KEEP_ALIVE = 60
# Nothing in taking a message has to wait, so others get a turn after that many.
_TURN = 50
# Far above what agents take: they refuse what is too large with a reason.
_LARGEST_PACKET = 64 * 1024 * 1024


Accept = Callable[[str, bytes, Delivery | None], Awaitable[Ticket | None]]
"""Takes topic, payload and delivery of a message, or leaves it and returns None.

Calls are made one after the other, in the order of the messages.
"""


class NotPublished(Exception):
    """A message that was to go out did not, for certain."""


class PublishInDoubt(Exception):
    """A message went out, and whether the server has it is not known."""


class Publish(Protocol):
    """Sends a message to whoever subscribed to its topic."""

    async def __call__(
        self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False
    ) -> None:
        """Return once the server has it, or with QoS 0 once it was sent.

        Raises:
            NotPublished: nothing left.
            PublishInDoubt: it may have arrived or not.
        """
        ...


_Accepted = tuple[int, Ticket | None]
"""The packet id of a message, 0 for one of QoS 0, and what became of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MqttOptions:
    """How to reach an MQTT server and what to ask of it.

    Attributes:
        url: `mqtt://` or `mqtts://`, with user and password where needed.
        client_id: stays the same over restarts, or the server forgets what it kept for us.
        topics: topic filters.
        version: `auto`, `5` or `3.1.1`.
        share: name of a shared subscription; empty for none.
        in_flight: messages to take before one of them is durable.
        max_queued: messages of QoS 0 to hold, which no server holds back for us; more are dropped.
        session_expiry: seconds the server shall keep our messages while we are away.
        tls: for `mqtts://`; None is the system's trust.
    """

    url: str
    client_id: str
    topics: Sequence[str]
    version: str = "auto"
    share: str = ""
    in_flight: int = 1000
    max_queued: int = 50_000
    session_expiry: int = 604_800
    tls: ssl.SSLContext | None = None
    timeout: float = 10.0
    backoff: Backoff = field(default_factory=Backoff)


class MqttSource:
    """A subscription that outlives its connections."""

    def __init__(
        self,
        options: MqttOptions,
        accept: Accept,
        *,
        acknowledged: Callable[[], None],
        dropped: Callable[[], None],
        number: int = 0,
    ) -> None:
        """Bind a subscription to what takes its messages.

        Args:
            number: of the last message that an earlier process took, see `Delivery`.
            acknowledged: called for every message the server was told we have.
            dropped: called for every message that there was no room for.
        """
        self._options = options
        self._accept = accept
        self._acknowledged = acknowledged
        self._dropped = dropped
        self._number = number
        self._version = THREE if options.version == "3.1.1" else FIVE
        self._agreed = False
        self._connected: Connection | None = None
        self.subscribed = asyncio.Event()
        """Set while connected and subscribed."""
        self.trouble = "not connected yet"
        """Why nothing comes in at the moment; empty while subscribed."""

    async def run(self) -> NoReturn:
        """Connect, subscribe and take messages, again and again, until cancelled."""
        failures = 0
        while True:
            try:
                async with self._connection() as connection:
                    await self._subscribe(connection)
                    failures, self.trouble = 0, ""
                    self._agreed = True
                    self._connected = connection
                    self.subscribed.set()
                    _log.info("subscribed to %s", ", ".join(self._options.topics))
                    await self._consume(connection)
            except* (MqttError, NotDurable) as group:
                failures += 1
                self._connected = None
                self.subscribed.clear()
                self._failed(group.exceptions[0], failures)
            await asyncio.sleep(self._options.backoff.delay(failures))

    async def publish(
        self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False
    ) -> None:
        """Send a message over the connection that the subscription has; see `Publish`."""
        connection = self._connected
        if connection is None:
            raise NotPublished(self.trouble or "no connection to the MQTT server")
        try:
            await connection.publish(topic, payload, qos=qos, retain=retain)
        except Refused as error:
            raise NotPublished(f"MQTT server: {error}") from error
        except MqttError as error:
            raise PublishInDoubt(f"MQTT server: {error}") from error

    def _failed(self, error: BaseException, failures: int) -> None:
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        self.trouble = f"MQTT server: {error}"
        if failures == 1:
            _log.warning("no connection to the MQTT server: %s", error)
        if self._options.version == "auto" and not self._agreed and _may_be_the_version(error):
            self._version = _OTHER[self._version]
            _log.info("trying MQTT %s", "5" if self._version == FIVE else "3.1.1")

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        options = self._options
        url = urlsplit(options.url)
        if url.scheme not in _DEFAULT_PORTS:
            raise MqttError(f"{url.scheme!r} is neither mqtt nor mqtts")
        address = Address(
            host=url.hostname or "localhost",
            port=url.port or _DEFAULT_PORTS[url.scheme],
            tls=self._tls() if url.scheme == "mqtts" else None,
            timeout=options.timeout,
        )
        connect = Connect(
            level=self._version,
            client_id=options.client_id,
            keep_alive=_KEEP_ALIVE,
            clean=False,
            user=unquote(url.username) if url.username else None,
            password=unquote(url.password) if url.password else None,
            session_expiry=options.session_expiry,
            receive_maximum=min(options.in_flight, _RECEIVE_MAXIMUM),
        )
        room = Room(messages=options.max_queued, packet=_LARGEST_PACKET, dropped=self._dropped)
        async with connected(address, connect, room) as connection:
            yield connection

    def _tls(self) -> ssl.SSLContext:
        return self._options.tls or ssl.create_default_context()

    async def _subscribe(self, connection: Connection) -> None:
        share = f"$share/{self._options.share}/" if self._options.share else ""
        for topic in self._options.topics:
            await connection.subscribe(share + topic)

    async def _consume(self, connection: Connection) -> None:
        accepted: asyncio.Queue[_Accepted] = asyncio.Queue(self._options.in_flight)
        # In a session that goes on, what we took last may come again.
        since = self._number + 1 - self._options.in_flight if connection.resumed else None
        async with asyncio.TaskGroup() as group:
            group.create_task(self._acknowledge(connection, accepted), name="mqtt-acknowledge")
            while True:
                for number, message in enumerate(await connection.arrived(), 1):
                    if message.packet_id and connection.lost:
                        # It comes again when we are back, and would be taken twice.
                        continue
                    delivery = self._delivery(message, since)
                    ticket = await self._accept(message.topic, message.payload, delivery)
                    await accepted.put((message.packet_id, ticket))
                    if not number % _TURN:
                        await asyncio.sleep(0)

    def _delivery(self, message: Message, since: int | None) -> Delivery | None:
        if not message.packet_id:
            return None
        self._number += 1
        return Delivery(
            self._options.client_id,
            self._number,
            message.packet_id,
            since if message.again else None,
            # Once more as many, as all of them may come again without one that is new.
            keep=self._number - 2 * self._options.in_flight,
        )

    async def _acknowledge(
        self, connection: Connection, accepted: asyncio.Queue[_Accepted]
    ) -> None:
        # In the order of arrival, as MQTT wants it; the spool commits in that order anyway.
        while True:
            packet_id, ticket = await accepted.get()
            if ticket is not None:
                await ticket.durable()
            if packet_id:
                connection.acknowledge(packet_id)
            if ticket is not None:
                self._acknowledged()


def _may_be_the_version(error: BaseException) -> bool:
    """Tell whether a failed connection may be due to the version of MQTT.

    Servers that know no better refuse, hang up, or wait for more of what they do not understand.
    """
    if isinstance(error, Refused):
        return error.code in _UNSUPPORTED_VERSION
    return isinstance(error, NoAnswer)
