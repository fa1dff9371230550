"""TCP servers of tests that speak for themselves, and leave nothing open behind them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

Session = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class _Sessions:
    """The connections of one server, each with what speaks over it."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._tasks: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._is_over = False

    def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Speak over a new connection."""
        if self._is_over:
            writer.transport.abort()
            return
        task = asyncio.get_running_loop().create_task(self._speak(reader, writer))
        self._tasks[task] = writer

    async def end(self) -> None:
        """Close all connections, also those that nobody has spoken over yet."""
        await asyncio.sleep(0)  # what was accepted comes to `take` in the next turn of the loop
        self._is_over = True
        for task, writer in self._tasks.items():
            writer.transport.abort()
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await asyncio.sleep(0)  # an aborted transport closes its socket in the next turn

    async def _speak(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await self._session(reader, writer)
        writer.close()


@asynccontextmanager
async def listening(session: Session, port: int = 0) -> AsyncIterator[int]:
    """Take connections and let a session speak over each; yield the port.

    Where a session ends, its connection does; where the block ends, all do.
    """
    sessions = _Sessions(session)
    server = await asyncio.start_server(sessions.take, "127.0.0.1", port)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await sessions.end()
