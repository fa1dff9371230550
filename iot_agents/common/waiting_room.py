"""The waiting room: measures of devices nobody has provisioned, with their raw payload.

What waits can be read again: with the payload the measure itself is kept, as its transport made
it. So when the device becomes known, its measures go on from here, see `replays`.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from typing import Self

import msgspec

from iot_agents.common.counters import Counters
from iot_agents.common.database import Database
from iot_agents.common.measure import Measure

_TRIM_EVERY = 50
_decode = msgspec.json.Decoder(Measure).decode


class Kind(StrEnum):
    """What a measure waits for."""

    UNKNOWN = "unknown"
    """That somebody provisions its device: then it goes on by itself."""
    UNMAPPED = "unmapped"
    """That its device or a mapping says what to make of it: then somebody has to let it go on."""


@dataclass(frozen=True, slots=True)
class Who:
    """Whose measures belong together: a device as it calls itself.

    Attributes:
        apikey: None where the protocol has none.
    """

    protocol: str
    device_id: str
    apikey: str | None = None

    @classmethod
    def of(cls, measure: Measure) -> Self:
        """Return who sent a measure."""
        return cls(measure.source.protocol, measure.device_id, measure.apikey)


@dataclass(frozen=True, slots=True)
class Waiting:
    """A measure for the waiting room.

    Attributes:
        at: when it came, as a DateTime.
        reason: why it could not go on.
    """

    measure: Measure
    at: str
    reason: str
    kind: Kind = Kind.UNKNOWN


@dataclass(frozen=True, slots=True)
class WaitingDevice:
    """A device of which measures wait: how many, since when, and the newest of them."""

    who: Who
    measures: int
    first: str
    last: str
    topic: str
    reason: str
    kind: Kind
    payload: bytes


@dataclass(frozen=True, slots=True)
class WaitingRow:
    """A measure in the waiting room; none where a former version has left its payload only."""

    seq: int
    measure: Measure | None


class WaitingRoom:
    """The waiting room in a spool's file; about `limit` measures stay, the oldest go first."""

    def __init__(
        self, database: Database, unknown: Sequence[Who], *, limit: int, counters: Counters
    ) -> None:
        self._database = database
        self._limit = limit
        self._counters = counters
        self._unknown = dict.fromkeys(unknown, 1)

    @classmethod
    async def open(cls, database: Database, *, limit: int, counters: Counters) -> Self:
        """Return the waiting room of a file."""
        unknown = await database.submit(_unknown)
        return cls(database, unknown, limit=limit, counters=counters)

    @property
    def unknown(self) -> Sequence[Who]:
        """Of whom measures wait until they are provisioned."""
        return tuple(self._unknown)

    def holds(self, who: Who) -> bool:
        """Tell whether measures wait until their device is provisioned; costs a look-up."""
        return who in self._unknown

    def add(self, waiting: Waiting) -> asyncio.Future[int]:
        """Keep a measure; the future is done, with the number it pushed out, once it is durable."""
        who = Who.of(waiting.measure)
        if waiting.kind is Kind.UNKNOWN:
            self._unknown[who] = self._unknown.get(who, 0) + 1
        future = self._database.submit(partial(_add, waiting=waiting, limit=self._limit))
        future.add_done_callback(self._added)
        return asyncio.shield(future)

    async def devices(self, limit: int = 1000) -> Sequence[WaitingDevice]:
        """Return of which devices measures wait, the one that sent last first."""
        return await self._database.submit(partial(_devices, limit=limit))

    async def rows(
        self, who: Who, *, after: int = 0, unknown_only: bool, limit: int = 100
    ) -> Sequence[WaitingRow]:
        """Return what waits of a device above a number, oldest first.

        When nothing does, `holds` is false from then on, until another measure comes.
        """
        seen = self._unknown.get(who)
        found = await self._database.submit(
            partial(_rows, who=who, after=after, unknown_only=unknown_only, limit=limit)
        )
        if not found and self._unknown.get(who) == seen:
            self._unknown.pop(who, None)
        return found

    async def release(self, gone: Sequence[int], stay: Mapping[int, str]) -> None:
        """Forget measures that went on, and note why others wait for a mapping now."""
        await self._database.submit(partial(_release, gone=gone, stay=stay))

    async def forget(self, who: Sequence[Who]) -> int:
        """Remove all that waits of some devices and return how many measures that were."""
        removed = await self._database.submit(partial(_forget, devices=who))
        for each in who:
            self._unknown.pop(each, None)
        return removed

    def _added(self, future: asyncio.Future[int]) -> None:
        if future.exception() is None:
            self._counters.waiting += 1
            self._counters.dropped += future.result()


