"""The agents' composition root: which roles run, on which files, brokers and ports."""

from __future__ import annotations

import asyncio
from collections.abc import (
    AsyncIterator,
    Callable,
    Collection,
    Coroutine,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final, NoReturn, Self

from aiohttp import ClientSession, web

from broker.client import Client
from iot_agents.common.admission import Admission
from iot_agents.common.agent import Agent, Clock, open_agent
from iot_agents.common.backoff import Backoff
from iot_agents.common.codecs.catalogue import Codecs
from iot_agents.common.codecs.sandbox import Sandbox, SandboxLimits
from iot_agents.common.commands.desk import Desk, Manners
from iot_agents.common.counters import Counters
from iot_agents.common.device_import import DeviceImport
from iot_agents.common.health import Health
from iot_agents.common.inspection import Inspection
from iot_agents.common.making import Maker
from iot_agents.common.mapping.loader import load_mappings, packaged_mappings
from iot_agents.common.mapping.model import Mappings
from iot_agents.common.mqtt_link import Inlet, MqttLink, Start, client_id
from iot_agents.common.pipeline import Pipeline
from iot_agents.common.provisioning import Provisioning
from iot_agents.common.provisioning_checks import Checks
from iot_agents.common.registry import Registry
from iot_agents.common.vitals import Pulse, Vitals
from iot_agents.lorawan.settings import LorawanSettings
from iot_agents.lorawan.transport import LorawanTransport
from iot_agents.ocpi.locations import Locations
from iot_agents.ocpi.receiver import Receiver
from iot_agents.ocpi.settings import OcpiSettings
from iot_agents.settings import Settings
from smart_data_models.catalogue import Catalogue
from smart_data_models.validator import Mode, Validator

LORAWAN: Final = "lorawan"
OCPI: Final = "ocpi"
ROLES: Final = frozenset((LORAWAN, OCPI))
_SHUTDOWN_SECONDS = 5.0


def _wall_clock() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class RunningAgents:
    """Agents that serve.

    Attributes:
        url: root of their HTTP interface.
        mqtt_url: the MQTT broker they listen to; empty when they listen to none.
        agents: by role.
    """

    url: str
    mqtt_url: str
    agents: Mapping[str, Agent]

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
        ValueError: a setting is wrong.
        OSError: a port is taken, or a file cannot be opened.
    """
    if unknown := frozenset(roles) - ROLES:
        raise ValueError(f"no such agent: {', '.join(sorted(unknown))}")
    with closing(_sandbox(settings)) as sandbox:
        parts = _Parts.of(settings, clock, sandbox)
        async with (
            ClientSession() as session,
            Registry.open(settings.data_dir / "registry.db") as registry,
            _opened(settings, roles, session, clock) as agents,
            _vitals(parts, registry, agents) as vitals,
            asyncio.TaskGroup() as group,
            _tasks(group, _standing(agents, vitals)) as start,
            _south(parts, registry, agents, vitals, start) as south,
            _http(settings, _app(parts, registry, agents, vitals, south)) as url,
        ):
            yield RunningAgents(url, south.link.url, agents)


@dataclass(frozen=True, slots=True)
class _Parts:
    """What all roles share and nothing has to close."""

    settings: Settings
    mappings: Mappings
    codecs: Codecs
    validator: Validator
    clock: Clock

    @classmethod
    def of(cls, settings: Settings, clock: Clock, sandbox: Sandbox) -> Self:
        codecs = Codecs(sandbox, settings.codecs)
        modes = dict(_mode_of(text) for text in settings.validation_of)
        return cls(
            settings,
            load_mappings(*settings.mappings, packaged_mappings(), codecs=codecs),
            codecs,
            Validator(Catalogue.packaged(), modes, Mode(settings.validation)),
            clock,
        )

    def maker(self, counters: Counters) -> Maker:
        return Maker(self.validator, counters)

    def pipeline(self, registry: Registry, agent: Agent, vitals: Vitals) -> Pipeline:
        return Pipeline(
            registry,
            self.mappings,
            self.maker(agent.counters),
            agent.outlets,
            counters=agent.counters,
            clock=self.clock,
            codecs=self.codecs,
            pulse=Pulse(vitals, agent.name),
        )


@dataclass(frozen=True, slots=True)
class _South:
    """The side of devices and their networks, as far as the rest has to know it.

    Attributes:
        desks: the commands of each agent that can bring them.
        pipelines: the way of each agent's measures.
        routes: what the agents' HTTP interface serves of it.
    """

    link: MqttLink
    desks: Mapping[str, Desk]
    pipelines: Mapping[str, Pipeline]
    routes: Sequence[web.RouteDef]


def _mode_of(text: str) -> tuple[str, Mode]:
    entity_type, separator, mode = text.partition("=")
    if not separator:
        raise ValueError(f"validation_of: expected Type=mode, got {text!r:.80}")
    return entity_type.strip(), Mode(mode.strip())


@asynccontextmanager
async def _opened(
    settings: Settings, roles: Collection[str], session: ClientSession, clock: Clock
) -> AsyncIterator[Mapping[str, Agent]]:
    @cache
    def client_of(tenant: str) -> Client:
        return Client(
            session,
            settings.broker_url,
            tenant=tenant,
            ld_context=settings.ld_context or None,
            timeout=settings.broker_timeout,
        )

    async with AsyncExitStack() as stack:
        yield {
            role: await stack.enter_async_context(open_agent(role, settings, client_of, clock))
            for role in sorted(roles)
        }


@asynccontextmanager
async def _vitals(
    parts: _Parts, registry: Registry, agents: Mapping[str, Agent]
) -> AsyncIterator[Vitals]:
    spools = {name: agent.spool for name, agent in agents.items()}
    interval = parts.settings.vitals_interval
    vitals = Vitals(registry, spools, clock=parts.clock, interval=interval)
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


@asynccontextmanager
async def _south(
    parts: _Parts,
    registry: Registry,
    agents: Mapping[str, Agent],
    vitals: Vitals,
    start: Start,
) -> AsyncIterator[_South]:
    """Run the side that devices and their networks see."""
    settings = parts.settings
    link = MqttLink(settings)
    listening = [name for name in (LORAWAN,) if name in agents]
    desks = {name: _desk(parts, registry, agents[name]) for name in listening}
    pipelines = {name: parts.pipeline(registry, agents[name], vitals) for name in listening}
    inlets: list[Inlet] = []
    routes: list[web.RouteDef] = []
    for name in listening:
        agent = agents[name]
        transport = _TRANSPORTS[name](parts, agent, pipelines[name], desks[name], link)
        own = await agent.client_id()
        inlets.append(
            Inlet(
                name,
                client_id(settings, name, own, alone=len(listening) == 1),
                transport.topics,
                transport.accept,
                transport.acknowledged,
                transport.dropped,
            )
        )
        routes += transport.routes()
        start(f"{name}-commands", desks[name].run())
        start(f"{name}-waiting", pipelines[name].resume())
    async with link.listening(inlets, start):
        yield _South(link, desks, pipelines, routes)


def _sandbox(settings: Settings) -> Sandbox:
    return Sandbox(SandboxLimits(seconds=settings.codec_seconds, memory=settings.codec_memory))


def _desk(parts: _Parts, registry: Registry, agent: Agent) -> Desk:
    settings = parts.settings
    manners = Manners(
        expiry=settings.command_expiry,
        timeout=settings.command_timeout,
        backoff=Backoff(settings.retry_first, settings.retry_limit),
    )
    return Desk(agent.spool, registry, clock=parts.clock, manners=manners)


def _lorawan(
    parts: _Parts, agent: Agent, pipeline: Pipeline, _desk: Desk, _link: MqttLink
) -> LorawanTransport:
    return LorawanTransport(
        LorawanSettings.of(parts.settings),
        pipeline,
        counters=agent.counters,
        clock=parts.clock,
    )


_TRANSPORTS: Final[Mapping[str, Callable[..., LorawanTransport]]] = {LORAWAN: _lorawan}


def _app(
    parts: _Parts,
    registry: Registry,
    agents: Mapping[str, Agent],
    vitals: Vitals,
    south: _South,
) -> web.Application:
    settings = parts.settings
    app = web.Application(client_max_size=settings.max_body)
    checks = Checks(relaxed=settings.relax_template_validation)
    provisioning = Provisioning(registry, checks, vitals).app()
    outlets = {name: agent.outlets for name, agent in agents.items()}
    inspection = Inspection(outlets)
    provisioning.add_routes(inspection.routes())
    files = DeviceImport(registry, checks, max_bytes=settings.import_max_body)
    provisioning.add_routes(files.routes())
    provisioning.add_routes(Admission(registry, checks, outlets, south.pipelines).routes())
    app.add_subapp("/iot", provisioning)
    app.router.add_get("/version", inspection.about)
    app.add_routes(south.routes)
    if OCPI in agents:
        ocpi = OcpiSettings.of(settings)
        app.add_subapp(ocpi.base_path, _ocpi(parts, ocpi, agents[OCPI]))
    app.add_routes(Health(agents, south.link.trouble).routes())
    return app


def _ocpi(parts: _Parts, settings: OcpiSettings, agent: Agent) -> web.Application:
    locations = Locations(
        agent.spool,
        parts.mappings,
        parts.maker(agent.counters),
        tenant=settings.tenant,
        counters=agent.counters,
        clock=parts.clock,
    )
    return Receiver(settings, locations, counters=agent.counters, clock=parts.clock).app()


@asynccontextmanager
async def _http(settings: Settings, app: web.Application) -> AsyncIterator[str]:
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN_SECONDS)
    await runner.setup()
    try:
        await web.TCPSite(runner, settings.host, settings.port).start()
        yield f"http://{settings.host}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
