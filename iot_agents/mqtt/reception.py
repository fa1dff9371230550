"""What a device says, whichever way it came: measures, results of commands, requests.

Each set of measures of a message is a measure of its own, the oldest first. One that carries its
time has an idempotency key, so that a message delivered again is known again.
"""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from iot_agents.common.commands.desk import Desk
from iot_agents.common.commands.provisioned import find_command
from iot_agents.common.counters import Counters
from iot_agents.common.deliveries import Delivery
from iot_agents.common.mapping.given import value_of
from iot_agents.common.mapping.model import Source
from iot_agents.common.measure import Measure, NotDurable, Outcome, Ticket
from iot_agents.common.pipeline import Pipeline
from iot_agents.common.provisioning_errors import DeviceNotFound, GroupNotFound
from iot_agents.common.recognition import ANY_RESOURCE, Caller
from iot_agents.common.registry import Registry
from iot_agents.common.registry_rows import AmbiguousDevice, Known
from iot_agents.mqtt.payloads import iota_json, ngsi, ultralight
from iot_agents.mqtt.payloads.language import (
    BadPayload,
    Language,
    Measures,
    language_of_device,
    language_of_payload,
    resource_of_language,
)
from iot_agents.mqtt.settings import MqttSettings
from iot_agents.mqtt.topics import Kind, is_name
from smart_data_models.jexl import times

PROTOCOL: Final = "mqtt"
PROTOCOLS: Final = {Language.JSON: "IoTA-JSON", Language.ULTRALIGHT: "IoTA-UL"}
"""What a device that a group takes in has as its `protocol`."""
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
        delivery: how an MQTT server brought it.
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
    delivery: Delivery | None = None


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

    async def sender(self, message: Message) -> Known:
        """Find out who sends, and let its group take in a device that nobody has provisioned.

        Raises:
            DeviceNotFound: nobody knows it, and no group takes it in.
            GroupNotFound: there is not even a group.
            AmbiguousDevice: several devices could be meant.
            sqlite3.Error: the registry cannot be read, or not be written.
        """
        caller = _caller(message)
        if message.apikey in self.settings.default_keys:
            keyless = replace(caller, apikey=None, resources=())
            try:
                known = await self._registry.recognize(keyless)
            except DeviceNotFound:
                return await self._registry.recognize(caller)
            if not known.in_force.get("apikey"):
                return known
        return await self._registry.recognize(caller)

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
            known = await self.sender(message)
        except (DeviceNotFound, GroupNotFound, AmbiguousDevice) as error:
            return self._of_nobody(message, str(error))
        except sqlite3.Error as error:
            raise NotDurable(f"the registry cannot be read: {error}") from error
        try:
            if message.kind is Kind.RESULT:
                return await self._results(message, known)
            return await self._measures(message, known, wait=wait)
        except BadPayload as error:
            return self._pipeline.reject(device, payload, f"{error.name}: {error}", known=known)

    def _of_nobody(self, message: Message, reason: str) -> Ticket:
        if message.kind is Kind.RESULT:
            return self._pipeline.reject(message.device, message.payload, reason)
        return self._pipeline.keep_waiting(_waiting(message, self._clock()), reason)

    def reread(self, measure: Measure, known: Known) -> Sequence[Measure]:
        """Read a message again that waited until its device was known."""
        told = measure.again
        language = told.get("language")
        message = Message(
            measure.apikey or "",
            measure.device_id,
            Kind.MEASURES,
            measure.raw,
            measure.source.topic,
            language=None if language is None else Language(language),
            attribute=told.get("attribute", ""),
            resource=told.get("resource", ""),
            at=told.get("at", ""),
        )
        try:
            return _read(message, known, measure.moment)
        except BadPayload as error:
            reason = f"{error.name}: {error}"
            self._pipeline.reject(measure.device_id, measure.raw, reason, known=known)
            return ()

    async def _measures(self, message: Message, known: Known, *, wait: bool) -> Ticket:
        language = language_in(message, known)
        if language is Language.ULTRALIGHT and not message.attribute:
            ticket = await self._result_among_measures(message, known)
            if ticket is not None:
                return ticket
        measures = _read(message, known, self._clock())
        if not measures:
            self._counters.ignored += 1
            return Ticket(Outcome.IGNORED, reason="the message carries no measures")
        tickets = [
            await self._pipeline.submit(measure, known=known, wait=wait) for measure in measures
        ]
        return tickets[0] if len(tickets) == 1 else _together(tickets)

    async def _results(self, message: Message, known: Known) -> Ticket:
        if language_in(message, known) is Language.ULTRALIGHT:
            _, name, result = ultralight.result_of(message.payload)
            results = {name: result}
        else:
            results = iota_json.results_of(message.payload)
        return await self._answered(known, results)

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


def language_in(message: Message, known: Known) -> Language:
    """Return the language a message is written in: as its way, its device or its look says."""
    return (
        message.language
        or language_of_device(known.in_force)
        or language_of_payload(message.payload)
    )


def _caller(message: Message) -> Caller:
    """Return what the registry recognizes a sender by.

    A path names the group; a topic does not, so that the agents' own resources come first and then
    whatever group has the apikey.
    """
    language = message.language or language_of_payload(message.payload)
    if message.resource:
        return Caller(
            message.device, message.apikey, (message.resource,), PROTOCOLS[language], "HTTP"
        )
    usual = [resource_of_language(each) for each in (language, *Language)]
    resources = (*dict.fromkeys(usual), "", ANY_RESOURCE)
    return Caller(message.device, message.apikey, resources, PROTOCOLS[language], "MQTT")


def _waiting(message: Message, received: datetime) -> Measure:
    """Return what the waiting room keeps of a message, to be read once its device is known."""
    caller = _caller(message)
    language = {} if message.language is None else {"language": message.language.value}
    told = {"attribute": message.attribute, "resource": message.resource, "at": message.at}
    return Measure(
        source=Source(PROTOCOL, "", message.source),
        device_id=message.device,
        payload={},
        raw=message.payload,
        moment=received,
        apikey=message.apikey,
        resources=caller.resources,
        transport=caller.transport,
        again={**language, **{name: text for name, text in told.items() if text}},
    )


def _read(message: Message, known: Known, received: datetime) -> list[Measure]:
    """Return the measures of a message, the oldest first.

    Raises:
        BadPayload: it cannot be read.
    """
    language = language_in(message, known)
    sets = _sets(message, language, str(known.in_force.get("payloadType") or ""))
    measures = _delivered([_measure(message, language, each, received) for each in sets], message)
    return sorted(measures, key=lambda measure: measure.moment)


def _delivered(measures: list[Measure], message: Message) -> list[Measure]:
    """Return measures of which those without a time of their own tell how they came."""
    came = message.delivery
    if came is None or all(measure.key for measure in measures):
        return measures
    text = message.source.encode() + b"\0" + message.payload
    digest = hashlib.blake2b(text, digest_size=16).digest()
    return [
        measure
        if measure.key
        else replace(measure, delivery=replace(came, part=part, digest=digest))
        for part, measure in enumerate(measures)
    ]


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
    message: Message, language: Language, measures: Measures, received: datetime
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
        apikey=message.apikey,
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
