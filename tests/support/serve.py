"""A real broker on a real port, run by one task of its own.

A TaskGroup must be entered and left by one task, and pytest-asyncio sets fixtures up and tears them
down in different ones; so `running` hands the context manager to a task and waits for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TypeVar

from broker.server import RunningBroker, serve
from broker.settings import Settings

T = TypeVar("T")


@asynccontextmanager
async def running(manager: AbstractAsyncContextManager[T]) -> AsyncIterator[T]:
    """Enter and leave a context manager in one task, whatever tasks the block runs in."""
    entered: asyncio.Future[T] = asyncio.get_running_loop().create_future()
    leave = asyncio.Event()

    async def hold() -> None:
        try:
            async with manager as value:
                entered.set_result(value)
                await leave.wait()
        except BaseException as error:
            if entered.done():
                raise
            entered.set_exception(error)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(hold(), name="running")
        try:
            yield await entered
        finally:
            leave.set()


@asynccontextmanager
async def running_broker(data_dir: Path, **settings: object) -> AsyncIterator[RunningBroker]:
    """Run a broker on a free port that may call loopback addresses."""
    chosen = {"port": 0, "egress_allow_private": True, **settings}
    async with running(serve(Settings(data_dir=data_dir, **chosen))) as broker:  # type: ignore[arg-type]
        yield broker
