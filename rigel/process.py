"""What every process of Rigel sets up for itself: its event loop, and how garbage is collected."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from typing import Final

_NEW_OBJECTS: Final = 10_000
"""Net new containers before a collection; at Python's 700, one comes every dozen entities."""


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return what makes the event loop: uvloop's where there is one, None for Python's own."""
    try:
        import uvloop  # noqa: PLC0415 - not there on every platform
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def collect_seldom() -> None:
    """Look for cyclic garbage more seldom, and never in what was there before the first request.

    Documents are trees: almost all of them are freed without the collector, which goes through
    them all the same.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS)
