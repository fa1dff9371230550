"""What history costs and gives: bytes on disk, the rate of updates, and how fast it is read.

A store of its own is filled as measures come: round after round, each entity one instance, all of
them numbers. One entity has a longer series, for the aggregation.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from broker.core import moments
from broker.core.entity import expand_entity, expand_fragment
from broker.core.events import EntityChanged
from broker.core.identifiers import DEFAULT_TENANT, Iri
from broker.core.ld_context import CORE
from broker.operations.changes import creating, existing, updating
from broker.store.interface import Delivery
from broker.store.sqlite import history
from broker.store.sqlite.connection import connect
from broker.store.sqlite.store import SqliteStore, open_store

TYPE = "Meter"
POINTS = 100_000
"""Instances of the entity with the long series."""

START = moments.instant("2026-01-01T00:00:00Z")
_MINUTE = 60_000_000
_HOUR = 60 * _MINUTE
_BATCH = 1000


@dataclass(frozen=True, slots=True)
class Filled:
    """A store that was filled: how many instances, and the bytes on disk that each one takes."""

    instances: int
    bytes_each: float


@dataclass(frozen=True, slots=True)
class Rates:
    """Updates of one attribute per second, with history and without."""

    kept: float
    without: float


class _Nobody:
    """A matcher that tells nobody."""

    def match(self, event: EntityChanged, read: Any = None) -> Sequence[Delivery]:
        del event, read
        return ()

    def put(self, *_given: Any) -> None:
        """Nobody listens."""

    def discard(self, *_given: Any) -> None:
        """Nobody listens."""


class _Forgetful:
    """In the place of the history: it takes nothing down."""

    def note(self, *_given: Any) -> None:
        """Forget a change."""

    def flush(self, *_given: Any) -> None:
        """Write nothing."""

    def rolled_back(self) -> None:
        """There is nothing to forget."""


@asynccontextmanager
async def _opened(path: Path) -> Any:
    clock = lambda: datetime.now(UTC)  # noqa: E731
    async with open_store(path, _Nobody(), lambda _commit: None, clock) as store:
        yield store


def name(number: int) -> str:
    """Return the id of an entity."""
    return f"urn:ngsi-ld:Meter:bench:{number:06}"


def fill(path: Path, entities: int, instances: int) -> Filled:
    """Make a store of entities with a history, in the order in which measures come."""
    asyncio.run(_create(path, entities))
    before = _size(path)
    connection = connect(path)
    connection.execute("PRAGMA journal_mode = OFF")  # filling is not what is measured
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA cache_size = -786432")
    (term,) = connection.execute("SELECT id FROM term WHERE iri LIKE '%/flow'").fetchone()
    series = history.series_range(term)[0]
    rows = _rows(series, entities, instances)
    with connection:
        connection.execute("BEGIN")
        connection.executemany(history.REPLACE, rows)
    connection.close()
    after = _size(path)
    connection = connect(path)
    with connection:
        connection.execute("BEGIN")
        connection.executemany(history.REPLACE, _long(series, entities + 1))
    connection.close()
    return Filled(instances, (after - before) / instances)


async def _create(path: Path, entities: int) -> None:
    now = moments.join(START)
    async with _opened(path) as store:
        for start in range(0, entities + 1, _BATCH):
            changes = []
            for number in range(start, min(start + _BATCH, entities + 1)):
                flow = {"type": "Property", "value": 0.5, "observedAt": "2026-01-01T00:00:00Z"}
                fragment = expand_entity({"id": name(number), "type": TYPE, "flow": flow}, CORE)
                changes.append((Iri(fragment["id"]), creating(fragment, now)))
            await store.entities.update_many(DEFAULT_TENANT, changes, creates=True)


def _rows(series: int, entities: int, instances: int) -> Iterator[history.HistoryRow]:
    for count in range(instances):
        turn, entity = divmod(count, entities)
        at = START + (turn + 1) * _HOUR // 4 + entity * 7
        instance = {
            "type": "Property",
            "value": (count * 7919 % 10_000) / 100,
            "observedAt": moments.join(at),
        }
        yield history.instance_row(entity + 1, series, instance, at + 250_000, 0)


def _long(series: int, seq: int) -> Iterator[history.HistoryRow]:
    for count in range(1, POINTS + 1):
        at = START + count * _MINUTE
        instance = {"type": "Property", "value": count % 977 / 10, "observedAt": moments.join(at)}
        yield history.instance_row(seq, series, instance, at, 0)


def _size(path: Path) -> int:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return path.stat().st_size


def update_rates(workdir: Path, *, seconds: float) -> Rates:
    """Update one attribute of a thousand entities, in turns with history and without."""
    return asyncio.run(_update_rates(workdir / "rates.db", seconds=seconds))


async def _update_rates(path: Path, *, seconds: float) -> Rates:
    await _create(path, 1000)
    found: dict[bool, list[float]] = {True: [], False: []}
    async with _opened(path) as store:
        transaction = store.temporal._transaction  # noqa: SLF001 - there is no switch, on purpose
        kept, count = transaction.history, 0
        for turn in range(6):
            has_history = turn % 2 == 0
            transaction.history = kept if has_history else _Forgetful()
            started = time.perf_counter()
            done = 0
            while time.perf_counter() - started < seconds / 3:
                done += await _update_all(store, count)
                count += 1
            found[has_history].append(done / (time.perf_counter() - started))
    return Rates(*(sorted(found[has_history])[1] for has_history in (True, False)))


async def _update_all(store: SqliteStore, turn: int) -> int:
    at = START + (turn + 1) * 1_000_000
    now = moments.join(at)
    flow = {"type": "Property", "value": turn % 400 / 10, "observedAt": now}
    fragment = expand_fragment({"flow": flow}, CORE)
    async with asyncio.TaskGroup() as group:
        for number in range(500):
            key = Iri(name(number))
            change = existing(key, updating(fragment, now))
            group.create_task(store.entities.update(DEFAULT_TENANT, key, change))
    return 500


def paths() -> dict[str, tuple[str, float]]:
    """Return the requests that are measured, with the milliseconds that each may take."""
    day = "timerel=between&timeAt={start}&endTimeAt={end}&options=temporalValues&instances=2000"
    window = day.format(start="2026-01-01T00:00:00Z", end="2026-01-02T00:00:00Z")
    every = "timerel=after&timeAt=2026-01-01T00:00:00Z"
    root = "/ngsi-ld/v1/temporal/entities"
    methods = "aggrMethods=avg,min,max,sum,stddev&options=aggregatedValues"
    return {
        "a day of one entity": (f"{root}/{{one}}?{window}", 20),
        "lastN=1 over 1,000 entities": (f"{root}?type={TYPE}&{every}&lastN=1&limit=1000", 100),
        "100,000 points by hour": (
            f"{root}/{{long}}?{every}&{methods}&aggrPeriodDuration=PT1H",
            300,
        ),
        "100,000 points by month": (
            f"{root}/{{long}}?{every}&{methods}&aggrPeriodDuration=P1M",
            300,
        ),
    }
