"""Which messages a session with an MQTT server has brought, so that none counts twice.

A server that was not told we have a message sends it again when we are back: with its packet id,
and marked as a repetition. That is no proof, as packet ids are used again, and a device may say the
same twice. But what can come again is among the last messages of the session, and a server counts
on from them; so a repetition is one that is there with the same packet id, topic and payload.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Final

DELIVERIES: Final = """
    CREATE TABLE delivery (
        session TEXT NOT NULL, number INTEGER NOT NULL, part INTEGER NOT NULL,
        packet_id INTEGER NOT NULL, digest BLOB NOT NULL,
        PRIMARY KEY (session, number, part)) WITHOUT ROWID
    """
"""What the spool's file needs for it."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """How a session with an MQTT server brought a measure that has no time of its own.

    Attributes:
        number: of the message in its session; later ones are higher.
        since: numbers from here on may come again; None where nothing can have come before.
        keep: those below are forgotten.
        part: which of the measures of its message this is.
        digest: of topic and payload.
    """

    session: str
    number: int
    packet_id: int
    since: int | None
    keep: int
    part: int = 0
    digest: bytes = b""


def is_first(connection: sqlite3.Connection, told: Delivery) -> bool:
    """Tell whether a measure was not delivered before, and note that it is now."""
    found = None
    if told.since is not None:
        found = connection.execute(
            "SELECT 1 FROM delivery WHERE session = ? AND number >= ?"
            " AND packet_id = ? AND part = ? AND digest = ?",
            (told.session, told.since, told.packet_id, told.part, told.digest),
        ).fetchone()
    if not told.part:
        connection.execute(
            "DELETE FROM delivery WHERE session = ? AND number < ?", (told.session, told.keep)
        )
    # One that was known counts as the last again, as it may come a third time.
    connection.execute(
        "REPLACE INTO delivery (session, number, part, packet_id, digest) VALUES (?, ?, ?, ?, ?)",
        (told.session, told.number, told.part, told.packet_id, told.digest),
    )
    return found is None


def last_number(connection: sqlite3.Connection, *, session: str) -> int:
    """Return the highest number of a session; 0 when it brought none."""
    query = "SELECT max(number) FROM delivery WHERE session = ?"
    (number,) = connection.execute(query, (session,)).fetchone()
    return int(number or 0)
