"""Subscribers alone in a process of their own, which a test may kill.

Run as `python -m tests.support.subscriber_process <settings as JSON>`; it prints its URL.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from subscribers.server import serve
from subscribers.settings import Settings


@dataclass(frozen=True, slots=True)
class SubscriberProcess:
    """A running process and where it listens."""

    url: str
    process: asyncio.subprocess.Process

    async def kill(self) -> None:
        """End it with SIGKILL."""
        self.process.kill()
        await self.process.wait()


@asynccontextmanager
async def subscriber_process(data_dir: Path, **settings: Any) -> AsyncIterator[SubscriberProcess]:
    """Start subscribers of all roles; they are killed at the end of the block."""
    chosen = json.dumps({"data_dir": str(data_dir), **settings})
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", __name__, chosen, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    started = SubscriberProcess((await process.stdout.readline()).decode().strip(), process)
    try:
        yield started
    finally:
        if process.returncode is None:
            await started.kill()


async def _run(settings: Settings) -> None:
    async with serve(settings) as running:
        sys.stdout.write(f"{running.url}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    _given = json.loads(sys.argv[1])
    asyncio.run(_run(Settings(**{**_given, "data_dir": Path(_given["data_dir"])})))
