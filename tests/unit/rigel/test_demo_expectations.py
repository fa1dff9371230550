"""What must be in the broker after a replay, and how a difference is told."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from rigel.demo.city import City, build_city
from rigel.demo.expectations import Expected, expectations
from rigel.demo.replay import TICK, ticks
from rigel.demo.story import Story, tell

AT = datetime(2026, 6, 17, 8, 15, 2, tzinfo=UTC)
BAY = Expected("urn:ngsi-ld:ParkingSpot:a", "status", "free", AT)


@pytest.fixture(scope="module")
def city() -> City:
    return build_city()


@pytest.fixture(scope="module")
def story(city: City) -> Story:
    start = datetime(2026, 6, 17, tzinfo=ZoneInfo("Europe/Paris"))
    return tell(city, start, timedelta(days=1), seed=1)


def test_all_that_was_told_of_is_expected_once(city: City, story: Story) -> None:
    found = [(expected.entity_id, expected.attribute) for expected in expectations(city, story)]

    assert len(found) == len(set(found)) == 48 + 24 + 24 + 12 + 2 * 3 + 12 + 3 * 4


def test_a_bay_is_expected_as_the_last_stay_left_it(city: City, story: Story) -> None:
    found = {expected.entity_id: expected.value for expected in expectations(city, story)}
    taken = {stay.bay.key for stay in story.stays if stay.end is None}

    assert taken
    assert all(
        found[f"urn:ngsi-ld:ParkingSpot:{bay.key}"] == ("occupied" if bay.key in taken else "free")
        for bay in city.bays
    )


@pytest.mark.parametrize(
    ("entity", "fault"),
    [
        (
            {"status": {"value": "free", "observedAt": "2026-06-17T08:15:02.000Z"}},
            None,
        ),
        (None, "urn:ngsi-ld:ParkingSpot:a is missing"),
        ({}, "urn:ngsi-ld:ParkingSpot:a has no status"),
        (
            {"status": {"value": "occupied", "observedAt": "2026-06-17T08:15:02.000Z"}},
            "urn:ngsi-ld:ParkingSpot:a, status: value is 'occupied' instead of 'free'",
        ),
        (
            {"status": {"value": "free", "observedAt": "2026-06-17T08:00:00.000Z"}},
            (
                "urn:ngsi-ld:ParkingSpot:a, status: observedAt is '2026-06-17T08:00:00.000Z'"
                " instead of '2026-06-17T08:15:02.000Z'"
            ),
        ),
    ],
    ids=["as sent", "no entity", "no attribute", "another value", "an older value"],
)
def test_a_difference_is_told_in_words(entity: dict[str, Any] | None, fault: str | None) -> None:
    assert BAY.fault(entity) == fault


def test_ticks_hold_every_event_once_and_in_order(story: Story) -> None:
    replayed = [event for _, events in ticks(story) for event in events]

    assert tuple(replayed) == story.events


def test_an_event_lies_in_the_tick_before_the_tick_s_end(story: Story) -> None:
    cut = list(ticks(story))

    assert all(end - TICK <= event.at < end for end, events in cut for event in events)
    assert all(first[0] < second[0] for first, second in pairwise(cut))
