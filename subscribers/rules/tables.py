"""The tables of the rules: what is known, what waits, which alerts are open, and the run log."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from subscribers.common.instants import Instant, to_text
from subscribers.common.journal import COMMON_TABLES, Statement
from subscribers.rules.evaluate import Cleared, Event, Failed, Raised, Slot
from subscribers.rules.facts import Facts
from subscribers.rules.knowledge import Pair

MIGRATIONS: Final = (
    COMMON_TABLES
    + """
CREATE TABLE facts (
    rule TEXT, part TEXT, entity TEXT, body BLOB NOT NULL,
    PRIMARY KEY (rule, part, entity)) WITHOUT ROWID;
CREATE TABLE waiting (
    rule TEXT, at INTEGER, part TEXT, entity TEXT, attribute TEXT, body BLOB NOT NULL,
    PRIMARY KEY (rule, at, part, entity, attribute)) WITHOUT ROWID;
CREATE TABLE alerts (
    rule TEXT, subject TEXT, linked TEXT, since INTEGER NOT NULL,
    PRIMARY KEY (rule, subject, linked)) WITHOUT ROWID;
CREATE TABLE runs (
    id INTEGER PRIMARY KEY AUTOINCREMENT, rule TEXT NOT NULL, outcome TEXT NOT NULL,
    at INTEGER NOT NULL, recorded INTEGER NOT NULL, detail BLOB NOT NULL);
CREATE INDEX runs_of_rule ON runs (rule, id);
""",
)
"""The scripts that make the file."""

_RUNS_KEPT: Final = 1000
_RUNS_SHOWN: Final = 100
_OUTCOMES: Final = {Raised: "raised", Cleared: "cleared", Failed: "error"}


def outcome_of(event: Event) -> str:
    """Return the word for an event in the run log and the metrics."""
    return _OUTCOMES[type(event)]


def keep_facts(rule: str, part: str, entity_id: str, facts: Facts | None) -> Statement:
    """Keep what is known of an entity, None to drop it."""
    if facts is None:
        sql = "DELETE FROM facts WHERE rule = ? AND part = ? AND entity = ?"
        return sql, (rule, part, entity_id)
    body = msgspec.json.encode(facts)
    return "REPLACE INTO facts VALUES (?, ?, ?, ?)", (rule, part, entity_id, body)


def keep_waiting(rule: str, slot: Slot, instance: Mapping[str, Any] | None) -> Statement:
    """Keep an observation that waits, None to drop it."""
    if instance is None:
        sql = (
            "DELETE FROM waiting"
            " WHERE rule = ? AND at = ? AND part = ? AND entity = ? AND attribute = ?"
        )
        return sql, (rule, *slot)
    body = msgspec.json.encode(instance)
    return "REPLACE INTO waiting VALUES (?, ?, ?, ?, ?, ?)", (rule, *slot, body)


def keep_alert(rule: str, event: Raised | Cleared) -> Statement:
    """Keep that an alert is open, or no longer."""
    if isinstance(event, Raised):
        return "REPLACE INTO alerts VALUES (?, ?, ?, ?)", (rule, *event.pair, event.since)
    return "DELETE FROM alerts WHERE rule = ? AND subject = ? AND linked = ?", (rule, *event.pair)


def log_run(rule: str, event: Event, recorded: Instant) -> Statement:
    """Add an event to the run log of a rule."""
    if isinstance(event, Failed):
        detail = {"entity": event.entity_id, "problem": event.detail}
    else:
        detail = {"subject": event.pair.subject, "since": to_text(event.since)}
        if event.pair.linked:
            detail["linked"] = event.pair.linked
    sql = "INSERT INTO runs (rule, outcome, at, recorded, detail) VALUES (?, ?, ?, ?, ?)"
    return sql, (rule, outcome_of(event), event.at, recorded, msgspec.json.encode(detail))


def trim_runs(rule: str) -> Statement:
    """Drop the oldest runs of a rule."""
    newest = "SELECT id FROM runs WHERE rule = ? ORDER BY id DESC LIMIT 1 OFFSET ?"
    return f"DELETE FROM runs WHERE rule = ? AND id <= ({newest})", (rule, rule, _RUNS_KEPT)  # noqa: S608 - no value in it


def drop_state(rule: str) -> Iterator[Statement]:
    """Drop all of a rule but its run log."""
    for table in ("facts", "waiting", "alerts"):
        yield f"DELETE FROM {table} WHERE rule = ?", (rule,)  # noqa: S608 - fixed names
    yield "DELETE FROM definitions WHERE name = ?", (rule,)


def read_facts(connection: sqlite3.Connection, rule: str) -> Iterator[tuple[str, str, Facts]]:
    """Yield part, entity and what is known of it."""
    rows = connection.execute("SELECT part, entity, body FROM facts WHERE rule = ?", (rule,))
    for part, entity_id, body in rows:
        yield part, entity_id, msgspec.json.decode(body, type=Facts)


def read_waiting(connection: sqlite3.Connection, rule: str) -> dict[Slot, dict[str, Any]]:
    """Return the observations that wait."""
    sql = "SELECT at, part, entity, attribute, body FROM waiting WHERE rule = ?"
    return {Slot(*row[:4]): msgspec.json.decode(row[4]) for row in connection.execute(sql, (rule,))}


def read_alerts(connection: sqlite3.Connection) -> dict[str, dict[Pair, Instant]]:
    """Return the open alerts by rule."""
    alerts: dict[str, dict[Pair, Instant]] = {}
    rows = connection.execute("SELECT rule, subject, linked, since FROM alerts")
    for rule, subject, linked, since in rows:
        alerts.setdefault(rule, {})[Pair(subject, linked)] = Instant(since)
    return alerts


def read_runs(connection: sqlite3.Connection, rule: str) -> list[dict[str, Any]]:
    """Return the newest runs of a rule, newest first."""
    sql = "SELECT outcome, at, recorded, detail FROM runs WHERE rule = ? ORDER BY id DESC LIMIT ?"
    return [
        {
            "outcome": outcome,
            "at": to_text(at),
            "recordedAt": to_text(recorded),
            **msgspec.json.decode(detail),
        }
        for outcome, at, recorded, detail in connection.execute(sql, (rule, _RUNS_SHOWN))
    ]


def count_runs(connection: sqlite3.Connection, rule: str) -> dict[str, int]:
    """Count the runs that are kept, by outcome."""
    sql = "SELECT outcome, count(*) FROM runs WHERE rule = ? GROUP BY outcome"
    return dict(connection.execute(sql, (rule,)))
