"""aiohttp applications on a free port."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from aiohttp import web


@asynccontextmanager
async def serving(apps: Mapping[str, web.Application]) -> AsyncIterator[str]:
    """Serve applications, by path, and yield the root."""
    root = web.Application()
    for path, app in apps.items():
        root.add_subapp(path, app)
    runner = web.AppRunner(root)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
