"""What the running platform says of itself, read from its metrics pages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Final

from aiohttp import ClientError, ClientSession, ClientTimeout
from prometheus_client.parser import text_string_to_metric_families

_TIMEOUT: Final = ClientTimeout(total=10.0)
_FIRST_WAIT: Final = 0.005
_LONGEST_WAIT: Final = 0.1

Counts = Mapping[str, float]
"""Metrics by name, each summed over its labels; those of an agent also by name and agent."""


class NeverTrue(Exception):
    """Something that was waited for did not become true in time; the text says how it stands."""


class Facts:
    """The metrics of some servers, as one."""

    def __init__(self, session: ClientSession, *urls: str) -> None:
        """Name the servers by their roots; the owner of the session closes it.

        They are read one after the other: each before those it hands things on to, lest what passes
        from one to the next between two readings is seen at neither.
        """
        self._session = session
        self._urls = urls

    async def read(self) -> Counts:
        """Return all metrics as they are now."""
        counts: dict[str, float] = {}
        for url in self._urls:
            async with self._session.get(url + "/metrics", timeout=_TIMEOUT) as response:
                response.raise_for_status()
                text = await response.text()
            for family in text_string_to_metric_families(text):
                for sample in family.samples:
                    agent = sample.labels.get("agent", "")
                    for name in {sample.name, f"{sample.name} {agent}".rstrip()}:
                        counts[name] = counts.get(name, 0.0) + sample.value
        return counts

    async def ready(self, limit: float) -> None:
        """Wait until every server says that it is ready.

        Raises:
            NeverTrue: that took longer than `limit` seconds; with the reason the server gives.
        """
        for url in self._urls:
            said = ""
            try:
                async with asyncio.timeout(limit):
                    async for _ in again():
                        said = await self._not_ready(url)
                        if not said:
                            break
            except TimeoutError as error:
                raise NeverTrue(f"{url} is not ready after {limit:g} s: {said}") from error

    async def until(self, true: Callable[[Counts], bool], what: str, limit: float) -> Counts:
        """Read again and again until the counts satisfy a condition, and return them.

        Raises:
            NeverTrue: that took longer than `limit` seconds.
        """
        counts: Counts = {}
        try:
            async with asyncio.timeout(limit):
                async for _ in again():
                    counts = await self.read()
                    if true(counts):
                        break
        except TimeoutError as error:
            shown = ", ".join(f"{name} {value:g}" for name, value in sorted(counts.items()))
            raise NeverTrue(f"{what} not after {limit:g} s: {shown}") from error
        return counts

    async def _not_ready(self, url: str) -> str:
        try:
            async with self._session.get(url + "/ready", timeout=_TIMEOUT) as response:
                return "" if response.ok else await response.text()
        except ClientError as error:
            return str(error)


def everybody_told(counts: Counts) -> bool:
    """Tell whether the broker has no notification left to deliver."""
    return (
        not counts["rigel_broker_notifications_in_memory"]
        + counts["rigel_broker_subscriptions_behind"]
    )


async def again() -> AsyncIterator[None]:
    """Yield at once and then after waits that grow, for asking again and again."""
    wait = _FIRST_WAIT
    while True:
        yield
        await asyncio.sleep(wait)
        wait = min(wait * 1.5, _LONGEST_WAIT)
