"""The agents' composition root: which roles run, on which files, brokers and ports."""

from __future__ import annotations

import asyncio
from collections.abc import (
    AsyncIterator,
    Collection,
    Coroutine,
    Iterable,
    Iterator,
    Mapping,
)
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    closing,
    nullcontext,
)
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final, NoReturn

from aiohttp import ClientSession, web

from broker.client import Client
from broker.core.backoff import Backoff
from broker.egress import Egress, EgressPolicy
from iot_agents.common.admission import Admission
from iot_agents.common.agent import Agent, Clock, open_agent
from iot_agents.common.codecs.sandbox import Sandbox, SandboxLimits
from iot_agents.common.commands.requests import CommandRequests
from iot_agents.common.commands.settling import until_in_place
from iot_agents.common.device_import import DeviceImport
from iot_agents.common.health import Health
from iot_agents.common.inspection import Inspection
from iot_agents.common.mqtt_link import Start
from iot_agents.common.parts import ClientOf, Parts
from iot_agents.common.provisioning import Provisioning
from iot_agents.common.provisioning_checks import Checks
from iot_agents.common.registry import Registry
from iot_agents.common.vitals import Vitals
from iot_agents.ocpi.ledger import Ledger
from iot_agents.ocpi.settings import OcpiSettings
from iot_agents.ocpi.transport import OcpiTransport
from iot_agents.settings import Settings
from iot_agents.south import LORAWAN, MQTT, South, check, south_of, watch

__all__ = ["LORAWAN", "MQTT", "OCPI", "ROLES", "RunningAgents", "run", "serve"]

OCPI: Final = "ocpi"
ROLES: Final = frozenset((LORAWAN, MQTT, OCPI))
_SHUTDOWN_SECONDS: Final = 5.0


def _wall_clock() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class RunningAgents:
    """Agents that serve.

    Attributes:
        url: root of their HTTP interface.
        mqtt_url: the MQTT broker they listen to; empty when they listen to none.
        agents: by role.
        http_url: root of what takes JSON and UltraLight over HTTP; empty when nothing does.
    """

    url: str
    mqtt_url: str
    agents: Mapping[str, Agent]
    http_url: str = ""

    def metrics(self) -> Mapping[str, int]:
        """Return the counters summed over the agents, and `pending`."""
        totals: dict[str, int] = {"pending": sum(a.spool.pending for a in self.agents.values())}
        for agent in self.agents.values():
            for name, value in agent.counters.as_dict().items():
                totals[name] = totals.get(name, 0) + value
        return totals

    async def drained(self) -> None:
        """Wait until every spool is empty."""
        for agent in self.agents.values():
            await agent.spool.drained()


async def run(settings: Settings, *, roles: Collection[str] = ROLES) -> NoReturn:
    """Run agents until cancelled."""
    async with serve(settings, roles):
        await asyncio.Event().wait()
    raise AssertionError("the event is never set")


@asynccontextmanager
async def serve(
    settings: Settings, roles: Collection[str] = ROLES, *, clock: Clock = _wall_clock
) -> AsyncIterator[RunningAgents]:
    """Run agents until the block ends.

    Raises:
        InvalidMapping: a mapping file is wrong.
        InvalidToken: an OCPI token is malformed.
        InvalidParties: the file of OCPI parties is wrong.
        ValueError: a setting is wrong.
        OSError: a port is taken, or a file cannot be opened.
    """
    if unknown := frozenset(roles) - ROLES:
        raise ValueError(f"no such agent: {', '.join(sorted(unknown))}")
    check(settings, roles)
    with closing(_sandbox(settings)) as sandbox:
        async with (
            ClientSession() as session,
            Egress(_egress_policy(settings)) as egress,
            _registry(settings) as registry,
        ):
            client_of = _clients(settings, session)
            parts = Parts.of(settings, clock, sandbox, registry, client_of, egress)
            async with (
                _opened(settings, roles, client_of, clock) as agents,
                nullcontext(_ocpi(parts, agents[OCPI]) if OCPI in agents else None) as ocpi,
                _vitals(parts, agents) as vitals,
                asyncio.TaskGroup() as group,
                _tasks(group, _standing(agents, vitals)) as start,
                south_of(parts, agents, vitals, start) as south,
                _http(settings, settings.port, _app(parts, agents, south, ocpi)) as url,
                _measures_http(settings, south) as http_url,
            ):
                await watch(parts, agents, south, url, start)
                for name, task in () if ocpi is None else ocpi.tasks(url):
                    start(name, task)
                yield RunningAgents(url, south.link.url, agents, http_url)


def _registry(settings: Settings) -> AbstractAsyncContextManager[Registry]:
    path = settings.data_dir / "registry.db"
    return Registry.open(path, most=settings.autoprovision_limit)


