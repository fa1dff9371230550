"""Time that stands still until a test moves it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from subscribers.common.stream_clock import TimeSource


class ManualTime:
    """A wall clock and a monotonic clock in the hands of a test."""

    def __init__(self, wall: datetime = datetime(2026, 5, 1, 12, tzinfo=UTC)) -> None:
        self._wall = wall
        self._monotonic = 0.0

    @property
    def source(self) -> TimeSource:
        """What reads the clocks."""
        return TimeSource(lambda: self._wall, lambda: self._monotonic)

    def pass_by(self, seconds: float) -> None:
        """Let time go by on both clocks."""
        self._wall += timedelta(seconds=seconds)
        self._monotonic += seconds

    def set_wall(self, seconds: float) -> None:
        """Set the wall clock forward or back by so much, as an operator or NTP does."""
        self._wall += timedelta(seconds=seconds)

    def restart(self, seconds: float) -> None:
        """Let time go by while the process is down: its monotonic clock begins anew."""
        self._wall += timedelta(seconds=seconds)
        self._monotonic = 0.0
