"""An HTTP server where agents expect an NGSI-LD broker: it records batches and fails on demand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.support.eventually import PATIENCE

Entity = Mapping[str, Any]
Respond = Callable[[Sequence[Entity]], web.Response | None]


@dataclass(frozen=True, slots=True)
class Upsert:
    """One batch that came."""

    tenant: str
    link: str
    options: str
    entities: tuple[Entity, ...]


@dataclass
class NgsiReceiver:
    """What came, in order.

    `respond` returns the answer to a batch, None for 204; while `hold` is there and not set,
    batches wait for their answer.
    """

    url: str = ""
    upserts: list[Upsert] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    respond: Respond = lambda _: None
    hold: asyncio.Event | None = None
    _came: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def entities(self) -> list[Entity]:
        """Every entity of every batch that was taken, in order."""
        return [entity for upsert in self.upserts for entity in upsert.entities]

    async def received(self, count: int) -> list[Entity]:
        """Wait for this many entities in all and return them."""
        await self._until(lambda: len(self.entities) >= count)
        return self.entities

    async def has_deleted(self, count: int) -> list[str]:
        """Wait until this many entities were deleted and return their ids."""
        await self._until(lambda: len(self.deleted) >= count)
        return self.deleted

    async def _until(self, reached: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not reached():
                self._came.clear()
                await self._came.wait()

    async def upsert(self, request: web.Request) -> web.Response:
        """Answer POST /entityOperations/upsert."""
        if self.hold is not None:
            await self.hold.wait()
        entities = tuple(await request.json())
        answer = self.respond(entities)
        if answer is not None and answer.status >= 400:
            return answer
        upsert = Upsert(
            request.headers.get("NGSILD-Tenant", ""),
            request.headers.get("Link", ""),
            request.query.get("options", ""),
            entities,
        )
        self.upserts.append(upsert)
        self._came.set()
        return answer or web.Response(status=204)

    async def delete(self, request: web.Request) -> web.Response:
        """Answer DELETE /entities/{id}."""
        self.deleted.append(request.match_info["id"])
        self._came.set()
        return web.Response(status=204)


def problem(status: int, title: str, **headers: str) -> web.Response:
    """Return problem details as brokers send them."""
    body = {"type": "https://uri.etsi.org/ngsi-ld/errors/BadRequestData", "title": title}
    return web.json_response(body, status=status, headers=headers)


@asynccontextmanager
async def ngsi_receiver(port: int = 0) -> AsyncIterator[NgsiReceiver]:
    """Run the server for the time of a test."""
    receiver = NgsiReceiver()
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_post("/ngsi-ld/v1/entityOperations/upsert", receiver.upsert)
    app.router.add_delete("/ngsi-ld/v1/entities/{id}", receiver.delete)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        address = runner.addresses[0]
        receiver.url = f"http://127.0.0.1:{address[1]}"
        yield receiver
    finally:
        await runner.cleanup()
