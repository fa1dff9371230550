"""How long to wait before the next try."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import random


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits that double up to a limit, each shortened at random so that many do not come at once.

    Attributes:
        first: the longest the first wait can be, in seconds.
        limit: the longest any wait can be, in seconds.
    """

    first: float = 1.0
    limit: float = 60.0

    def delay(self, failures: int, jitter: Callable[[], float] = random) -> float:
        """Return the wait after this many failures in a row: between half and all of the step.

        Args:
            jitter: gives a number from 0 to 1.
        """
        longest = min(self.limit, self.first * 2.0 ** min(failures - 1, 30))
        return longest * (0.5 + 0.5 * jitter())
