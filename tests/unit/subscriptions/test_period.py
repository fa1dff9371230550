"""When periodic notifications are due."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from broker.core.ld_context import CORE
from broker.core.subscription import Subscription
from broker.core.subscription_documents import parse, update
from broker.core.timestamps import format_timestamp
from broker.subscriptions.period import latest_moment, next_moment

CREATED = datetime(2026, 5, 1, 12, 0, 0, 123_000, tzinfo=UTC)


def subscription() -> Subscription:
    document = {
        "type": "Subscription",
        "entities": [{"type": "Road"}],
        "timeInterval": 10,
        "notification": {"endpoint": {"uri": "http://receiver.example/"}},
    }
    return parse(document, CORE, CREATED)


def after(seconds: float) -> datetime:
    return CREATED + timedelta(seconds=seconds)


def seconds(moment: float) -> float:
    return round(moment - CREATED.timestamp(), 3)


def test_the_first_moment_is_an_interval_after_the_creation() -> None:
    assert seconds(next_moment(subscription(), 10, None)) == 10


@pytest.mark.parametrize("interval", [0.05, 0.1, 1 / 3, 0.7, 10, 86_400])
def test_moments_stay_on_the_grid_and_none_is_used_twice(interval: float) -> None:
    made, moments = subscription(), [CREATED.timestamp()]
    last = None
    for _ in range(1000):
        moments.append(next_moment(made, interval, last))
        last = format_timestamp(datetime.fromtimestamp(moments[-1], UTC))

    expected = [CREATED.timestamp() + number * interval for number in range(1001)]
    assert moments == pytest.approx(expected, abs=1e-6, rel=0)


def test_of_moments_that_went_by_the_latest_is_the_one_used() -> None:
    first = next_moment(subscription(), 10, format_timestamp(after(20)))

    assert seconds(first) == 30
    assert seconds(latest_moment(first, 10, after(67).timestamp())) == 60


def test_an_interval_that_was_added_later_begins_with_the_update() -> None:
    changed = update(subscription(), {"timeInterval": 60}, CORE, after(1000))

    assert 30 <= seconds(next_moment(changed, 60, None)) - 1000 <= 90
