"""How hard delivery tries, and how much it holds in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import random

from broker.core.backoff import Backoff


@dataclass(frozen=True, slots=True)
class DeliveryPolicy:
    """The limits of delivery; seconds and bytes.

    Attributes:
        timeout: for a receiver to answer, where its subscription does not say.
        attempts: after which a notification goes to the dead letters.
        refusals: attempts when the receiver does answer, but will not have it (4xx).
        max_age: after which a notification that could not be delivered is not tried any more.
        first_wait: before the second attempt; it doubles with each further one.
        longest_wait: where doubling ends.
        longest_hold: the most that a receiver's Retry-After is honoured.
        concurrency: notifications under way to one endpoint.
        failures_to_open: failures in a row after which an endpoint is only probed.
        lane_bytes: notifications held in memory for one endpoint; more wait in the outbox.
        total_bytes: the same for all endpoints.
        page: notifications read from the outbox at once.
        flush_interval: for which outcomes are gathered before they are written.
        drain: for notifications under way to end at shutdown.
    """

    timeout: float = 5.0
    attempts: int = 10
    refusals: int = 3
    max_age: float = 86_400.0
    first_wait: float = 0.25
    longest_wait: float = 60.0
    longest_hold: float = 3600.0
    concurrency: int = 8
    failures_to_open: int = 5
    lane_bytes: int = 4 * 1024 * 1024
    total_bytes: int = 64 * 1024 * 1024
    page: int = 100
    flush_interval: float = 0.05
    drain: float = 2.0

    def wait(self, attempts: int, jitter: Callable[[], float] = random) -> float:
        """Return how long to wait after some failed attempts, see `Backoff.delay`."""
        return Backoff(self.first_wait, self.longest_wait).delay(attempts, jitter)
