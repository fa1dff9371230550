"""What a device says, whichever way it came: measures, results of commands, requests.

Each set of measures of a message is a measure of its own, the oldest first. One that carries its
time has an idempotency key, so that a message delivered again is known again.
"""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from iot_agents.common.commands.desk import Desk
from iot_agents.common.commands.provisioned import find_command
from iot_agents.common.counters import Counters
from iot_agents.common.mapping.given import value_of
from iot_agents.common.mapping.model import Source
from iot_agents.common.measure import Measure, NotDurable, Outcome, Ticket
from iot_agents.common.pipeline import Pipeline
from iot_agents.common.registry import Registry
from iot_agents.common.registry_rows import AmbiguousDevice, Known
from iot_agents.common.service_group import ServiceGroup
from iot_agents.mqtt.payloads import iota_json, ngsi, ultralight
from iot_agents.mqtt.payloads.language import (
    BadPayload,
    Language,
    Measures,
    language_of_device,
    language_of_payload,
)
from iot_agents.mqtt.settings import MqttSettings
from iot_agents.mqtt.topics import Kind, is_name
from smart_data_models.jexl import times

PROTOCOL = "mqtt"
_TIME = "TimeInstant"
_NGSI = (ngsi.NGSI_V2, ngsi.NGSI_LD)
_KEPT = 1000
"""Bytes of an oversized message that its dead letter holds."""


@dataclass(frozen=True, slots=True)
class Message:
    """Something a device sent.

    Attributes:
        language: None where the way it came does not say it.
        attribute: the only one it is about; empty when it names its attributes.
        source: the topic or path it came by.
        resource: the path of its group; empty over MQTT.
        at: the time of all its measures, above what they say themselves.
    """

    apikey: str
    device: str
    kind: Kind
    payload: bytes
    source: str
    language: Language | None = None
    attribute: str = ""
    resource: str = ""
    at: str = ""


@dataclass(frozen=True, slots=True)
class Sender:
    """Who sent a message, as far as anybody knows.

    Attributes:
        apikey: by which the registry finds the device; empty for one that has none.
    """

    known: Known | None
    group: ServiceGroup | None
    apikey: str = ""

    def setting(self, name: str) -> Any:
        """Return a member that is in force for the sender."""
        if self.known is not None:
            return self.known.in_force.get(name)
        return None if self.group is None else msgspec.to_builtins(self.group).get(name)


class Reception:
    """Takes messages in; everything it takes is on disk before a ticket says so."""

    def __init__(
        self,
        settings: MqttSettings,
        registry: Registry,
        pipeline: Pipeline,
        desk: Desk,
        *,
        counters: Counters,
        clock: Callable[[], datetime],
    ) -> None:
        self.settings = settings
        self._registry = registry
        self._pipeline = pipeline
        self._desk = desk
        self._counters = counters
        self._clock = clock

    async def sender(self, apikey: str, device: str, resource: str) -> Sender:
        """Find out who sends.

        Raises:
            AmbiguousDevice: several devices could be meant.
            sqlite3.Error: the registry cannot be read.
        """
        known = await self._registry.find(device.lower(), apikey)
        if known is None and apikey in self.settings.default_keys:
            unkeyed = await self._registry.find(device.lower(), "")
            if unkeyed is not None and not unkeyed.device.apikey:
                return Sender(unkeyed, None)
        if known is not None:
            return Sender(known, None, apikey)
        return Sender(None, await self._registry.group_of_key(apikey, resource), apikey)

    async def take(self, message: Message, *, wait: bool) -> Ticket:
        """Take a message.

        Raises:
            SpoolFull: it was not taken; never when it may wait.
            NotDurable: likewise, because the disk fails.
        """
        self._counters.received += 1
        device, payload = message.device, message.payload
        if len(payload) > self.settings.max_body:
            reason = f"larger than {self.settings.max_body} bytes"
            return self._pipeline.reject(device[:_KEPT], payload[:_KEPT], reason)
        if not (is_name(message.apikey) and is_name(device)):
            reason = "apikey and device must be 1 to 256 of A-Z a-z 0-9 _ . : @ -"
            return self._pipeline.reject(device[:_KEPT], payload, reason)
        try:
            sender = await self.sender(message.apikey, device, message.resource)
        except AmbiguousDevice:
            sender = Sender(None, None, message.apikey)
        except sqlite3.Error as error:
            raise NotDurable(f"the registry cannot be read: {error}") from error
        try:
            if message.kind is Kind.RESULT:
                return await self._results(message, sender)
            return await self._measures(message, sender, wait=wait)
        except BadPayload as error:
            tenant = "" if sender.known is None else sender.known.device.service
            return self._pipeline.reject(device, payload, f"{error.name}: {error}", tenant=tenant)

    async def _measures(self, message: Message, sender: Sender, *, wait: bool) -> Ticket:
        language = self._language(message, sender)
        if language is Language.ULTRALIGHT and sender.known is not None and not message.attribute:
            ticket = await self._result_among_measures(message, sender.known)
            if ticket is not None:
                return ticket
        sets = _sets(message, language, str(sender.setting("payloadType") or ""))
        if not sets:
            self._counters.ignored += 1
            return Ticket(Outcome.IGNORED, reason="the message carries no measures")
        received = self._clock()
        measures = [_measure(message, sender, language, each, received) for each in sets]
        measures.sort(key=lambda measure: measure.moment)
        tickets = [await self._pipeline.submit(measure, wait=wait) for measure in measures]
        return tickets[0] if len(tickets) == 1 else _together(tickets)

    async def _results(self, message: Message, sender: Sender) -> Ticket:
        if sender.known is None:
            raise BadPayload("the result of a command from a device that is not provisioned")
        if self._language(message, sender) is Language.ULTRALIGHT:
            _, name, result = ultralight.result_of(message.payload)
            results = {name: result}
        else:
            results = iota_json.results_of(message.payload)
        return await self._answered(sender.known, results)

    async def _answered(self, known: Known, results: Measures) -> Ticket:
        unknown = [name for name in results if find_command(known.in_force, name) is None]
        if unknown:
            raise BadPayload(f"the device has no command {unknown[0]!r:.80}")
        try:
            for name, result in results.items():
                await self._desk.answered(known.device.service, known, name, result)
        except sqlite3.Error as error:
            raise NotDurable(f"the result cannot be written: {error}") from error
        return Ticket(Outcome.SPOOLED)

    async def _result_among_measures(self, message: Message, known: Known) -> Ticket | None:
        """Take `<device>@<command>|<result>` where UltraLight devices send it as a measure."""
        if not message.payload.startswith(message.device.encode() + b"@"):
            return None
        try:
            _, name, result = ultralight.result_of(message.payload)
        except BadPayload:
            return None
        if find_command(known.in_force, name) is None:
            return None
        return await self._answered(known, {name: result})

    def _language(self, message: Message, sender: Sender) -> Language:
        provisioned = {name: sender.setting(name) for name in ("protocol", "resource")}
        return (
            message.language
            or language_of_device(provisioned)
            or language_of_payload(message.payload)
        )


