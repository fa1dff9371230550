"""What is provisioned of a command.

A command is an element of `commands` of a device or its group. Beside the members that the FIWARE
agents know, its `metadata` may say how it is treated:

    {"name": "open", "metadata": {"expiry": {"value": 60}, "idempotent": {"value": true}}}
    {"name": "move", "metadata": {"oneAtATime": {"value": true}}}
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

UNASKED: Final = "UNKNOWN"
"""The value of a command attribute while nobody asks for the command."""

_LOCAL = re.compile(r"[^/#:]*$")


@dataclass(frozen=True, slots=True)
class ProvisionedCommand:
    """A command as it is provisioned.

    Attributes:
        name: of the attribute.
        element: all members.
        expiry: seconds until it is given up; None is the agent's.
        idempotent: whether a device may get it twice.
        alone: whether a device gets the next one of this name only when the one before is finished,
            so that each answer is the answer to it.
    """

    name: str
    element: Mapping[str, Any]
    expiry: float | None
    idempotent: bool
    alone: bool


def find_command(in_force: Mapping[str, Any], name: str) -> ProvisionedCommand | None:
    """Return the command of a name, which may be expanded; None when there is none."""
    elements = in_force.get("commands") or ()
    by_name = {_name(element): element for element in elements}
    local = _LOCAL.search(name)
    for candidate in (name, local[0] if local else name):
        if candidate in by_name:
            return _read(candidate, by_name[candidate])
    return None


def command_names(provisioned: Mapping[str, Any]) -> list[str]:
    """Return the names of the commands of a device or a group."""
    return [_name(element) for element in provisioned.get("commands") or ()]


def option(element: Mapping[str, Any], name: str) -> Any:
    """Return what the metadata of a command say under a name; None when they say nothing."""
    metadatum = (element.get("metadata") or {}).get(name)
    return metadatum.get("value") if isinstance(metadatum, Mapping) else metadatum


def _name(element: Mapping[str, Any]) -> str:
    return str(element.get("name") or element.get("object_id") or "")


def _read(name: str, element: Mapping[str, Any]) -> ProvisionedCommand:
    expiry = option(element, "expiry")
    usable = isinstance(expiry, int | float) and not isinstance(expiry, bool) and expiry > 0
    return ProvisionedCommand(
        name,
        element,
        float(expiry) if usable else None,
        option(element, "idempotent") is True,
        option(element, "oneAtATime") is True,
    )
