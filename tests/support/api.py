"""The API as a test speaks it: raw requests, whole answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import msgspec
from aiohttp import ClientSession
from yarl import URL

ROOT = "/ngsi-ld/v1"
JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer: its status, headers and decoded body (None when empty)."""

    status: int
    headers: Mapping[str, str]
    body: Any

    @property
    def detail(self) -> str:
        """What problem details say."""
        return str(self.body["detail"])


class Api:
    """A broker's API below `/ngsi-ld/v1`."""

    def __init__(self, session: ClientSession, url: str) -> None:
        self._session = session
        self.url = url

    async def __call__(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        raw: bytes | None = None,
    ) -> Answered:
        """Send a request below `/ngsi-ld/v1`; `path` is taken as it is, with its query string."""
        content = None if body is None else msgspec.json.encode(body)
        content = content if raw is None else raw
        data = None if content is None else BytesIO(content)
        sent = {**(JSON if data is not None else {}), **(headers or {})}
        url = URL(self.url + ROOT + path, encoded=True)
        async with self._session.request(method, url, data=data, headers=sent) as response:
            answer = await response.read()
            decoded = msgspec.json.decode(answer) if answer else None
            return Answered(response.status, response.headers.copy(), decoded)

    async def create(self, *entities: Mapping[str, Any]) -> None:
        """Create entities, and insist on it."""
        for entity in entities:
            answered = await self("POST", "/entities", entity)
            assert answered.status == 201, answered
