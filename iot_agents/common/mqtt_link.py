"""The MQTT side of a process: one server for all its agents, their own or the embedded one.

Each agent listens with a session of its own, so that one whose disk is full holds up no other; on
the embedded server a message goes to the first agent that takes it.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from broker.core.backoff import Backoff
from iot_agents.common.embedded_mqtt import embedded_broker
from iot_agents.common.mqtt_client import (
    Accept,
    MqttOptions,
    MqttSource,
    NotPublished,
    Publish,
)
from iot_agents.settings import Settings

Start = Callable[[str, Coroutine[Any, Any, None]], None]
"""Starts a task under a name; it ends with the agents."""


@dataclass(frozen=True, slots=True)
class Inlet:
    """Where an agent's messages come in.

    Attributes:
        name: the agent's.
        client_id: of its session.
        topics: filters of what it listens to.
        accept: takes a message, or leaves it and returns None.
        acknowledged: called for every message the server was told we have.
        dropped: called for every message that there was no room for.
        number: of the last message that its session brought, see `Delivery`.
        url: of a server of its own, beside the one that all share; empty for that one.
    """

    name: str
    client_id: str
    topics: Sequence[str]
    accept: Accept
    acknowledged: Callable[[], None]
    dropped: Callable[[], None]
    number: int = 0
    url: str = ""


class MqttLink:
    """What the agents of a process share of MQTT; messages go out while it is entered."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._sources: list[MqttSource] = []
        self._further: dict[str, MqttSource] = {}
        self._embedded: Publish | None = None
        self.url = ""
        """The server's URL; empty when no agent listens."""

    async def publish(
        self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False
    ) -> None:
        """Send a message; see `Publish`."""
        publish = self._embedded
        if publish is None:
            if not self._sources:
                raise NotPublished("no agent has a connection to an MQTT server")
            publish = self._sources[0].publish
        await publish(topic, payload, qos=qos, retain=retain)

    def publisher(self, name: str) -> Publish:
        """Return what sends to the server of its own that an inlet has; see `Inlet.url`.

        Args:
            name: the inlet's; empty is the server that all share.

        Raises:
            NotPublished: there is no such inlet.
        """
        if not name:
            return self.publish
        if name not in self._further:
            raise NotPublished(f"no connection to an MQTT server {name!r:.80}")
        return self._further[name].publish

    def trouble(self) -> str:
        """Say why messages cannot come in; empty when they can."""
        for source in self._sources:
            if source.trouble:
                return source.trouble
        for name, source in self._further.items():
            if source.trouble:
                return f"{name}: {source.trouble}"
        return ""

    @asynccontextmanager
    async def listening(self, inlets: Sequence[Inlet], start: Start) -> AsyncIterator[None]:
        """Listen for agents until the block ends."""
        settings = self._settings
        for inlet in inlets:
            if inlet.url:
                source = _source(_options(settings, inlet.url), inlet)
                self._further[inlet.name] = source
                start(f"{inlet.name}-mqtt", source.run())
        inlets = [inlet for inlet in inlets if not inlet.url]
        if not inlets:
            yield
        elif settings.mqtt_url:
            self.url = settings.mqtt_url
            options = _options(settings, settings.mqtt_url)
            for inlet in inlets:
                self._sources.append(_source(options, inlet))
                start(f"{inlet.name}-mqtt", self._sources[-1].run())
            yield
        else:
            host, port = settings.mqtt_embedded_host, settings.mqtt_embedded_port
            async with embedded_broker(host, port, inlets) as own:
                self.url, self._embedded = own.url, own.publish
                yield


def client_id(settings: Settings, name: str, own: str, *, alone: bool) -> str:
    """Return an agent's MQTT client id.

    Args:
        own: what it is where none was set.
        alone: whether no other agent of the process listens, so that a set one is free.
    """
    set_one = settings.mqtt_client_id
    if not set_one:
        return own
    return set_one if alone else f"{set_one}-{name}"


def _source(options: Mapping[str, Any], inlet: Inlet) -> MqttSource:
    return MqttSource(
        MqttOptions(**options, client_id=inlet.client_id, topics=inlet.topics),
        inlet.accept,
        acknowledged=inlet.acknowledged,
        dropped=inlet.dropped,
        number=inlet.number,
    )


def _options(settings: Settings, url: str) -> Mapping[str, Any]:
    tls = None
    if url.startswith("mqtts"):
        tls = ssl.create_default_context(cafile=settings.mqtt_ca_file)
        if settings.mqtt_cert_file is not None:
            tls.load_cert_chain(settings.mqtt_cert_file, settings.mqtt_key_file)
    return {
        "url": url,
        "version": settings.mqtt_version,
        "share": settings.mqtt_share,
        "in_flight": settings.mqtt_in_flight,
        "session_expiry": settings.mqtt_session_expiry,
        "tls": tls,
        "backoff": Backoff(settings.retry_first, settings.retry_limit),
    }
