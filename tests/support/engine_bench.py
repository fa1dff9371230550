"""An engine with a database in memory: what it drains is committed, a restart reads it."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Self

import msgspec

from subscribers.common.engine import Count, Engine
from subscribers.common.instants import Instant, to_instant
from subscribers.common.observations import Observation, Reading


class EngineBench:
    """One engine; the clock is whatever the test says."""

    def __init__(
        self, migrations: Sequence[str], build: Callable[[sqlite3.Connection], Engine]
    ) -> None:
        self.connection = sqlite3.connect(":memory:", isolation_level=None)
        for script in migrations:
            self.connection.executescript(script)
        self.build = build
        self.engine = build(self.connection)
        self.counts: Counter[Count] = Counter()
        self._sent = 0
        self.engine.start(None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def tell(
        self, binding: str, entity_id: str, now: datetime, at: datetime | None, **values: Any
    ) -> None:
        """Tell attributes of an entity, observed at an instant and told now."""
        observed_at = None if at is None else to_instant(at)
        readings = {name: Reading(observed_at, _instance(value)) for name, value in values.items()}
        self.engine.observe(binding, Observation(entity_id, readings), to_instant(now))

    def forget(self, binding: str, entity_id: str, now: datetime) -> None:
        """Tell that an entity is gone."""
        self.engine.forget(binding, entity_id, to_instant(now))

    def advance(self, now: datetime, wall: datetime | None = None) -> list[Mapping[str, Any]]:
        """Let what is due be done and kept; return what is to be written to the broker."""
        self.engine.advance(to_instant(now), Instant(0) if wall is None else to_instant(wall))
        return self.keep()

    def keep(self) -> list[Mapping[str, Any]]:
        """Commit what has changed; return what is to be written to the broker."""
        changes = self.engine.drain()
        for sql, parameters in changes.statements:
            self.connection.execute(sql, parameters)
        self.counts.update(changes.counts)
        sql = "SELECT seq, body FROM outbox WHERE seq > ? ORDER BY seq"
        rows = self.connection.execute(sql, (self._sent,)).fetchall()
        self._sent = rows[-1][0] if rows else self._sent
        return [msgspec.json.decode(body) for _, body in rows]

    def restart(
        self,
        build: Callable[[sqlite3.Connection], Engine] | None = None,
        now: datetime | None = None,
    ) -> None:
        """Lose what is in memory, and go on, maybe with other definitions."""
        self.build = build or self.build
        self.engine = self.build(self.connection)
        self.engine.start(None if now is None else to_instant(now))

    def rows(self, table: str) -> int:
        """Count the rows of a table."""
        return int(self.connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])  # noqa: S608 - a test's own


def _instance(value: Any) -> dict[str, Any]:
    if isinstance(value, str) and value.startswith("urn:"):
        return {"type": "Relationship", "object": value}
    if isinstance(value, dict):
        return {"type": "GeoProperty", "value": value}
    return {"type": "Property", "value": value}
