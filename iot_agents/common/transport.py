"""The way from the spool to the broker: batches, retries, and what the broker will not have.

A request carries each entity once, so that any NGSI-LD broker understands it the same way, unless
the broker is known to take each of several measures of an entity as an observation. When
the broker is away, or fails, or does not let us in, everything waits and nothing is lost; when it
refuses a batch as bad data, the batch is split until the entities at fault are found, and those go
to the dead letters.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast

import msgspec

from broker.client import BrokerRefused, BrokerUnreachable, Client, wait_after
from broker.core.backoff import Backoff
from broker.core.timestamps import format_timestamp
from iot_agents.common.counters import Counters
from iot_agents.common.dead_letters import DeadLetter
from iot_agents.common.spool import Operation, Row, Spool
from iot_agents.common.window import Window

_log = logging.getLogger(__name__)

# What can go wrong with a request: no answer, an error, or an answer no NGSI-LD broker gives.
_FAILURES = (
    BrokerUnreachable,
    BrokerRefused,
    msgspec.DecodeError,
    LookupError,
    TypeError,
    AttributeError,
)
# Anything else (401, 404, 415, 500 …) is a broker or a setting that is wrong, not the data.
_BAD_DATA = {400, 409, 413, 422}
_NOT_FOUND = 404
_WINDOW = 10_000
_ENTITIES: msgspec.json.Decoder[list[msgspec.Raw]] = msgspec.json.Decoder(list[msgspec.Raw])


@dataclass(frozen=True, slots=True)
class _Item:
    row: Row
    entity_id: str
    entity: msgspec.Raw


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How much is sent at a time.

    Attributes:
        batch: most rows in a request.
        requests: most requests at a time.
        repeats: several measures of an entity may go in one request.
        keep_newer: late measures become history only, and leave the entity as it is.
        backoff: waits after a failure.
    """

    batch: int = 500
    requests: int = 2
    repeats: bool = False
    keep_newer: bool = False
    backoff: Backoff = field(default_factory=Backoff)


@dataclass(frozen=True, slots=True)
class _Answer:
    """What became of the items of a request; those not named were taken.

    Attributes:
        refused: reason by number in the request, for what will never be taken.
        failed: numbers of what may be taken later.
    """

    refused: Mapping[int, str] = field(default_factory=dict)
    failed: frozenset[int] = frozenset()


