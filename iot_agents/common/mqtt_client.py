"""MQTT in: messages are acknowledged only when what they brought is durable.

MQTT 5 with a persistent session and a bounded receive window, or 3.1.1 where the server knows no
better; QoS 1; reconnected for ever. aiomqtt 2 acknowledges a message when it arrives and offers no
other way, so this module, and no other, reaches through it to the paho client underneath: for
manual acknowledgement (`manual_ack_set`, `ack`) and to take the messages that have come already
without a task for each.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import NoReturn, Protocol, cast
from urllib.parse import unquote, urlsplit

import aiomqtt
from paho.mqtt.client import MQTT_CLEAN_START_FIRST_ONLY
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from iot_agents.common.backoff import Backoff
from iot_agents.common.measure import NotDurable, Ticket

_log = logging.getLogger(__name__)
_REFUSED = 0x80
# 0x84 and, from servers older than MQTT 5, 1: the server does not speak the version asked for.
_UNSUPPORTED_VERSION = {0x84, 1}
_FIVE = aiomqtt.ProtocolVersion.V5
_THREE = aiomqtt.ProtocolVersion.V311
_OTHER = {_FIVE: _THREE, _THREE: _FIVE}
_DEFAULT_PORTS = {"mqtt": 1883, "mqtts": 8883}
_RECEIVE_MAXIMUM = 65_535


Accept = Callable[[str, bytes], Awaitable[Ticket | None]]
"""Takes topic and payload of a message, or leaves it and returns None.

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


_Accepted = tuple[aiomqtt.Message, Ticket | None]


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


class _Queue(asyncio.Queue[aiomqtt.Message]):
    """aiomqtt's queue of what arrived, which tells when it was full."""

    def __init__(self, dropped: Callable[[], None], maxsize: int = 0) -> None:
        super().__init__(maxsize)
        self._dropped = dropped

    def put_nowait(self, item: aiomqtt.Message) -> None:
        try:
            super().put_nowait(item)
        except asyncio.QueueFull:
            self._dropped()
            raise


