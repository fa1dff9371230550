"""The registry's rows: what the registry does with its SQLite connection."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from iot_agents.common.device import Device, document_of, for_lorawan, internal_section
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
    # Only EUIs are the same in either case; see `hardware_name`.
    """
    UPDATE device SET hardware_id = device_id WHERE hardware_id = lower(device_id)
        AND (length(device_id) <> 16 OR device_id GLOB '*[^0-9A-Fa-f]*');
    CREATE INDEX group_by_apikey ON service_group (apikey);
    CREATE TABLE version (number INTEGER NOT NULL);
    INSERT INTO version VALUES (0)
    """,
    """
    CREATE TABLE vital (
        service TEXT NOT NULL, service_path TEXT NOT NULL, apikey TEXT NOT NULL,
        device_id TEXT NOT NULL, agent TEXT NOT NULL, seen REAL, lag REAL,
        measures INTEGER NOT NULL, errors INTEGER NOT NULL, failed REAL, error TEXT NOT NULL,
        measure BLOB, measured REAL, every REAL, due REAL, silent INTEGER NOT NULL,
        PRIMARY KEY (service, service_path, apikey, device_id)) WITHOUT ROWID;
    CREATE INDEX vital_by_due ON vital (agent, due) WHERE due IS NOT NULL AND silent = 0;
    CREATE TABLE heartbeat (agent TEXT PRIMARY KEY, at REAL NOT NULL) WITHOUT ROWID;
    CREATE INDEX device_by_path ON device (service, service_path)
    """,
)

_LONGEST_ID = 1000
_IDENTITY = " WHERE service = ? AND service_path = ? AND apikey = ? AND device_id = ?"

decode_device: Final = msgspec.json.Decoder(Device).decode
_decode_group = msgspec.json.Decoder(ServiceGroup).decode


def _decoded_devices(rows: Iterable[tuple[bytes]]) -> list[Device]:
    return [decode_device(document) for (document,) in rows]


def _decoded_groups(rows: Iterable[tuple[bytes]]) -> list[ServiceGroup]:
    return [_decode_group(document) for (document,) in rows]


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Known:
    """A device as it is now; another object after any change, so caches may hang on it."""

    device: Device
    in_force: dict[str, Any]

    def internal(self, section: str) -> Mapping[str, Any]:
        """Return a section of `internal_attributes`, the device's members over its group's."""
        return internal_section(self.in_force.get("internal_attributes"), section)


@dataclass(frozen=True, slots=True)
class Selection:
    """Which devices of a service path are meant; None leaves a criterion out.

    Attributes:
        entity: id of the entity that stands for the device.
        entity_type: as it is provisioned of the device itself.
    """

    service: str
    path: str
    entity: str | None = None
    apikey: str | None = None
    entity_type: str | None = None

    def takes(self, device: Device) -> bool:
        """Tell whether a device is meant, whatever its entity is."""
        return (
            (device.service, device.service_path) == (self.service, self.path)
            and self.apikey in (None, device.apikey)
            and self.entity_type in (None, device.entity_type)
        )


class AmbiguousDevice(Exception):
    """Several devices have the id, and nothing tells which one is meant."""


def version(connection: sqlite3.Connection) -> int:
    """Return a number that is another one after each change of what is provisioned."""
    (found,) = connection.execute("SELECT number FROM version").fetchone()
    return int(found)


def generation(connection: sqlite3.Connection) -> int:
    """Return a number that is another one also after a group has taken in a device."""
    (found,) = connection.execute(
        "SELECT number + (SELECT coalesce(max(seq), 0) FROM device) FROM version"
    ).fetchone()
    return int(found)


def changed(connection: sqlite3.Connection) -> None:
    """Let all who share the file know that what they remember may be wrong."""
    connection.execute("UPDATE version SET number = number + 1")


def known(connection: sqlite3.Connection, device: Device, apikey: str = "") -> Known:
    """Return a device with what is in force for it.

    Args:
        apikey: the key it sent, which tells the group of a device that has none of its own.
    """
    return Known(device, in_force(device, _group_of(connection, device, apikey)))


def _group_of(
    connection: sqlite3.Connection, device: Device, apikey: str = ""
) -> ServiceGroup | None:
    """Return the group of a device: of its apikey, or of the one it sent if it has none."""
    key = device.apikey or apikey
    groups = _decoded_groups(
        connection.execute(
            "SELECT document FROM service_group WHERE service = ? AND subservice = ?"
            " AND (? = '' OR apikey = ?) ORDER BY seq",
            (device.service, device.service_path, key, key),
        )
    )
    if groups and not key and for_lorawan(document_of(device)):
        groups = [group for group in groups if not _for_others(group)]
    same_type = [group for group in groups if group.entity_type == device.entity_type]
    if same_type:
        return same_type[0]
    # Without an apikey nothing else tells which of several groups is meant.
    return groups[0] if groups and (key or len(groups) == 1) else None


def _for_others(group: ServiceGroup) -> bool:
    """Tell whether a group is of devices that post to its path, and not of LoRaWAN devices."""
    return group.resource.startswith("/") and not for_lorawan(document_of(group))


def is_lent(connection: sqlite3.Connection, device: Device, apikey: str) -> bool:
    """Tell whether a device without an apikey has this one of a group of its service and path."""
    found = connection.execute(
        "SELECT 1 FROM service_group WHERE service = ? AND subservice = ? AND apikey = ?",
        (device.service, device.service_path, apikey),
    ).fetchone()
    return not device.apikey and found is not None


def has_devices(connection: sqlite3.Connection, group: ServiceGroup, count: int) -> bool:
    """Tell whether a group has so many devices, or more; those that borrow its key do not count."""
    query = (
        "SELECT count(*) FROM (SELECT 1 FROM device"
        " WHERE service = ? AND service_path = ? AND apikey = ? LIMIT ?)"
    )
    place = (group.service, group.subservice, group.apikey)
    (found,) = connection.execute(query, (*place, count)).fetchone()
    return bool(found >= count)


def commanding_groups(connection: sqlite3.Connection) -> list[ServiceGroup]:
    """Return the groups that have commands."""
    groups = _decoded_groups(connection.execute("SELECT document FROM service_group ORDER BY seq"))
    return [group for group in groups if group.commands]


def commanded(connection: sqlite3.Connection, *, after: int, limit: int) -> tuple[int, list[Known]]:
    """Return devices that have commands, of those numbered above `after`.

    Returns:
        The number to go on after, 0 when these were the last; and the devices.
    """
    rows = connection.execute(
        "SELECT seq, document FROM device WHERE seq > ? ORDER BY seq LIMIT ?", (after, limit)
    ).fetchall()
    found = [known(connection, decode_device(document)) for _, document in rows]
    return (
        rows[-1][0] if len(rows) == limit else 0,
        [each for each in found if each.in_force["commands"]],
    )


def devices_of_hardware(connection: sqlite3.Connection, hardware_id: str) -> list[Device]:
    """Return the devices that a network knows by a name."""
    return _decoded_devices(
        connection.execute("SELECT document FROM device WHERE hardware_id = ?", (hardware_id,))
    )


def add_devices(connection: sqlite3.Connection, *, devices: Sequence[Device]) -> None:
    """Add devices.

    Raises:
        DuplicateDeviceId: one exists.
    """
    for device in devices:
        if not device.apikey and _has_twin(connection, device):
            raise DuplicateDeviceId(
                f"device {device.device_id!r:.80} exists already with an apikey"
            )
        try:
            connection.execute(
                "INSERT INTO device"
                " (service, service_path, apikey, device_id, hardware_id, document)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (*device.identity, device.hardware_id, msgspec.json.encode(device)),
            )
        except sqlite3.IntegrityError as error:
            raise DuplicateDeviceId(f"device {device.device_id!r:.80} exists already") from error


def _has_twin(connection: sqlite3.Connection, device: Device) -> bool:
    # Measures with a group's key would go to the twin, and this one would never hear of them.
    service, path, _, device_id = device.identity
    found = connection.execute(
        # SQLite would else read all of the service by another index.
        "SELECT 1 FROM device INDEXED BY device_by_id WHERE service = ? AND device_id = ?"
        " AND service_path = ? AND apikey <> ''",
        (service, device_id, path),
    ).fetchone()
    return found is not None


def same(connection: sqlite3.Connection, device: Device) -> Device | None:
    """Return the device of the same identity."""
    found = connection.execute(
        "SELECT document FROM device"
        " WHERE service = ? AND service_path = ? AND apikey = ? AND device_id = ?",
        device.identity,
    )
    return next(iter(_decoded_devices(found)), None)


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
        connection.execute(f"UPDATE vital SET apikey = ?{_IDENTITY}", (new.apikey, *old.identity))  # noqa: S608 - no input
    except sqlite3.IntegrityError as error:
        raise DuplicateDeviceId(f"device {new.device_id!r:.80} has that apikey already") from error


def delete_devices(connection: sqlite3.Connection, *, devices: Sequence[Device]) -> None:
    """Remove devices."""
    identities = [device.identity for device in devices]
    for table in ("device", "vital"):
        connection.executemany(f"DELETE FROM {table}{_IDENTITY}", identities)  # noqa: S608 - no input


def device(
    connection: sqlite3.Connection, *, service: str, path: str, device_id: str, apikey: str | None
) -> list[Known]:
    """Return the devices of an id, one per apikey."""
    found = _decoded_devices(
        connection.execute(
            "SELECT document FROM device INDEXED BY device_by_id"
            " WHERE service = ? AND service_path = ? AND device_id = ?"
            " AND (? IS NULL OR apikey = ?)",
            (service, path, device_id, apikey, apikey),
        )
    )
    return [known(connection, each) for each in found]


def devices(
    connection: sqlite3.Connection, *, selection: Selection, limit: int, offset: int
) -> tuple[int, list[Known]]:
    """Count the selected devices and return a page of them."""
    if selection.entity is not None:
        named = by_entity(connection, selection.service, selection.entity)
        chosen = [each for each in named if selection.takes(each.device)]
        return len(chosen), chosen[offset : offset + limit]
    where = (
        " FROM device WHERE service = ?1 AND service_path = ?2 AND (?3 IS NULL OR apikey = ?3)"
        " AND (?4 IS NULL OR json_extract(CAST(document AS TEXT), '$.entity_type') = ?4)"
    )
    by = (selection.service, selection.path, selection.apikey, selection.entity_type)
    (count,) = connection.execute("SELECT count(*)" + where, by).fetchone()
    page = connection.execute(
        "SELECT document" + where + " ORDER BY seq LIMIT ?5 OFFSET ?6", (*by, limit, offset)
    )
    return count, [known(connection, each) for each in _decoded_devices(page)]


def by_entity(connection: sqlite3.Connection, service: str, entity_id: str) -> list[Known]:
    """Return the devices that an entity stands for; usually one."""
    named = connection.execute(
        "SELECT document FROM device WHERE service = ?"
        " AND json_extract(CAST(document AS TEXT), '$.entity_name') = ?",
        (service, entity_id),
    ).fetchall()
    if not named:
        # Otherwise the id is made of the type and the device's id, see `in_force`.
        tails = [entity_id[start:] for start in range(1, min(len(entity_id), _LONGEST_ID))]
        marks = ", ".join("?" * len(tails))
        named = connection.execute(
            f"SELECT document FROM device WHERE service = ? AND device_id IN ({marks})",  # noqa: S608 - only marks
            (service, *tails),
        ).fetchall()
    found = [known(connection, each) for each in _decoded_devices(named)]
    return [each for each in found if each.in_force.get("entity_name") == entity_id]


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


def update_group(connection: sqlite3.Connection, *, old: ServiceGroup, new: ServiceGroup) -> None:
    """Put a group in the place of another.

    Raises:
        DuplicateGroup: a third one has the new identity.
    """
    try:
        connection.execute(
            "UPDATE service_group SET resource = ?, apikey = ?, document = ?"
            " WHERE resource = ? AND apikey = ?",
            (*new.identity, msgspec.json.encode(new), *old.identity),
        )
    except sqlite3.IntegrityError as error:
        raise DuplicateGroup("another group has that resource and apikey") from error


def delete_group(connection: sqlite3.Connection, *, group: ServiceGroup, devices: bool) -> None:
    """Remove a group, on demand with its devices."""
    connection.execute(
        "DELETE FROM service_group WHERE resource = ? AND apikey = ?", group.identity
    )
    for table in ("device", "vital") if devices else ():
        connection.execute(
            f"DELETE FROM {table} WHERE service = ? AND service_path = ? AND apikey = ?",  # noqa: S608 - no input
            (group.service, group.subservice, group.apikey),
        )


def group(connection: sqlite3.Connection, *, resource: str, apikey: str) -> ServiceGroup | None:
    """Return the group of this identity."""
    found = connection.execute(
        "SELECT document FROM service_group WHERE resource = ? AND apikey = ?", (resource, apikey)
    ).fetchone()
    return None if found is None else _decode_group(found[0])


def groups_of_resource(connection: sqlite3.Connection, resource: str) -> list[ServiceGroup]:
    """Return up to two groups of a resource, of whatever service."""
    query = "SELECT document FROM service_group WHERE resource = ? LIMIT 2"
    return _decoded_groups(connection.execute(query, (resource,)))


def groups_of_apikey(connection: sqlite3.Connection, apikey: str) -> list[ServiceGroup]:
    """Return up to two groups of an apikey, of whatever service."""
    query = "SELECT document FROM service_group WHERE apikey = ? LIMIT 2"
    return _decoded_groups(connection.execute(query, (apikey,)))


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
    return count, _decoded_groups(rows)
