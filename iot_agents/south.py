"""The side of the agents that devices and networks see: measures come in, commands go out.

Agents for LoRaWAN and for JSON and UltraLight have a desk for commands and a pipeline for measures
each, and share the connection to the MQTT server. OCPI has neither.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, Protocol

from aiohttp import web

from broker.core.backoff import Backoff
from iot_agents.common.agent import Agent
from iot_agents.common.commands.desk import Desk, Manners
from iot_agents.common.commands.requests import NOTIFY
from iot_agents.common.commands.watching import Watcher
from iot_agents.common.deliveries import Delivery
from iot_agents.common.measure import Ticket
from iot_agents.common.mqtt_link import Inlet, MqttLink, Start, client_id
from iot_agents.common.parts import Parts
from iot_agents.common.pipeline import Pipeline
from iot_agents.common.vitals import Vitals
from iot_agents.lorawan.courier import LorawanCourier
from iot_agents.lorawan.places import Places
from iot_agents.lorawan.settings import DownlinkSettings, LorawanSettings
from iot_agents.lorawan.transport import LorawanTransport
from iot_agents.mqtt.configuration import Configuration
from iot_agents.mqtt.courier import MqttCourier
from iot_agents.mqtt.http_transport import HttpTransport
from iot_agents.mqtt.reception import Reception
from iot_agents.mqtt.settings import MqttSettings
from iot_agents.mqtt.transport import MqttTransport
from iot_agents.settings import Settings

LORAWAN: Final = "lorawan"
MQTT: Final = "mqtt"


class Transport(Protocol):
    """Where an agent's messages come in."""

    @property
    def topics(self) -> Sequence[str]: ...

    async def accept(
        self, topic: str, payload: bytes, delivery: Delivery | None, /
    ) -> Ticket | None: ...

    def acknowledged(self) -> None: ...

    def dropped(self) -> None: ...


@dataclass(slots=True)
class South:
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


def check(settings: Settings, roles: Collection[str]) -> None:
    """Find what is wrong in the settings of this side before anything runs.

    Raises:
        ValueError: something is.
    """
    if LORAWAN in roles:
        LorawanSettings.of(settings)
        DownlinkSettings.of(settings)


@asynccontextmanager
async def south_of(
    parts: Parts, agents: Mapping[str, Agent], vitals: Vitals, start: Start
) -> AsyncIterator[South]:
    """Run the side that devices and their networks see."""
    south = South(MqttLink(parts.settings), vitals)
    listening = [name for name in (LORAWAN, MQTT) if name in agents]
    inlets = []
    for name in listening:
        agent = agents[name]
        south.desks[name] = _desk(parts, agent)
        south.pipelines[name] = parts.pipeline(agent, vitals)
        transport = _TRANSPORTS[name](parts, agent, south, start)
        inlets.append(await _inlet(parts, agent, transport, alone=len(listening) == 1))
        if isinstance(transport, LorawanTransport):
            inlets += _further(transport, inlets[-1].client_id)
        start(f"{name}-commands", south.desks[name].run())
        start(f"{name}-waiting", south.pipelines[name].resume())
    async with south.link.listening(inlets, start):
        yield south


async def _inlet(parts: Parts, agent: Agent, transport: Transport, *, alone: bool) -> Inlet:
    own = await agent.client_id()
    session = client_id(parts.settings, agent.name, own, alone=alone)
    return Inlet(
        agent.name,
        session,
        transport.topics,
        transport.accept,
        transport.acknowledged,
        transport.dropped,
        await agent.spool.last_number(session),
    )


def _further(transport: LorawanTransport, own: str) -> Iterator[Inlet]:
    """Yield what comes from MQTT servers of single networks."""
    for server, topics, accept in transport.further():
        yield Inlet(
            server.name,
            server.client_id(own),
            topics,
            accept,
            transport.acknowledged,
            transport.dropped,
            url=server.url,
        )


def _desk(parts: Parts, agent: Agent) -> Desk:
    settings = parts.settings
    manners = Manners(
        expiry=settings.command_expiry,
        timeout=settings.command_timeout,
        backoff=Backoff(settings.retry_first, settings.retry_limit),
    )
    return Desk(agent.spool, parts.registry, clock=parts.clock, manners=manners)


def _lorawan(parts: Parts, agent: Agent, south: South, _start: Start) -> Transport:
    desk, places = south.desks[LORAWAN], Places(agent.spool)
    courier = LorawanCourier(
        DownlinkSettings.of(parts.settings),
        places,
        south.link.publisher,
        parts.egress,
        mappings=parts.mappings,
        codecs=parts.codecs,
        clock=parts.clock,
    )
    desk.add_courier(courier)
    transport = LorawanTransport(
        LorawanSettings.of(parts.settings),
        south.pipelines[LORAWAN],
        counters=agent.counters,
        clock=parts.clock,
        places=places,
        desk=desk,
    )
    south.routes += transport.routes()
    return transport


def _mqtt(parts: Parts, agent: Agent, south: South, start: Start) -> Transport:
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


_TRANSPORTS: Final[Mapping[str, Callable[[Parts, Agent, South, Start], Transport]]] = {
    LORAWAN: _lorawan,
    MQTT: _mqtt,
}


async def watch(
    parts: Parts, agents: Mapping[str, Agent], south: South, url: str, start: Start
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
