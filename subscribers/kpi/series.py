"""What was observed of one member: its states by time, as far back as windows may still need.

A state lasts until the next observation, or until the member has been silent for too long. A state
that the source does not name is unknown (the empty text here): it ends the one before for the time
that counts as observed, yet `occupied, unknown, occupied` is one stay and no change.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator
from typing import Final, NamedTuple

import msgspec

from subscribers.common.instants import Duration, Instant

UNKNOWN: Final = ""


class Carry(msgspec.Struct, frozen=True, array_like=True):
    """What remains of the observations that are no longer kept one by one.

    Attributes:
        at: when the last of them was made.
        state: what it was, maybe unknown.
        known: the last known state; unknown if there never was one.
        since: when that state began; None if no other was known before.
    """

    at: Instant
    state: str
    known: str = UNKNOWN
    since: Instant | None = None


class Span(NamedTuple):
    """A known state for a time."""

    state: str
    start: Instant
    end: Instant


class Change(NamedTuple):
    """A change from one known state to another.

    Attributes:
        since: when the state before began; None if that was not observed.
    """

    at: Instant
    before: str
    after: str
    since: Instant | None


class Step(NamedTuple):
    """Two known states that follow one another, equal ones too, and when each was observed."""

    since: Instant
    before: str
    at: Instant
    after: str


class Series:
    """The observations of one member, in order.

    Attributes:
        carry: stands for what came before the first of them.
    """

    __slots__ = ("_states", "_times", "carry")

    def __init__(self, carry: Carry | None = None) -> None:
        """Start empty."""
        self.carry = carry
        self._times = array("q")
        self._states: list[str] = []

    def __len__(self) -> int:
        """Return how many observations are kept one by one."""
        return len(self._times)

    @property
    def newest(self) -> Instant | None:
        """When the last observation was made."""
        if self._times:
            return Instant(self._times[-1])
        return None if self.carry is None else self.carry.at

    @property
    def newest_state(self) -> str:
        """What the last observation said."""
        if self._states:
            return self._states[-1]
        return UNKNOWN if self.carry is None else self.carry.state

    def state_at(self, at: Instant) -> str | None:
        """Return what was observed at exactly an instant; None if nothing was."""
        index = bisect_left(self._times, at)
        if index < len(self._times) and self._times[index] == at:
            return self._states[index]
        return None

    def insert(self, at: Instant, state: str) -> bool:
        """Put an observation in its place; of two at one instant the later one to come counts.

        Returns:
            Whether it could be: what lies before the carry comes too late.
        """
        if self.carry is not None and at <= self.carry.at:
            return False
        index = bisect_left(self._times, at)
        if index < len(self._times) and self._times[index] == at:
            self._states[index] = state
        else:
            self._times.insert(index, at)
            self._states.insert(index, state)
        return True

    def prune(self, before: Instant) -> bool:
        """Fold the observations made before an instant into the carry; tell whether any were."""
        index = bisect_left(self._times, before)
        for at, state in zip(self._times[:index], self._states[:index], strict=True):
            self.carry = _carried(self.carry, Instant(at), state)
        del self._times[:index]
        del self._states[:index]
        return index > 0

    def spans(self, start: Instant, end: Instant, silent_after: Duration | None) -> Iterator[Span]:
        """Yield the known states between two instants; what is not yielded is not known."""
        at, state, index = self._before(start)
        while at is not None:
            following = Instant(self._times[index]) if index < len(self._times) else end
            last = min(following, end)
            if silent_after is not None:
                last = min(last, Instant(at + silent_after))
            if state != UNKNOWN and max(at, start) < last:
                yield Span(state, max(at, start), last)
            if following >= end:
                return
            at, state = following, self._states[index]
            index += 1

    def changes(self, start: Instant, end: Instant) -> Iterator[Change]:
        """Yield the changes between known states that happened in a window."""
        carry = self.carry
        for at, state in zip(self._times, self._states, strict=True):
            if at >= end:
                return
            before = carry
            carry = _carried(before, Instant(at), state)
            if before is None or before.known in (UNKNOWN, carry.known):
                continue
            if at >= start:
                yield Change(Instant(at), before.known, carry.known, before.since)

    def steps(self, start: Instant, end: Instant) -> Iterator[Step]:
        """Yield the steps that lie in a window at least in part."""
        carry = self.carry or Carry(Instant(0), UNKNOWN)
        since, before = carry.at, carry.known
        for at, state in zip(self._times, self._states, strict=True):
            if state == UNKNOWN:
                continue
            if before != UNKNOWN and at > start:
                yield Step(since, before, Instant(at), state)
            if at >= end:
                return
            since, before = Instant(at), state

    def _before(self, start: Instant) -> tuple[Instant | None, str, int]:
        """Return the observation a window begins with, and the index of the one after it."""
        index = bisect_left(self._times, start)
        if index:
            return Instant(self._times[index - 1]), self._states[index - 1], index
        if self.carry is not None:
            return self.carry.at, self.carry.state, 0
        if self._times:
            return Instant(self._times[0]), self._states[0], 1
        return None, UNKNOWN, 0


def _carried(carry: Carry | None, at: Instant, state: str) -> Carry:
    known, since = (UNKNOWN, None) if carry is None else (carry.known, carry.since)
    if state not in (UNKNOWN, known):
        since = None if known == UNKNOWN else at
        known = state
    return Carry(at, state, known, since)