def _sets(message: Message, language: Language, payload_type: str) -> Sequence[Measures]:
    payload = message.payload
    if message.attribute:
        read = iota_json if language is Language.JSON else ultralight
        sets: Sequence[Measures] = [{message.attribute: read.value_of(payload)}]
    elif language is Language.ULTRALIGHT:
        sets = ultralight.sets_of(payload)
    elif payload_type in _NGSI:
        sets = ngsi.sets_of_entities(iota_json.decode(payload), payload_type)
    else:
        sets = iota_json.sets_of(iota_json.decode(payload))
    return [{**each, _TIME: message.at} for each in sets] if message.at else sets


def _measure(
    message: Message, sender: Sender, language: Language, measures: Measures, received: datetime
) -> Measure:
    told = measures.get(_TIME)
    moment = received if told is None else _moment(told)
    key = ""
    if told is not None:
        digest = hashlib.blake2b(msgspec.json.encode(measures), digest_size=16).hexdigest()
        key = f"{PROTOCOL}/{message.apikey}/{message.device}/{moment.isoformat()}/{digest}"
    return Measure(
        source=Source(PROTOCOL, language.name.lower(), message.source),
        device_id=message.device,
        payload={name: value_of(value) for name, value in measures.items()},
        raw=message.payload,
        moment=moment,
        members=measures,
        apikey=sender.apikey,
        chosen=True,
        key=key,
    )


def _moment(told: Any) -> datetime:
    try:
        if not isinstance(told, str):
            raise ValueError(told)  # noqa: TRY004, TRY301 - one way out
        return datetime.fromisoformat(times.utc_text(told)).astimezone(UTC)
    except ValueError as error:
        raise BadPayload(f"{told!r:.40} is not an ISO 8601 time", "BAD_TIMESTAMP") from error


def _together(tickets: Sequence[Ticket]) -> Ticket:
    """Return one ticket for all: of what became of the worst, done when all are."""
    worst = max(tickets, key=lambda ticket: _GRAVITY.index(ticket.outcome))
    futures = [ticket.stored for ticket in tickets if ticket.stored is not None]
    if not futures:
        return worst
    together: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    left = len(futures)

    def done(future: asyncio.Future[Any]) -> None:
        nonlocal left
        left -= 1
        if together.done():
            return
        if future.cancelled():
            together.cancel()
        elif (error := future.exception()) is not None:
            together.set_exception(error)
        elif not left:
            together.set_result(None)

    for future in futures:
        future.add_done_callback(done)
    return Ticket(worst.outcome, together, worst.reason)


_GRAVITY = (
    Outcome.IGNORED,
    Outcome.DUPLICATE,
    Outcome.SPOOLED,
    Outcome.WAITING,
    Outcome.REJECTED,
)
