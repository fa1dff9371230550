"""Open streams, keep them while they are used, and bring them back after a restart (extensions)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from broker.core.errors import NgsiLdError, Overloaded
from broker.core.identifiers import Iri, Tenant
from broker.operations.broker import Broker
from broker.operations.subscriptions import entry_of
from broker.store.interface import Channel, Span
from broker.subscriptions.compiled import CompiledSubscription

_log = logging.getLogger(__name__)
_RETRY_SECONDS = 10

Compile = Callable[[Channel], Awaitable[CompiledSubscription]]


async def open_subscription(
    broker: Broker, tenant: Tenant, subscription_id: Iri
) -> tuple[Channel, Span]:
    """Open the stream of a subscription's notifications.

    Throttling and the endpoint's health do not matter to it.

    Raises:
        ResourceNotFound: there is no such subscription.
        Overloaded: too many streams are open.
    """
    await entry_of(broker, tenant, subscription_id)
    channel = Channel(tenant, subscription_id)
    return channel, await _opened(broker, channel, None)


async def open_query(
    broker: Broker, channel: Channel, compiled: CompiledSubscription
) -> tuple[Channel, Span]:
    """Open the stream of what happens to the entities that match a query.

    Raises:
        NonexistentTenant: the tenant is not there.
        Overloaded: too many streams are open.
    """
    return channel, await _opened(broker, channel, compiled)


async def _opened(broker: Broker, channel: Channel, compiled: Any) -> Span:
    most = broker.limits.max_streams
    if broker.streams.readers >= broker.limits.max_stream_readers:
        raise Overloaded("as many read streams as may", retry_after=_RETRY_SECONDS)
    return await broker.stream_events.open(channel, compiled, most=most)


@asynccontextmanager
async def keep(
    broker: Broker, compile_query: Compile, *, window: float, every: float = 30.0
) -> AsyncIterator[None]:
    """Bring the open streams back, and forget again and again what is older than a window.

    Args:
        compile_query: makes of the document of a query's channel what is matched for it.
        every: seconds between two rounds; a channel is kept for so much longer than the window.
    """
    for channel in await broker.stream_events.channels():
        await _restore(broker, channel, compile_query)
    async with asyncio.TaskGroup() as group:
        tidying = group.create_task(_tidy(broker, window + 2 * every, every), name="streams-tidy")
        try:
            yield
        finally:
            tidying.cancel()


async def _restore(broker: Broker, channel: Channel, compile_query: Compile) -> None:
    try:
        compiled = None if channel.document is None else await compile_query(channel)
    except NgsiLdError as error:
        # It stays closed: whoever comes back to it opens it anew and is told of the gap.
        _log.warning("the stream %s is closed: %s", channel.id, error.detail)
        await broker.stream_events.forget(channel)
        return
    broker.stream_events.restore(channel, compiled)


async def _tidy(broker: Broker, window: float, pause: float) -> None:
    while True:
        await asyncio.sleep(pause)
        try:
            await broker.stream_events.tidy(broker.streams.used(), window=window)
        except NgsiLdError as error:
            _log.warning("old events of streams will be forgotten later: %s", error)
