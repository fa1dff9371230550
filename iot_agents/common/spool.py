"""The spool: measures on disk between their acknowledgement and their arrival at the broker.

What a measure brings is kept in one transaction: its entities, its idempotency key and the state
its agent derived them from. Order is that of acceptance. A full spool refuses, so that the source
keeps the measure; what outlives `max_age` is given up, oldest first, and counted.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar

import msgspec

from iot_agents.common.counters import Counters
from iot_agents.common.database import Database
from iot_agents.common.dead_letters import DeadLetter, insert_dead_letters
from iot_agents.common.deliveries import DELIVERIES, Delivery, is_first, last_number

T = TypeVar("T")

MIGRATIONS = (
    """
    CREATE TABLE measure (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, tenant TEXT NOT NULL, device TEXT NOT NULL,
        accepted REAL NOT NULL, operation TEXT NOT NULL, ids TEXT NOT NULL, body BLOB NOT NULL);
    CREATE TABLE seen (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE,
        moment REAL NOT NULL, at REAL NOT NULL);
    CREATE TABLE state (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE waiting (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, protocol TEXT NOT NULL, device_id TEXT NOT NULL,
        at TEXT NOT NULL, topic TEXT NOT NULL, reason TEXT NOT NULL, payload BLOB NOT NULL);
    CREATE INDEX waiting_by_device ON waiting (protocol, device_id);
    CREATE TABLE dead_letter (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, tenant TEXT NOT NULL, device TEXT NOT NULL,
        at TEXT NOT NULL, kind TEXT NOT NULL, reason TEXT NOT NULL, payload BLOB NOT NULL)
    """,
    """
    CREATE TABLE command (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, key TEXT UNIQUE,
        tenant TEXT NOT NULL, entity_id TEXT NOT NULL, entity_type TEXT NOT NULL,
        device_id TEXT NOT NULL, name TEXT NOT NULL, value BLOB NOT NULL, state TEXT NOT NULL,
        idempotent INTEGER NOT NULL, handle TEXT NOT NULL, info BLOB NOT NULL, at REAL NOT NULL,
        changed REAL NOT NULL, expires REAL NOT NULL, not_before REAL NOT NULL);
    CREATE INDEX command_by_state ON command (state, expires);
    CREATE INDEX command_by_entity ON command (tenant, entity_id, state, seq);
    CREATE INDEX command_by_handle ON command (handle)
    """,
    """
    ALTER TABLE waiting ADD COLUMN apikey TEXT;
    ALTER TABLE waiting ADD COLUMN kind TEXT NOT NULL DEFAULT 'unknown';
    ALTER TABLE waiting ADD COLUMN measure BLOB
    """,
    """
    ALTER TABLE command ADD COLUMN address TEXT NOT NULL DEFAULT '';
    ALTER TABLE command ADD COLUMN confirmed INTEGER NOT NULL DEFAULT 0;
    DROP INDEX command_by_handle;
    CREATE INDEX command_by_address ON command (address, seq)
    """,
    "ALTER TABLE command ADD COLUMN alone INTEGER NOT NULL DEFAULT 0",
    DELIVERIES,
)


# No key has it: what begins with a text lies between the text and the text with this behind it.
_LAST = "\U0010ffff"


class Operation(StrEnum):
    """What the broker shall do with the entities of a row."""

    UPSERT = "upsert"
    DELETE = "delete"
    STRIP = "strip"
    """Remove the attributes that the entities name."""


class SpoolFull(Exception):
    """The spool holds as many measures as it may: the source must keep this one."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What one measure brings.

    Attributes:
        entities: normalized, with short names; to delete, only their ids count.
        key: an idempotency key, or empty.
        moment: when the measure was made. The same key with another moment, further away than
            the spool's `same_moment`, is a new measure: the device's counter started again.
        state: what the agent has to remember, by its own keys; None forgets.
        delivery: how it came, where it has no key.
    """

    tenant: str
    device: str
    entities: Sequence[Mapping[str, Any]] = ()
    operation: Operation = Operation.UPSERT
    key: str = ""
    moment: float = 0.0
    state: Mapping[str, bytes | None] = field(default_factory=dict)
    delivery: Delivery | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """A measure in the spool.

    Attributes:
        ids: the entities it writes, in the order of the body.
        body: a JSON array of entities.
    """

    seq: int
    tenant: str
    device: str
    operation: Operation
    ids: tuple[str, ...]
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much the spool keeps; ages in seconds.

    Attributes:
        max_measures: one more is refused.
        max_age: older measures are given up.
        key_window: how long an idempotency key is remembered.
        same_moment: see `Entry.moment`.
    """

    max_measures: int = 1_000_000
    max_age: float = 7 * 86_400.0
    key_window: float = 2 * 86_400.0
    same_moment: float = 600.0


class Spool:
    """The spool of one agent; open it with `Spool.open`."""

    def __init__(
        self,
        database: Database,
        pending: int,
        *,
        limits: Limits,
        counters: Counters,
        clock: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._pending = pending
        self._limits = limits
        self._counters = counters
        self._clock = clock
        self._room = asyncio.Event()
        self._drained = asyncio.Event()
        self.arrived = asyncio.Event()
        """Set when rows were added; whoever reads them clears it."""

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        path: Path,
        *,
        counters: Counters,
        clock: Callable[[], datetime],
        limits: Limits | None = None,
    ) -> AsyncIterator[Self]:
        """Open a spool's file, made when it is missing.

        Raises:
            FileInUse: another process runs the same agent on it.
        """
        async with Database.open(path, MIGRATIONS) as database:
            pending = await database.submit(_count)
            yield cls(database, pending, limits=limits or Limits(), counters=counters, clock=clock)

    @property
    def database(self) -> Database:
        """The spool's file, which the waiting room and the dead letters share."""
        return self._database

    @property
    def pending(self) -> int:
        """How many measures are not delivered yet, those on their way to the disk included."""
        return self._pending

    @property
    def full(self) -> bool:
        """Whether the next measure would be refused."""
        return self._pending >= self._limits.max_measures

    async def room(self) -> None:
        """Wait until the spool takes a measure."""
        while self.full:
            self._room.clear()
            await self._room.wait()

    async def drained(self) -> None:
        """Wait until every measure is delivered or given up."""
        while self._pending:
            self._drained.clear()
            await self._drained.wait()

    def put(self, entry: Entry) -> asyncio.Future[bool]:
        """Queue what a measure brings; calls keep their order.

        Returns:
            A future that is done once all is durable: False when the measure had come before.

        Raises:
            SpoolFull: nothing was queued.
        """
        if entry.entities and self.full:
            raise SpoolFull(f"the spool holds {self._pending} measures, which is its limit")
        now = self._clock().timestamp()
        row = _encode(entry, now) if entry.entities else None
        same = self._limits.same_moment
        future = self._database.submit(partial(_insert, entry=entry, row=row, now=now, same=same))
        self._pending += row is not None
        future.add_done_callback(partial(self._stored, int(row is not None)))
        # The job runs even when its caller goes away, and must then be counted like any other.
        return asyncio.shield(future)

    def change(
        self, job: Callable[[sqlite3.Connection], tuple[T, Sequence[Entry]]]
    ) -> asyncio.Future[T]:
        """Queue a job on what else is in the file, with the measures that follow from it.

        Both become durable together. The job is given the connection and returns its result and
        the entries to add, for which there is always room.
        """
        now = self._clock().timestamp()
        future = self._database.submit(partial(_changed, job=job, now=now))
        result: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        def done(changed: asyncio.Future[tuple[T, int]]) -> None:
            error = changed.exception()
            if error is None:
                value, rows = changed.result()
                self._pending += rows
                self._counters.spooled += rows
                self.arrived.set()
                if not result.done():
                    result.set_result(value)
            elif not result.done():
                result.set_exception(error)

        future.add_done_callback(done)
        return result

    def _stored(self, rows: int, future: asyncio.Future[bool]) -> None:
        if future.exception() is not None:
            self._release(rows)
        elif future.result():
            self._counters.spooled += rows
            self.arrived.set()
        else:
            self._counters.duplicates += 1
            self._release(rows)

    async def load(self, after: int, limit: int) -> list[Row]:
        """Return rows with a higher number than `after`, oldest first."""
        rows = await self._database.submit(partial(_load, after=after, limit=limit))
        return [_row(row) for row in rows]

    async def settle(self, done: Sequence[int], dead: Sequence[DeadLetter] = ()) -> None:
        """Forget rows that need not be sent any more, and keep what was refused of them."""
        removed = await self._database.submit(partial(_settle, done=done, dead=dead))
        self._release(removed)
        self._counters.delivered += len(done)
        self._counters.dead_letters += len(dead)

    async def expire(self) -> int:
        """Give up what is too old and forget old keys.

        Returns:
            The number of the newest row given up, 0 when there was none.
        """
        now = self._clock().timestamp()
        newest, dropped = await self._database.submit(
            partial(_expire, before=now - self._limits.max_age, keys=now - self._limits.key_window)
        )
        self._release(dropped)
        self._counters.dropped += dropped
        return newest

    async def state(self, key: str) -> bytes | None:
        """Return what was remembered under a key."""
        return await self._database.submit(partial(_state, key=key))

    async def last_number(self, session: str) -> int:
        """Return the highest `Delivery.number` of a session; 0 when it brought none."""
        return await self._database.submit(partial(last_number, session=session))

    async def states(self, prefix: str, *, after: str = "", limit: int = -1) -> Mapping[str, bytes]:
        """Return what was remembered under the keys that begin with a text, in their order.

        Args:
            after: only keys behind this one.
            limit: how many; all when negative.
        """
        return await self._database.submit(
            partial(_states, prefix=prefix, after=after, limit=limit)
        )

    async def forget(
        self, prefix: str, after: str, limit: int, stale: Callable[[bytes], bool]
    ) -> tuple[str, int]:
        """Look at some of the keys that begin with a text, in their order, and forget stale values.

        Args:
            after: the key looked at last.
            limit: how many to look at.
            stale: says whether a value may go.

        Returns:
            The key looked at last, empty when there are no more; and how many were forgotten.
        """
        return await self._database.submit(
            partial(_forget, prefix=prefix, after=after, limit=limit, stale=stale)
        )

    def _release(self, count: int) -> None:
        self._pending -= count
        if not self.full:
            self._room.set()
        if not self._pending:
            self._drained.set()


def _encode(entry: Entry, now: float) -> tuple[str, str, float, str, str, bytes]:
    ids = msgspec.json.encode([entity["id"] for entity in entry.entities]).decode()
    body = msgspec.json.encode(entry.entities)
    return entry.tenant, entry.device, now, entry.operation.value, ids, body


def _row(row: tuple[int, str, str, str, str, bytes]) -> Row:
    seq, tenant, device, operation, ids, body = row
    names = tuple(msgspec.json.decode(ids, type=list[str]))
    return Row(seq, tenant, device, Operation(operation), names, body)


def _changed(
    connection: sqlite3.Connection,
    *,
    job: Callable[[sqlite3.Connection], tuple[T, Sequence[Entry]]],
    now: float,
) -> tuple[T, int]:
    value, entries = job(connection)
    for entry in entries:
        _add(connection, _encode(entry, now))
    return value, len(entries)


def _add(connection: sqlite3.Connection, row: tuple[str, str, float, str, str, bytes]) -> None:
    connection.execute(
        "INSERT INTO measure (tenant, device, accepted, operation, ids, body)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        row,
    )


def _count(connection: sqlite3.Connection) -> int:
    (count,) = connection.execute("SELECT count(*) FROM measure").fetchone()
    return int(count)


def _insert(
    connection: sqlite3.Connection,
    *,
    entry: Entry,
    row: tuple[str, str, float, str, str, bytes] | None,
    now: float,
    same: float,
) -> bool:
    if entry.key and not _is_new(connection, entry, now, same):
        return False
    if entry.delivery is not None and not is_first(connection, entry.delivery):
        return False
    if row is not None:
        _add(connection, row)
    for key, value in entry.state.items():
        if value is None:
            connection.execute("DELETE FROM state WHERE key = ?", (key,))
        else:
            connection.execute("REPLACE INTO state (key, value) VALUES (?, ?)", (key, value))
    return True


def _is_new(connection: sqlite3.Connection, entry: Entry, now: float, same: float) -> bool:
    found = connection.execute("SELECT moment FROM seen WHERE key = ?", (entry.key,)).fetchone()
    if found is not None and abs(found[0] - entry.moment) <= same:
        return False
    # A replaced row gets a new number, so that numbers rise with time, which `_expire` relies on.
    connection.execute(
        "REPLACE INTO seen (key, moment, at) VALUES (?, ?, ?)", (entry.key, entry.moment, now)
    )
    return True


def _load(
    connection: sqlite3.Connection, *, after: int, limit: int
) -> list[tuple[int, str, str, str, str, bytes]]:
    return connection.execute(
        "SELECT seq, tenant, device, operation, ids, body FROM measure"
        " WHERE seq > ? ORDER BY seq LIMIT ?",
        (after, limit),
    ).fetchall()


def _settle(
    connection: sqlite3.Connection, *, done: Sequence[int], dead: Sequence[DeadLetter]
) -> int:
    insert_dead_letters(connection, dead)
    cursor = connection.executemany("DELETE FROM measure WHERE seq = ?", [(seq,) for seq in done])
    return cursor.rowcount


def _expire(connection: sqlite3.Connection, *, before: float, keys: float) -> tuple[int, int]:
    newest = _last_before(connection, "SELECT seq, accepted FROM measure ORDER BY seq", before)
    dropped = connection.execute("DELETE FROM measure WHERE seq <= ?", (newest,)).rowcount
    oldest_key = _last_before(connection, "SELECT seq, at FROM seen ORDER BY seq", keys)
    connection.execute("DELETE FROM seen WHERE seq <= ?", (oldest_key,))
    return newest, dropped


def _last_before(connection: sqlite3.Connection, query: str, before: float) -> int:
    # Rows are numbered in the order of time, so only those to be removed are read.
    last = 0
    for seq, at in connection.execute(query):
        if at >= before:
            break
        last = seq
    return last


def _state(connection: sqlite3.Connection, *, key: str) -> bytes | None:
    found = connection.execute("SELECT value FROM state WHERE key = ?", (key,)).fetchone()
    return None if found is None else bytes(found[0])


def _states(
    connection: sqlite3.Connection, *, prefix: str, after: str, limit: int
) -> dict[str, bytes]:
    found = connection.execute(
        "SELECT key, value FROM state WHERE key >= ? AND key > ? AND key < ? ORDER BY key LIMIT ?",
        (prefix, after, prefix + _LAST, limit),
    )
    return {key: bytes(value) for key, value in found}


def _forget(
    connection: sqlite3.Connection,
    *,
    prefix: str,
    after: str,
    limit: int,
    stale: Callable[[bytes], bool],
) -> tuple[str, int]:
    found = _states(connection, prefix=prefix, after=after, limit=limit)
    old = [(key,) for key, value in found.items() if stale(value)]
    connection.executemany("DELETE FROM state WHERE key = ?", old)
    return (max(found) if len(found) == limit else ""), len(old)