def _clients(settings: Settings, session: ClientSession) -> ClientOf:
    @cache
    def client_of(tenant: str) -> Client:
        return Client(
            session,
            settings.broker_url,
            tenant=tenant,
            ld_context=settings.ld_context or None,
            timeout=settings.broker_timeout,
        )

    return client_of


@asynccontextmanager
async def _opened(
    settings: Settings, roles: Collection[str], client_of: ClientOf, clock: Clock
) -> AsyncIterator[Mapping[str, Agent]]:
    async with AsyncExitStack() as stack:
        yield {
            role: await stack.enter_async_context(open_agent(role, settings, client_of, clock))
            for role in sorted(roles)
        }


@asynccontextmanager
async def _vitals(parts: Parts, agents: Mapping[str, Agent]) -> AsyncIterator[Vitals]:
    spools = {name: agent.spool for name, agent in agents.items()}
    interval = parts.settings.vitals_interval
    vitals = Vitals(parts.registry, spools, clock=parts.clock, interval=interval)
    async with vitals.kept():
        yield vitals


def _standing(
    agents: Mapping[str, Agent], vitals: Vitals
) -> Iterator[tuple[str, Coroutine[Any, Any, None]]]:
    yield "vitals", vitals.run()
    for name, agent in agents.items():
        yield f"{name}-sender", agent.sender.run()
        yield f"{name}-sweep", agent.sweep()


@asynccontextmanager
async def _tasks(
    group: asyncio.TaskGroup, coroutines: Iterable[tuple[str, Coroutine[Any, Any, None]]]
) -> AsyncIterator[Start]:
    """Run tasks until the block ends; what it yields starts another one."""
    tasks: list[asyncio.Task[None]] = []

    def start(name: str, coroutine: Coroutine[Any, Any, None]) -> None:
        tasks.append(group.create_task(coroutine, name=name))

    for name, coroutine in coroutines:
        start(name, coroutine)
    try:
        yield start
    finally:
        for task in tasks:
            task.cancel()


def _sandbox(settings: Settings) -> Sandbox:
    return Sandbox(SandboxLimits(seconds=settings.codec_seconds, memory=settings.codec_memory))


def _egress_policy(settings: Settings) -> EgressPolicy:
    allowed = (part.strip() for part in settings.egress_allow.split(","))
    return EgressPolicy(
        allow_private=settings.egress_allow_private,
        allowed=tuple(part for part in allowed if part),
    )


def _app(
    parts: Parts, agents: Mapping[str, Agent], south: South, ocpi: OcpiTransport | None
) -> web.Application:
    settings = parts.settings
    app = web.Application(
        client_max_size=settings.max_body, middlewares=[until_in_place(south.watchers)]
    )
    app.add_routes(CommandRequests(south.desks).routes())
    checks = Checks(relaxed=settings.relax_template_validation)
    provisioning = Provisioning(parts.registry, checks, south.vitals).app()
    outlets = {name: agent.outlets for name, agent in agents.items()}
    inspection = Inspection(outlets)
    provisioning.add_routes(inspection.routes())
    files = DeviceImport(parts.registry, checks, max_bytes=settings.import_max_body)
    provisioning.add_routes(files.routes())
    provisioning.add_routes(Admission(parts.registry, checks, outlets, south.pipelines).routes())
    app.add_subapp("/iot", provisioning)
    app.router.add_get("/version", inspection.about)
    app.add_routes(south.routes)
    for path, subapp in () if ocpi is None else ocpi.apps():
        app.add_subapp(path, subapp)

    def remarks() -> Iterator[str]:
        yield from south.remarks()
        yield from () if ocpi is None else ocpi.trouble()

    app.add_routes(Health(agents, parts.registry, south.link.trouble, remarks).routes())
    return app


def _ocpi(parts: Parts, agent: Agent) -> OcpiTransport:
    settings = OcpiSettings.of(parts.settings)
    ledger = Ledger(
        agent.spool,
        parts.mappings,
        parts.maker(agent.counters),
        tenant=settings.tenant,
        counters=agent.counters,
        clock=parts.clock,
    )
    return OcpiTransport(
        settings,
        agent,
        ledger,
        parts.egress,
        data_dir=parts.settings.data_dir,
        clock=parts.clock,
        backoff=Backoff(parts.settings.retry_first, parts.settings.retry_limit),
    )


@asynccontextmanager
async def _measures_http(settings: Settings, south: South) -> AsyncIterator[str]:
    if south.measures is None:
        yield ""
        return
    async with _http(settings, settings.http_port, south.measures) as url:
        yield url


@asynccontextmanager
async def _http(settings: Settings, port: int, app: web.Application) -> AsyncIterator[str]:
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN_SECONDS)
    await runner.setup()
    try:
        await web.TCPSite(runner, settings.host, port).start()
        yield f"http://{settings.host}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
