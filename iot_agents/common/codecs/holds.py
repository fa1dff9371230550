"""Devices and codecs that are left alone for a while, because they cost everybody else time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

_HOLD_SECONDS: Final = 60.0
_REMEMBERED: Final = 10_000


class Holds:
    """What failed too often in a row is held for a minute; then it may try once."""

    def __init__(self, clock: Callable[[], float], limit: int) -> None:
        """Hold what fails `limit` times in a row.

        Args:
            clock: seconds from any beginning.
        """
        self._clock = clock
        self._limit = limit
        self._failures: dict[str, tuple[int, float]] = {}

    def held(self, name: str) -> bool:
        """Tell whether something is held now."""
        failures, since = self._failures.get(name, (0, 0.0))
        return failures >= self._limit and self._clock() - since < _HOLD_SECONDS

    def failed(self, name: str) -> None:
        """Note a failure."""
        failures, _ = self._failures.pop(name, (0, 0.0))
        if len(self._failures) >= _REMEMBERED:
            del self._failures[next(iter(self._failures))]
        self._failures[name] = failures + 1, self._clock()

    def worked(self, name: str) -> None:
        """Note that it did not fail."""
        self._failures.pop(name, None)
