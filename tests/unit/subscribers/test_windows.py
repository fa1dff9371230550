from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subscribers.common.instants import Instant, to_datetime, to_instant
from subscribers.kpi.model import WindowKind
from subscribers.kpi.windows import window_at

PARIS = ZoneInfo("Europe/Paris")
HOUR = 3_600_000_000


def instant(text: str) -> Instant:
    return to_instant(datetime.fromisoformat(text).astimezone(UTC))


@pytest.mark.parametrize(
    ("kind", "at", "start", "end", "first", "last"),
    [
        ("day", "2026-05-01T22:30+00:00", "2026-05-02", "2026-05-03", "2026-05-02", "2026-05-02"),
        ("day", "2026-05-02T21:59+00:00", "2026-05-02", "2026-05-03", "2026-05-02", "2026-05-02"),
        ("week", "2026-05-03T12:00+02:00", "2026-04-27", "2026-05-04", "2026-04-27", "2026-05-03"),
        ("month", "2026-12-31T12:00+01:00", "2026-12-01", "2027-01-01", "2026-12-01", "2026-12-31"),
        ("month", "2028-02-10T12:00+01:00", "2028-02-01", "2028-03-01", "2028-02-01", "2028-02-29"),
    ],
)
def test_windows_follow_the_local_calendar(
    kind: WindowKind, at: str, start: str, end: str, first: str, last: str
) -> None:
    window = window_at(kind, PARIS, instant(at))

    assert to_datetime(window.start) == datetime.fromisoformat(start).replace(tzinfo=PARIS)
    assert to_datetime(window.end) == datetime.fromisoformat(end).replace(tzinfo=PARIS)
    assert (window.first.isoformat(), window.last.isoformat()) == (first, last)


@pytest.mark.parametrize(
    ("day", "hours"), [("2026-03-29", 23), ("2026-10-25", 25), ("2026-05-01", 24)]
)
def test_a_day_is_as_long_as_its_clock_changes_make_it(day: str, hours: int) -> None:
    window = window_at("day", PARIS, instant(f"{day}T12:00+01:00"))

    assert window.end - window.start == hours * HOUR


def test_the_hour_that_comes_twice_is_two_windows() -> None:
    summer = window_at("hour", PARIS, instant("2026-10-25T00:30+00:00"))
    winter = window_at("hour", PARIS, instant("2026-10-25T01:30+00:00"))

    assert summer.end == winter.start
    assert winter.end - winter.start == HOUR


def test_hours_follow_the_local_clock_where_it_is_half_an_hour_off() -> None:
    window = window_at("hour", ZoneInfo("Asia/Kolkata"), instant("2026-05-01T10:45+05:30"))

    assert window.start == instant("2026-05-01T10:00+05:30")


@given(
    st.sampled_from(("hour", "day", "week", "month")),
    st.sampled_from(("Europe/Paris", "America/St_Johns", "America/Santiago", "Pacific/Apia")),
    st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1)),  # noqa: DTZ001 - hypothesis wants naive
)
def test_windows_follow_one_another_without_gap_or_overlap(
    kind: WindowKind, zone: str, moment: datetime
) -> None:
    at = to_instant(moment.replace(tzinfo=UTC))

    window = window_at(kind, ZoneInfo(zone), at)

    assert window.start <= at < window.end
    assert window_at(kind, ZoneInfo(zone), window.start) == window
    assert window_at(kind, ZoneInfo(zone), window.end).start == window.end
    assert window_at(kind, ZoneInfo(zone), Instant(window.end - 1)) == window
