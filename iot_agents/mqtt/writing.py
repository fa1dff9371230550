"""A command as the bytes its device gets: the provisioned expression, language and payload type."""

from __future__ import annotations

from typing import Any

import msgspec

from iot_agents.common.commands.evaluating import Unwritable, element_of, evaluated
from iot_agents.common.commands.model import Command
from iot_agents.common.registry_rows import Known
from iot_agents.mqtt.payloads import ultralight
from iot_agents.mqtt.payloads.language import Language, language_of_device


def language_of(known: Known) -> Language:
    """Return the language a device is spoken to in."""
    return language_of_device(known.in_force) or Language.JSON


def written(command: Command) -> bytes:
    """Return the payload of a command.

    Raises:
        Unwritable: its expression fails, or its payload type does not fit.
    """
    element, device = element_of(command), command.known.device.device_id
    ultra = language_of(command.known) is Language.ULTRALIGHT
    expression = element.get("expression")
    value = command.value
    if isinstance(expression, str):
        value = evaluated(expression, command)
    if ultra:
        return ultralight.command(device, command.name, value)
    whole = value if isinstance(expression, str) else {command.name: value}
    return _encoded(whole, str(element.get("payloadType") or "json").lower())


def _encoded(value: Any, payload_type: str) -> bytes:
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    if payload_type in ("text", "binaryfromstring"):
        return text.encode()
    if payload_type == "binaryfromhex":
        try:
            return bytes.fromhex(text)
        except ValueError as error:
            raise Unwritable(f"{text!r:.60} is not hex") from error
    return msgspec.json.encode(value)
