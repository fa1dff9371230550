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
from contextlib import AsyncExitStack, asynccontextmanager, closing, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final, NoReturn, Protocol, Self

from aiohttp import ClientSession, web

from broker.client import Client
from broker.egress import Egress, EgressPolicy
from iot_agents.common.admission import Admission
from iot_agents.common.agent import Agent, Clock, open_agent
from iot_agents.common.backoff import Backoff
from iot_agents.common.codecs.catalogue import Codecs
from iot_agents.common.codecs.sandbox import Sandbox, SandboxLimits
from iot_agents.common.commands.desk import Desk, Manners
from iot_agents.common.commands.requests import NOTIFY, CommandRequests
from iot_agents.common.commands.settling import until_in_place
from iot_agents.common.commands.watching import Watcher
from iot_agents.common.counters import Counters
from iot_agents.common.device_import import DeviceImport
from iot_agents.common.health import Health
from iot_agents.common.inspection import Inspection
from iot_agents.common.making import Maker
from iot_agents.common.mapping.loader import load_mappings, packaged_mappings
from iot_agents.common.mapping.model import Mappings
from iot_agents.common.measure import Ticket
from iot_agents.common.mqtt_link import Inlet, MqttLink, Start, client_id
from iot_agents.common.pipeline import Pipeline
from iot_agents.common.provisioning import Provisioning
from iot_agents.common.provisioning_checks import Checks
from iot_agents.common.registry import Registry
from iot_agents.common.vitals import Pulse, Vitals
from iot_agents.lorawan.settings import LorawanSettings
from iot_agents.lorawan.transport import LorawanTransport
from iot_agents.mqtt.configuration import Configuration
from iot_agents.mqtt.courier import MqttCourier
from iot_agents.mqtt.http_transport import HttpTransport
from iot_agents.mqtt.reception import Reception
from iot_agents.mqtt.settings import MqttSettings
from iot_agents.mqtt.transport import MqttTransport
from iot_agents.ocpi.ledger import Ledger
from iot_agents.ocpi.settings import OcpiSettings
from iot_agents.ocpi.transport import OcpiTransport
from iot_agents.settings import Settings
from smart_data_models.catalogue import Catalogue
from smart_data_models.validator import Mode, Validator

LORAWAN: Final = "lorawan"
MQTT: Final = "mqtt"
OCPI: Final = "ocpi"
ROLES: Final = frozenset((LORAWAN, MQTT, OCPI))
_SHUTDOWN_SECONDS: Final = 5.0

ClientOf = Callable[[str], Client]
"""Returns the client of a tenant."""


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
    with closing(_sandbox(settings)) as sandbox:
        async with (
            ClientSession() as session,
            Egress(_egress_policy(settings)) as egress,
            Registry.open(settings.data_dir / "registry.db") as registry,
        ):
            client_of = _clients(settings, session)
            parts = _Parts.of(settings, clock, sandbox, registry, client_of, egress)
            async with (
                _opened(settings, roles, client_of, clock) as agents,
                nullcontext(_ocpi(parts, agents[OCPI]) if OCPI in agents else None) as ocpi,
                _vitals(parts, agents) as vitals,
                asyncio.TaskGroup() as group,
                _tasks(group, _standing(agents, vitals)) as start,
                _south(parts, agents, vitals, start) as south,
                _http(settings, settings.port, _app(parts, agents, south, ocpi)) as url,
                _measures_http(settings, south) as http_url,
            ):
                await _watch(parts, agents, south, url, start)
                for name, task in () if ocpi is None else ocpi.tasks(url):
                    start(name, task)
                yield RunningAgents(url, south.link.url, agents, http_url)


@dataclass(frozen=True, slots=True)
class _Parts:
    """What all roles share."""

    settings: Settings
    mappings: Mappings
    codecs: Codecs
    validator: Validator
    clock: Clock
    registry: Registry
    client_of: ClientOf
    egress: Egress

    @classmethod
    def of(
        cls,
        settings: Settings,
        clock: Clock,
        sandbox: Sandbox,
        registry: Registry,
        client_of: ClientOf,
        egress: Egress,
    ) -> Self:
        codecs = Codecs(sandbox, settings.codecs)
        modes = dict(_mode_of(text) for text in settings.validation_of)
        return cls(
            settings,
            load_mappings(*settings.mappings, packaged_mappings(), codecs=codecs),
            codecs,
            Validator(Catalogue.packaged(), modes, Mode(settings.validation)),
            clock,
            registry,
            client_of,
            egress,
        )

    def maker(self, counters: Counters) -> Maker:
        return Maker(self.validator, counters)

    def pipeline(self, agent: Agent, vitals: Vitals) -> Pipeline:
        return Pipeline(
            self.registry,
            self.mappings,
            self.maker(agent.counters),
            agent.outlets,
            counters=agent.counters,
            clock=self.clock,
            codecs=self.codecs,
            pulse=Pulse(vitals, agent.name),
        )


class _Transport(Protocol):
    """Where an agent's messages come in."""

    @property
    def topics(self) -> Sequence[str]: ...

    async def accept(self, topic: str, payload: bytes, /) -> Ticket | None: ...

    def acknowledged(self) -> None: ...

    def dropped(self) -> None: ...


