"""Which device a message is from, and how a service group takes in one that nobody provisioned.

All of it is one job of the registry's file, so that a burst of first messages, from however many
connections and processes, makes one device.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from broker.core.identifiers import is_uri
from iot_agents.common import registry_rows as rows
from iot_agents.common.device import Device, hardware_name
from iot_agents.common.provisioning_errors import DeviceNotFound, GroupFull, GroupNotFound
from iot_agents.common.registry_rows import AmbiguousDevice, Known
from iot_agents.common.service_group import ServiceGroup, in_force

ANY_RESOURCE: Final = "*"
"""Among a caller's resources: whatever group has the apikey, if only one has it."""

_LONGEST_ID: Final = 256
_UNUSABLE: Final = re.compile(r"[\s<>();'=\"/#]")


@dataclass(frozen=True, slots=True)
class Caller:
    """What a message tells of the device that sent it.

    Attributes:
        device_id: the device's name on the wire.
        apikey: the key it came with; None where the protocol has none, and the id has to do alone.
        resources: those of the groups that may take the device in, the best first. Without any,
            only a provisioned device is recognized.
        protocol: what a device that is made for the message has under this name.
        transport: likewise, where its group says nothing.
    """

    device_id: str
    apikey: str | None = None
    resources: tuple[str, ...] = ()
    protocol: str = ""
    transport: str = ""


def recognize(connection: sqlite3.Connection, *, caller: Caller, most: int) -> Known:
    """Return the device that a message is from, made by its group where nobody provisioned it.

    Args:
        most: how many devices of its own a group may come to by taking them in.

    Raises:
        DeviceNotFound: there is none, and its group makes none.
        GroupFull: likewise, because it has that many.
        GroupNotFound: there is none, and no group either.
        AmbiguousDevice: several have the id.
    """
    group = _group_of_caller(connection, caller)
    found = _matching(connection, caller, group)
    if len(found) > 1:
        raise AmbiguousDevice(f"{len(found)} devices are called {caller.device_id!r:.80}")
    device = found[0] if found else _take_in(connection, caller, group, most)
    return rows.known(connection, device, caller.apikey or "")


def _matching(
    connection: sqlite3.Connection, caller: Caller, group: ServiceGroup | None
) -> Sequence[Device]:
    devices = rows.devices_of_hardware(connection, hardware_name(caller.device_id))
    if caller.apikey is None:
        # A network without keys of its own: a device without one, or the id alone.
        return [device for device in devices if not device.apikey] or devices
    keyed = [device for device in devices if device.apikey == caller.apikey]
    # Scripts often leave the key to the group.
    lent = [device for device in devices if rows.is_lent(connection, device, caller.apikey)]
    own = [[device for device in each if _is_of(device, group)] for each in (keyed, lent)]
    return next((each for each in (*own, keyed) if each), lent)


def _is_of(device: Device, group: ServiceGroup | None) -> bool:
    if group is None:
        return False
    return (device.service, device.service_path) == (group.service, group.subservice)


def _group_of_caller(connection: sqlite3.Connection, caller: Caller) -> ServiceGroup | None:
    for resource in caller.resources:
        found = _groups(connection, resource, caller.apikey)
        if len(found) == 1:
            return found[0]
    return None


def _groups(
    connection: sqlite3.Connection, resource: str, apikey: str | None
) -> Sequence[ServiceGroup]:
    if resource == ANY_RESOURCE:
        return [] if apikey is None else rows.groups_of_apikey(connection, apikey)
    if apikey is None:
        return rows.groups_of_resource(connection, resource)
    group = rows.group(connection, resource=resource, apikey=apikey)
    return [] if group is None else [group]


def _take_in(
    connection: sqlite3.Connection, caller: Caller, group: ServiceGroup | None, most: int
) -> Device:
    if group is None:
        if caller.resources:
            raise GroupNotFound("no group has this apikey, and nobody has provisioned the device")
        raise DeviceNotFound("nobody has provisioned this device")
    if group.autoprovision is False:
        raise DeviceNotFound("nobody has provisioned this device, and its group takes in none")
    device = _made(caller, group)
    if rows.has_devices(connection, group, most):
        raise GroupFull(
            f"nobody has provisioned this device, and its group has {most} already, which is as "
            "many as agents.autoprovision_limit lets it take in"
        )
    rows.add_devices(connection, devices=(device,))
    return device


def _made(caller: Caller, group: ServiceGroup) -> Device:
    device = Device(
        device_id=caller.device_id,
        service=group.service,
        service_path=group.subservice,
        apikey=group.apikey,
        entity_type=group.entity_type,
        protocol=caller.protocol,
        transport="" if group.transport else caller.transport,
    )
    name = str(in_force(device, group).get("entity_name", ""))
    if not _usable(caller.device_id) or (name and not is_uri(name)):
        raise DeviceNotFound(f"{caller.device_id!r:.80} cannot be the id of a device")
    # Its name is kept, so that it stays the same entity whatever becomes of the group.
    return device if group.entity_name_exp else msgspec.structs.replace(device, entity_name=name)


def _usable(device_id: str) -> bool:
    return 0 < len(device_id) <= _LONGEST_ID and not _UNUSABLE.search(device_id)
