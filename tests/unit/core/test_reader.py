"""What the reader of documents takes for a DateTime (clause 4.6.3)."""

from __future__ import annotations

from datetime import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.core.errors import BadRequestData
from broker.core.reader import date_time, is_date_time
from broker.core.timestamps import check_timestamp

TIMES = st.builds(
    lambda moment, fraction: f"{moment:%Y-%m-%dT%H:%M:%S}{fraction}Z",
    st.datetimes(min_value=datetime(1000, 1, 1)),  # noqa: DTZ001 - what is drawn has no zone
    st.from_regex(r"([.,]\d{0,10})?", fullmatch=True),
)
ALMOST_TIMES = st.builds(
    lambda text, place, other: text[:place] + other + text[place + 1 :],
    TIMES,
    st.integers(0, 30),
    st.text(alphabet="0129-:TZ.,+W ", max_size=3),
)


@settings(deadline=None, max_examples=300)
@given(TIMES | ALMOST_TIMES)
def test_the_quick_check_takes_only_what_the_thorough_one_takes(text: str) -> None:
    assert not is_date_time(text) or check_timestamp(text, "x") == text


@pytest.mark.parametrize(
    "text",
    [
        "2026-05-01T12:00:00Z",
        "2026-05-01T12:00:00.5Z",
        "2026-05-01T12:00:00,123456Z",
        "2026-05-01T12:00:00.123456789Z",
    ],
)
def test_a_date_time_is_taken_as_it_came(text: str) -> None:
    assert is_date_time(text)
    assert date_time(text, "x") == text


@pytest.mark.parametrize(
    "text",
    [
        "2026-05-01",
        "2026-05-01T12:00Z",
        "2026-05-01T12:00:00",
        "2026-05-01T12:00:00+00:00",
        "2026-02-30T12:00:00Z",
        "2026-W18-5T12:00:00Z",
        "20260501T120000Z",
        5,
        None,
    ],
)
def test_anything_else_is_refused_with_its_path(text: object) -> None:
    with pytest.raises(BadRequestData, match=r"^x: expected a UTC date-time"):
        date_time(text, "x")
