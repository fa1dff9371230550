from datetime import UTC, datetime, timedelta, timezone

import pytest

from broker.core.errors import BadRequestData
from subscribers.common.instants import (
    Duration,
    date_time,
    read_instant,
    to_datetime,
    to_instant,
    to_text,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("15min", 900), ("12h", 43_200), ("2d", 172_800), ("15 min", 900), ("0s", 0)],
)
def test_a_duration_is_a_number_and_a_unit(text: str, seconds: int) -> None:
    assert Duration.read(text) == Duration.of_seconds(seconds)


@pytest.mark.parametrize("text", ["15", "min", "-1h", "1.5h", "PT15M", "1h30min", 900, None, ""])
def test_what_is_no_duration_is_refused_with_an_example(text: object) -> None:
    with pytest.raises(ValueError, match="such as 90s, 15min, 12h or 2d"):
        Duration.read(text)


def test_an_instant_keeps_microseconds_and_forgets_the_zone() -> None:
    zone = timezone(timedelta(hours=2))
    moment = datetime(2026, 5, 1, 12, 0, 0, 123_456, zone)

    instant = to_instant(moment)

    assert to_datetime(instant) == moment
    assert to_datetime(instant).tzinfo is UTC


def test_an_instant_is_read_and_written_as_the_api_has_it() -> None:
    instant = read_instant("2026-05-01T10:00:00.5Z", "status.observedAt")

    assert to_text(instant) == "2026-05-01T10:00:00.500Z"
    assert date_time(instant) == {"@type": "DateTime", "@value": "2026-05-01T10:00:00.500Z"}


def test_an_instant_that_cannot_be_read_is_told_with_its_place() -> None:
    with pytest.raises(BadRequestData, match=r"status\.observedAt"):
        read_instant("yesterday", "status.observedAt")
