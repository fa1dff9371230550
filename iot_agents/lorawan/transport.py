"""Where messages of LoRaWAN network servers come in: by MQTT and by HTTP posts.

    MQTT    topics as set, each with its network
    HTTP    POST /lorawan/<network>

A post is answered once what it brought is on disk: with 400 when that is a dead letter, otherwise
with 200.
"""

from __future__ import annotations

import hmac
import logging
import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final

import msgspec
from aiohttp import web

from iot_agents.common.commands.desk import Desk
from iot_agents.common.commands.model import NetworkReport
from iot_agents.common.counters import Counters
from iot_agents.common.deliveries import Delivery
from iot_agents.common.measure import NotDurable, Outcome, Ticket
from iot_agents.common.mqtt_client import Accept
from iot_agents.common.pipeline import Pipeline
from iot_agents.common.spool import SpoolFull
from iot_agents.lorawan import reading
from iot_agents.lorawan.networks import NETWORKS, Network
from iot_agents.lorawan.places import Place, Places
from iot_agents.lorawan.settings import LorawanSettings, Server
from iot_agents.lorawan.uplink import (
    BadUplink,
    NoMeasure,
    Report,
    Told,
    Uplink,
    acknowledgement_of,
    measure_of,
    measure_of_report,
)

HTTP_PATH: Final = "/lorawan/{network}"
_RETRY_AFTER: Final[Mapping[str, str]] = {"Retry-After": "5"}
_KEPT_OF_TOO_LARGE: Final = 1000
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Way:
    """How a message came in, and what that tells of the way back.

    Attributes:
        topic: the MQTT topic or the HTTP path.
        back: the place of its device, as far as the way tells.
        key: what a post to that place is authorized with.
    """

    topic: str
    back: Place
    key: str = ""


