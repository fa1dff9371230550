"""Provisioning that is answered once the broker knows of the commands in it.

Scripts go on with the command at once. With a broker that is away they are not kept waiting.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from iot_agents.common.commands.watching import Watcher

_PATHS: Final = ("/iot/devices", "/iot/groups", "/iot/services")
_SECONDS: Final = 1.0


def until_in_place(watchers: Mapping[str, Watcher]) -> Middleware:
    """Return what gives the watchers of a process a moment after each change."""

    @web.middleware
    async def wait(request: web.Request, handler: Handler) -> web.StreamResponse:
        answer = await handler(request)
        if request.method in ("POST", "PUT") and request.path.startswith(_PATHS):
            try:
                async with asyncio.timeout(_SECONDS):
                    for watcher in watchers.values():
                        if not watcher.trouble:
                            await watcher.settled()
            except TimeoutError:
                pass
        return answer

    return wait
