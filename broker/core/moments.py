"""Instants as whole microseconds, and how a DateTime was written, so that it can be served again.

The form of a text is the number of digits of its fraction, plus `COMMA` where a comma stands
before them. Finer than microseconds nothing is kept of a text: its form is `FINER`.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final

COMMA: Final = 16
FINER: Final = 15
MILLISECONDS: Final = 3
"""The form of what the broker writes itself."""

DIGITS: Final = 15
"""Mask of the number of digits in a form."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_MOST_DIGITS = 6


@lru_cache(maxsize=4096)
def split(text: str) -> tuple[int, int]:
    """Return the instant of a checked DateTime in microseconds since the epoch, and its form."""
    instant = (datetime.fromisoformat(text) - _EPOCH) // _MICROSECOND
    point = max(text.find("."), text.find(","))
    if point < 0:
        return instant, 0
    digits = len(text) - point - 2
    if digits > _MOST_DIGITS:
        return instant, FINER
    return instant, digits + (COMMA if text[point] == "," else 0)


def instant(text: str) -> int:
    """Return the instant of a checked DateTime in microseconds since the epoch."""
    return split(text)[0]


@lru_cache(maxsize=4096)
def join(instant: int, form: int = MILLISECONDS) -> str:
    """Write an instant in a form."""
    moment = moment_of(instant)
    digits = form & DIGITS
    seconds = moment.strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0")
    if not digits:
        return f"{seconds}Z"
    point = "," if form & COMMA else "."
    return f"{seconds}{point}{moment.microsecond:06}"[: 20 + digits] + "Z"


def shortest(instant: int) -> str:
    """Write an instant with no more of a fraction than it has."""
    if instant % 1_000_000 == 0:
        return join(instant, 0)
    return join(instant, MILLISECONDS if instant % 1000 == 0 else _MOST_DIGITS)


def moment_of(instant: int) -> datetime:
    """Return an instant as an aware date-time."""
    return _EPOCH + timedelta(microseconds=instant)


def instant_of(moment: datetime) -> int:
    """Return an aware date-time as an instant."""
    return (moment - _EPOCH) // _MICROSECOND
