"""A real Chromium without a window, showing one page."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

_BINARY = shutil.which("chromium") or shutil.which("chromium-browser")
_REQUIRED = os.environ.get("REQUIRE_SERVERS") == "1"
needs_chromium = pytest.mark.skipif(
    _BINARY is None and not _REQUIRED, reason="chromium is not installed"
)
_OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--no-first-run",
    "--no-proxy-server",
)


@asynccontextmanager
async def showing(url: str, profile: Path) -> AsyncIterator[None]:
    """Open a page; the browser is ended with the block."""
    assert _BINARY is not None, "REQUIRE_SERVERS=1, but chromium is not installed"
    process = await asyncio.create_subprocess_exec(
        _BINARY,
        *_OPTIONS,
        f"--user-data-dir={profile}",
        url,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.terminate()
        await process.wait()
