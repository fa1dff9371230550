"""When a subscription with a timeInterval is to tell of its entities (clause 5.8.6).

The moments are the subscription's creation plus whole intervals, so that neither a slow
notification nor a restart moves them. Of those that went by unused, such as while the broker was
down, one is made up for.
"""

from __future__ import annotations

from math import floor

from broker.core.subscription import Subscription
from broker.core.timestamps import instant_key


def next_moment(subscription: Subscription, interval: float, last: str | None) -> float:
    """Return the first moment behind the last that was used, in seconds since the epoch.

    Args:
        last: the last moment used; None before the first, which comes an interval after the
            subscription was written.
    """
    anchor = instant_key(str(subscription.created_at))
    used = instant_key(str(subscription.modified_at) if last is None else last)
    # To the nearest: the last one used is on the grid but for rounding, unless the grid changed.
    return anchor + (floor((used - anchor) / interval + 0.5) + 1) * interval


def latest_moment(moment: float, interval: float, now: float) -> float:
    """Return the last moment that is not in the future, counted from another one."""
    return moment + floor((now - moment) / interval) * interval
