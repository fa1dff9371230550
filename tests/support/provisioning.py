"""The provisioning API as a script of an integrator uses it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import ClientSession

from iot_agents.common.provisioning import Provisioning
from iot_agents.common.provisioning_checks import Checks
from iot_agents.common.registry import Registry
from tests.support.http import serving

HEADERS = {"fiware-service": "City", "fiware-servicepath": "/parking"}


class Script:
    """A client with the headers of one service."""

    def __init__(self, http: ClientSession, url: str) -> None:
        self._http = http
        self._url = url

    async def __call__(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
        """Send a request and return status and body."""
        headers = more.pop("headers", HEADERS)
        async with self._http.request(
            method, self._url + path, json=body, headers=headers, **more
        ) as answer:
            text = await answer.text()
            return answer.status, (await answer.json() if text else None)


@asynccontextmanager
async def script(directory: Path, checks: Checks | None = None) -> AsyncIterator[Script]:
    """Serve the API over a registry in a directory."""
    async with Registry.open(directory / "registry.db") as registry:
        app = Provisioning(registry, checks or Checks()).app()
        async with serving({"/iot": app}) as url, ClientSession() as http:
            yield Script(http, url)
