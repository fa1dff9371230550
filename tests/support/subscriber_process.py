"""Subscribers alone in a process of their own, which a test may kill.

Run as `python -m tests.support.subscriber_process <settings as JSON>`; it prints its URL.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

from subscribers.server import serve
from subscribers.settings import Settings
from tests.support.child_process import ChildProcess, child_process


def subscriber_process(
    data_dir: Path, **settings: Any
) -> AbstractAsyncContextManager[ChildProcess]:
    """Start subscribers of all roles; they are killed at the end of the block."""
    return child_process(__name__, json.dumps({"data_dir": str(data_dir), **settings}))


async def _run(settings: Settings) -> None:
    async with serve(settings) as running:
        sys.stdout.write(f"{running.url}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    _given = json.loads(sys.argv[1])
    asyncio.run(_run(Settings(**{**_given, "data_dir": Path(_given["data_dir"])})))
