"""The waiting room: measures of devices nobody has provisioned, with their raw payload."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from iot_agents.common.counters import Counters
from iot_agents.common.database import Database

_TRIM_EVERY = 50
_DeviceRow = tuple[str, str, int, str, str, str, str, bytes]


@dataclass(frozen=True, slots=True)
class Waiting:
    """A measure in the waiting room.

    Attributes:
        at: when it came, as a DateTime.
        topic: the MQTT topic or HTTP path it came by.
        reason: why it could not go on.
    """

    protocol: str
    device_id: str
    at: str
    topic: str
    reason: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class WaitingDevice:
    """An unknown device and how much of it waits."""

    protocol: str
    device_id: str
    measures: int
    first: str
    last: str
    topic: str
    reason: str
    payload: bytes


class WaitingRoom:
    """The waiting room in a spool's file; about `limit` measures stay, the oldest go first."""

    def __init__(self, database: Database, *, limit: int, counters: Counters) -> None:
        self._database = database
        self._limit = limit
        self._counters = counters

    def add(self, waiting: Waiting) -> asyncio.Future[int]:
        """Keep a measure; the future is done, with the number it pushed out, once it is durable."""
        future = self._database.submit(partial(_add, waiting=waiting, limit=self._limit))
        future.add_done_callback(self._added)
        return asyncio.shield(future)

    async def devices(self, limit: int = 1000) -> Sequence[WaitingDevice]:
        """Return the unknown devices, the one that sent last first, with its newest payload."""
        rows = await self._database.submit(partial(_devices, limit=limit))
        return [WaitingDevice(*row) for row in rows]

    async def forget(self, device_id: str) -> int:
        """Remove what waits of a device and return how much that was."""
        return await self._database.submit(partial(_forget, device_id=device_id))

    def _added(self, future: asyncio.Future[int]) -> None:
        if future.exception() is None:
            self._counters.waiting += 1
            self._counters.dropped += future.result()


def _add(connection: sqlite3.Connection, *, waiting: Waiting, limit: int) -> int:
    cursor = connection.execute(
        "INSERT INTO waiting (protocol, device_id, at, topic, reason, payload)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (
            waiting.protocol,
            waiting.device_id,
            waiting.at,
            waiting.topic,
            waiting.reason,
            waiting.payload,
        ),
    )
    if (cursor.lastrowid or 0) % _TRIM_EVERY:
        return 0
    return connection.execute(
        "DELETE FROM waiting WHERE seq <="
        " (SELECT seq FROM waiting ORDER BY seq DESC LIMIT 1 OFFSET ?)",
        (limit,),
    ).rowcount


def _devices(connection: sqlite3.Connection, *, limit: int) -> list[_DeviceRow]:
    return connection.execute(
        "SELECT newest.protocol, newest.device_id, counted.measures, oldest.at, newest.at,"
        " newest.topic, newest.reason, newest.payload"
        " FROM (SELECT min(seq) AS first, max(seq) AS last, count(*) AS measures"
        "       FROM waiting GROUP BY protocol, device_id) AS counted"
        " JOIN waiting AS oldest ON oldest.seq = counted.first"
        " JOIN waiting AS newest ON newest.seq = counted.last"
        " ORDER BY counted.last DESC LIMIT ?",
        (limit,),
    ).fetchall()


def _forget(connection: sqlite3.Connection, *, device_id: str) -> int:
    return connection.execute("DELETE FROM waiting WHERE device_id = ?", (device_id,)).rowcount
