"""Send a notification over HTTP and say what became of it (clauses 5.8.6, 6.3.8).

Connections are kept for a few seconds, as an update is seldom alone. Only addresses that egress
allows are connected to, whatever the name says at another time.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from asyncio import TimerHandle
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final, Self

from aiohappyeyeballs import start_connection

from broker.egress import Egress, EgressRefused
from broker.subscriptions.endpoints.connection import Connection
from broker.subscriptions.endpoints.target import HttpTarget, Target
from broker.subscriptions.endpoints.tls import SYSTEM, Trust

_SUCCESS: Final = range(200, 300)
_REFUSALS: Final = range(400, 500)
_NOT_NOW: Final = frozenset((408, 425, 429))
_MOST_DIGITS: Final = 9
_NEXT_ADDRESS: Final = 0.25
_KEEP_ALIVE: Final = 4.0
"""Shorter than servers usually wait, so that a connection is seldom used while its peer ends it."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a notification did not arrive.

    Attributes:
        refused: the receiver is there and will not have it; trying again seldom helps.
        retry_after: seconds for which it asks to be left alone.
    """

    reason: str
    refused: bool = False
    retry_after: float | None = None


class HttpEndpoint:
    """The way to receivers with an http or https URL.

    To be entered, so that connections are kept, and end with it; else each is for one notification.
    """

    def __init__(
        self,
        egress: Egress,
        clock: Callable[[], datetime],
        *,
        timeout: float,
        trust: Trust = SYSTEM,
    ) -> None:
        self._egress = egress
        self._clock = clock
        self._timeout = timeout
        self._trust = trust
        self._tls: ssl.SSLContext | None = None
        self._idle: dict[str, list[Connection]] = {}
        self._timer: TimerHandle | None = None
        self._is_open = False

    async def __aenter__(self) -> Self:
        self._is_open = True
        return self

    async def __aexit__(self, *_: object) -> None:
        self._is_open = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for connections in self._idle.values():
            for connection in connections:
                connection.close()
        self._idle.clear()

    async def send(self, target: Target, body: bytes) -> Failure | None:
        """Post a notification; None when it was answered 2xx."""
        http = target.http
        if http is None:
            raise ValueError(f"{target.lane} is not HTTP")
        reason = self._egress.check(target.url)
        if reason is not None:
            return Failure(f"not allowed: {reason}", refused=True)
        seconds = target.timeout or self._timeout
        deadline = asyncio.get_running_loop().time() + seconds
        connection = self._kept(target.lane)
        try:
            if connection is None:
                async with asyncio.timeout_at(deadline):
                    connection = await self._connect(http)
            request = b"%bContent-Length: %d\r\n\r\n%b" % (http.head, len(body), body)
            await connection.post(request, deadline)
        except EgressRefused as error:
            return Failure(f"not allowed: {error}", refused=True)
        except TimeoutError:
            reason = f"{target.url:.200} did not answer within {seconds:g} s"
        except OSError as error:
            reason = f"{target.url:.200}: {str(error) or type(error).__name__:.200}"
        finally:
            if connection is not None:
                self._keep(target.lane, connection)
        if connection is not None and connection.status:
            # Also when the body did not come to its end: the receiver has said what became of it.
            return self._told(connection)
        return Failure(str(reason))

    def _told(self, answer: Connection) -> Failure | None:
        if answer.status in _SUCCESS:
            return None
        refused = answer.status in _REFUSALS and answer.status not in _NOT_NOW
        return Failure(f"answered {answer.status}", refused, self._seconds(answer.retry_after))

    def _kept(self, lane: str) -> Connection | None:
        """Return a connection that is there already, the one used last."""
        connections = self._idle.get(lane)
        while connections:
            connection = connections.pop()
            if connection.is_usable:
                return connection
            connection.close()
        return None

    def _keep(self, lane: str, connection: Connection) -> None:
        if not self._is_open or not connection.is_usable:
            connection.close()
            return
        loop = asyncio.get_running_loop()
        connection.since = loop.time()
        self._idle.setdefault(lane, []).append(connection)
        if self._timer is None:
            self._timer = loop.call_later(_KEEP_ALIVE, self._tidy)

    def _tidy(self) -> None:
        """Close what nobody used for a while."""
        loop = asyncio.get_running_loop()
        limit = loop.time() - _KEEP_ALIVE
        for lane, connections in list(self._idle.items()):
            for connection in connections:
                if connection.since <= limit:
                    connection.close()
            self._idle[lane] = [one for one in connections if one.is_usable]
            if not self._idle[lane]:
                del self._idle[lane]
        self._timer = loop.call_later(_KEEP_ALIVE / 2, self._tidy) if self._idle else None

    async def _connect(self, http: HttpTarget) -> Connection:
        """Connect to the first of the receiver's addresses that answers."""
        found = await self._egress.addresses(http.host, http.port)
        tls = await self._context() if http.is_secure else None
        loop = asyncio.get_running_loop()
        opened = await start_connection(
            [_info(address, http.port) for address in found], happy_eyeballs_delay=_NEXT_ADDRESS
        )
        try:
            transport, connection = await loop.create_connection(Connection, sock=opened)
        except BaseException:
            opened.close()
            raise
        if tls is not None:
            await self._secure(transport, connection, tls, http.host.rstrip("."))
        return connection

    @staticmethod
    async def _secure(
        transport: asyncio.Transport, connection: Connection, tls: ssl.SSLContext, name: str
    ) -> None:
        """Begin TLS on a connection, or close it."""
        # Not by create_connection: cut off before TLS has begun, that leaves its transport open.
        try:
            secured = await asyncio.get_running_loop().start_tls(
                transport, connection, tls, server_hostname=name
            )
        except BaseException:
            transport.abort()
            raise
        if secured is None:
            raise ConnectionResetError("the receiver closed the connection")
        connection.connection_made(secured)

    async def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            # Reading the system's authorities takes its time.
            self._tls = await asyncio.to_thread(self._trust.context, ssl.SSLContext)
        return self._tls

    def _seconds(self, text: str) -> float | None:
        """Read Retry-After in either of its forms; nonsense counts as absent."""
        text = text.strip()
        if text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS:
            return float(text)
        try:
            moment = parsedate_to_datetime(text)
        except ValueError:
            return None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return max((moment - self._clock()).total_seconds(), 0.0)


def _info(
    address: str, port: int
) -> tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[str, int]]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port)
