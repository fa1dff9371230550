"""A link between a client and a server that a test can cut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

from tests.support.sockets import listening

Link = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Relay:
    """Passes bytes on in both directions.

    Attributes:
        url: what stands for the server's root.
    """

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        self._host, self._port = parts.hostname or "", parts.port or 0
        self._writers: set[asyncio.StreamWriter] = set()
        self.url = ""
        self.deaf = False
        """Whether what clients send gets lost on its way."""

    def cut(self) -> None:
        """Cut all connections there are."""
        for writer in self._writers:
            writer.transport.abort()

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Connect one client."""
        inner_reader, inner_writer = await asyncio.open_connection(self._host, self._port)
        ends = {writer, inner_writer}
        self._writers |= ends
        try:
            await join((reader, writer), (inner_reader, inner_writer), lambda: not self.deaf)
        finally:
            self._writers -= ends


async def join(outer: Link, inner: Link, heard: Callable[[], bool] = lambda: True) -> None:
    """Pass on what comes from either side until both have closed; the inner one is closed then.

    Args:
        heard: whether what comes from the outer side is passed on.
    """
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(_pass_on(outer[0], inner[1], heard))
            group.create_task(_pass_on(inner[0], outer[1], lambda: True))
    finally:
        inner[1].transport.abort()


async def _pass_on(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, heard: Callable[[], bool]
) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            if heard():
                writer.write(data)
                await writer.drain()
    writer.close()


@asynccontextmanager
async def relaying(target: str) -> AsyncIterator[Relay]:
    """Run a relay to a server."""
    relay = Relay(target)
    async with listening(relay.take) as port:
        relay.url = f"http://127.0.0.1:{port}"
        yield relay
