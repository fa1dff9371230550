"""Where uplinks come in: MQTT messages and HTTP posts of a LoRaWAN network server."""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable
from datetime import datetime

from aiohttp import web

from iot_agents.common.counters import Counters
from iot_agents.common.measure import NotDurable, Outcome, Ticket
from iot_agents.common.pipeline import Pipeline
from iot_agents.common.spool import SpoolFull
from iot_agents.lorawan.chirpstack import decode_uplink, event_of
from iot_agents.lorawan.settings import LorawanSettings
from iot_agents.lorawan.uplink import BadUplink, NoMeasure, measure_of

HTTP_PATH = "/lorawan/chirpstack"
_RETRY_AFTER = {"Retry-After": "5"}


class LorawanTransport:
    """Hands what a network server sends to a pipeline."""

    def __init__(
        self,
        settings: LorawanSettings,
        pipeline: Pipeline,
        *,
        counters: Counters,
        clock: Callable[[], datetime],
    ) -> None:
        self._settings = settings
        self.topics = settings.topics
        """The MQTT topic filters to listen to."""
        self._topics = [topic_pattern(topic) for topic in settings.topics]
        self._pipeline = pipeline
        self._counters = counters
        self._clock = clock

    async def accept(self, topic: str, payload: bytes) -> Ticket | None:
        """Take an MQTT message; None for those on other topics than ours."""
        if not any(pattern.fullmatch(topic) for pattern in self._topics):
            return None
        event, device = event_of(topic)
        return await self._take(event, device, topic, payload)

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
        return [web.post(HTTP_PATH, self.post)]

    async def post(self, request: web.Request) -> web.Response:
        """Take an event over HTTP and answer once it is durable."""
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(given.encode(), self._settings.http_token.encode()):
            self._counters.unauthorized += 1
            raise web.HTTPUnauthorized(headers={"WWW-Authenticate": "Bearer"})
        event = request.query.get("event", "")
        try:
            ticket = await self._take(event, "", request.path, await request.read(), wait=False)
            outcome = await ticket.durable()
        except (SpoolFull, NotDurable) as error:
            raise web.HTTPServiceUnavailable(text=str(error), headers=_RETRY_AFTER) from error
        self.acknowledged()
        status = 400 if outcome is Outcome.REJECTED else 200
        return web.json_response({"outcome": outcome, "reason": ticket.reason}, status=status)

    async def _take(
        self, event: str, device: str, topic: str, payload: bytes, *, wait: bool = True
    ) -> Ticket:
        self._counters.received += 1
        try:
            if len(payload) > self._settings.max_body:
                return self._pipeline.reject(
                    device, payload[:1000], f"larger than {self._settings.max_body} bytes"
                )
            uplink = decode_uplink(event, payload, self._clock)
        except NoMeasure as reason:
            self._counters.ignored += 1
            return Ticket(Outcome.IGNORED, reason=str(reason))
        except BadUplink as error:
            return self._pipeline.reject(device, payload, str(error))
        if device and device != uplink.dev_eui:
            # Rights are given by topic: a device must not speak for another one.
            return self._pipeline.reject(
                device, payload, f"the message is of device {uplink.dev_eui}, the topic is not"
            )
        return await self._pipeline.submit(measure_of(uplink, topic, payload), wait=wait)


def topic_pattern(topic_filter: str) -> re.Pattern[str]:
    """Return an MQTT topic filter as a regular expression."""
    levels = topic_filter.split("/")
    parts = ["[^/]*" if level == "+" else re.escape(level) for level in levels]
    if levels[-1] == "#":
        # `a/#` also stands for `a` itself.
        return re.compile("/".join(parts[:-1]) + ("(/.*)?" if parts[:-1] else ".*"))
    return re.compile("/".join(parts))
