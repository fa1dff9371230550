"""Time as the data tells it: the newest observation seen, and the time that passed since.

Rules and KPIs wait in the time of what they observe. In live operation that is the wall clock,
less the way from the sensor to here; in a replay it is the time of what is replayed. A sensor whose
clock is ahead moves it no further than the wall clock and a tolerance. Between observations it
runs by a monotonic clock, so that a step of the wall clock neither stops it nor makes it jump; and
while the process is down, by the wall clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from subscribers.common.instants import Duration, Instant, to_instant


@dataclass(frozen=True, slots=True)
class TimeSource:
    """Where the present time comes from.

    Attributes:
        wall: the date and time, aware.
        monotonic: seconds that never go back, from any start.
    """

    wall: Callable[[], datetime] = lambda: datetime.now(UTC)
    monotonic: Callable[[], float] = time.monotonic


SYSTEM_TIME: Final = TimeSource()
"""The time of this machine."""


@dataclass(frozen=True, slots=True)
class Position:
    """Where the clock stood, to be kept on disk.

    Attributes:
        stream: the time of the stream.
        wall: the wall clock at that moment.
    """

    stream: Instant
    wall: Instant


class StreamClock:
    """The clock of one role."""

    def __init__(
        self, source: TimeSource, tolerance: Duration, position: Position | None = None
    ) -> None:
        """Start the clock where it stood, or not at all before the first observation.

        Args:
            tolerance: how far ahead of the wall clock an observation may be.
        """
        self._source = source
        self._tolerance = tolerance
        self._started = source.monotonic()
        self._wall_at_start = to_instant(source.wall())
        self._stream: Instant | None = None
        self._moved = self._started
        if position is not None:
            self._wall_at_start = max(self._wall_at_start, position.wall)
            self._stream = Instant(position.stream + self._wall_at_start - position.wall)

    def wall(self) -> Instant:
        """Return the wall clock's time, which goes on when the clock is set back."""
        passed = Duration.of_seconds(self._source.monotonic() - self._started)
        return max(to_instant(self._source.wall()), Instant(self._wall_at_start + passed))

    def now(self) -> Instant:
        """Return the time of the stream; before any observation, the wall clock's."""
        if self._stream is None:
            return self.wall()
        passed = Duration.of_seconds(self._source.monotonic() - self._moved)
        return Instant(self._stream + passed)

    @property
    def running(self) -> bool:
        """Whether an observation has set the clock."""
        return self._stream is not None

    def believes(self, observed_at: Instant) -> bool:
        """Tell whether an observation can be true: it is not from the future."""
        return observed_at <= self.wall() + self._tolerance

    def observe(self, observed_at: Instant) -> None:
        """Move on to the time of an observation, unless it is past or not believed."""
        if self.believes(observed_at) and (self._stream is None or observed_at > self.now()):
            self._stream = observed_at
            self._moved = self._source.monotonic()

    def position(self) -> Position | None:
        """Return what to keep on disk; None before any observation."""
        return None if self._stream is None else Position(self.now(), self.wall())
