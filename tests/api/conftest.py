"""One broker per test, on a free port, with its own file."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientSession

from tests.support.api import Api
from tests.support.serve import running_broker


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with (
        running_broker(tmp_path) as broker,
        ClientSession(auto_decompress=True) as session,
    ):
        yield Api(session, broker.url)
