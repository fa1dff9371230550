"""What devices ask to be told: the present values of their entity's attributes.

    JSON         {"type": "configuration", "fields": ["a", "b"]}
    UltraLight   configuration|a|b

The answer goes to `/<apikey>/<device>/configuration/values`, or to the path `configuration` below
the device's endpoint, with the time as `dt`. `subscription` instead of `configuration` is answered
in the same way, once.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NoReturn

import msgspec

from broker.client import BrokerRefused, BrokerUnreachable, Client
from broker.egress import Egress, EgressFailed, EgressRefused
from iot_agents.common.commands.desk import entity_of
from iot_agents.common.mqtt_client import NotPublished, Publish, PublishInDoubt
from iot_agents.common.provisioning_errors import DeviceNotFound, GroupNotFound
from iot_agents.common.registry_rows import AmbiguousDevice, Known
from iot_agents.mqtt.payloads import iota_json, ultralight
from iot_agents.mqtt.payloads.language import BadPayload, Language
from iot_agents.mqtt.reception import Message, Reception
from iot_agents.mqtt.topics import to_device
from iot_agents.mqtt.writing import language_of

_log = logging.getLogger(__name__)
_WAITING: Final = 1000
_MAX_FIELDS: Final = 200
_TYPES: Final = ("configuration", "subscription")


class Configuration:
    """Answers requests one after the other; those that find no room are dropped."""

    def __init__(
        self, client_of: Callable[[str], Client], publish: Publish, egress: Egress
    ) -> None:
        self._client_of = client_of
        self._publish = publish
        self._egress = egress
        self._waiting: asyncio.Queue[Message] = asyncio.Queue(_WAITING)

    def ask(self, message: Message) -> bool:
        """Queue a request; False when there is no room for it."""
        try:
            self._waiting.put_nowait(message)
        except asyncio.QueueFull:
            return False
        return True

    async def run(self, reception: Reception) -> NoReturn:
        """Answer until cancelled."""
        while True:
            message = await self._waiting.get()
            try:
                await self._answer(message, reception)
            except (
                BadPayload,
                AmbiguousDevice,
                DeviceNotFound,
                GroupNotFound,
                BrokerRefused,
                BrokerUnreachable,
                EgressFailed,
                EgressRefused,
                NotPublished,
                PublishInDoubt,
                msgspec.DecodeError,
                sqlite3.Error,
            ) as error:
                _log.warning("device %.80s: not configured: %s", message.device, error)

    async def _answer(self, message: Message, reception: Reception) -> None:
        if len(message.payload) > reception.settings.max_body:
            raise BadPayload(f"larger than {reception.settings.max_body} bytes")
        known = await reception.sender(message)
        language = message.language or language_of(known)
        fields = _fields(message.payload, language)
        entity_id, _ = entity_of(known)
        entity = await self._client_of(known.device.service).retrieve_entity(entity_id) or {}
        values = _values(entity, fields, known)
        values["dt"] = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        if language is Language.ULTRALIGHT:
            body = ultralight.configuration(message.device, values)
        else:
            body = msgspec.json.encode(values)
        await self._deliver(message, known, body, reception.settings.leading_slash)

    async def _deliver(
        self,
        message: Message,
        known: Known,
        body: bytes,
        leading_slash: bool,  # noqa: FBT001 - a setting
    ) -> None:
        endpoint = str(known.in_force.get("endpoint") or "")
        if message.resource or endpoint:
            if not endpoint:
                raise BadPayload("the device has no endpoint", "ENDPOINT_NOT_FOUND")
            url = endpoint.rstrip("/") + "/configuration"
            headers = {"Content-Type": "application/json"}
            await self._egress.request("POST", url, headers=headers, body=body)
            return
        tail = "configuration/values"
        topic = to_device(message.apikey, message.device, tail, leading_slash=leading_slash)
        await self._publish(topic, body)


def _fields(payload: bytes, language: Language) -> Sequence[str]:
    if language is Language.ULTRALIGHT:
        kind, *fields = payload.decode(errors="replace").strip().split("|")
    else:
        document = iota_json.results_of(payload)
        kind, fields = document.get("type", ""), document.get("fields", [])
    if kind not in _TYPES:
        raise BadPayload(f"{kind!r:.40} is neither configuration nor subscription")
    if not isinstance(fields, list) or not all(isinstance(field, str) for field in fields):
        raise BadPayload("fields: expected an array of names")
    if len(fields) > _MAX_FIELDS:
        raise BadPayload(f"more than {_MAX_FIELDS} fields")
    return fields


def _values(entity: dict[str, Any], fields: Sequence[str], known: Known) -> dict[str, Any]:
    names = {
        str(each.get("object_id") or each.get("name")): str(each.get("name"))
        for each in known.in_force.get("attributes") or ()
        if each.get("name")
    }
    found: dict[str, Any] = {}
    for field in fields:
        attribute = entity.get(field, entity.get(names.get(field, field)))
        if isinstance(attribute, dict):
            said = attribute.get("value", attribute.get("object"))
            if said is not None:
                found[field] = said
    return found
