from datetime import UTC, datetime, timedelta

import pytest

from subscribers.common.instants import Duration, Instant, to_instant
from subscribers.common.stream_clock import Position, StreamClock
from tests.support.manual_time import ManualTime

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
TOLERANCE = Duration.read("5min")


def at(**ahead: float) -> Instant:
    return to_instant(NOON + timedelta(**ahead))


@pytest.fixture
def time() -> ManualTime:
    return ManualTime(NOON)


@pytest.fixture
def clock(time: ManualTime) -> StreamClock:
    return StreamClock(time.source, TOLERANCE)


def test_before_any_observation_it_is_the_wall_clock_and_does_not_run(clock: StreamClock) -> None:
    assert clock.now() == at()
    assert not clock.running
    assert clock.position() is None


def test_the_newest_observation_sets_it(clock: StreamClock) -> None:
    clock.observe(at(days=-3))
    clock.observe(at(days=-2))
    clock.observe(at(days=-4))

    assert clock.now() == at(days=-2)


def test_between_observations_it_runs(clock: StreamClock, time: ManualTime) -> None:
    clock.observe(at(days=-2))

    time.pass_by(90)

    assert clock.now() == at(days=-2, seconds=90)


def test_an_observation_that_took_its_time_does_not_set_it_back(
    clock: StreamClock, time: ManualTime
) -> None:
    clock.observe(at(seconds=-10))
    time.pass_by(60)

    clock.observe(at(seconds=40))

    assert clock.now() == at(seconds=50)


def test_a_sensor_from_the_future_does_not_move_it(clock: StreamClock) -> None:
    clock.observe(at(hours=-1))

    clock.observe(at(minutes=6))

    assert clock.now() == at(hours=-1)
    assert not clock.believes(at(minutes=6))


def test_a_sensor_whose_clock_is_a_little_ahead_is_believed(clock: StreamClock) -> None:
    clock.observe(at(minutes=5))

    assert clock.now() == at(minutes=5)


@pytest.mark.parametrize("step", [-3600, 3600], ids=["back", "forward"])
def test_a_step_of_the_wall_clock_neither_stops_it_nor_makes_it_jump(
    clock: StreamClock, time: ManualTime, step: float
) -> None:
    clock.observe(at())

    time.set_wall(step)
    time.pass_by(30)

    assert clock.now() == at(seconds=30)


def test_observations_are_still_believed_when_the_wall_clock_was_set_back(
    clock: StreamClock, time: ManualTime
) -> None:
    time.set_wall(-3600)
    time.pass_by(30)

    assert clock.believes(at(seconds=30))


def test_it_goes_on_where_it_stood_and_counts_the_time_it_was_down(
    clock: StreamClock, time: ManualTime
) -> None:
    clock.observe(at(days=-2))
    time.pass_by(10)
    position = clock.position()

    time.restart(600)
    again = StreamClock(time.source, TOLERANCE, position)

    assert position == Position(at(days=-2, seconds=10), at(seconds=10))
    assert again.now() == at(days=-2, seconds=610)


def test_it_does_not_go_back_when_the_wall_clock_did_while_it_was_down(
    clock: StreamClock, time: ManualTime
) -> None:
    clock.observe(at())
    position = clock.position()

    time.restart(-3600)
    again = StreamClock(time.source, TOLERANCE, position)

    assert again.now() == at()
    assert again.believes(at(minutes=1))
