"""What an entity shows of a command: `<name>_status` and `<name>_info`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from broker.core.timestamps import format_timestamp
from iot_agents.common.spool import Entry


def moment(seconds: float) -> str:
    """Return seconds since 1970 as a DateTime."""
    return format_timestamp(datetime.fromtimestamp(seconds, UTC))


def status_entry(
    tenant: str, device_id: str, entity_id: str, entity_type: str, said: Mapping[str, Any]
) -> Entry:
    """Return the entry that tells the broker what became of a command."""
    return Entry(tenant, device_id, ({"id": entity_id, "type": entity_type, **said},))


def said(name: str, status: str, info: Any, now: float, command_id: str = "") -> dict[str, Any]:
    """Return the attributes `<name>_status` and, unless info is None, `<name>_info`."""
    at = moment(now)
    shown: dict[str, Any] = {"type": "Property", "value": status, "observedAt": at}
    if command_id:
        shown["commandId"] = {"type": "Property", "value": command_id}
    attributes: dict[str, Any] = {f"{name}_status": shown}
    if info is not None:
        attributes[f"{name}_info"] = {"type": "Property", "value": info, "observedAt": at}
    return attributes
