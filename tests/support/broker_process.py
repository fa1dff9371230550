"""A broker alone in a process of its own, which a test may kill.

Run as `python -m tests.support.broker_process <data directory>`; it prints its URL.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from broker.server import serve
from broker.settings import Settings


@dataclass(frozen=True, slots=True)
class BrokerProcess:
    """A running process and the root of its API."""

    url: str
    process: asyncio.subprocess.Process

    async def kill(self) -> None:
        """End it with SIGKILL."""
        self.process.kill()
        await self.process.wait()


@asynccontextmanager
async def broker_process(data_dir: Path) -> AsyncIterator[BrokerProcess]:
    """Start a broker; what still runs at the end of the block is killed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", __name__, str(data_dir), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    started = BrokerProcess((await process.stdout.readline()).decode().strip(), process)
    try:
        yield started
    finally:
        if process.returncode is None:
            await started.kill()


async def _run(data_dir: Path) -> None:
    settings = Settings(data_dir=data_dir, port=0, egress_allow_private=True)
    async with serve(settings) as running:
        sys.stdout.write(f"{running.url}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_run(Path(sys.argv[1])))
