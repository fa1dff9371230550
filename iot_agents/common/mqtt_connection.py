"""One connection to an MQTT server, from its CONNECT to its end.

All that has come is taken at once, and acknowledgements leave together, once per turn of the loop:
a message costs a few microseconds here, where clients that start a task or call the system for each
take ten times that. What came waits in a bounded queue. A server of MQTT 5 sends no more than was
agreed; from others reading pauses, and messages of QoS 0, which nobody holds back, are dropped and
counted when there is no room.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, cast

from iot_agents.common import mqtt_packets as packets
from iot_agents.common.mqtt_packets import Kind, Message

_ACKNOWLEDGEMENTS: Final = (Kind.PUBACK, Kind.PUBREC, Kind.PUBCOMP, Kind.SUBACK)
_HIGHEST_ID: Final = 65_535


class MqttError(Exception):
    """The connection cannot be made, or has ended."""


class NoAnswer(MqttError):
    """Something took the connection, and says nothing that is MQTT of this version."""


class Refused(MqttError):
    """The server refused what was asked; `code` is its own."""

    def __init__(self, what: str, code: int, reason: str = "") -> None:
        super().__init__(
            f"{what} refused with code {code:#04x}" + (f": {reason}" if reason else "")
        )
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a server is, and how to get in; `timeout` is for each answer, in seconds."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    timeout: float = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """How much may wait to be taken.

    Attributes:
        messages: of QoS 0, and of servers that hold nothing back.
        packet: bytes of the largest packet; a larger message is cut off there.
        dropped: called for each message of QoS 0 that finds no room.
    """

    messages: int
    packet: int
    dropped: Callable[[], None]


class Connection(asyncio.Protocol):
    """A connection, made by `connected`."""

    def __init__(self, level: int, room: Room, patience: float) -> None:
        self._level = level
        self._patience = patience
        self._room = room
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._messages: deque[Message] = deque()
        self._came: asyncio.Future[None] | None = None
        self._paused = False
        self._out = bytearray()
        self._waiting: dict[tuple[Kind, int], asyncio.Future[Sequence[int]]] = {}
        self._last_id = 0
        self._greeting: asyncio.Future[packets.Connack] = self._loop.create_future()
        self._error: MqttError | None = None
        self._heard = True
        self._next_look: asyncio.TimerHandle | None = None
        self._skip = 0
        self.resumed = False
        """Whether the server goes on with a session of ours, and its packet ids."""

    @property
    def lost(self) -> bool:
        """Whether the connection has ended, so that nothing can be acknowledged any more."""
        return self._error is not None

    async def arrived(self) -> deque[Message]:
        """Return all messages that have come and were not returned before, at least one.

        Raises:
            MqttError: the connection has ended.
        """
        while not self._messages:
            if self._error is not None:
                raise self._error
            self._came = self._loop.create_future()
            await self._came
        found, self._messages = self._messages, deque()
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
        return found

    def acknowledge(self, packet_id: int) -> None:
        """Tell the server that we have a message, which it then forgets."""
        self._send(packets.acknowledgement(Kind.PUBACK, packet_id))

    async def subscribe(self, topic: str) -> None:
        """Subscribe to a filter with QoS 1.

        Raises:
            Refused: the server does not let us.
            MqttError: the connection has ended.
        """
        packet_id = self._free_id()
        packet = packets.subscribe(self._level, topic, packet_id)
        for code in await self._asked(Kind.SUBACK, packet_id, packet):
            if code >= packets.REFUSED:
                raise Refused(f"subscription to {topic}", code)

    async def publish(self, topic: str, payload: bytes, *, qos: int, retain: bool) -> None:
        """Send a message, and return once the server has it, or with QoS 0 once it was sent.

        Raises:
            Refused: the server does not take it.
            MqttError: the connection has ended, or the server does not answer.
        """
        packet_id = self._free_id() if qos else 0
        packet = packets.publish(self._level, topic, payload, packet_id, qos=qos, retain=retain)
        if not qos:
            self._check()
            self._send(packet)
            return
        done = Kind.PUBACK if qos == 1 else Kind.PUBCOMP
        for code in await self._asked(done, packet_id, packet):
            if code >= packets.REFUSED:
                raise Refused(f"message to {topic}", code)

    async def greet(self, connect: packets.Connect) -> None:
        """Send the CONNECT and wait until the server has taken it.

        Raises:
            Refused: it did not.
            NoAnswer: it hung up, or said nothing.
        """
        self._send(connect.encode())
        try:
            async with asyncio.timeout(self._patience):
                answer = await self._greeting
        except TimeoutError as error:
            raise NoAnswer("no answer to the CONNECT") from error
        if answer.code:
            raise Refused("connection", answer.code, answer.reason)
        self.resumed = answer.session_present
        self._stay((answer.keep_alive or connect.keep_alive) / 2)

    async def leave(self) -> None:
        """Say goodbye and close."""
        if self._transport is None or self._error is not None:
            return
        self._send(packets.DISCONNECT)
        self._flush()
        self._fail(MqttError("the connection is closed"))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(MqttError(f"the connection is lost: {exc or 'the server hung up'}"))

    def data_received(self, data: bytes) -> None:
        self._heard = True
        if self._skip:
            skipped = min(self._skip, len(data))
            self._skip -= skipped
            data = data[skipped:]
        self._buffer += data
        try:
            self._read(self._buffer)
        except (packets.Malformed, IndexError) as error:
            self._fail(MqttError(f"the server speaks no MQTT: {error}"))
            return
        came = self._came
        if self._messages and came is not None and not came.done():
            came.set_result(None)

    def _read(self, buffer: bytearray) -> None:
        done = 0
        for first, start, end in packets.split(buffer):
            self._take(first, bytes(buffer[start:end]))
            done = end
        if done:
            del buffer[:done]
        if len(buffer) > self._room.packet:
            first, start, end = packets.head(buffer)
            self._take(first, bytes(buffer[start:]))
            self._skip = end - len(buffer)
            buffer.clear()

    def _take(self, first: int, body: bytes) -> None:
        kind = first >> 4
        if not self._greeting.done() and kind != Kind.CONNACK:
            raise packets.Malformed(f"it begins with a packet of type {kind}")
        if kind == Kind.PUBLISH:
            self._queue(packets.message(self._level, first, body))
        elif kind == Kind.CONNACK:
            if not self._greeting.done():
                self._greeting.set_result(packets.connack(self._level, body))
        elif kind == Kind.DISCONNECT:
            self._fail(Refused("the connection is", *packets.disconnection(body)))
        elif kind in _ACKNOWLEDGEMENTS:
            self._acknowledged(kind, body)
        elif kind != Kind.PINGRESP:
            raise packets.Malformed(f"a packet of type {kind}")

    def _acknowledged(self, kind: int, body: bytes) -> None:
        if kind == Kind.SUBACK:
            packet_id, codes = packets.suback(self._level, body)
            self._answered(Kind.SUBACK, packet_id, codes)
            return
        packet_id, code = packets.acknowledged(body)
        if kind == Kind.PUBREC and code < packets.REFUSED:
            self._send(packets.acknowledgement(Kind.PUBREL, packet_id))
        else:
            self._answered(Kind.PUBACK if kind == Kind.PUBACK else Kind.PUBCOMP, packet_id, (code,))

    def _queue(self, message: Message) -> None:
        if len(self._messages) >= self._room.messages:
            if not message.qos:
                self._room.dropped()
                return
            if not self._paused and self._transport is not None:
                self._paused = True
                self._transport.pause_reading()
        self._messages.append(message)

    def _send(self, packet: bytes) -> None:
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out += packet

    def _flush(self) -> None:
        if self._out and self._transport is not None and self._error is None:
            self._transport.write(bytes(self._out))
        self._out.clear()

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    def _free_id(self) -> int:
        taken = {packet_id for _, packet_id in self._waiting}
        for _ in range(_HIGHEST_ID):
            self._last_id = self._last_id % _HIGHEST_ID + 1
            if self._last_id not in taken:
                return self._last_id
        raise MqttError("65 535 messages wait for their answer")

    async def _asked(self, kind: Kind, packet_id: int, packet: bytes) -> Sequence[int]:
        self._check()
        key = kind, packet_id
        future = self._waiting[key] = self._loop.create_future()
        self._send(packet)
        try:
            async with asyncio.timeout(self._patience):
                answer: Sequence[int] = await future
        except TimeoutError as error:
            raise MqttError(f"no answer within {self._patience:g} s") from error
        finally:
            del self._waiting[key]
        return answer

    def _answered(self, kind: Kind, packet_id: int, codes: Sequence[int]) -> None:
        future = self._waiting.get((kind, packet_id))
        if future is not None and not future.done():
            future.set_result(codes)

    def _stay(self, interval: float) -> None:
        """Ask whether the server is still there, and end the connection when it is not."""
        if not self._heard and not self._paused:
            self._fail(MqttError(f"the server has said nothing for {interval:g} s"))
            return
        self._heard = False
        self._send(packets.PINGREQ)
        self._next_look = self._loop.call_later(interval, self._stay, interval)

    def _fail(self, error: MqttError) -> None:
        if self._error is not None:
            return
        self._error = error
        if self._next_look is not None:
            self._next_look.cancel()
        if not self._greeting.done():
            self._greeting.set_exception(NoAnswer(str(error)))
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(error)
        if self._came is not None and not self._came.done():
            self._came.set_result(None)
        if self._transport is not None:
            self._transport.close()


@asynccontextmanager
async def connected(
    address: Address, connect: packets.Connect, room: Room
) -> AsyncIterator[Connection]:
    """Connect to a server, and say goodbye at the end of the block.

    Raises:
        Refused: the server does not let us in.
        NoAnswer: it took the connection, and does not speak this version of MQTT.
        MqttError: there is no connection.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(address.timeout):
            _, connection = await loop.create_connection(
                lambda: Connection(connect.level, room, address.timeout),
                address.host,
                address.port,
                ssl=address.tls,
                server_hostname=address.host if address.tls is not None else None,
            )
    except TimeoutError as error:
        raise MqttError("no connection in time") from error
    except OSError as error:
        raise MqttError(f"no connection: {error}") from error
    try:
        await connection.greet(connect)
        yield connection
    finally:
        await connection.leave()
