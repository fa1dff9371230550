"""The story the demonstration replays: the same each time, in order, and like a town's day."""

from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from rigel.demo.city import City, build_city
from rigel.demo.frames import litres_of
from rigel.demo.story import EvseChange, Stay, Story, Uplink, first_midnight, tell

START = datetime(2026, 6, 17, tzinfo=ZoneInfo("Europe/Paris"))
LENGTH = timedelta(days=3)


@pytest.fixture(scope="module")
def city() -> City:
    return build_city()


@pytest.fixture(scope="module")
def story(city: City) -> Story:
    return tell(city, START, LENGTH, seed=1)


def test_the_same_seed_tells_the_same_story(city: City, story: Story) -> None:
    again = tell(city, START, LENGTH, seed=1)

    assert again == story


def test_another_seed_tells_another_story(city: City, story: Story) -> None:
    other = tell(city, START, LENGTH, seed=2)

    assert other.events != story.events


def test_events_are_in_order_and_inside_the_days_told(story: Story) -> None:
    times = [event.at for event in story.events]

    assert times == sorted(times)
    assert story.start <= times[0]
    assert times[-1] < story.end
    assert story.end - story.start == timedelta(days=3)


def test_every_device_and_every_charging_point_speaks(city: City, story: Story) -> None:
    speaking = {event.dev_eui for event in story.events if isinstance(event, Uplink)}
    charging = {event.evse for event in story.events if isinstance(event, EvseChange)}

    assert speaking == set(_dev_euis(city))
    assert charging == {evse for station in city.stations for evse in station.evses}


def test_device_ids_are_unique_and_locally_administered(city: City) -> None:
    ids = _dev_euis(city)

    assert len(set(ids)) == len(ids) == 76
    assert all(len(bytes.fromhex(dev_eui)) == 8 and dev_eui.startswith("02") for dev_eui in ids)


def test_frame_counters_of_a_device_have_no_gap(story: Story) -> None:
    counters = defaultdict(list)
    for event in story.events:
        if isinstance(event, Uplink):
            counters[event.dev_eui].append(event.f_cnt)

    assert all(seen == list(range(len(seen))) for seen in counters.values())


def test_a_bay_is_taken_and_left_in_turn(story: Story) -> None:
    states = defaultdict(list)
    for event in story.events:
        if isinstance(event, Uplink) and event.f_port == 1 and len(event.payload) == 1:
            states[event.dev_eui].append(event.payload)

    assert all(first != second for seen in states.values() for first, second in pairwise(seen))


def test_a_heartbeat_tells_the_state_the_bay_is_in(city: City, story: Story) -> None:
    stays = defaultdict(list)
    for stay in story.stays:
        stays[stay.bay.dev_eui].append(stay)
    beats = [e for e in story.events if isinstance(e, Uplink) and e.f_port == 2]

    assert len(beats) == 3 * len(city.bays)
    assert all(
        bool(beat.payload[0]) == any(_stands(stay, beat.at) for stay in stays[beat.dev_eui])
        for beat in beats
    )


def test_a_car_charges_only_while_it_stands_in_the_bay(city: City, story: Story) -> None:
    bays = {bay.evse: bay for bay in city.bays if bay.evse is not None}
    starts = [e for e in story.events if isinstance(e, EvseChange) and e.status == "CHARGING"]

    assert starts
    assert all(
        any(stay.bay == bays[change.evse] and _stands(stay, change.at) for stay in story.stays)
        for change in starts
    )


def test_some_cars_stand_at_a_charger_long_after_it_stopped(story: Story) -> None:
    quiet: Counter[bool] = Counter()
    changes = [e for e in story.events if isinstance(e, EvseChange)]
    for stay in story.stays:
        if stay.bay.evse is not None and stay.end is not None:
            own = [c for c in changes if c.evse == stay.bay.evse and _stands(stay, c.at)]
            idle = stay.end - (own[-1].at if own else stay.start)
            quiet[idle > timedelta(minutes=30)] += 1

    assert quiet[True] > 20
    assert quiet[False] > 20


def test_some_charging_points_are_out_of_order_for_some_hours(city: City, story: Story) -> None:
    changes = [e for e in story.events if isinstance(e, EvseChange)]
    points = {change.evse for change in changes if change.status == "OUTOFORDER"}
    next_told = [
        next(c for c in changes if c.evse == change.evse and c.at > change.at)
        for change in changes
        if change.status == "OUTOFORDER" and change.at < story.end - timedelta(hours=20)
    ]

    assert 0 < len(points) < sum(len(station.evses) for station in city.stations) / 2
    assert {change.status for change in next_told} == {"AVAILABLE"}


def test_a_status_change_of_a_charging_point_changes_its_status(city: City, story: Story) -> None:
    statuses = {evse: ["AVAILABLE"] for station in city.stations for evse in station.evses}
    for event in story.events:
        if isinstance(event, EvseChange):
            statuses[event.evse].append(event.status)

    assert all(first != second for told in statuses.values() for first, second in pairwise(told))


def test_the_index_of_a_water_meter_only_grows(city: City, story: Story) -> None:
    indices = defaultdict(list)
    for event in story.events:
        if isinstance(event, Uplink) and event.f_port == 100:
            indices[event.dev_eui].append(litres_of(event.payload))

    assert indices.keys() == {meter.dev_eui for meter in city.meters}
    assert all(read == sorted(read) and read[0] < read[-1] for read in indices.values())


def test_the_market_is_busier_at_noon_than_at_night(story: Story) -> None:
    hours = Counter(
        stay.start.astimezone(ZoneInfo("Europe/Paris")).hour
        for stay in story.stays
        if stay.bay.group.key == "marche"
    )

    assert sum(hours[hour] for hour in range(8, 12)) > 5 * sum(hours[hour] for hour in range(1, 5))


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (datetime(2026, 6, 20, 12, tzinfo=UTC), "2026-06-17T00:00:00+02:00"),
        (datetime(2026, 6, 20, 8, tzinfo=UTC), "2026-06-17T00:00:00+02:00"),
        (datetime(2026, 6, 20, 7, tzinfo=UTC), "2026-06-16T00:00:00+02:00"),
        (datetime(2026, 3, 30, 12, tzinfo=UTC), "2026-03-27T00:00:00+01:00"),
    ],
    ids=["by day", "just over", "not over today", "over the change to summer time"],
)
def test_the_first_midnight_begins_at_a_local_midnight(now: datetime, expected: str) -> None:
    assert first_midnight(now, timedelta(hours=82)).isoformat() == expected


def test_three_days_over_the_change_to_summer_time_are_72_hours(city: City) -> None:
    story = tell(city, datetime(2026, 3, 28, tzinfo=ZoneInfo("Europe/Paris")), LENGTH, seed=1)

    assert story.end - story.start == timedelta(hours=72)


def _dev_euis(city: City) -> list[str]:
    bays, probes = [bay.dev_eui for bay in city.bays], [probe.dev_eui for probe in city.probes]
    return [*bays, *probes, *(meter.dev_eui for meter in city.meters)]


def _stands(stay: Stay, at: datetime) -> bool:
    return stay.start <= at and (stay.end is None or at < stay.end)
