"""What is to be written to the broker: kept on disk until the broker has taken or refused it.

Writes leave in order, one after the other or, where they are upserts of different entities, as one
batch. While the broker is away or overloaded they wait. What the broker refuses for good is moved
to the table `refused`, with its reason. A write that was sent but not yet taken off the outbox when
the process died is sent again; each operation is chosen so that this changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, NamedTuple

import msgspec

from broker.client import BrokerRefused, BrokerUnreachable, Client, wait_after
from broker.core.backoff import Backoff
from subscribers.common.journal import Journal, Statement

_log = logging.getLogger(__name__)
_RETRIES: Final = Backoff(first=0.25, limit=30.0)
_BATCH: Final = 100
_REFUSED_KEPT: Final = 1000
_BAD_REQUEST: Final = 400


class Operation(Enum):
    """What is done with an entity.

    `CREATE` leaves one alone that exists; `APPEND` sets attributes of one that exists; `UPSERT`
    creates the entity or sets the attributes that are given.
    """

    CREATE = "create"
    APPEND = "append"
    UPSERT = "upsert"


_RETRIED: Final = (BrokerUnreachable, BrokerRefused, msgspec.DecodeError, sqlite3.Error)
_HARMLESS: Final = {Operation.CREATE: 409, Operation.APPEND: 404}
"""The refusal that leaves nothing to do: it was created before, it has been deleted since."""


class _Row(NamedTuple):
    seq: int
    operation: Operation
    entity: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Write:
    """One write to the broker.

    Attributes:
        key: a later write of the same key takes the place of one that still waits.
        entity: with its id, and for `CREATE` and `UPSERT` its type.
    """

    key: str
    operation: Operation
    entity: Mapping[str, Any]

    def statement(self) -> Statement:
        """Return what puts the write into the outbox."""
        return (
            "REPLACE INTO outbox (key, operation, body) VALUES (?, ?, ?)",
            (self.key, self.operation.value, msgspec.json.encode(self.entity)),
        )


class Outbox:
    """Sends what waits; `poke` says that there is more."""

    def __init__(self, journal: Journal, client: Client) -> None:
        self._journal = journal
        self._client = client
        self._more = asyncio.Event()
        self.counts: Counter[str] = Counter()
        self.problem = ""
        """Why nothing is sent at the moment; empty when all is well."""

    def poke(self) -> None:
        """Say that something was put into the outbox."""
        self._more.set()

    async def waiting(self) -> int:
        """Return how many writes wait."""
        return await self._journal.run(
            lambda connection: int(connection.execute("SELECT count(*) FROM outbox").fetchone()[0])
        )

    async def run(self) -> None:
        """Send until cancelled."""
        failures = 0
        while True:
            self._more.clear()
            try:
                rows = await self._journal.run(_head)
                if rows:
                    await self._send(rows)
            except _RETRIED as error:
                failures += 1
                self._tell(error, failures)
                await asyncio.sleep(wait_after(error, failures, _RETRIES))
            else:
                failures = 0
                self.problem = ""
                if not rows:
                    await self._more.wait()

    def _tell(self, error: Exception, failures: int) -> None:
        self.counts["retried"] += 1
        self.problem = f"writes wait: {error}"
        if failures == 1:
            _log.warning("writes to the broker wait: %s", error)

    async def _send(self, rows: Sequence[_Row]) -> None:
        """Send the first rows, as many as can go together."""
        together = _leading_upserts(rows)
        if len(together) == 1:
            await self._send_alone(together[0])
            return
        try:
            answer = await self._client.upsert([row.entity for row in together])
        except BrokerRefused as error:
            if error.temporary:
                raise
            # Something is wrong with the whole; alone, only the guilty one is refused.
            alone = together
        else:
            alone = [row for row in together if row.entity["id"] in answer.errors]
            await self._done([row for row in together if row not in alone])
        for row in alone:
            await self._send_alone(row)

    async def _send_alone(self, row: _Row) -> None:
        try:
            await self._write(row)
        except BrokerRefused as error:
            if error.temporary:
                raise
            if error.status != _HARMLESS.get(row.operation):
                await self._refuse(row, error)
                return
        await self._done([row])

    async def _write(self, row: _Row) -> None:
        match row.operation:
            case Operation.CREATE:
                await self._client.create_entity(row.entity)
            case Operation.APPEND:
                path = f"/entities/{row.entity['id']}/attrs"
                attributes = {k: v for k, v in row.entity.items() if k not in ("id", "type")}
                await self._client.request("POST", path, body=attributes)
            case Operation.UPSERT:
                answer = await self._client.upsert([row.entity])
                for problem in answer.errors.values():
                    raise BrokerRefused(int(problem.get("status", _BAD_REQUEST)), problem)

    async def _done(self, rows: Sequence[_Row]) -> None:
        self.counts["written"] += len(rows)
        await self._journal.commit([_forget(row) for row in rows])

    async def _refuse(self, row: _Row, error: BrokerRefused) -> None:
        self.counts["refused"] += 1
        _log.error("the broker refused to %s %s: %s", row.operation.value, row.entity["id"], error)
        body = msgspec.json.encode(row.entity)
        insert = "INSERT INTO refused (operation, body, problem) VALUES (?, ?, ?)"
        trim = "DELETE FROM refused WHERE seq <= (SELECT max(seq) FROM refused) - ?"
        await self._journal.commit(
            [
                (insert, (row.operation.value, body, str(error))),
                (trim, (_REFUSED_KEPT,)),
                _forget(row),
            ]
        )


def read_refused(connection: sqlite3.Connection) -> list[dict[str, Any]]:
    """Return the writes that the broker has refused for good, newest first."""
    sql = "SELECT operation, body, problem FROM refused ORDER BY seq DESC"
    return [
        {"operation": operation, "entity": msgspec.json.decode(body), "problem": problem}
        for operation, body, problem in connection.execute(sql)
    ]


def _forget(row: _Row) -> Statement:
    return "DELETE FROM outbox WHERE seq = ?", (row.seq,)


def _head(connection: sqlite3.Connection) -> list[_Row]:
    sql = "SELECT seq, operation, body FROM outbox ORDER BY seq LIMIT ?"
    return [
        _Row(seq, Operation(operation), msgspec.json.decode(body))
        for seq, operation, body in connection.execute(sql, (_BATCH,))
    ]


def _leading_upserts(rows: Sequence[_Row]) -> Sequence[_Row]:
    """Return the first row, and after an upsert those that follow of other entities."""
    seen: set[str] = set()
    for index, row in enumerate(rows):
        if row.operation is not Operation.UPSERT or row.entity["id"] in seen:
            return rows[: max(index, 1)]
        seen.add(row.entity["id"])
    return rows
