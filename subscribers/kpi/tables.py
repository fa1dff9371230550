"""The tables of the KPIs: observations, members, and how far each KPI has come."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from subscribers.common.instants import Instant
from subscribers.common.journal import COMMON_TABLES, Statement
from subscribers.kpi.publish import entity_id
from subscribers.kpi.series import Carry

MIGRATIONS: Final = (
    COMMON_TABLES
    + """
CREATE TABLE observations (
    source TEXT, member TEXT, at INTEGER, state TEXT NOT NULL,
    PRIMARY KEY (source, member, at)) WITHOUT ROWID;
CREATE TABLE members (
    source TEXT, member TEXT, groups BLOB NOT NULL, carry BLOB NOT NULL,
    PRIMARY KEY (source, member)) WITHOUT ROWID;
CREATE TABLE progress (kpi TEXT PRIMARY KEY, opened INTEGER NOT NULL, closed INTEGER);
CREATE TABLE published (
    kpi TEXT, member_group TEXT, value REAL NOT NULL,
    PRIMARY KEY (kpi, member_group)) WITHOUT ROWID;
""",
)
"""The scripts that make the file."""


class Kept(NamedTuple):
    """How far a KPI had come."""

    opened: Instant
    closed: Instant | None
    values: dict[str, float]


def keep_observation(source: str, member: str, at: Instant, state: str) -> Statement:
    """Keep an observation."""
    return "REPLACE INTO observations VALUES (?, ?, ?, ?)", (source, member, at, state)


def keep_member(
    source: str, member: str, groups: tuple[str, ...], carry: Carry | None
) -> Statement:
    """Keep what a member belongs to, and what remains of its old observations."""
    row = (source, member, msgspec.json.encode(groups), msgspec.json.encode(carry))
    return "REPLACE INTO members VALUES (?, ?, ?, ?)", row


def drop_observations(source: str, member: str, before: Instant) -> Statement:
    """Drop the observations of a member that its carry stands for."""
    sql = "DELETE FROM observations WHERE source = ? AND member = ? AND at < ?"
    return sql, (source, member, before)


def keep_progress(
    kpi: str, opened: Instant, closed: Instant | None, values: Mapping[str, float]
) -> Iterator[Statement]:
    """Keep how far a KPI has come."""
    yield "REPLACE INTO progress VALUES (?, ?, ?)", (kpi, opened, closed)
    yield "DELETE FROM published WHERE kpi = ?", (kpi,)
    for group, value in values.items():
        yield "INSERT INTO published VALUES (?, ?, ?)", (kpi, group, value)


def drop_source(source: str) -> Iterator[Statement]:
    """Drop what was kept of a source that no KPI has any more."""
    yield "DELETE FROM observations WHERE source = ?", (source,)
    yield "DELETE FROM members WHERE source = ?", (source,)


def drop_kpi(kpi: str) -> Iterator[Statement]:
    """Drop what was kept of a KPI that is gone."""
    yield "DELETE FROM progress WHERE kpi = ?", (kpi,)
    yield "DELETE FROM published WHERE kpi = ?", (kpi,)
    yield "DELETE FROM definitions WHERE name = ?", (kpi,)


def read_sources(connection: sqlite3.Connection) -> set[str]:
    """Return the sources of which something is kept."""
    return {row[0] for row in connection.execute("SELECT DISTINCT source FROM members")}


def read_members(
    connection: sqlite3.Connection, source: str
) -> Iterator[tuple[str, tuple[str, ...], Carry | None, list[tuple[Instant, str]]]]:
    """Yield the members of a source with groups, carry and observations."""
    observations: dict[str, list[tuple[Instant, str]]] = {}
    sql = "SELECT member, at, state FROM observations WHERE source = ? ORDER BY member, at"
    for member, at, state in connection.execute(sql, (source,)):
        observations.setdefault(member, []).append((Instant(at), state))
    sql = "SELECT member, groups, carry FROM members WHERE source = ?"
    for member, groups, carry in connection.execute(sql, (source,)):
        yield (
            member,
            msgspec.json.decode(groups, type=tuple[str, ...]),
            msgspec.json.decode(carry, type=Carry | None),
            observations.get(member, []),
        )


def read_progress(connection: sqlite3.Connection) -> dict[str, Kept]:
    """Return how far each KPI had come."""
    values: dict[str, dict[str, float]] = {}
    for kpi, group, value in connection.execute("SELECT kpi, member_group, value FROM published"):
        values.setdefault(kpi, {})[group] = value
    rows = connection.execute("SELECT kpi, opened, closed FROM progress")
    return {kpi: Kept(opened, closed, values.get(kpi, {})) for kpi, opened, closed in rows}


def read_values(connection: sqlite3.Connection, kpi: str) -> list[dict[str, Any]]:
    """Return the values of a KPI's newest closed window, to be read by people."""
    sql = "SELECT member_group, value FROM published WHERE kpi = ? ORDER BY member_group"
    return [
        {"group": group, "value": value, "entity": entity_id(kpi, group)}
        for group, value in connection.execute(sql, (kpi,))
    ]
