"""What an import does with the registry's SQLite connection."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from iot_agents.common import registry_rows as rows
from iot_agents.common.device import Device, document_of
from iot_agents.common.provisioning_errors import DuplicateDeviceId
from iot_agents.common.service_group import merge_internal


@dataclass(frozen=True, slots=True)
class Way:
    """How devices are taken in.

    Attributes:
        dry_run: nothing is changed.
        skip: what is wrong is left out; otherwise it keeps all out.
        upsert: a device that exists is changed; otherwise that is an error.
    """

    dry_run: bool = False
    skip: bool = False
    upsert: bool = False


@dataclass(frozen=True, slots=True)
class Candidate:
    """A device, and the line of the file that describes it."""

    line: int
    device: Device


@dataclass(frozen=True, slots=True)
class RowError:
    """Why a line of a file is refused; `name` is that of the provisioning API's error."""

    line: int
    column: str
    name: str
    reason: str


@dataclass(slots=True)
class Outcome:
    """What became of the candidates, or would have."""

    created: int = 0
    updated: int = 0
    unchanged: int = 0
    errors: list[RowError] = field(default_factory=list)


def import_devices(
    connection: sqlite3.Connection, *, candidates: Sequence[Candidate], way: Way
) -> Outcome:
    """Take devices in; a dry run changes nothing, nor does an error that may not be skipped."""
    outcome = Outcome()
    connection.execute("SAVEPOINT import")
    for candidate in candidates:
        try:
            _take(connection, candidate.device, way, outcome)
        except DuplicateDeviceId as error:
            outcome.errors.append(RowError(candidate.line, "device_id", error.name, str(error)))
    if way.dry_run or (outcome.errors and not way.skip):
        connection.execute("ROLLBACK TO import")
    connection.execute("RELEASE import")
    return outcome


def _take(connection: sqlite3.Connection, new: Device, way: Way, outcome: Outcome) -> None:
    old = rows.same(connection, new) if way.upsert else None
    if old is None:
        rows.add_devices(connection, devices=(new,))
        outcome.created += 1
        return
    changed = _changed(old, new)
    if changed == old:
        outcome.unchanged += 1
        return
    rows.update_device(connection, old=old, new=changed)
    outcome.updated += 1


def _changed(old: Device, new: Device) -> Device:
    """Return a device with what another one says over it."""
    before, after = document_of(old), document_of(new)
    merged = {**before, **after}
    if "internal_attributes" in before and "internal_attributes" in after:
        merged["internal_attributes"] = merge_internal(
            before["internal_attributes"], after["internal_attributes"]
        )
    return msgspec.convert(merged, Device)
