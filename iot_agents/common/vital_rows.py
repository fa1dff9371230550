"""What the registry's file keeps of how devices get on: when last heard, and the last error.

A row is written for a device that was heard, some seconds later and together with others. Whether
a device is overdue is asked by an index of the moments at which devices are.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from iot_agents.common import registry_rows as rows
from iot_agents.common.registry_rows import Known

Identity = tuple[str, str, str, str]
"""What no two devices share, see `Device.identity`."""


@dataclass(frozen=True, slots=True)
class Vital:
    """How a device gets on; times are seconds since 1970, None where there is none yet.

    Attributes:
        seen: when it was heard last, and `lag` how many seconds its message had been on its way.
        failed: when a message of it could not be used, or not wholly; `error` is why.
        measure: the last one, where the device asks for it; `measured` is when.
        due: when it has to be heard again.
        silent: 1 when that is over, otherwise 0.
    """

    seen: float | None
    lag: float | None
    measures: int
    errors: int
    failed: float | None
    error: str
    measure: bytes | None
    measured: float | None
    due: float | None
    silent: int


@dataclass(frozen=True, slots=True)
class Beat:
    """What was heard of a device since its row was written; the counts are those to add.

    Attributes:
        agent: who heard it.
        every: seconds within which it should be heard again, if anyone said so.
    """

    identity: Identity
    agent: str
    seen: float | None = None
    lag: float | None = None
    measures: int = 0
    errors: int = 0
    failed: float | None = None
    error: str = ""
    measure: bytes | None = None
    measured: float | None = None
    every: float | None = None


@dataclass(frozen=True, slots=True)
class Overdue:
    """A device that should have been heard by now."""

    known: Known
    seen: float
    due: float


def write(connection: sqlite3.Connection, *, beats: Sequence[Beat]) -> None:
    """Write what was heard; of a device that is gone nothing is kept."""
    connection.executemany(
        "INSERT INTO vital (service, service_path, apikey, device_id, agent, seen, lag, measures,"
        " errors, failed, error, measure, measured, every, due, silent)"
        " SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?6 + ?14, 0"
        "  FROM device WHERE service = ?1 AND service_path = ?2 AND apikey = ?3 AND device_id = ?4"
        " ON CONFLICT DO UPDATE SET"
        "  agent = CASE WHEN excluded.seen IS NULL THEN agent ELSE excluded.agent END,"
        "  seen = coalesce(excluded.seen, seen), lag = coalesce(excluded.lag, lag),"
        "  measures = measures + excluded.measures, errors = errors + excluded.errors,"
        "  failed = coalesce(excluded.failed, failed),"
        "  error = CASE WHEN excluded.failed IS NULL THEN error ELSE excluded.error END,"
        "  measure = coalesce(excluded.measure, measure),"
        "  measured = coalesce(excluded.measured, measured),"
        "  every = CASE WHEN excluded.seen IS NULL THEN every ELSE excluded.every END,"
        "  due = CASE WHEN excluded.seen IS NULL THEN due ELSE excluded.due END,"
        "  silent = CASE WHEN excluded.seen IS NULL THEN silent ELSE 0 END",
        [
            (
                *beat.identity,
                beat.agent,
                beat.seen,
                beat.lag,
                beat.measures,
                beat.errors,
                beat.failed,
                beat.error,
                beat.measure,
                beat.measured,
                beat.every,
            )
            for beat in beats
        ],
    )


def silent(connection: sqlite3.Connection, *, identities: Iterable[Identity]) -> set[Identity]:
    """Return which devices were found to be overdue and were not heard since."""
    query = (
        "SELECT 1 FROM vital"
        " WHERE service = ? AND service_path = ? AND apikey = ? AND device_id = ? AND silent = 1"
    )
    return {each for each in identities if connection.execute(query, each).fetchone()}


def named(connection: sqlite3.Connection, *, hardware_id: str) -> Identity | None:
    """Return the device that a network knows by a name, if it is the only one."""
    found = rows.devices_of_hardware(connection, hardware_id)
    return found[0].identity if len(found) == 1 else None


def overdue(
    connection: sqlite3.Connection, *, agent: str, now: float, limit: int
) -> Sequence[Overdue]:
    """Return devices that should have been heard by now and were not, the longest first."""
    found = connection.execute(
        "SELECT document, seen, due FROM vital JOIN device"
        " USING (service, service_path, apikey, device_id)"
        " WHERE agent = ? AND due <= ? AND due IS NOT NULL AND silent = 0 ORDER BY due LIMIT ?",
        (agent, now, limit),
    ).fetchall()
    return [
        Overdue(rows.known(connection, rows.decode_device(document)), seen, due)
        for document, seen, due in found
    ]


def note_silent(connection: sqlite3.Connection, *, found: Sequence[Overdue]) -> None:
    """Note that it is known of devices that they are overdue, unless they were heard since."""
    connection.executemany(
        "UPDATE vital SET silent = 1"
        " WHERE service = ? AND service_path = ? AND apikey = ? AND device_id = ? AND due = ?",
        [(*each.known.device.identity, each.due) for each in found],
    )


def read(connection: sqlite3.Connection, *, identities: Sequence[Identity]) -> list[Vital | None]:
    """Return how devices get on; None of those that were never heard."""
    query = (
        "SELECT seen, lag, measures, errors, failed, error, measure, measured, due, silent"
        " FROM vital WHERE service = ? AND service_path = ? AND apikey = ? AND device_id = ?"
    )
    return [_vital(connection.execute(query, each).fetchone()) for each in identities]


def _vital(row: Any) -> Vital | None:
    return None if row is None else Vital(*row)


def forget_measure(connection: sqlite3.Connection, *, identity: Identity) -> None:
    """Forget the last measure of a device."""
    connection.execute(
        "UPDATE vital SET measure = NULL, measured = NULL"
        " WHERE service = ? AND service_path = ? AND apikey = ? AND device_id = ?",
        identity,
    )


def alive(connection: sqlite3.Connection, *, agent: str, now: float) -> None:
    """Note that an agent listens."""
    connection.execute("REPLACE INTO heartbeat (agent, at) VALUES (?, ?)", (agent, now))


def resume(connection: sqlite3.Connection, *, agent: str, now: float) -> None:
    """Give devices the time again in which nobody listened to them."""
    found = connection.execute("SELECT at FROM heartbeat WHERE agent = ?", (agent,)).fetchone()
    if found is not None and now > found[0]:
        connection.execute(
            "UPDATE vital SET due = due + ? WHERE agent = ? AND due IS NOT NULL AND silent = 0",
            (now - found[0], agent),
        )
    alive(connection, agent=agent, now=now)


def encoded(measure: Any, most: int) -> bytes | None:
    """Return a measure as JSON; None when it is none, or larger than may be kept."""
    try:
        found = msgspec.json.encode(measure)
    except (TypeError, ValueError, RecursionError):
        return None
    return found if len(found) <= most else None
