"""Moments as devices give them: ISO 8601 in any offset, or seconds and milliseconds since 1970."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final

MILLISECONDS: Final = 1000
SECONDS: Final = 1
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_UTC_TEXT: Final = re.compile(
    r"[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9](\.[0-9]+)?(?:Z|\+00:00|\+0000)"
)
_LATEST: Final = 253_402_300_799
"""The last second of the year 9999."""


def utc_text(value: Any, scale: int = SECONDS) -> str:
    """Return a moment as the API writes it: UTC, milliseconds (cut, not rounded), Z.

    Args:
        value: ISO 8601 text (without an offset it is UTC) or a number since 1970.
        scale: units of the number in a second.

    Raises:
        ValueError: it is not a moment.
    """
    if isinstance(value, str):
        return _utc_of_text(value)
    return write(moment_of_number(value, scale))


# One measure has the same text in several places, and writes it several times.
@lru_cache(maxsize=256)
def _utc_of_text(text: str) -> str:
    match = _UTC_TEXT.fullmatch(text)
    if match is None:
        return write(moment_of_text(text))
    seconds = text[:19]
    datetime.fromisoformat(seconds)
    return f"{seconds}.{(match[1] or '.')[1:4].ljust(3, '0')}Z"


def write(moment: datetime) -> str:
    """Write an aware moment in UTC with milliseconds and Z."""
    moment = moment.astimezone(UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03}Z"


def moment_of_text(text: str) -> datetime:
    """Read ISO 8601 text; without an offset it is UTC.

    Raises:
        ValueError: it is not a date or date-time.
    """
    moment = datetime.fromisoformat(text.strip())
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def moment_of_number(value: Any, scale: int) -> datetime:
    """Read a number since 1970.

    Raises:
        ValueError: it is not a number, or is outside the years 1970 to 9999.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{value!r:.40} is not a moment")  # noqa: TRY004 - one error for callers
    if not 0 <= value / scale <= _LATEST:
        raise ValueError(f"{value!r:.40} is not a moment")
    return _EPOCH + timedelta(milliseconds=int(value * 1000 // scale))
