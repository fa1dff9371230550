"""A broker alone in a process of its own, which a test may kill.

Run as `python -m tests.support.broker_process <data directory>`; it prints its URL.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from broker.server import serve
from broker.settings import Settings
from tests.support.child_process import ChildProcess, child_process


def broker_process(data_dir: Path) -> AbstractAsyncContextManager[ChildProcess]:
    """Start a broker; it is killed at the end of the block."""
    return child_process(__name__, str(data_dir))


async def _run(data_dir: Path) -> None:
    settings = Settings(data_dir=data_dir, port=0, egress_allow_private=True)
    async with serve(settings) as running:
        sys.stdout.write(f"{running.url}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_run(Path(sys.argv[1])))
