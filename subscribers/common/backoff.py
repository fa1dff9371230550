"""How long to wait before the broker is asked again."""

from __future__ import annotations

import random
from typing import Final

from broker.client import BrokerRefused

_FIRST: Final = 0.25
_LONGEST: Final = 30.0


def wait_after(failures: int, error: Exception) -> float:
    """Return the seconds to wait after a number of failures in a row, the last one given.

    They double up to a limit and are shortened at random, so that not all come back at once; what
    the broker asks for is the least.
    """
    longest = min(_LONGEST, _FIRST * 2.0 ** min(failures - 1, 20))
    wait = longest * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, guards nothing
    asked = error.retry_after if isinstance(error, BrokerRefused) else None
    return max(wait, asked or 0.0)
