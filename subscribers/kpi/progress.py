"""How far one KPI has come: which window is open, and which one can still be corrected."""

from __future__ import annotations

from collections.abc import Iterable
from zoneinfo import ZoneInfo

from subscribers.common.instants import Duration, Instant
from subscribers.common.outbox import Write
from subscribers.kpi.aggregates import compile_measure
from subscribers.kpi.members import Members
from subscribers.kpi.model import NOMINAL, Kpi, find_zone
from subscribers.kpi.publish import closed_value, running_value
from subscribers.kpi.windows import Window, window_at


class Progress:
    """The state of one KPI.

    Attributes:
        open: the window that the time of the stream lies in; None before the first observation.
        closed: the window before, while it can still be corrected or shown.
        values: the value of the closed window that was written last, by group.
        moved: whether any of these has changed since it was last set to False.
    """

    def __init__(
        self, kpi: Kpi, members: Members, time_zone: str, least_lateness: Duration
    ) -> None:
        """Start before the first observation.

        Args:
            time_zone: the KPI's unless it names one.
            least_lateness: is allowed even if the KPI allows less, up to a window's length.
        """
        self.kpi = kpi
        self.members = members
        self._zone: ZoneInfo = find_zone(kpi.time_zone or time_zone)
        self._lateness = min(max(kpi.lateness, least_lateness), NOMINAL[kpi.window])
        self._measure = compile_measure(kpi)
        self._corrected: set[str] = set()
        self._running: set[str] = set()
        self.open: Window | None = None
        self.closed: Window | None = None
        self.values: dict[str, float] = {}
        self.moved = False

    def restore(self, opened: Instant, closed: Instant | None, values: dict[str, float]) -> None:
        """Take up what was kept on disk; values are computed anew as far as they can change."""
        self.open = window_at(self.kpi.window, self._zone, opened)
        if closed is not None:
            self.closed = window_at(self.kpi.window, self._zone, closed)
        self.values = values
        self._corrected.update(self.members.groups())

    def changed(self, groups: Iterable[str], at: Instant) -> None:
        """Take that something was observed of members of groups at an instant."""
        self._running.update(groups)
        # The next reading of a counter tells how much of its growth belongs to the window before.
        if self.open is not None and (at < self.open.start or self.kpi.measure.increase):
            self._corrected.update(groups)

    def begin(self, at: Instant) -> None:
        """Open the first window if none is open: what came before is not known well enough."""
        if self.open is None:
            self.open = window_at(self.kpi.window, self._zone, at)
            self.moved = True

    def advance(self, now: Instant) -> list[Write]:
        """Correct the closed window, then close the windows that have ended by now."""
        if self.open is None:
            return []
        writes = self._correct(now)
        while now >= self.open.end:
            writes += self._close(self.open, now)
        return writes

    def running(self, now: Instant) -> list[Write]:
        """Return the values of the open window for the groups of which something was observed."""
        if self.open is None:
            return []
        groups, self._running = self._running, set()
        start = self.open.start
        return [
            running_value(self.kpi, group, value, now)
            for group, value in self._values(groups, start, now).items()
        ]

    def horizon(self, now: Instant) -> Instant | None:
        """Return the instant before which no observation is needed one by one any more."""
        if self.closed is not None and now < self.closed.end + self._lateness:
            return self.closed.start
        return None if self.open is None else self.open.start

    def _correct(self, now: Instant) -> list[Write]:
        """Write the values of the closed window that late observations have changed."""
        groups, self._corrected = self._corrected, set()
        window = self.closed
        if window is None or now >= window.end + self._lateness:
            return []
        return self._write(window, self._values(groups, window.start, window.end))

    def _close(self, window: Window, now: Instant) -> list[Write]:
        self.values = {}
        writes = self._write(window, self._values(self.members.groups(), window.start, window.end))
        self.closed = window
        self.open = window_at(self.kpi.window, self._zone, self._next(window, now))
        self.moved = True
        return writes

    def _next(self, window: Window, now: Instant) -> Instant:
        """Return where the next window begins, or the present one if there is nothing before."""
        newest = self.members.newest
        silent_after = self.kpi.source.silent_after
        if silent_after is not None and (newest is None or newest + silent_after <= window.end):
            return now
        return window.end

    def _values(self, groups: Iterable[str], start: Instant, end: Instant) -> dict[str, float]:
        measured = {
            group: self._measure(self.members.of_group(group), start, end)
            for group in sorted(groups)
        }
        return {group: value for group, value in measured.items() if value is not None}

    def _write(self, window: Window, values: dict[str, float]) -> list[Write]:
        fresh = {g: value for g, value in values.items() if self.values.get(g) != value}
        self.values.update(fresh)
        self.moved = self.moved or bool(fresh)
        return [closed_value(self.kpi, group, window, value) for group, value in fresh.items()]
