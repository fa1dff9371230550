"""Compose the packages: one role or all of them, in one process and one event loop."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

from broker.client import without_credentials
from broker.server import serve as serve_broker
from broker.settings import Settings as BrokerSettings
from iot_agents.server import serve as serve_agents
from rigel.ports import Port, free_port, refuse_taken
from rigel.settings import Settings
from smart_data_models.context import CONTEXT_PATH, product_context
from subscribers.server import serve as serve_subscribers

BROKER: Final = "broker"
AGENTS: Final = ("mqtt", "lorawan", "ocpi")
_LISTENING: Final = frozenset(("mqtt", "lorawan"))
"""The agents that need an MQTT broker and can be asked for commands."""
SUBSCRIBERS: Final = ("rules", "kpi")
ALL_ROLES: Final = frozenset((BROKER, *AGENTS, *SUBSCRIBERS))

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Running:
    """Where what was started can be reached; empty for what was not started.

    Attributes:
        broker: root of the broker's HTTP interface.
        agents: root of the agents' HTTP interface.
        mqtt: URL of the MQTT broker the agents listen to.
        measures: root of what takes JSON and UltraLight measures over HTTP.
        subscribers: root of the HTTP interface of rules and KPIs.
    """

    broker: str = ""
    agents: str = ""
    mqtt: str = ""
    measures: str = ""
    subscribers: str = ""


async def until_stopped(settings: Settings, roles: Collection[str]) -> int:
    """Run roles until SIGINT or SIGTERM; return the exit status."""
    with stop_signal() as stop:
        async with run(settings, roles) as running:
            for name, url in addresses(running).items():
                _log.info("%s: %s", name, url)
            _log.info("started; data in %s; Ctrl-C stops", settings.data_dir)
            await stop.wait()
            _log.info("stopping")
    return 0


def addresses(running: Running) -> Mapping[str, str]:
    """Return what was started with its URL, in words; users and passwords are left out."""
    named = {
        "NGSI-LD broker": running.broker,
        "agents (provisioning, OCPI)": running.agents,
        "MQTT broker": running.mqtt,
        "JSON and UltraLight over HTTP": running.measures,
        "rules and KPIs": running.subscribers,
    }
    return {name: without_credentials(url) for name, url in named.items() if url}


@contextmanager
def stop_signal() -> Iterator[asyncio.Event]:
    """Turn SIGINT and SIGTERM into an event for as long as the block runs."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


def check_ports(settings: Settings, roles: Collection[str]) -> None:
    """Check that the roles can listen where they shall.

    Raises:
        PortTaken: with what to do.
    """
    refuse_taken(*_ports(settings, roles))


@asynccontextmanager
async def run(settings: Settings, roles: Collection[str]) -> AsyncIterator[Running]:
    """Start roles, and stop them in the opposite order at the end of the block.

    With the broker among them the others use it, whatever their `broker_url` says.

    Raises:
        PortTaken: nothing was started.
    """
    check_ports(settings, roles)
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    running = Running()
    async with AsyncExitStack() as stack:
        if BROKER in roles:
            settings = _with_port(settings)
            bundled = _bundled(settings.broker)
            own = await stack.enter_async_context(
                serve_broker(_broker_settings(settings, roles), bundled=bundled)
            )
            running = replace(running, broker=_reachable(own.url))
            settings = _using(settings, running.broker)
        settings = _naming(settings)
        if watching := frozenset(roles).intersection(SUBSCRIBERS):
            subscriber = await stack.enter_async_context(
                serve_subscribers(settings.subscribers, watching)
            )
            running = replace(running, subscribers=subscriber.url)
        if speaking := frozenset(roles).intersection(AGENTS):
            agent = await stack.enter_async_context(serve_agents(settings.agents, speaking))
            running = replace(
                running, agents=agent.url, mqtt=agent.mqtt_url, measures=agent.http_url
            )
        yield running


def _broker_settings(settings: Settings, roles: Collection[str]) -> BrokerSettings:
    # What runs in the same process hears of changes on an address that is else refused.
    given = frozenset(roles)
    own = {settings.broker.egress_allow}
    if not given.isdisjoint(SUBSCRIBERS):
        own.add(settings.subscribers.host)
    if not given.isdisjoint(_LISTENING):
        own.add(settings.agents.host)
    return replace(settings.broker, egress_allow=",".join(sorted(own - {""})))


def _with_port(settings: Settings) -> Settings:
    """Choose the broker's port now if any will do, because the product @context is named by it."""
    own = settings.broker
    port = own.port or free_port(own.host)
    return replace(settings, broker=replace(own, port=port))


def _bundled(broker: BrokerSettings) -> Mapping[str, Mapping[str, Any]]:
    """Return the product @context by each of the URLs that it is reached under."""
    document = product_context()
    hosts = dict.fromkeys(("127.0.0.1", "localhost", broker.host))
    roots = [f"http://{host}:{broker.port}" for host in hosts]
    if broker.public_url:
        roots.append(broker.public_url.rstrip("/"))
    return {root + CONTEXT_PATH: document for root in roots}


def _using(settings: Settings, broker_url: str) -> Settings:
    """Point agents and subscribers at a broker."""
    return replace(
        settings,
        agents=replace(settings.agents, broker_url=broker_url, broker_repeats=True),
        subscribers=replace(settings.subscribers, broker_url=broker_url),
    )


def _naming(settings: Settings) -> Settings:
    """Let names mean what the product @context says, unless another one was set."""
    agents, subscribers = settings.agents, settings.subscribers
    return replace(
        settings,
        agents=replace(agents, ld_context=agents.ld_context or agents.broker_url + CONTEXT_PATH),
        subscribers=replace(
            subscribers,
            ld_context=subscribers.ld_context or subscribers.broker_url + CONTEXT_PATH,
        ),
    )


def _reachable(url: str) -> str:
    """Return a URL to call for one that may name all addresses."""
    return url.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")


def _ports(settings: Settings, roles: Collection[str]) -> Iterator[Port]:
    if BROKER in roles:
        own = settings.broker
        yield Port(own.host, own.port, "RIGEL_BROKER_PORT")
    if not frozenset(roles).isdisjoint(SUBSCRIBERS):
        yield Port(settings.subscribers.host, settings.subscribers.port, "RIGEL_SUBSCRIBERS_PORT")
    if not frozenset(roles).isdisjoint(AGENTS):
        agents = settings.agents
        yield Port(agents.host, agents.port, "RIGEL_AGENTS_PORT")
        if "mqtt" in roles:
            yield Port(agents.host, agents.http_port, "RIGEL_AGENTS_HTTP_PORT")
        if not _LISTENING.isdisjoint(roles) and not agents.mqtt_url:
            host, number = agents.mqtt_embedded_host, agents.mqtt_embedded_port
            yield Port(host, number, "RIGEL_AGENTS_MQTT_EMBEDDED_PORT")
