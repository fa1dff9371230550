"""A reader of server-sent events, as a browser's EventSource is one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
from aiohttp import ClientResponse, ClientSession
from yarl import URL

from tests.support.eventually import PATIENCE


@dataclass(frozen=True, slots=True)
class Event:
    """One event; a comment has the name `comment` and no data."""

    name: str
    id: str | None
    data: Any


@dataclass(slots=True)
class EventStream:
    """An open stream.

    Attributes:
        last_id: the id of the last event that had one.
    """

    response: ClientResponse
    last_id: str | None = None
    _rest: bytes = b""

    async def next(self, *, comments: bool = False) -> Event:
        """Return the next event."""
        async with asyncio.timeout(PATIENCE):
            while True:
                event = await self._block()
                if comments or event.name != "comment":
                    return event

    async def speeds(self, count: int) -> list[Any]:
        """Return the speeds that the next notifications tell."""
        return [(await self.next()).data["data"][0]["speed"]["value"] for _ in range(count)]

    async def _line(self) -> str:
        """Return the next line, however long it is."""
        while b"\n" not in self._rest:
            more = await self.response.content.readany()
            if not more:
                raise EOFError
            self._rest += more
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode()

    async def _block(self) -> Event:
        found: dict[str, str] = {}
        while line := await self._line():
            name, _, value = line.partition(":")
            found[name or "comment"] = value.removeprefix(" ")
        self.last_id = found.get("id", self.last_id)
        if "data" not in found:
            return Event("comment", None, None)
        data = msgspec.json.decode(found["data"])
        return Event(found.get("event", "message"), found.get("id"), data)


@asynccontextmanager
async def stream(
    session: ClientSession, url: str, *, headers: Mapping[str, str] | None = None
) -> AsyncIterator[EventStream]:
    """Open a stream; the connection is cut at the end of the block."""
    sent = {"Accept": "text/event-stream", **(headers or {})}
    response = await session.get(URL(url, encoded=True), headers=sent)
    try:
        yield EventStream(response)
    finally:
        response.close()
