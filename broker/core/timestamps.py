"""Date-times as the API writes them: UTC, ISO 8601, ending in Z (clause 4.6.3)."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache

from broker.core.errors import BadRequestData

_DATE_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)T([01]\d|2[0-4]):([0-5]\d):([0-5]\d|60)(?:[.,](\d{1,9}))?Z"
)


def format_timestamp(moment: datetime) -> str:
    """Write an aware date-time with milliseconds, so that texts of one width sort by time."""
    utc = moment if moment.tzinfo is UTC else moment.astimezone(UTC)
    return utc.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def parse_timestamp(text: object, where: str) -> datetime:
    """Read a DateTime of clause 4.6.3, cutting its fraction to microseconds.

    Raises:
        BadRequestData: it is not a UTC date-time that ends in Z.
    """
    match = _DATE_TIME.fullmatch(text) if isinstance(text, str) else None
    expected = f"{where}: expected a UTC date-time such as 2026-05-01T12:00:00Z, got {text!r:.80}"
    if match is None:
        raise BadRequestData(expected)
    try:
        year, month, day, hour, minute, second, fraction = match.groups()
        micro = int((fraction or "0").ljust(6, "0")[:6])
        return datetime(
            int(year), int(month), int(day), int(hour), int(minute), int(second), micro, UTC
        )
    except ValueError as error:
        raise BadRequestData(expected) from error


def check_timestamp(text: object, where: str) -> str:
    """Return a DateTime text unchanged once it is known to be one.

    Raises:
        BadRequestData: see `parse_timestamp`.
    """
    parse_timestamp(text, where)
    return str(text)


@lru_cache(maxsize=4096)
def instant_key(text: str) -> float:
    """Return the instant of a checked DateTime in seconds since the epoch."""
    return parse_timestamp(text, "time").timestamp()
