"""Send a notification over HTTP and say what became of it (clauses 5.8.6, 6.3.8)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from broker.egress import Answer, Egress, EgressFailed, EgressRefused
from broker.subscriptions.endpoints.target import Target

_SUCCESS: Final = range(200, 300)
_REFUSALS: Final = range(400, 500)
_NOT_NOW: Final = frozenset((408, 425, 429))
_MOST_DIGITS: Final = 9


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a notification did not arrive.

    Attributes:
        refused: the receiver is there and will not have it; trying again seldom helps.
        retry_after: seconds for which it asks to be left alone.
    """

    reason: str
    refused: bool = False
    retry_after: float | None = None


class HttpEndpoint:
    """The way to receivers with an http or https URL."""

    def __init__(self, egress: Egress, clock: Callable[[], datetime], *, timeout: float) -> None:
        self._egress = egress
        self._clock = clock
        self._timeout = timeout

    async def send(self, target: Target, body: bytes) -> Failure | None:
        """Post a notification; None when it was answered 2xx."""
        try:
            answer = await self._egress.request(
                "POST",
                target.url,
                headers=target.headers,
                body=body,
                timeout=target.timeout or self._timeout,
            )
        except EgressRefused as error:
            return Failure(f"not allowed: {error}", refused=True)
        except EgressFailed as error:
            return Failure(str(error))
        if answer.status in _SUCCESS:
            return None
        refused = answer.status in _REFUSALS and answer.status not in _NOT_NOW
        return Failure(f"answered {answer.status}", refused, self._retry_after(answer))

    def _retry_after(self, answer: Answer) -> float | None:
        """Read Retry-After in either of its forms; nonsense counts as absent."""
        text = answer.headers.get("Retry-After", "").strip()
        if text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS:
            return float(text)
        try:
            moment = parsedate_to_datetime(text)
        except ValueError:
            return None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return max((moment - self._clock()).total_seconds(), 0.0)
