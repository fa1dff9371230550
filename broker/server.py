"""The composition root: picks the store, opens what must be open, and serves."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from ssl import SSLContext
from types import MappingProxyType
from typing import Any

from aiohttp import web

from broker.api.app import make_app
from broker.api.cors import Cors
from broker.api.metrics import Metrics
from broker.api.streams import compile_query
from broker.contexts.resolution import Contexts
from broker.core.errors import NgsiLdError
from broker.egress import Egress, EgressPolicy
from broker.operations import retention
from broker.operations import streams as stream_operations
from broker.operations.broker import Broker, Limits
from broker.operations.subscriptions import load
from broker.settings import Settings
from broker.store.interface import Commit
from broker.store.sqlite.store import SqliteStore, open_store
from broker.store.temporal import Retention
from broker.subscriptions.endpoints.tls import Trust
from broker.subscriptions.matcher import SubscriptionMatcher
from broker.subscriptions.notifier import Notifier
from broker.subscriptions.policy import DeliveryPolicy
from broker.subscriptions.registry import SubscriptionRegistry
from broker.subscriptions.scheduler import Scheduler
from broker.subscriptions.streams import Streams

_log = logging.getLogger(__name__)
_SHUTDOWN_SECONDS = 5.0


def _wall_clock() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class RunningBroker:
    """A broker that serves.

    Attributes:
        url: its root, such as `http://127.0.0.1:1026`.
    """

    url: str
    broker: Broker
    notifier: Notifier


@asynccontextmanager
async def serve(
    settings: Settings,
    *,
    bundled: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
    clock: Callable[[], datetime] = _wall_clock,
) -> AsyncIterator[RunningBroker]:
    """Run a broker until the block ends.

    Args:
        bundled: @contexts that the platform ships, by URL.

    Raises:
        OSError: the port is taken, or a file of certificates is none.
        NewerSchema: the store's file was written by a newer version.
    """
    async with AsyncExitStack() as stack:
        broker, store = await _opened(stack, settings, bundled, clock)
        await stack.enter_async_context(load(broker, broker.matcher))
        await stack.enter_async_context(
            stream_operations.keep(
                broker, partial(compile_query, broker), window=settings.stream_window
            )
        )
        await stack.enter_async_context(broker.notifier.deliver(store.outbox))
        scheduler = Scheduler(broker.registry, store.entities, store.outbox, clock)
        await stack.enter_async_context(scheduler.running())
        await stack.enter_async_context(_sweeping(store, settings))
        metrics = Metrics(_gauges(store, broker))
        url = await stack.enter_async_context(_listen(broker, settings, metrics, bundled))
        broker.contexts.public_url = settings.public_url or url
        yield RunningBroker(url, broker, broker.notifier)


async def _opened(
    stack: AsyncExitStack,
    settings: Settings,
    bundled: Mapping[str, Mapping[str, Any]],
    clock: Callable[[], datetime],
) -> tuple[Broker, SqliteStore]:
    """Open the store and what stands beside it, and put the broker together."""
    registry, matcher, streams = SubscriptionRegistry(), SubscriptionMatcher(), Streams()
    egress = await stack.enter_async_context(Egress(_egress_policy(settings)))
    trust = Trust(settings.notification_ca, settings.notification_certificate)
    await asyncio.to_thread(trust.context, SSLContext)  # a wrong file is told now
    notifier = Notifier(registry, egress, clock, _delivery_policy(settings), trust)
    store = await stack.enter_async_context(
        open_store(
            settings.data_dir / "broker.db",
            matcher,
            _listener(notifier, streams),
            clock,
            readers=settings.readers,
            max_queued=settings.max_queued_writes,
            cached_entities=settings.cached_entities,
            max_waiting=settings.max_waiting_notifications,
            max_dead=settings.max_dead_letters,
        )
    )
    contexts = Contexts(
        store.documents,
        egress,
        clock=clock,
        bundled=bundled,
        mirror=settings.context_mirror,
        fetch=settings.context_fetch,
    )
    await stack.enter_async_context(contexts)
    broker = Broker(
        entities=store.entities,
        temporal=store.temporal,
        documents=store.documents,
        subscriptions=store.subscriptions,
        outbox=store.outbox,
        stream_events=store.streams,
        contexts=contexts,
        registry=registry,
        matcher=matcher,
        notifier=notifier,
        streams=streams,
        egress=egress,
        clock=clock,
        limits=_limits(settings),
    )
    return broker, store


def _egress_policy(settings: Settings) -> EgressPolicy:
    return EgressPolicy(
        schemes=frozenset(("http", "https", "mqtt", "mqtts", "kafka")),
        allow_private=settings.egress_allow_private,
        allowed=tuple(part.strip() for part in settings.egress_allow.split(",") if part.strip()),
        timeout=settings.notification_timeout,
    )


def _delivery_policy(settings: Settings) -> DeliveryPolicy:
    return DeliveryPolicy(
        timeout=settings.notification_timeout, attempts=settings.notification_attempts
    )


def _limits(settings: Settings) -> Limits:
    return Limits(
        settings.max_batch,
        settings.default_limit,
        settings.max_limit,
        settings.max_streams,
        settings.max_stream_readers,
        settings.stream_heartbeat,
        settings.stream_patience,
        settings.default_instances,
        settings.max_instances,
    )


def _listener(notifier: Notifier, streams: Streams) -> Callable[[Commit], None]:
    def tell(commit: Commit) -> None:
        notifier.accept(commit)
        streams.accept(commit)

    return tell


def _gauges(store: SqliteStore, broker: Broker) -> Callable[[], Mapping[str, float]]:
    def read() -> Mapping[str, float]:
        return {
            "queued_writes": float(store.writer.queued),
            "notifications_waiting": float(store.waiting.count),
            "writes_refused_for_notifications": float(store.waiting.refused),
            "dead_letters": float(store.waiting.dead),
            "notifications_not_made": float(broker.matcher.counts["broken"]),
            "stream_readers": float(broker.streams.readers),
            **broker.notifier.gauges(),
        }

    return read


@asynccontextmanager
async def _listen(
    broker: Broker,
    settings: Settings,
    metrics: Metrics,
    bundled: Mapping[str, Mapping[str, Any]],
) -> AsyncIterator[str]:
    app = make_app(
        broker,
        metrics,
        max_body=settings.max_body,
        cors=Cors(settings.cors_origins),
        bundled=bundled,
    )
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN_SECONDS)
    await runner.setup()
    try:
        site = web.TCPSite(runner, settings.host, settings.port)
        await site.start()
        port = runner.addresses[0][1]
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        _log.info("broker listens on http://%s:%s", host, port)
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def _sweeping(store: SqliteStore, settings: Settings) -> AsyncIterator[None]:
    policies = [retention.parse(text) for text in settings.retention]
    async with asyncio.TaskGroup() as tasks:
        sweeper = tasks.create_task(
            _sweep(store, settings.sweep_interval, policies), name="sweeper"
        )
        try:
            yield
        finally:
            sweeper.cancel()


async def _sweep(store: SqliteStore, interval: float, policies: Sequence[Retention]) -> None:
    """Delete what has expired, again and again, and history that was kept long enough."""
    while True:
        await asyncio.sleep(interval)
        try:
            while await store.entities.sweep():
                pass
            await retention.sweep(store.temporal, policies)
        except NgsiLdError as error:
            _log.warning("the sweep will be tried again: %s", error)