@dataclass(slots=True)
class _South:
    """The side of devices and their networks, as far as the rest has to know it.

    Attributes:
        desks: the commands of each agent that can bring them.
        watchers: who looks after the command attributes of each agent at the broker.
        pipelines: the way of each agent's measures.
        routes: what the agents' HTTP interface serves of it.
        measures: what takes measures on a port of its own.
    """

    link: MqttLink
    vitals: Vitals
    desks: dict[str, Desk] = field(default_factory=dict)
    pipelines: dict[str, Pipeline] = field(default_factory=dict)
    watchers: dict[str, Watcher] = field(default_factory=dict)
    routes: list[web.RouteDef] = field(default_factory=list)
    measures: web.Application | None = None

    def remarks(self) -> Iterator[str]:
        """Yield why commands do not come from the broker, where they do not."""
        for name, watcher in self.watchers.items():
            if watcher.trouble:
                yield f"commands of the {name} agent: {watcher.trouble}"


def _mode_of(text: str) -> tuple[str, Mode]:
    entity_type, separator, mode = text.partition("=")
    if not separator:
        raise ValueError(f"validation_of: expected Type=mode, got {text!r:.80}")
    return entity_type.strip(), Mode(mode.strip())


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
async def _vitals(parts: _Parts, agents: Mapping[str, Agent]) -> AsyncIterator[Vitals]:
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


@asynccontextmanager
async def _south(
    parts: _Parts, agents: Mapping[str, Agent], vitals: Vitals, start: Start
) -> AsyncIterator[_South]:
    """Run the side that devices and their networks see."""
    south = _South(MqttLink(parts.settings), vitals)
    listening = [name for name in (LORAWAN, MQTT) if name in agents]
    inlets = []
    for name in listening:
        agent = agents[name]
        south.desks[name] = _desk(parts, agent)
        south.pipelines[name] = parts.pipeline(agent, vitals)
        transport = _TRANSPORTS[name](parts, agent, south, start)
        inlets.append(await _inlet(parts, agent, transport, alone=len(listening) == 1))
        start(f"{name}-commands", south.desks[name].run())
        start(f"{name}-waiting", south.pipelines[name].resume())
    async with south.link.listening(inlets, start):
        yield south


def _sandbox(settings: Settings) -> Sandbox:
    return Sandbox(SandboxLimits(seconds=settings.codec_seconds, memory=settings.codec_memory))


async def _inlet(parts: _Parts, agent: Agent, transport: _Transport, *, alone: bool) -> Inlet:
    own = await agent.client_id()
    return Inlet(
        agent.name,
        client_id(parts.settings, agent.name, own, alone=alone),
        transport.topics,
        transport.accept,
        transport.acknowledged,
        transport.dropped,
    )


def _desk(parts: _Parts, agent: Agent) -> Desk:
    settings = parts.settings
    manners = Manners(
        expiry=settings.command_expiry,
        timeout=settings.command_timeout,
        backoff=Backoff(settings.retry_first, settings.retry_limit),
    )
    return Desk(agent.spool, parts.registry, clock=parts.clock, manners=manners)


def _lorawan(parts: _Parts, agent: Agent, south: _South, _start: Start) -> _Transport:
    transport = LorawanTransport(
        LorawanSettings.of(parts.settings),
        south.pipelines[LORAWAN],
        counters=agent.counters,
        clock=parts.clock,
    )
    south.routes += transport.routes()
    return transport


def _mqtt(parts: _Parts, agent: Agent, south: _South, start: Start) -> _Transport:
    settings, desk = MqttSettings.of(parts.settings), south.desks[MQTT]
    reception = Reception(
        settings,
        parts.registry,
        south.pipelines[MQTT],
        desk,
        counters=agent.counters,
        clock=parts.clock,
    )
    south.pipelines[MQTT].replays.reread = reception.reread
    publish, timeout = south.link.publish, parts.settings.command_timeout
    desk.add_courier(MqttCourier(settings, publish, parts.egress, timeout=timeout))
    configuration = Configuration(parts.client_of, publish, parts.egress)
    start("mqtt-configuration", configuration.run(reception))
    south.measures = HttpTransport(reception, desk, configuration.ask, agent.counters).app()
    return MqttTransport(reception, configuration.ask, agent.counters)


_TRANSPORTS: Final[Mapping[str, Callable[[_Parts, Agent, _South, Start], _Transport]]] = {
    LORAWAN: _lorawan,
    MQTT: _mqtt,
}


async def _watch(
    parts: _Parts, agents: Mapping[str, Agent], south: _South, url: str, start: Start
) -> None:
    """Subscribe to commands at the broker, now that it is known where it can tell us."""
    settings = parts.settings
    if not settings.command_subscriptions:
        return
    root = settings.public_url.rstrip("/") or url
    for name, desk in south.desks.items():
        watcher = south.watchers[name] = Watcher(
            agents[name].spool,
            parts.registry,
            parts.client_of,
            desk.serves,
            owner=await agents[name].client_id(),
            endpoint=root + NOTIFY.replace("{agent}", name),
            check_interval=settings.command_check_interval,
            backoff=Backoff(settings.retry_first, settings.retry_limit),
        )
        start(f"{name}-command-subscriptions", watcher.run())


def _egress_policy(settings: Settings) -> EgressPolicy:
    allowed = (part.strip() for part in settings.egress_allow.split(","))
    return EgressPolicy(
        allow_private=settings.egress_allow_private,
        allowed=tuple(part for part in allowed if part),
    )


def _app(
    parts: _Parts, agents: Mapping[str, Agent], south: _South, ocpi: OcpiTransport | None
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

    app.add_routes(Health(agents, south.link.trouble, remarks).routes())
    return app


def _ocpi(parts: _Parts, agent: Agent) -> OcpiTransport:
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
async def _measures_http(settings: Settings, south: _South) -> AsyncIterator[str]:
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
