"""Commands to devices that speak JSON or UltraLight: published, pushed, or kept to be fetched.

A device with an `endpoint` gets them there by HTTP. Otherwise its `transport` decides: `HTTP` (or
`polling`) keeps them until it fetches them with `getCmd=1`, `MQTT` publishes to
`/<apikey>/<device>/cmd`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import aiohttp

from broker.egress import Answer, Egress, EgressFailed, EgressRefused
from iot_agents.common.commands.evaluating import Unwritable, element_of, evaluated
from iot_agents.common.commands.model import (
    Command,
    CommandOutcome,
    Done,
    Failed,
    Held,
    NotNow,
    Sent,
    SetLabel,
    Unsure,
)
from iot_agents.common.device import for_lorawan
from iot_agents.common.mqtt_client import NotPublished, Publish, PublishInDoubt
from iot_agents.mqtt.payloads import iota_json, ultralight
from iot_agents.mqtt.payloads.language import BadPayload, Language
from iot_agents.mqtt.settings import MqttSettings
from iot_agents.mqtt.topics import is_name, to_device
from iot_agents.mqtt.writing import language_of, written

_ANSWER_BYTES: Final = 65_536
_OK: Final = (200, 201, 202, 204)
_QOS: Final = {"0": 0, "1": 1, "2": 2}


class MqttCourier:
    """Brings commands to devices, by MQTT or HTTP."""

    def __init__(
        self, settings: MqttSettings, publish: Publish, egress: Egress, *, timeout: float
    ) -> None:
        self._settings = settings
        self._publish = publish
        self._egress = egress
        self._timeout = timeout

    def serves(self, in_force: Mapping[str, Any]) -> bool:
        """Tell whether a device is this agent's: all are that are not for LoRaWAN."""
        return not for_lorawan(in_force)

    async def send(self, command: Command, _: SetLabel, /) -> CommandOutcome:
        """Bring a command on its way; its answer names it by its name."""
        in_force = command.known.in_force
        transport = str(in_force.get("transport") or "").upper()
        endpoint = in_force.get("endpoint")
        try:
            if endpoint and transport != "MQTT":
                return await self._push(command, str(endpoint))
            if in_force.get("polling") is True or self._polls(transport):
                return Held()
            if transport not in ("", "MQTT"):
                return Failed(f"transport {transport:.20} is none of MQTT and HTTP")
            return await self._publish_to(command)
        except Unwritable as error:
            return Failed(str(error))

    def _polls(self, transport: str) -> bool:
        return (transport or self._settings.default_transport) == "HTTP"

    async def _publish_to(self, command: Command) -> CommandOutcome:
        device, element = command.known.device.device_id, element_of(command)
        apikey = str(command.known.in_force.get("apikey") or "") or self._default_key(command)
        if not (is_name(apikey) and is_name(device)):
            return Failed(f"no topic can be made of apikey {apikey!r:.40} and {device!r:.40}")
        topic = to_device(apikey, device, "cmd", leading_slash=self._settings.leading_slash)
        mqtt = element.get("mqtt") or {}
        try:
            await self._publish(
                topic,
                written(command),
                qos=_QOS.get(str(mqtt.get("qos")), self._settings.qos),
                retain=bool(mqtt.get("retain", self._settings.retain)),
            )
        except NotPublished as error:
            return NotNow(str(error))
        except PublishInDoubt as error:
            return Unsure(str(error))
        return Sent()

    def _default_key(self, command: Command) -> str:
        keys = self._settings.default_keys
        if not keys:
            return ""
        return keys[-1 if language_of(command.known) is Language.ULTRALIGHT else 0]

    async def _push(self, command: Command, endpoint: str) -> CommandOutcome:
        body = written(command)
        url = endpoint
        if not endpoint.startswith(("http://", "https://")):
            url = str(evaluated(endpoint, command))
        try:
            answer = await self._egress.request(
                "POST",
                url,
                headers=_headers(command),
                body=body,
                timeout=self._timeout,
                max_bytes=_ANSWER_BYTES,
            )
        except EgressRefused as error:
            return Failed(f"{url:.200}: {error}")
        except EgressFailed as error:
            if isinstance(error.__cause__, aiohttp.ClientConnectorError):
                return NotNow(str(error))
            return Unsure(str(error))
        return _outcome(command, answer)


def _headers(command: Command) -> dict[str, str]:
    element, device = element_of(command), command.known.device
    ultra = language_of(command.known) is Language.ULTRALIGHT
    content_type = element.get("contentType") or ("text/plain" if ultra else "application/json")
    own = {
        str(name): str(_header(str(value), command))
        for name, value in (element.get("headers") or {}).items()
    }
    return {
        "fiware-service": device.service,
        "fiware-servicepath": device.service_path,
        "Content-Type": str(content_type),
        **own,
    }


def _header(value: str, command: Command) -> Any:
    """Return what an expression gives, and the text itself when it is none."""
    try:
        return evaluated(value, command)
    except Unwritable:
        return value


def _outcome(command: Command, answer: Answer) -> CommandOutcome:
    if answer.status not in _OK:
        return Failed(f"HTTP_COMMAND_RESPONSE_ERROR: the device answered {answer.status}")
    if not answer.body.strip():
        return Sent(acknowledged=True)
    try:
        if language_of(command.known) is Language.ULTRALIGHT:
            _, name, result = ultralight.result_of(answer.body)
            results = {name: result}
        else:
            results = iota_json.results_of(answer.body)
    except BadPayload:
        return Sent(acknowledged=True)
    return Done(results[command.name]) if command.name in results else Sent(acknowledged=True)
