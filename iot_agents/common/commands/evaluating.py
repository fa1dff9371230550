"""What is provisioned of a command, evaluated for one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from iot_agents.common.commands.model import Command
from iot_agents.common.commands.provisioned import find_command
from smart_data_models.jexl.expressions import compile_expression
from smart_data_models.jexl.syntax import InvalidExpression
from smart_data_models.jexl.values import MISSING, ExpressionError


class Unwritable(Exception):
    """A command cannot be put into words; the text says why."""


def element_of(command: Command) -> Mapping[str, Any]:
    """Return what is provisioned of a command."""
    found = find_command(command.known.in_force, command.name)
    return {} if found is None else found.element


def evaluated(expression: str, command: Command) -> Any:
    """Return what an expression gives for a command.

    It reads `id`, `type`, `service`, `subservice`, the static attributes and, under its name, the
    value of the command.

    Raises:
        Unwritable: it gives nothing, or fails.
    """
    in_force, device = command.known.in_force, command.known.device
    scope = {
        **{each["name"]: each.get("value") for each in in_force.get("static_attributes") or ()},
        "id": device.device_id,
        "type": in_force.get("entity_type"),
        "service": device.service,
        "subservice": device.service_path,
        "entity_name": command.entity_id,
        command.name: _number(command.value),
    }
    try:
        found = compile_expression(expression, strict=False)(scope)
    except (InvalidExpression, ExpressionError) as error:
        raise Unwritable(f"expression {expression!r:.80}: {error}") from error
    if found is MISSING or found is None:
        raise Unwritable(f"expression {expression!r:.80} gives nothing")
    return found


def _number(value: Any) -> Any:
    """Return a text that is a number as that number, as the FIWARE agents do."""
    if not isinstance(value, str):
        return value
    try:
        return msgspec.json.decode(value, type=int | float)
    except msgspec.DecodeError:
        return value
