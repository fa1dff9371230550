"""A part of the product alone in a process of its own, which a test may kill."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ChildProcess:
    """A running process and the root of its API."""

    url: str
    process: asyncio.subprocess.Process

    async def kill(self) -> None:
        """End it with SIGKILL."""
        self.process.kill()
        await self.process.wait()


@asynccontextmanager
async def child_process(module: str, argument: str) -> AsyncIterator[ChildProcess]:
    """Run a module that prints its URL; what still runs at the end of the block is killed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, argument, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    started = ChildProcess((await process.stdout.readline()).decode().strip(), process)
    try:
        yield started
    finally:
        if process.returncode is None:
            await started.kill()
