"""Where observations enter a role: applied one after the other, durable before they are answered.

One task owns the engine. It takes all that waits and, in the thread of the file, applies it and
commits what follows from it in one transaction, so that many small notifications share one fsync.
When that fails, the engine is built again from the journal and each part is applied alone, so that
only the one at fault fails; when the file itself fails, all do.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from subscribers.common.engine import Changes, Count, Engine
from subscribers.common.instants import Instant
from subscribers.common.journal import Journal, commit, write_position
from subscribers.common.observations import Observation
from subscribers.common.stream_clock import StreamClock

_log = logging.getLogger(__name__)
_TOGETHER: Final = 500

Step = Callable[[Engine], None]
Build = Callable[[sqlite3.Connection], Engine]


class Overloaded(Exception):
    """Too much waits already; nothing was taken."""


class NotTaken(Exception):
    """What was given could not be made durable, or could not be understood."""


@dataclass(frozen=True, slots=True)
class _Queued:
    step: Step
    done: asyncio.Future[None]


class Intake:
    """The way into one engine."""

    def __init__(
        self,
        journal: Journal,
        build: Build,
        clock: StreamClock,
        *,
        committed: Callable[[], None],
        tick: float,
        max_waiting: int,
    ) -> None:
        """Prepare the intake of a role.

        Args:
            build: makes the engine from what the journal holds.
            committed: is called after each commit.
            tick: seconds between two looks at what has become due.
            max_waiting: how many steps may wait.
        """
        self._journal = journal
        self._build = build
        self._clock = clock
        self._committed = committed
        self._tick = tick
        self._queue: asyncio.Queue[_Queued] = asyncio.Queue(max_waiting)
        self._engine: Engine | None = None
        self.started = False
        """Whether things become due."""
        self.counts: Counter[Count] = Counter()

    async def take(self, binding: str, observations: Sequence[Observation]) -> None:
        """Take observations and return when they are durable.

        Raises:
            Overloaded: see there.
            NotTaken: see there.
        """
        await self._put(lambda engine: self._observe(engine, binding, observations))

    async def forget(self, binding: str, entity_ids: Iterable[str]) -> None:
        """Take that entities no longer exist; raises like `take`."""

        def step(engine: Engine) -> None:
            for entity_id in entity_ids:
                engine.forget(binding, entity_id, self._clock.now())

        await self._put(step)

    async def known(self, binding: str) -> frozenset[str]:
        """Return the entities of which something is held; raises like `take`."""
        found: set[str] = set()
        await self._put(lambda engine: found.update(engine.known(binding)))
        return frozenset(found)

    async def newest(self, binding: str) -> Mapping[tuple[str, str], Instant]:
        """Return what the engine's `newest` returns; raises like `take`."""
        found: dict[tuple[str, str], Instant] = {}
        await self._put(lambda engine: found.update(engine.newest(binding)))
        return found

    async def start(self) -> None:
        """Let things become due: the present state is known; raises like `take`."""
        if not self.started:
            await self._put(self._start)
            self.started = True

    def believes(self, observed_at: Instant) -> bool:
        """Tell whether an observation can be true: it is not from the future."""
        return self._clock.believes(observed_at)

    @property
    def waiting(self) -> int:
        """How many steps wait."""
        return self._queue.qsize()

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            await self._work(await self._next())

    async def _put(self, step: Step) -> None:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        try:
            self._queue.put_nowait(_Queued(step, done))
        except asyncio.QueueFull as error:
            raise Overloaded("too many notifications wait") from error
        await done

    async def _next(self) -> list[_Queued]:
        """Return what waits; nothing when it is time for a look at the clock."""
        try:
            async with asyncio.timeout(self._tick):
                batch = [await self._queue.get()]
        except TimeoutError:
            return []
        while len(batch) < _TOGETHER and not self._queue.empty():
            batch.append(self._queue.get_nowait())
        return batch

    async def _work(self, batch: Sequence[_Queued]) -> None:
        try:
            await self._apply(batch)
        except Exception as error:  # noqa: BLE001 - told to all who wait, and counted
            if len(batch) > 1 and not isinstance(error, sqlite3.OperationalError):
                for queued in batch:
                    await self._work([queued])
                return
            self.counts["failures",] += 1
            _log.exception("what was observed could not be taken")
            for queued in batch:
                if not queued.done.done():
                    queued.done.set_exception(NotTaken(str(error)))

    async def _apply(self, batch: Sequence[_Queued]) -> None:
        steps = [queued.step for queued in batch]
        changes = await self._journal.run(lambda connection: self._step(connection, steps))
        self.counts.update(changes.counts)
        if changes.statements:
            self._committed()
        for queued in batch:
            if not queued.done.done():  # its caller may have gone
                queued.done.set_result(None)

    def _step(self, connection: sqlite3.Connection, steps: Sequence[Step]) -> Changes:
        """Apply steps and commit what follows, in the file's thread, where work may take long."""
        engine = self._engine or self._build_again(connection)
        self._engine = None  # until the commit has succeeded it holds what the journal does not
        for step in steps:
            step(engine)
        if self.started and self._clock.running:
            engine.advance(self._clock.now(), self._clock.wall())
        changes = engine.drain()
        if changes.statements:
            position = self._clock.position()
            clock = () if position is None else (write_position(position),)
            commit(connection, (*changes.statements, *clock))
        self._engine = engine
        return changes

    def _build_again(self, connection: sqlite3.Connection) -> Engine:
        engine = self._build(connection)
        if self.started:
            self._start(engine)
        return engine

    def _start(self, engine: Engine) -> None:
        engine.start(self._clock.now() if self._clock.running else None)

    def _observe(self, engine: Engine, binding: str, observations: Sequence[Observation]) -> None:
        for observation in observations:
            if observation.is_gone:
                engine.forget(binding, observation.entity_id, self._clock.now())
                continue
            believed = {}
            for name, reading in observation.readings.items():
                if reading.observed_at is None:
                    believed[name] = reading
                elif self._clock.believes(reading.observed_at):
                    believed[name] = reading
                    self._clock.observe(reading.observed_at)
                else:
                    self.counts["observations", "future"] += 1
                    _log.debug("%s: %s is from the future", observation.entity_id, name)
            engine.observe(binding, replace(observation, readings=believed), self._clock.now())
