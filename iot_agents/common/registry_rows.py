"""The registry's rows: what the registry does with its SQLite connection."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from iot_agents.common.device import Device
from iot_agents.common.provisioning_errors import DuplicateDeviceId, DuplicateGroup
from iot_agents.common.service_group import ServiceGroup, in_force

MIGRATIONS = (
    """
    CREATE TABLE device (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, service TEXT NOT NULL, service_path TEXT NOT NULL,
        apikey TEXT NOT NULL, device_id TEXT NOT NULL, hardware_id TEXT NOT NULL,
        document BLOB NOT NULL, UNIQUE (service, service_path, apikey, device_id));
    CREATE INDEX device_by_hardware ON device (hardware_id);
    CREATE TABLE service_group (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, service TEXT NOT NULL, subservice TEXT NOT NULL,
        resource TEXT NOT NULL, apikey TEXT NOT NULL, document BLOB NOT NULL,
        UNIQUE (resource, apikey))
    """,
    """
    CREATE INDEX device_by_entity ON device
        (service, json_extract(CAST(document AS TEXT), '$.entity_name'));
    CREATE INDEX device_by_id ON device (service, device_id)
    """,
)

_LONGEST_ID = 1000

_decode_device = msgspec.json.Decoder(Device).decode
_decode_group = msgspec.json.Decoder(ServiceGroup).decode


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Known:
    """A device as it is now; another object after any change, so caches may hang on it."""

    device: Device
    in_force: dict[str, Any]


class AmbiguousDevice(Exception):
    """Several devices have the id, and nothing tells which one is meant."""


def data_version(connection: sqlite3.Connection) -> int:
    """Return a number that changes when another connection has written."""
    (version,) = connection.execute("PRAGMA data_version").fetchone()
    return int(version)


def find(connection: sqlite3.Connection, *, hardware_id: str, apikey: str) -> Known | None:
    """Return the device that has a hardware id, with what is in force for it.

    A device without an apikey has that of the group of its service and path.

    Raises:
        AmbiguousDevice: several have it.
    """
    query = "SELECT document FROM device WHERE hardware_id = ?"
    rows = connection.execute(query + " AND apikey = ?", (hardware_id, apikey)).fetchall()
    if not rows and apikey:
        lent = (
            " AND apikey = '' AND EXISTS (SELECT 1 FROM service_group AS shared"
            "  WHERE shared.apikey = ? AND shared.service = device.service"
            "  AND shared.subservice = device.service_path)"
        )
        rows = connection.execute(query + lent, (hardware_id, apikey)).fetchall()
    if not rows and not apikey:
        # A network without keys of its own: the id alone has to do.
        rows = connection.execute(query, (hardware_id,)).fetchall()
    if not rows:
        return None
    if len(rows) > 1:
        raise AmbiguousDevice(f"{len(rows)} devices are called {hardware_id!r:.80}")
    device = _decode_device(rows[0][0])
    return Known(device, in_force(device, _group_of(connection, device, apikey)))


def by_entity(connection: sqlite3.Connection, *, service: str, entity_id: str) -> Known | None:
    """Return the device that an entity stands for, None when there is none or more than one."""
    rows = connection.execute(
        "SELECT document FROM device WHERE service = ?"
        " AND json_extract(CAST(document AS TEXT), '$.entity_name') = ?",
        (service, entity_id),
    ).fetchall()
    if not rows:
        # Otherwise the id is made of the type and the device's id, see `in_force`.
        tails = [entity_id[start:] for start in range(1, min(len(entity_id), _LONGEST_ID))]
        marks = ", ".join("?" * len(tails))
        rows = connection.execute(
            f"SELECT document FROM device WHERE service = ? AND device_id IN ({marks})",  # noqa: S608 - only marks
            (service, *tails),
        ).fetchall()
    devices = [_decode_device(document) for (document,) in rows]
    known = [Known(device, in_force(device, _group_of(connection, device))) for device in devices]
    found = [each for each in known if each.in_force.get("entity_name") == entity_id]
    return found[0] if len(found) == 1 else None


def commanding_groups(connection: sqlite3.Connection) -> list[ServiceGroup]:
    """Return the groups that have commands."""
    rows = connection.execute("SELECT document FROM service_group ORDER BY seq").fetchall()
    groups = [_decode_group(document) for (document,) in rows]
    return [group for group in groups if group.commands]


def commanded(connection: sqlite3.Connection, *, after: int, limit: int) -> tuple[int, list[Known]]:
    """Return devices that have commands, of those numbered above `after`.

    Returns:
        The number to go on after, 0 when these were the last; and the devices.
    """
    rows = connection.execute(
        "SELECT seq, document FROM device WHERE seq > ? ORDER BY seq LIMIT ?", (after, limit)
    ).fetchall()
    found = []
    for _, document in rows:
        device = _decode_device(document)
        known = Known(device, in_force(device, _group_of(connection, device)))
        if known.in_force["commands"]:
            found.append(known)
    return (rows[-1][0] if len(rows) == limit else 0), found


def _group_of(
    connection: sqlite3.Connection, device: Device, apikey: str = ""
) -> ServiceGroup | None:
    """Return the group of a device: of its apikey, or of the one it sent if it has none."""
    key = device.apikey or apikey
    rows = connection.execute(
        "SELECT document FROM service_group WHERE service = ? AND subservice = ?"
        " AND (? = '' OR apikey = ?) ORDER BY apikey != ?, seq",
        (device.service, device.service_path, key, key, key),
    ).fetchall()
    groups = [_decode_group(document) for (document,) in rows]
    same_type = [group for group in groups if group.entity_type == device.entity_type]
    if same_type:
        return same_type[0]
    # Without an apikey nothing else tells which of several groups is meant.
    return groups[0] if groups and (key or len(groups) == 1) else None


def group_of_key(
    connection: sqlite3.Connection, *, apikey: str, resource: str
) -> ServiceGroup | None:
    """Return the group of an apikey: of the resource if there is one, otherwise the oldest."""
    found = connection.execute(
        "SELECT document FROM service_group WHERE apikey = ? ORDER BY resource != ?, seq",
        (apikey, resource),
    ).fetchone()
    return None if found is None else _decode_group(found[0])


def add_devices(connection: sqlite3.Connection, *, devices: Sequence[Device]) -> None:
    """Add devices.

    Raises:
        DuplicateDeviceId: one exists.
    """
    for device in devices:
        try:
            connection.execute(
                "INSERT INTO device"
                " (service, service_path, apikey, device_id, hardware_id, document)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (*device.identity, device.hardware_id, msgspec.json.encode(device)),
            )
        except sqlite3.IntegrityError as error:
            raise DuplicateDeviceId(f"device {device.device_id!r:.80} exists already") from error


def update_device(connection: sqlite3.Connection, *, old: Device, new: Device) -> None:
    """Put a device in the place of another.

    Raises:
        DuplicateDeviceId: a third one has the new identity.
    """
    try:
        connection.execute(
            "UPDATE device SET apikey = ?, hardware_id = ?, document = ?"
            " WHERE service = ? AND service_path = ? AND apikey = ? AND device_id = ?",
            (new.apikey, new.hardware_id, msgspec.json.encode(new), *old.identity),
        )
    except sqlite3.IntegrityError as error:
        raise DuplicateDeviceId(f"device {new.device_id!r:.80} has that apikey already") from error


def delete_device(connection: sqlite3.Connection, *, device: Device) -> None:
    """Remove a device."""
    connection.execute(
        "DELETE FROM device"
        " WHERE service = ? AND service_path = ? AND apikey = ? AND device_id = ?",
        device.identity,
    )


def device(
    connection: sqlite3.Connection, *, service: str, path: str, device_id: str, apikey: str | None
) -> list[Device]:
    """Return the devices of an id, one per apikey."""
    rows = connection.execute(
        "SELECT document FROM device WHERE service = ? AND service_path = ? AND device_id = ?"
        " AND (? IS NULL OR apikey = ?)",
        (service, path, device_id, apikey, apikey),
    )
    return [_decode_device(document) for (document,) in rows]


def devices(
    connection: sqlite3.Connection, *, service: str, path: str, limit: int, offset: int
) -> tuple[int, list[Device]]:
    """Count the devices of a service path and return a page of them."""
    where = " FROM device WHERE service = ? AND service_path = ?"
    (count,) = connection.execute("SELECT count(*)" + where, (service, path)).fetchone()
    rows = connection.execute(
        "SELECT document" + where + " ORDER BY seq LIMIT ? OFFSET ?", (service, path, limit, offset)
    )
    return count, [_decode_device(document) for (document,) in rows]


def add_groups(connection: sqlite3.Connection, *, groups: Sequence[ServiceGroup]) -> None:
    """Add groups.

    Raises:
        DuplicateGroup: one exists.
    """
    for group in groups:
        try:
            connection.execute(
                "INSERT INTO service_group (service, subservice, resource, apikey, document)"
                " VALUES (?, ?, ?, ?, ?)",
                (group.service, group.subservice, *group.identity, msgspec.json.encode(group)),
            )
        except sqlite3.IntegrityError as error:
            raise DuplicateGroup(
                f"a group with resource {group.resource!r:.80} and this apikey exists already"
            ) from error


def update_group(connection: sqlite3.Connection, *, group: ServiceGroup) -> None:
    """Replace the group of the same identity."""
    connection.execute(
        "UPDATE service_group SET document = ? WHERE resource = ? AND apikey = ?",
        (msgspec.json.encode(group), *group.identity),
    )


def delete_group(connection: sqlite3.Connection, *, group: ServiceGroup, devices: bool) -> None:
    """Remove a group, on demand with its devices."""
    connection.execute(
        "DELETE FROM service_group WHERE resource = ? AND apikey = ?", group.identity
    )
    if devices:
        connection.execute(
            "DELETE FROM device WHERE service = ? AND service_path = ? AND apikey = ?",
            (group.service, group.subservice, group.apikey),
        )


def group(connection: sqlite3.Connection, *, resource: str, apikey: str) -> ServiceGroup | None:
    """Return the group of this identity."""
    found = connection.execute(
        "SELECT document FROM service_group WHERE resource = ? AND apikey = ?", (resource, apikey)
    ).fetchone()
    return None if found is None else _decode_group(found[0])


def groups(
    connection: sqlite3.Connection, *, service: str, path: str | None, limit: int, offset: int
) -> tuple[int, list[ServiceGroup]]:
    """Count the groups of a service and return a page of them."""
    where = " FROM service_group WHERE service = ? AND (? IS NULL OR subservice = ?)"
    (count,) = connection.execute("SELECT count(*)" + where, (service, path, path)).fetchone()
    rows = connection.execute(
        "SELECT document" + where + " ORDER BY seq LIMIT ? OFFSET ?",
        (service, path, path, limit, offset),
    )
    return count, [_decode_group(document) for (document,) in rows]