class MqttSource:
    """A subscription that outlives its connections."""

    def __init__(
        self,
        options: MqttOptions,
        accept: Accept,
        *,
        acknowledged: Callable[[], None],
        dropped: Callable[[], None],
    ) -> None:
        """Bind a subscription to what takes its messages.

        Args:
            acknowledged: called for every message the server was told we have.
            dropped: called for every message that there was no room for.
        """
        self._options = options
        self._accept = accept
        self._acknowledged = acknowledged
        self._dropped = dropped
        self._version = _THREE if options.version == "3.1.1" else _FIVE
        self._agreed = False
        self._client: aiomqtt.Client | None = None
        self.subscribed = asyncio.Event()
        """Set while connected and subscribed."""
        self.trouble = "not connected yet"
        """Why nothing comes in at the moment; empty while subscribed."""

    async def run(self) -> NoReturn:
        """Connect, subscribe and take messages, again and again, until cancelled."""
        failures = 0
        while True:
            try:
                async with self._connection() as client:
                    await self._subscribe(client)
                    failures, self.trouble = 0, ""
                    self._agreed = True
                    self._client = client
                    self.subscribed.set()
                    _log.info("subscribed to %s", ", ".join(self._options.topics))
                    await self._consume(client)
            except* (aiomqtt.MqttError, NotDurable) as group:
                failures += 1
                self._client = None
                self.subscribed.clear()
                self._failed(group.exceptions[0], failures)
            await asyncio.sleep(self._options.backoff.delay(failures))

    async def publish(
        self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False
    ) -> None:
        """Send a message over the connection that the subscription has; see `Publish`."""
        client = self._client
        if client is None:
            raise NotPublished(self.trouble or "no connection to the MQTT server")
        try:
            await client.publish(topic, payload, qos=qos, retain=retain)
        except aiomqtt.MqttError as error:
            raise PublishInDoubt(f"MQTT server: {error}") from error

    def _failed(self, error: BaseException, failures: int) -> None:
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        self.trouble = f"MQTT server: {error}"
        if failures == 1:
            _log.warning("no connection to the MQTT server: %s", error)
        if self._options.version == "auto" and not self._agreed and _may_be_the_version(error):
            self._version = _OTHER[self._version]
            _log.info("trying MQTT %s", "5" if self._version is _FIVE else "3.1.1")

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[aiomqtt.Client]:
        options = self._options
        address = urlsplit(options.url)
        if address.scheme not in _DEFAULT_PORTS:
            raise aiomqtt.MqttError(f"{address.scheme!r} is neither mqtt nor mqtts")
        five = self._version is _FIVE
        client = aiomqtt.Client(
            address.hostname or "localhost",
            address.port or _DEFAULT_PORTS[address.scheme],
            username=unquote(address.username) if address.username else None,
            password=unquote(address.password) if address.password else None,
            identifier=options.client_id,
            protocol=self._version,
            clean_session=None if five else False,
            clean_start=False if five else MQTT_CLEAN_START_FIRST_ONLY,
            properties=self._connect_properties() if five else None,
            tls_context=self._tls() if address.scheme == "mqtts" else None,
            timeout=options.timeout,
            max_queued_incoming_messages=max(options.max_queued, options.in_flight),
            queue_type=cast("type[_Queue]", partial(_Queue, self._dropped)),
        )
        client._client.manual_ack_set(True)  # noqa: SLF001 - see the module's docstring
        async with client:
            yield client

    def _connect_properties(self) -> Properties:
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call] # paho's gap
        properties.SessionExpiryInterval = self._options.session_expiry
        properties.ReceiveMaximum = min(self._options.in_flight, _RECEIVE_MAXIMUM)
        return properties

    def _tls(self) -> ssl.SSLContext:
        return self._options.tls or ssl.create_default_context()

    async def _subscribe(self, client: aiomqtt.Client) -> None:
        five = self._version is _FIVE
        share = f"$share/{self._options.share}/" if self._options.share else ""
        for topic in self._options.topics:
            if five:
                # A retained message is taken once, not at every reconnection.
                once = SubscribeOptions(qos=1, retainHandling=1)
                answers = await client.subscribe(share + topic, options=once)
            else:
                answers = await client.subscribe(share + topic, qos=1)
            for answer in answers:
                code = answer.value if isinstance(answer, ReasonCode) else answer
                if code >= _REFUSED:
                    raise aiomqtt.MqttError(f"subscription to {topic} refused: {answer}")

    async def _consume(self, client: aiomqtt.Client) -> None:
        accepted: asyncio.Queue[_Accepted] = asyncio.Queue(self._options.in_flight)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._acknowledge(client, accepted), name="mqtt-acknowledge")
            async for message in client.messages:
                await self._take(message, accepted)
                while len(client.messages):
                    arrived = client._queue.get_nowait()  # noqa: SLF001 - see the module's docstring
                    await self._take(arrived, accepted)

    async def _take(self, message: aiomqtt.Message, accepted: asyncio.Queue[_Accepted]) -> None:
        ticket = await self._accept(message.topic.value, bytes(message.payload))
        await accepted.put((message, ticket))

    async def _acknowledge(
        self, client: aiomqtt.Client, accepted: asyncio.Queue[_Accepted]
    ) -> None:
        # In the order of arrival, as MQTT wants it; the spool commits in that order anyway.
        while True:
            message, ticket = await accepted.get()
            if ticket is not None:
                await ticket.durable()
            client._client.ack(message.mid, message.qos)  # noqa: SLF001 - see the module's docstring
            if ticket is not None:
                self._acknowledged()


def _may_be_the_version(error: BaseException) -> bool:
    """Tell whether a failed connection may be due to the version of MQTT.

    Servers that know no better refuse, hang up, or wait for more of what they do not understand.
    """
    if isinstance(error, aiomqtt.MqttCodeError):
        code = error.rc.value if isinstance(error.rc, ReasonCode) else error.rc
        return code in _UNSUPPORTED_VERSION
    # aiomqtt hides the cause when there was not even a connection.
    return not isinstance(error.__context__, OSError) or isinstance(error.__context__, TimeoutError)