class Sender:
    """Sends what the spool holds to one broker, for ever."""

    def __init__(
        self,
        spool: Spool,
        client_of: Callable[[str], Client],
        *,
        counters: Counters,
        clock: Callable[[], datetime],
        pace: Pace | None = None,
    ) -> None:
        """Bind a spool to a broker.

        Args:
            client_of: returns the client of a tenant.
        """
        self._spool = spool
        self._client_of = client_of
        self._counters = counters
        self._clock = clock
        self._pace = pace or Pace()
        self._window = Window()
        self._most = max(_WINDOW, 4 * self._pace.batch)
        self._wake = asyncio.Event()
        self._more = True
        self._sending = 0
        self._failures = 0
        self._attempts: dict[int, int] = {}
        self.trouble = ""
        """Why the broker takes nothing at the moment; empty when it does."""

    async def run(self) -> None:
        """Send until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch_spool(), name="spool-watch")
            while True:
                try:
                    await self._fill()
                except sqlite3.Error as error:
                    await self._outage(error)
                rows = self._take() if self._may_send() else []
                if rows:
                    self._sending += 1
                    group.create_task(self._deliver(rows), name="spool-delivery")
                else:
                    await self._wake.wait()
                    self._wake.clear()

    def expire(self, newest: int) -> None:
        """Leave out rows up to a number, which the spool has given up."""
        self._window.expire(newest)

    def _take(self) -> list[Row]:
        return self._window.take(self._pace.batch, repeats=self._pace.repeats)

    def _may_send(self) -> bool:
        # While the broker fails, one request at a time finds out when it is back.
        return self._sending < (1 if self._failures else self._pace.requests)

    async def _watch_spool(self) -> None:
        while True:
            await self._spool.arrived.wait()
            self._spool.arrived.clear()
            self._more = True
            self._wake.set()

    async def _fill(self) -> None:
        room = self._most - len(self._window)
        if not self._more or room < self._pace.batch:
            return
        self._more = False
        rows = await self._spool.load(self._window.last, room)
        self._more = self._more or len(rows) == room
        self._window.add(rows)

    async def _deliver(self, rows: Sequence[Row]) -> None:
        items = [
            _Item(row, entity_id, entity)
            for row in rows
            for entity_id, entity in zip(row.ids, _ENTITIES.decode(row.body), strict=True)
        ]
        try:
            await self._settle(rows, items, await self._send(items))
        except (*_FAILURES, sqlite3.Error) as error:
            await self._outage(error)
            self._window.put_back(rows)
        else:
            if self._failures:
                _log.info("the broker takes measures again")
            self._failures, self.trouble = 0, ""
        finally:
            self._sending -= 1
            self._wake.set()

    async def _send(self, items: Sequence[_Item]) -> _Answer:
        client = self._client_of(items[0].row.tenant)
        try:
            if items[0].row.operation is Operation.DELETE:
                await _delete(client, items)
                return _Answer()
            if items[0].row.operation is Operation.STRIP:
                await _strip(client, items)
                return _Answer()
            # Raw JSON is encoded as it stands, which saves decoding every entity.
            batch = cast("Sequence[Mapping[str, Any]]", [item.entity for item in items])
            errors = (await client.upsert(batch, keep_newer=self._pace.keep_newer)).errors
        except BrokerRefused as error:
            if error.status not in _BAD_DATA:
                raise
            if len(items) == 1:
                return _Answer({0: str(error)})
            return await self._send_halves(items)
        if errors and _repeat(items):
            return await self._send_singly(items)
        return _answer(items, errors) if errors else _Answer()

    async def _send_singly(self, items: Sequence[_Item]) -> _Answer:
        """Find out which measures of an entity are at fault; what failed holds up later ones."""
        refused: dict[int, str] = {}
        failed: set[int] = set()
        stuck: set[str] = set()
        for number, item in enumerate(items):
            answer = _Answer()
            if item.entity_id not in stuck:
                answer = await self._send([item])
                refused |= {number + at: reason for at, reason in answer.refused.items()}
            if answer.failed or item.entity_id in stuck:
                failed.add(number)
                stuck.add(item.entity_id)
        return _Answer(refused, frozenset(failed))

    async def _send_halves(self, items: Sequence[_Item]) -> _Answer:
        if _repeat(items):
            return await self._send_singly(items)
        middle = len(items) // 2
        first = await self._send(items[:middle])
        second = await self._send(items[middle:])
        return _Answer(
            {**first.refused, **{n + middle: why for n, why in second.refused.items()}},
            first.failed | {n + middle for n in second.failed},
        )

    async def _settle(self, rows: Sequence[Row], items: Sequence[_Item], answer: _Answer) -> None:
        again = {items[number].row.seq for number in answer.failed}
        done = [row for row in rows if row.seq not in again]
        now = format_timestamp(self._clock())
        dead = [
            DeadLetter(row.tenant, row.device, now, "entity", reason, bytes(items[number].entity))
            for number, reason in answer.refused.items()
            if (row := items[number].row).seq not in again
        ]
        for letter in dead:
            _log.warning(
                "device %s: the broker refused an entity: %s", letter.device, letter.reason
            )
        await self._spool.settle([row.seq for row in done], dead)
        # What follows another one is sent again after it.
        heads = [row for row in rows if row.seq in again and self._window.leads(row)]
        self._window.settle(done)
        for row in done:
            self._attempts.pop(row.seq, None)
        for row in heads:
            self._retry(row)

    def _retry(self, row: Row) -> None:
        attempts = self._attempts[row.seq] = self._attempts.get(row.seq, 0) + 1
        self._counters.retries += 1
        delay = self._pace.backoff.delay(attempts)
        asyncio.get_running_loop().call_later(delay, self._try_again, row)

    def _try_again(self, row: Row) -> None:
        self._window.put_back((row,))
        self._wake.set()

    async def _outage(self, error: Exception) -> None:
        self._failures += 1
        self._counters.retries += 1
        self.trouble = str(error) or repr(error)
        if self._failures == 1:
            _log.warning("measures stay in the spool: %s", self.trouble)
        await asyncio.sleep(wait_after(error, self._failures, self._pace.backoff))


async def _delete(client: Client, items: Sequence[_Item]) -> None:
    for item in items:
        await _gone(client.delete_entity(item.entity_id))


async def _strip(client: Client, items: Sequence[_Item]) -> None:
    for item in items:
        for name in msgspec.json.decode(item.entity):
            if name not in {"id", "type"}:
                await _gone(client.delete_attribute(item.entity_id, name))


async def _gone(deletion: Awaitable[None]) -> None:
    try:
        await deletion
    except BrokerRefused as error:
        if error.status != _NOT_FOUND:
            raise


def _repeat(items: Sequence[_Item]) -> bool:
    return len({item.entity_id for item in items}) < len(items)


def _answer(items: Sequence[_Item], errors: Mapping[str, Mapping[str, Any]]) -> _Answer:
    refused: dict[int, str] = {}
    failed: set[int] = set()
    for number, item in enumerate(items):
        problem = errors.get(item.entity_id)
        if problem is None:
            continue
        if _is_temporary(problem):
            failed.add(number)
        else:
            refused[number] = str(problem.get("detail") or problem.get("title") or "no details")
    return _Answer(refused, frozenset(failed))


def _is_temporary(problem: Mapping[str, Any]) -> bool:
    status = problem.get("status")
    if isinstance(status, int):
        return status not in _BAD_DATA
    return str(problem.get("type", "")).endswith("/InternalError")
