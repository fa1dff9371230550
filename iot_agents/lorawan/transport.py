"""Where messages of LoRaWAN network servers come in: by MQTT and by HTTP posts.

    MQTT    topics as set, each with its network
    HTTP    POST /lorawan/<network>

A post is answered once what it brought is on disk: with 400 when that is a dead letter, otherwise
with 200.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final

from aiohttp import web

from iot_agents.common.counters import Counters
from iot_agents.common.measure import NotDurable, Outcome, Ticket
from iot_agents.common.pipeline import Pipeline
from iot_agents.common.spool import SpoolFull
from iot_agents.lorawan import reading
from iot_agents.lorawan.networks import NETWORKS, Network
from iot_agents.lorawan.settings import LorawanSettings
from iot_agents.lorawan.uplink import (
    BadUplink,
    DownlinkReport,
    NoMeasure,
    Report,
    Told,
    measure_of,
    measure_of_report,
)

HTTP_PATH: Final = "/lorawan/{network}"
_RETRY_AFTER: Final[Mapping[str, str]] = {"Retry-After": "5"}
_KEPT_OF_TOO_LARGE: Final = 1000


class LorawanTransport:
    """Hands what network servers send to a pipeline."""

    def __init__(
        self,
        settings: LorawanSettings,
        pipeline: Pipeline,
        *,
        counters: Counters,
        clock: Callable[[], datetime],
    ) -> None:
        self._settings = settings
        self.topics = settings.filters
        """The MQTT topic filters to listen to."""
        self._topics = [(topic_pattern(topic), NETWORKS[name]) for name, topic in settings.topics]
        self._pipeline = pipeline
        self._counters = counters
        self._clock = clock

    async def accept(self, topic: str, payload: bytes) -> Ticket | None:
        """Take an MQTT message; None for those on other topics than ours."""
        for pattern, network in self._topics:
            if pattern.fullmatch(topic):
                event, device = network.of_topic(topic)
                return await self._take(network, event, device, topic, payload)
        return None

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
        try:
            body = await request.read()
            ticket = await self._take(network, event, device, request.path, body, wait=False)
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
        topic: str,
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
        return await self._tell(told, topic, payload, wait=wait)

    async def _tell(self, told: Told, topic: str, payload: bytes, *, wait: bool) -> Ticket:
        if isinstance(told, DownlinkReport):
            return self._ignore(f"downlink {told.fate}")
        measure = (
            measure_of_report(told, topic, payload)
            if isinstance(told, Report)
            else measure_of(told, topic, payload)
        )
        return await self._pipeline.submit(measure, wait=wait)

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
