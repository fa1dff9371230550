"""The data types that queries and orders tell apart (clauses 4.6.3, 4.9, 4.23.2).

A text in the lexical form of a DateTime, Date or Time is one, on both sides of a comparison and
quoted or not, so that `"2026-05-01T12:00:00Z"` and `2026-05-01T12:00:00.0Z` are the same instant.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from enum import IntEnum
from functools import lru_cache
from typing import Any, NamedTuple

from broker.core.query.nodes import Kind

RELATIONSHIPS = frozenset({"Relationship", "ListRelationship"})

_TEMPORAL = re.compile(
    r"(?:(?P<date>\d{4}-\d\d-\d\d)(?P<t>T)?)?"
    r"(?:(?P<hour>[01]\d|2[0-3]):(?P<minute>[0-5]\d):(?P<second>[0-5]\d)(?:[.,](?P<fraction>\d{1,9}))?Z)?"
)
_SHORTEST, _LONGEST = len("00:00:00Z"), len("0000-00-00T00:00:00.000000000Z")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_DAY = _EPOCH.toordinal()
_MICROSECOND = timedelta(microseconds=1)
_DAY = 86_400_000_000


class Rank(IntEnum):
    """The order of data types when values are sorted (clause 4.23.2)."""

    NUMBER = 0
    TEXT = 1
    REFERENCE = 2
    OBJECT = 3
    ARRAY = 4
    BOOLEAN = 5
    TIME = 6
    DATE = 7
    DATE_TIME = 8
    NULL = 9


TEMPORAL_RANKS = {Kind.TIME: Rank.TIME, Kind.DATE: Rank.DATE, Kind.DATE_TIME: Rank.DATE_TIME}


class Temporal(NamedTuple):
    """A DateTime, Date or Time; microseconds since the epoch or since midnight."""

    kind: Kind
    microseconds: int


class Ranked(NamedTuple):
    """A value with its data type; sorts by type, then by value."""

    rank: Rank
    key: Any


def temporal(text: str) -> Temporal | None:
    """Read a text in the form of a DateTime, Date or Time; None if it is none of these."""
    return _temporal(text) if may_be_temporal(text) else None


def may_be_temporal(text: str) -> bool:
    """Tell quickly of most texts that they are no DateTime, Date or Time."""
    return _SHORTEST <= len(text) <= _LONGEST and "0" <= text[0] <= "9"


@lru_cache(maxsize=4096)
def _temporal(text: str) -> Temporal | None:
    found = _TEMPORAL.fullmatch(text)
    if found is None:
        return None
    day, joined, hour, minute, second, fraction = found.groups()
    if (joined is not None) != (day is not None and hour is not None):
        return None
    micros = 0
    if day is not None:
        try:
            micros = (date.fromisoformat(day).toordinal() - _EPOCH_DAY) * _DAY
        except ValueError:
            return None
        if hour is None:
            return Temporal(Kind.DATE, micros)
    seconds = (int(hour) * 60 + int(minute)) * 60 + int(second)
    micros += seconds * 1_000_000 + int((fraction or "0").ljust(6, "0")[:6])
    return Temporal(Kind.TIME if day is None else Kind.DATE_TIME, micros)


def unwrap(value: Any) -> Any:
    """Return what a JSON-LD typed value (`@type`, `@value`) holds; other values as they are."""
    if value.__class__ is dict and "@value" in value:
        return value["@value"]
    return value


def ranked(value: Any) -> Ranked:
    """Return a value's data type and what to compare it by; containers are all alike."""
    value = unwrap(value)
    if isinstance(value, str):
        time = temporal(value)
        if time is None:
            return Ranked(Rank.TEXT, value)
        return Ranked(TEMPORAL_RANKS[time.kind], time.microseconds)
    if isinstance(value, bool):
        return Ranked(Rank.BOOLEAN, value)
    if isinstance(value, int | float):
        return Ranked(Rank.NUMBER, value)
    if value is None:
        return Ranked(Rank.NULL, 0)
    return Ranked(Rank.OBJECT if isinstance(value, dict) else Rank.ARRAY, 0)
