"""A circuit breaker: an endpoint that keeps failing is left alone and probed now and then."""

from __future__ import annotations

from broker.subscriptions.policy import DeliveryPolicy


class Breaker:
    """Closed: all may pass. Open: none until a moment. Half open after it: one at a time.

    Attributes:
        open_until: when the next probe may pass; None while the circuit is closed.
    """

    def __init__(self, policy: DeliveryPolicy) -> None:
        self._policy = policy
        self._failures = 0
        self._openings = 0
        self.open_until: float | None = None

    def limit(self, now: float, concurrency: int) -> int:
        """Return how many may be under way."""
        if self.open_until is None:
            return concurrency
        return 1 if self.open_until <= now else 0

    def succeeded(self) -> bool:
        """Close the circuit; tell whether it was open."""
        was_open = self.open_until is not None
        self._failures = self._openings = 0
        self.open_until = None
        return was_open

    def failed(self, now: float) -> bool:
        """Count a failure; tell whether it opened a circuit that was closed."""
        self._failures += 1
        was_closed = self.open_until is None
        if was_closed and self._failures < self._policy.failures_to_open:
            return False
        if not was_closed and self.open_until is not None and self.open_until > now:
            return False  # under way since before the circuit opened
        self._openings += 1
        self.open_until = now + self._policy.wait(self._openings)
        return was_closed
