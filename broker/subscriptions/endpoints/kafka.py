"""Write a notification to a Kafka topic and say what became of it (an extension).

The client is an extra, so it is imported when it is needed. Each server has one producer, made when
something is to be sent and kept until it fails. A Kafka server names others to go on with; only
addresses that egress allows are connected to, those too.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import sys
from contextlib import suppress
from typing import Any, Final, Self

from broker.egress import Egress, EgressRefused
from broker.subscriptions.endpoints.http import Failure
from broker.subscriptions.endpoints.target import KafkaServer, Target

MISSING: Final = "endpoints over kafka need a client: pip install 'rigel[kafka]'"
_CLIENT: Final = "aiokafka"
_GOODBYE: Final = 1.0
_MILLISECONDS: Final = 1000


def is_available() -> bool:
    """Tell whether there is a client."""
    if _CLIENT in sys.modules:
        return sys.modules[_CLIENT] is not None
    return importlib.util.find_spec(_CLIENT) is not None


class KafkaEndpoint:
    """The way to topics; to be entered, so that connections end with it."""

    def __init__(self, egress: Egress, *, timeout: float) -> None:
        self._egress = egress
        self._timeout = timeout
        self._producers: dict[KafkaServer, _Producer] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for producer in list(self._producers.values()):
            await producer.stop()
        self._producers.clear()

    async def send(self, target: Target, body: bytes) -> Failure | None:
        """Write a notification; None when all in-sync replicas of its partition have it."""
        kafka = target.kafka
        if kafka is None:
            raise ValueError(f"{target.lane} is no Kafka server")
        if not is_available():
            return Failure(MISSING, refused=True)
        seconds = target.timeout or self._timeout
        producer = self._producers.get(kafka.server)
        if producer is None:
            producer = self._producers[kafka.server] = _Producer(self._egress, self._timeout)
        errors = importlib.import_module("aiokafka.errors")
        headers = [(name, value.encode()) for name, value in target.headers.items()]
        try:
            async with asyncio.timeout(seconds):
                client = await producer.client(kafka.server)
                await client.send_and_wait(kafka.topic, body, key=kafka.key, headers=headers)
        except EgressRefused as error:
            return Failure(f"not allowed: {error}", refused=True)
        except TimeoutError:
            reason = producer.refused or f"{target.lane} did not answer within {seconds:g} s"
        except (errors.KafkaError, OSError) as error:
            reason = producer.refused or f"{target.lane}: {error!s:.200}"
        else:
            return None
        # What it may still try on its own would come out of order.
        if self._producers.get(kafka.server) is producer:
            del self._producers[kafka.server]
        await producer.stop()
        return Failure(reason)


class _Producer:
    """One server's producer.

    Attributes:
        refused: why one of the addresses that the server named is not connected to.
    """

    def __init__(self, egress: Egress, timeout: float) -> None:
        self.refused: str | None = None
        self._egress = egress
        self._timeout = timeout
        self._client: Any = None
        self._lock = asyncio.Lock()

    async def client(self, server: KafkaServer) -> Any:
        """Return it, started.

        Raises:
            EgressRefused: the server must not be called.
            OSError: its name cannot be resolved.
        """
        async with self._lock:
            if self._client is None:
                self._client = await self._started(server)
            return self._client

    async def _started(self, server: KafkaServer) -> Any:
        addresses = await self._egress.addresses(server.host, server.port)
        made = importlib.import_module(_CLIENT).AIOKafkaProducer(
            bootstrap_servers=[f"{_host(address)}:{server.port}" for address in addresses],
            client_id="rigel",
            acks="all",
            request_timeout_ms=int(self._timeout * _MILLISECONDS),
        )
        self._guard(made.client)
        try:
            await made.start()
        except BaseException:
            await _stopped(made)
            raise
        return made

    def _guard(self, client: Any) -> None:
        """Have each server that the first one names checked, and called by its checked address."""
        connect = client._get_conn  # noqa: SLF001 - the client has no other place for this

        async def checked(node_id: Any, **more: Any) -> Any:
            known = client.cluster.broker_metadata(node_id)
            if known is not None:
                try:
                    address, *_ = await self._egress.addresses(known.host, known.port)
                except (EgressRefused, OSError) as error:
                    self.refused = f"the server names {known.host}:{known.port}: {error!s:.200}"
                    return None
                brokers = client.cluster._brokers  # noqa: SLF001 - as above
                if node_id in brokers:
                    brokers[node_id] = known._replace(host=address)
            return await connect(node_id, **more)

        client._get_conn = checked  # noqa: SLF001 - as above

    async def stop(self) -> None:
        """End it, with what it has not sent."""
        made, self._client = self._client, None
        if made is not None:
            await _stopped(made)


async def _stopped(producer: Any) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(_GOODBYE):
            await producer.stop()


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address
