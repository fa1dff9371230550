"""Wait for a fact that nothing announces."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from inspect import isawaitable

PATIENCE = 60.0
"""Seconds that a test waits for what is sure to come: a slow machine only makes it slow."""
_PAUSE = 0.01


async def eventually(fact: Callable[[], object | Awaitable[object]]) -> None:
    """Return as soon as a fact holds, asked again and again; fail when it never does."""
    async with asyncio.timeout(PATIENCE):
        while not await _asked(fact):  # noqa: ASYNC110 - of these facts no event tells
            await asyncio.sleep(_PAUSE)


async def _asked(fact: Callable[[], object | Awaitable[object]]) -> object:
    answer = fact()
    return await answer if isawaitable(answer) else answer