def _unknown(connection: sqlite3.Connection) -> list[Who]:
    rows = connection.execute(
        "SELECT DISTINCT protocol, device_id, apikey FROM waiting"
        " WHERE kind = 'unknown' AND measure IS NOT NULL"
    )
    return [Who(*row) for row in rows]


def _add(connection: sqlite3.Connection, *, waiting: Waiting, limit: int) -> int:
    measure = waiting.measure
    cursor = connection.execute(
        "INSERT INTO waiting (protocol, device_id, at, topic, reason, payload, apikey, kind,"
        " measure) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            measure.source.protocol,
            measure.device_id,
            waiting.at,
            measure.source.topic,
            waiting.reason,
            measure.raw,
            measure.apikey,
            waiting.kind,
            msgspec.json.encode(replace(measure, raw=b"")),
        ),
    )
    if (cursor.lastrowid or 0) % _TRIM_EVERY:
        return 0
    return connection.execute(
        "DELETE FROM waiting WHERE seq <="
        " (SELECT seq FROM waiting ORDER BY seq DESC LIMIT 1 OFFSET ?)",
        (limit,),
    ).rowcount


def _devices(connection: sqlite3.Connection, *, limit: int) -> list[WaitingDevice]:
    rows = connection.execute(
        "SELECT newest.protocol, newest.device_id, newest.apikey, counted.measures, oldest.at,"
        " newest.at, newest.topic, newest.reason, newest.kind, newest.payload"
        " FROM (SELECT min(seq) AS first, max(seq) AS last, count(*) AS measures"
        "       FROM waiting GROUP BY protocol, device_id, apikey) AS counted"
        " JOIN waiting AS oldest ON oldest.seq = counted.first"
        " JOIN waiting AS newest ON newest.seq = counted.last"
        " ORDER BY counted.last DESC LIMIT ?",
        (limit,),
    )
    return [
        WaitingDevice(
            Who(protocol, device_id, apikey), count, first, last, topic, reason, kind, raw
        )
        for protocol, device_id, apikey, count, first, last, topic, reason, kind, raw in rows
    ]


def _rows(
    connection: sqlite3.Connection, *, who: Who, after: int, unknown_only: bool, limit: int
) -> list[WaitingRow]:
    rows = connection.execute(
        "SELECT seq, payload, measure FROM waiting"
        " WHERE protocol = ? AND device_id = ? AND apikey IS ? AND seq > ?"
        " AND (kind = 'unknown' OR NOT ?) ORDER BY seq LIMIT ?",
        (who.protocol, who.device_id, who.apikey, after, unknown_only, limit),
    )
    return [
        WaitingRow(seq, None if measure is None else replace(_decode(measure), raw=payload))
        for seq, payload, measure in rows
    ]


def _release(
    connection: sqlite3.Connection, *, gone: Sequence[int], stay: Mapping[int, str]
) -> None:
    connection.executemany("DELETE FROM waiting WHERE seq = ?", [(seq,) for seq in gone])
    connection.executemany(
        "UPDATE waiting SET kind = 'unmapped', reason = ? WHERE seq = ?",
        [(reason, seq) for seq, reason in stay.items()],
    )


def _forget(connection: sqlite3.Connection, *, devices: Sequence[Who]) -> int:
    return connection.executemany(
        "DELETE FROM waiting WHERE protocol = ? AND device_id = ? AND apikey IS ?",
        [(who.protocol, who.device_id, who.apikey) for who in devices],
    ).rowcount
