"""The composition root of the subscribers: roles, journal files, broker client, HTTP side."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from aiohttp import web

from broker.client import Client
from subscribers.common.instants import Duration
from subscribers.common.intake import Intake
from subscribers.common.journal import Journal, read_position
from subscribers.common.keeper import Keeper
from subscribers.common.metrics import Sample
from subscribers.common.outbox import Outbox, read_refused
from subscribers.common.receiver import Inside, Read, build_app
from subscribers.common.role import Report, Role
from subscribers.common.stream_clock import SYSTEM_TIME, StreamClock, TimeSource
from subscribers.kpi.role import kpi_role
from subscribers.rules.role import rules_role
from subscribers.settings import Settings

_log = logging.getLogger(__name__)
_SHUTDOWN_SECONDS: Final = 5.0

ROLES: Final[Mapping[str, Callable[[Settings], Role]]] = {"kpi": kpi_role, "rules": rules_role}
"""The roles there are, and what makes them."""


@dataclass(frozen=True, slots=True)
class ServedRole:
    """A role with what runs it."""

    role: Role
    journal: Journal
    clock: StreamClock
    intake: Intake
    outbox: Outbox


@dataclass(frozen=True, slots=True)
class RunningSubscribers:
    """Subscribers that serve.

    Attributes:
        url: where they listen, such as `http://127.0.0.1:4050`.
        keepers: who looks after the subscriptions of each role.
    """

    url: str
    roles: Mapping[str, ServedRole]
    keepers: dict[str, Keeper] = field(default_factory=dict)

    def problems(self) -> list[str]:
        """Return why they are not ready; empty when all is well."""
        away = [
            f"{name}: subscription {binding}: {why}"
            for name, keeper in self.keepers.items()
            for binding, why in keeper.problems.items()
        ]
        stuck = [f"{n}: {s.outbox.problem}" for n, s in self.roles.items() if s.outbox.problem]
        return away + stuck


@asynccontextmanager
async def serve(
    settings: Settings,
    roles: Collection[str] = frozenset(ROLES),
    *,
    time: TimeSource = SYSTEM_TIME,
) -> AsyncIterator[RunningSubscribers]:
    """Run subscribers until the block ends; a broker that is away is waited for.

    Raises:
        InvalidDefinition: rules or KPIs are wrong.
        JournalUnusable: another process uses the files.
        OSError: the port is taken.
    """
    wanted = [ROLES[name](settings) for name in sorted(roles)]
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(
            Client.connect(
                settings.broker_url,
                tenant=settings.tenant,
                ld_context=settings.ld_context,
                timeout=settings.broker_timeout,
            )
        )
        served = {
            role.name: await stack.enter_async_context(_open(role, settings, client, time))
            for role in wanted
        }
        async with _work(settings, client, served) as running:
            yield running


@asynccontextmanager
async def _open(
    role: Role, settings: Settings, client: Client, time: TimeSource
) -> AsyncIterator[ServedRole]:
    async with Journal.open(settings.data_dir / f"{role.name}.db", role.migrations) as journal:
        tolerance = Duration.of_seconds(settings.clock_tolerance)
        clock = StreamClock(time, tolerance, await journal.run(read_position))
        outbox = Outbox(journal, client)
        intake = Intake(
            journal,
            role.build,
            clock,
            committed=outbox.poke,
            tick=settings.tick_interval,
            max_waiting=settings.max_waiting,
        )
        yield ServedRole(role, journal, clock, intake, outbox)


@asynccontextmanager
async def _work(
    settings: Settings, client: Client, served: Mapping[str, ServedRole]
) -> AsyncIterator[RunningSubscribers]:
    async with asyncio.TaskGroup() as tasks:
        workers = [
            tasks.create_task(work(), name=f"{name}-{work.__qualname__}")
            for name, role in served.items()
            for work in (role.intake.run, role.outbox.run)
        ]
        try:
            # Ends before the workers do, so that what has come in is still answered.
            async with _listen(settings, served) as running:
                for name, role in served.items():
                    keeper = _keeper(settings, client, role, running.url)
                    running.keepers[name] = keeper
                    workers.append(tasks.create_task(keeper.run(), name=f"{name}-keeper"))
                yield running
        finally:
            for worker in workers:
                worker.cancel()


@asynccontextmanager
async def _listen(
    settings: Settings, served: Mapping[str, ServedRole]
) -> AsyncIterator[RunningSubscribers]:
    keepers: dict[str, Keeper] = {}
    inside = Inside(
        {name: role.intake for name, role in served.items()},
        frozenset((name, b.name) for name, role in served.items() for b in role.role.bindings),
        dict(report for role in served.values() for report in _reports(role)),
        lambda: RunningSubscribers("", served, keepers).problems(),
        lambda: _metrics(served),
    )
    app = build_app(inside, max_body=settings.max_body)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN_SECONDS)
    await runner.setup()
    try:
        await web.TCPSite(runner, settings.host, settings.port).start()
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        url = f"http://{host}:{runner.addresses[0][1]}"
        _log.info("%s listen on %s", " and ".join(served), url)
        yield RunningSubscribers(url, served, keepers)
    finally:
        await runner.cleanup()


def _reports(served: ServedRole) -> Iterator[tuple[str, Read]]:
    """Yield what can be read of a role over HTTP."""

    def reading(report: Report) -> Read:
        return lambda names: served.journal.run(lambda connection: report(connection, names))

    for path, report in served.role.reports.items():
        yield path, reading(report)
    yield f"/refused/{served.role.name}", reading(lambda connection, _: read_refused(connection))


def _keeper(settings: Settings, client: Client, served: ServedRole, url: str) -> Keeper:
    name = served.role.name
    return Keeper(
        served.role,
        served.intake,
        client,
        prefix=f"urn:ngsi-ld:Subscription:{settings.name}:{name}:",
        endpoint=f"{(settings.public_url or url).rstrip('/')}/notify/{name}",
        check_interval=settings.check_interval,
        reconcile_interval=settings.reconcile_interval,
        catch_up=settings.catch_up,
    )


async def _metrics(served: Mapping[str, ServedRole]) -> bytes:
    counts = {
        name: {
            **role.intake.counts,
            **{("writes", outcome): number for outcome, number in role.outbox.counts.items()},
        }
        for name, role in served.items()
    }
    levels = {
        name: {
            "waiting_writes": float(await role.outbox.waiting()),
            "stream_time_seconds": role.clock.now() / 1_000_000,
        }
        for name, role in served.items()
    }
    return Sample(counts, levels).render()
