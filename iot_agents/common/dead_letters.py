"""What could not be used and why: measures no mapping could read, entities the broker refused."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from iot_agents.common.counters import Counters
from iot_agents.common.database import Database


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One thing given up.

    Attributes:
        device: the device it came from.
        at: when it was given up, as a DateTime.
        kind: `measure` as it came from the device, or `entity` as the broker refused it.
        payload: the bytes, for a later try.
    """

    tenant: str
    device: str
    at: str
    kind: str
    reason: str
    payload: bytes


def insert_dead_letters(connection: sqlite3.Connection, letters: Iterable[DeadLetter]) -> None:
    """Keep dead letters as part of a transaction."""
    connection.executemany(
        "INSERT INTO dead_letter (tenant, device, at, kind, reason, payload)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        [(d.tenant, d.device, d.at, d.kind, d.reason, d.payload) for d in letters],
    )


class DeadLetters:
    """The dead letters in a spool's file; of more than `limit` the oldest are dropped."""

    def __init__(self, database: Database, *, limit: int, counters: Counters) -> None:
        self._database = database
        self._limit = limit
        self._counters = counters

    def add(self, letter: DeadLetter) -> asyncio.Future[None]:
        """Keep a dead letter; the future is done once it is durable."""
        return self._database.submit(partial(_add, letter=letter))

    async def newest(self, count: int = 100) -> Sequence[DeadLetter]:
        """Return the newest dead letters, newest first."""
        rows = await self._database.submit(partial(_newest, count=count))
        return [DeadLetter(*row) for row in rows]

    async def count(self) -> int:
        """Return how many there are."""
        return await self._database.submit(_count)

    async def trim(self) -> None:
        """Drop the oldest above the limit."""
        self._counters.dropped += await self._database.submit(partial(_trim, limit=self._limit))


def _add(connection: sqlite3.Connection, *, letter: DeadLetter) -> None:
    insert_dead_letters(connection, (letter,))


def _newest(
    connection: sqlite3.Connection, *, count: int
) -> list[tuple[str, str, str, str, str, bytes]]:
    return connection.execute(
        "SELECT tenant, device, at, kind, reason, payload FROM dead_letter"
        " ORDER BY seq DESC LIMIT ?",
        (count,),
    ).fetchall()


def _count(connection: sqlite3.Connection) -> int:
    (count,) = connection.execute("SELECT count(*) FROM dead_letter").fetchone()
    return int(count)


def _trim(connection: sqlite3.Connection, *, limit: int) -> int:
    return connection.execute(
        "DELETE FROM dead_letter WHERE seq <="
        " (SELECT seq FROM dead_letter ORDER BY seq DESC LIMIT 1 OFFSET ?)",
        (limit,),
    ).rowcount
