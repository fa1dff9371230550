"""Instants as whole microseconds, which sort, subtract and store without a thought."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NewType

from broker.core.timestamps import format_timestamp, parse_timestamp

Instant = NewType("Instant", int)
"""Microseconds since the epoch."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_DURATION: Final = re.compile(r"(\d+) ?(s|min|h|d)")
_UNITS: Final = {"s": 1_000_000, "min": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}


class Duration(int):
    """A span of time in microseconds, written as `90s`, `15min`, `12h` or `2d`."""

    @classmethod
    def of_seconds(cls, seconds: float) -> Duration:
        """Return a duration of so many seconds."""
        return cls(round(seconds * 1_000_000))

    @classmethod
    def read(cls, text: object) -> Duration:
        """Read a duration.

        Raises:
            ValueError: it is not written as above.
        """
        match = _DURATION.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            raise ValueError(f"expected a duration such as 90s, 15min, 12h or 2d, got {text!r:.40}")
        return cls(int(match[1]) * _UNITS[match[2]])


def to_instant(moment: datetime) -> Instant:
    """Return the instant of an aware date-time."""
    return Instant((moment - _EPOCH) // _MICROSECOND)


def to_datetime(instant: Instant) -> datetime:
    """Return an instant as a date-time in UTC."""
    return _EPOCH + timedelta(microseconds=instant)


def to_text(instant: Instant) -> str:
    """Write an instant as the DateTime of the API."""
    return format_timestamp(to_datetime(instant))


def date_time(instant: Instant) -> dict[str, Any]:
    """Write an instant as the value of a Property."""
    return {"@type": "DateTime", "@value": to_text(instant)}


def read_instant(text: object, where: str) -> Instant:
    """Read a DateTime of the API.

    Raises:
        BadRequestData: it is not a UTC date-time that ends in Z.
    """
    return to_instant(parse_timestamp(text, where))