class LorawanTransport:
    """Hands what network servers send to a pipeline."""

    def __init__(
        self,
        settings: LorawanSettings,
        pipeline: Pipeline,
        *,
        counters: Counters,
        clock: Callable[[], datetime],
        places: Places,
        desk: Desk,
    ) -> None:
        self._settings = settings
        self._places = places
        self._desk = desk
        self.topics = settings.filters
        """The MQTT topic filters to listen to."""
        self._topics = [(topic_pattern(topic), NETWORKS[name]) for name, topic in settings.topics]
        self._pipeline = pipeline
        self._counters = counters
        self._clock = clock

    async def accept(
        self, topic: str, payload: bytes, _delivery: Delivery | None = None
    ) -> Ticket | None:
        """Take an MQTT message; None for those on other topics than ours."""
        for pattern, network in self._topics:
            if pattern.fullmatch(topic):
                return await self._take_published(network, "", topic, payload)
        return None

    def further(self) -> Iterator[tuple[Server, Sequence[str], Accept]]:
        """Yield the MQTT servers of single networks, with their topic filters and what accepts."""
        for server in self._settings.servers:
            network = NETWORKS[server.network]
            yield server, network.filters, partial(self._take_published, network, server.name)

    async def _take_published(
        self,
        network: Network,
        server: str,
        topic: str,
        payload: bytes,
        _delivery: Delivery | None = None,
    ) -> Ticket:
        event, device, base = network.of_topic(topic)
        way = Way(topic, Place(topic=base, server=server))
        return await self._take(network, event, device, way, payload)

    def acknowledged(self) -> None:
        """Count a message whose source was told that we have it."""
        self._counters.acknowledged += 1

    def dropped(self) -> None:
        """Count a message that was lost because it came without any flow control."""
        self._counters.dropped += 1

    def routes(self) -> list[web.RouteDef]:
        """Return the HTTP interface; without a token there is none."""
        if not self._settings.http_token:
            return []
        # The Things Stack can be told to append a path for each kind of message.
        return [web.post(HTTP_PATH, self.post), web.post(HTTP_PATH + "/{kind:.*}", self.post)]

    async def post(self, request: web.Request) -> web.Response:
        """Take a message over HTTP and answer once it is durable."""
        self._authorize(request)
        network = NETWORKS.get(request.match_info["network"])
        if network is None:
            raise web.HTTPNotFound(text=f"known networks are {', '.join(NETWORKS)}")
        event, device = network.of_query(request.query)
        told = request.headers
        back = Place(
            push=told.get("X-Downlink-Push", ""), replace=told.get("X-Downlink-Replace", "")
        )
        way = Way(request.path, back, told.get("X-Downlink-Apikey", ""))
        try:
            body = await request.read()
            ticket = await self._take(network, event, device, way, body, wait=False)
            outcome = await ticket.durable()
        except (SpoolFull, NotDurable) as error:
            raise web.HTTPServiceUnavailable(text=str(error), headers=_RETRY_AFTER) from error
        self.acknowledged()
        status = 400 if outcome is Outcome.REJECTED else 200
        return web.json_response({"outcome": outcome, "reason": ticket.reason}, status=status)

    def _authorize(self, request: web.Request) -> None:
        """Compare the token, which servers that cannot set a header may put into the query."""
        header = request.headers.get("Authorization", "")
        given = header.removeprefix("Bearer ") if header else request.query.get("token", "")
        if not hmac.compare_digest(
            given.encode("utf-8", "surrogateescape"), self._settings.http_token.encode()
        ):
            self._counters.unauthorized += 1
            raise web.HTTPUnauthorized(headers={"WWW-Authenticate": "Bearer"})

    async def _take(
        self,
        network: Network,
        event: str,
        device: str,
        way: Way,
        payload: bytes,
        *,
        wait: bool = True,
    ) -> Ticket:
        self._counters.received += 1
        if len(payload) > self._settings.max_body:
            reason = f"larger than {self._settings.max_body} bytes"
            return self._pipeline.reject(device, payload[:_KEPT_OF_TOO_LARGE], reason)
        try:
            document = reading.document_of(payload)
            told = network.decode(event, device, document, self._clock())
        except NoMeasure as reason:
            return self._ignore(str(reason))
        except BadUplink as error:
            return self._pipeline.reject(device, payload, str(error))
        return await self._tell(told, way, payload, wait=wait)

    async def _tell(self, told: Told, way: Way, payload: bytes, *, wait: bool) -> Ticket:
        if isinstance(told, NetworkReport):
            meant = await self._report(told)
            return self._ignore(f"downlink {told.fate}" + ("" if meant else ", none of ours"))
        if isinstance(told, Report):
            return await self._pipeline.submit(
                measure_of_report(told, way.topic, payload), wait=wait
            )
        ticket = await self._pipeline.submit(measure_of(told, way.topic, payload), wait=wait)
        if ticket.outcome is Outcome.SPOOLED:
            # Of devices nobody knows nothing is remembered: there is no end to them.
            await self._learn(told, way)
            if told.acknowledges:
                await self._report(acknowledgement_of(told.dev_eui))
        return ticket

    async def _report(self, report: NetworkReport) -> bool:
        """Tell the desk; False when it changes nothing for any command."""
        try:
            return bool(await self._desk.reported(report))
        except sqlite3.Error as error:
            raise NotDurable(f"nothing could be written: {error}") from error

    async def _learn(self, uplink: Uplink, way: Way) -> None:
        place = msgspec.structs.replace(
            way.back, format=uplink.format, application=uplink.application, name=uplink.name
        )
        try:
            if await self._places.learn(uplink.dev_eui, place, way.key):
                # A device of class A hears for a moment only, and that is now.
                await self._desk.hurry(uplink.dev_eui)
        except sqlite3.Error as error:
            # The device's next frame brings it again.
            _log.warning("device %s: where it is cannot be noted: %s", uplink.dev_eui, error)

    def _ignore(self, reason: str) -> Ticket:
        self._counters.ignored += 1
        return Ticket(Outcome.IGNORED, reason=reason)


def topic_pattern(topic_filter: str) -> re.Pattern[str]:
    """Return an MQTT topic filter as a regular expression."""
    levels = topic_filter.split("/")
    parts = ["[^/]*" if level == "+" else re.escape(level) for level in levels]
    if levels[-1] == "#":
        # `a/#` also stands for `a` itself.
        return re.compile("/".join(parts[:-1]) + ("(/.*)?" if parts[:-1] else ".*"))
    return re.compile("/".join(parts))
