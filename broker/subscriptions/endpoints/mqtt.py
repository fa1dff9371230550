"""Publish a notification over MQTT and say what became of it (clause 7.2).

Each server has one connection, made when something is to be sent and kept while it is used; a task
of its own holds it. Retrying is the lane's: what fails closes the connection, and the next attempt
makes a new one. Only addresses that egress allows are connected to, also where the name says more.
"""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, Self
from uuid import uuid4

import aiomqtt
import msgspec

from broker.egress import Egress, EgressRefused
from broker.subscriptions.endpoints.http import Failure
from broker.subscriptions.endpoints.target import MqttServer, Target
from broker.subscriptions.endpoints.tls import SYSTEM, Trust

_VERSIONS: Final = {
    "mqtt3.1.1": aiomqtt.ProtocolVersion.V311,
    "mqtt5.0": aiomqtt.ProtocolVersion.V5,
}
_IDLE: Final = 300.0
"""Seconds after which a connection that nobody used is closed."""
_GOODBYE: Final = 1.0


class MqttEndpoint:
    """The way to topics; to be entered, so that connections end with it."""

    def __init__(
        self, egress: Egress, *, timeout: float, trust: Trust = SYSTEM, idle: float = _IDLE
    ) -> None:
        """Connect to nothing yet.

        Args:
            idle: seconds after which an unused connection is closed.
        """
        self._egress = egress
        self._timeout = timeout
        self._trust = trust
        self._idle = idle
        self._connections: dict[MqttServer, _Connection] = {}
        self._group = asyncio.TaskGroup()

    async def __aenter__(self) -> Self:
        self._group = asyncio.TaskGroup()
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for connection in self._connections.values():
            connection.end()
        await self._group.__aexit__(kind, error, traceback)

    @property
    def connections(self) -> int:
        """How many servers there is a connection to, or is being made to."""
        return len(self._connections)

    async def send(self, target: Target, body: bytes) -> Failure | None:
        """Publish a notification; None when it was passed on as its quality of service says."""
        if target.mqtt is None:
            raise ValueError(f"{target.lane} is no MQTT server")
        seconds = target.timeout or self._timeout
        connection = None
        try:
            async with asyncio.timeout(seconds):
                connection = self._connection(target.mqtt.server)
                client = await asyncio.shield(connection.client)
                connection.used = True
                await client.publish(
                    target.mqtt.topic, _message(target, body), target.mqtt.qos, timeout=seconds
                )
        except EgressRefused as error:
            return Failure(f"not allowed: {error}", refused=True)
        except TimeoutError:
            reason = f"{target.lane} did not answer within {seconds:g} s"
        except (aiomqtt.MqttError, OSError, ValueError) as error:
            reason = f"{target.lane}: {error!s:.200}"
        else:
            return None
        if connection is not None:
            connection.closing.set()
        return Failure(reason)

    def _connection(self, server: MqttServer) -> _Connection:
        connection = self._connections.get(server)
        if connection is None or connection.closing.is_set():
            connection = self._connections[server] = _Connection()
            connection.task = self._group.create_task(
                self._hold(server, connection), name=f"mqtt {server.host}"
            )
        return connection

    async def _hold(self, server: MqttServer, connection: _Connection) -> None:
        """Connect, and keep the connection until it fails or nobody uses it."""
        try:
            async with asyncio.timeout(self._timeout):
                client = await self._connect(server)
        except (EgressRefused, aiomqtt.MqttError, OSError, ValueError) as error:
            self._forget(server, connection)
            connection.failed(error)
            return
        try:
            connection.client.set_result(client)
            await connection.until_unused(self._idle)
        finally:
            self._forget(server, connection)
            await _leave(client)

    def _forget(self, server: MqttServer, connection: _Connection) -> None:
        connection.closing.set()
        if self._connections.get(server) is connection:
            del self._connections[server]

    async def _connect(self, server: MqttServer) -> aiomqtt.Client:
        """Connect to the first of a server's addresses that answers."""
        addresses = await self._egress.addresses(server.host, server.port)
        tls = None
        if server.is_secure:
            tls = await asyncio.to_thread(self._trust.context, _PinnedTls)
            tls.name = server.host
        for address in addresses[:-1]:
            with suppress(aiomqtt.MqttError):
                return await self._enter(server, address, tls)
        return await self._enter(server, addresses[-1], tls)

    async def _enter(
        self, server: MqttServer, address: str, tls: ssl.SSLContext | None
    ) -> aiomqtt.Client:
        client = aiomqtt.Client(
            address,
            server.port,
            username=server.user,
            password=server.password,
            identifier=f"rigel-{uuid4().hex[:16]}",
            protocol=_VERSIONS[server.version],
            tls_context=tls,
            timeout=self._timeout,
        )
        try:
            return await client.__aenter__()
        except BaseException:
            await _leave(client)
            raise


async def _leave(client: aiomqtt.Client) -> None:
    """Disconnect, also where the connection was only half made or is broken."""
    with suppress(aiomqtt.MqttError, TimeoutError):
        async with asyncio.timeout(_GOODBYE):
            await client.__aexit__(None, None, None)


class _Connection:
    """One connection as those see it that send over it.

    Attributes:
        client: set once it is connected.
        closing: set when it is not to be used any more.
        used: whether something was sent since that was last asked.
        task: what makes and holds it.
    """

    task: asyncio.Task[None] | None = None

    def __init__(self) -> None:
        self.client: asyncio.Future[aiomqtt.Client] = asyncio.get_running_loop().create_future()
        self.closing = asyncio.Event()
        self.used = True

    def failed(self, error: Exception) -> None:
        """Tell those who wait why there is no connection."""
        self.client.set_exception(error)
        self.client.exception()  # whoever waited may have given up: that is no error

    def end(self) -> None:
        """Close it, or stop making it."""
        self.closing.set()
        if not self.client.done():
            self.failed(aiomqtt.MqttError("delivery ends"))
            if self.task is not None:
                self.task.cancel()

    async def until_unused(self, idle: float) -> None:
        """Wait until it is to be closed, or was not used for some time."""
        while self.used and not self.closing.is_set():
            self.used = False
            with suppress(TimeoutError):
                async with asyncio.timeout(idle):
                    await self.closing.wait()


class _PinnedTls(ssl.SSLContext):
    """Checks the certificate against the name, though an address of it is connected to."""

    name: str

    def wrap_socket(self, *args: Any, **more: Any) -> ssl.SSLSocket:
        """Put the name in place of the address, and close the socket if it proves to be another."""
        # paho shakes hands later and would leave the socket open when that fails.
        more |= {"server_hostname": self.name, "do_handshake_on_connect": True}
        return super().wrap_socket(*args, **more)


def _message(target: Target, body: bytes) -> bytes:
    """Return what is published: the notification, and beside it what HTTP has in headers."""
    return b'{"metadata":%b,"body":%b}' % (msgspec.json.encode(target.headers), body)
