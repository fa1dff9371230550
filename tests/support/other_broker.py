"""Somebody else's NGSI-LD broker, as far as subscribers use one: in memory, on a real port.

It keeps entities and subscriptions, records what is written to it, fails when a test says so, and
sends notifications when a test says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web

from tests.support.eventually import PATIENCE

_ROOT = "/ngsi-ld/v1"

Entity = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Request:
    """One request that came, whatever was answered."""

    method: str
    path: str
    body: Any
    headers: Mapping[str, str]


Respond = Callable[[Request], web.Response | None]


def problem(status: int, title: str = "refused", **headers: str) -> web.Response:
    """Answer with problem details."""
    return web.json_response({"title": title, "status": status}, status=status, headers=headers)


@dataclass
class OtherBroker:
    """What it holds, and what came.

    Attributes:
        respond: answers a request instead, unless it returns None.
        garbled: answers what is no JSON.
        writes: method, path and body of what was written to entities and taken, in order.
    """

    port: int = 0
    respond: Respond = lambda _: None
    garbled: bool = False
    entities: dict[str, Entity] = field(default_factory=dict)
    subscriptions: dict[str, Entity] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    writes: list[tuple[str, str, Any]] = field(default_factory=list)
    _came: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        """Its root."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def alerts(self) -> list[Entity]:
        """The Alert entities it holds."""
        return [entity for entity in self.entities.values() if entity["type"] == "Alert"]

    async def until(self, reached: Callable[[], object]) -> None:
        """Wait for a fact about what came."""
        async with asyncio.timeout(PATIENCE):
            while not reached():
                self._came.clear()
                await self._came.wait()

    async def notify(self, subscription: str, *entities: Entity) -> int:
        """Hold entities and tell them to whom a subscription names; return the answer's status.

        The subscription is the first one whose id ends in the text.
        """
        self.entities |= {entity["id"]: entity for entity in entities}
        found = next(s for i, s in self.subscriptions.items() if i.endswith(subscription))
        body = {
            "id": "urn:ngsi-ld:Notification:1",
            "type": "Notification",
            "subscriptionId": found["id"],
            "notifiedAt": "2026-05-02T10:00:00Z",
            "data": list(entities),
        }
        async with (
            aiohttp.ClientSession() as session,
            session.post(found["notification"]["endpoint"]["uri"], json=body) as answer,
        ):
            return answer.status

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[OtherBroker]:
        """Listen, again on the same port if it was listening before."""
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_route("*", _ROOT + "/{path:.*}", self._handle)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", self.port, reuse_address=True).start()
            self.port = runner.addresses[0][1]
            yield self
        finally:
            await runner.cleanup()

    async def _handle(self, request: web.Request) -> web.Response:
        body = await request.json() if request.can_read_body else None
        came = Request(request.method, request.match_info["path"], body, request.headers)
        self.requests.append(came)
        answer = self.respond(came) or self._answer(came, request.query)
        if self.garbled:
            answer = web.Response(body=b"<html>", status=200)
        self._came.set()
        return answer

    def _answer(self, request: Request, query: Mapping[str, str]) -> web.Response:
        answer = web.Response(status=204)
        match request.method, request.path.split("/"):
            case "POST", ["entityOperations", "upsert"]:
                self._upsert(request)
            case "GET", [kind]:
                answer = web.json_response(self._page(kind, query))
            case "POST", [kind]:
                answer = self._create(kind, request)
            case _, [kind, found, *_] if found not in self._kept(kind):
                answer = problem(404, f"there is no {found}")
            case "GET", [kind, found]:
                answer = web.json_response(self._kept(kind)[found])
            case "PATCH", ["subscriptions", found]:
                self.subscriptions[found].update(request.body)
            case "DELETE", [kind, found]:
                del self._kept(kind)[found]
            case "POST", ["entities", found, "attrs"]:
                self.entities[found].update(request.body)
                self._wrote(request)
            case _:
                answer = problem(405, f"{request.method} {request.path}")
        return answer

    def _kept(self, kind: str) -> dict[str, Entity]:
        return self.entities if kind == "entities" else self.subscriptions

    def _wrote(self, request: Request) -> None:
        self.writes.append((request.method, request.path, request.body))

    def _create(self, kind: str, request: Request) -> web.Response:
        kept = self._kept(kind)
        if request.body["id"] in kept:
            return problem(409)
        kept[request.body["id"]] = request.body
        if kind == "entities":
            self._wrote(request)
        return web.Response(status=201)

    def _upsert(self, request: Request) -> None:
        for entity in request.body:
            self.entities.setdefault(entity["id"], {}).update(entity)
        self._wrote(request)

    def _page(self, kind: str, query: Mapping[str, str]) -> Sequence[Entity]:
        start, limit = int(query.get("offset", 0)), int(query.get("limit", 20))
        found = [
            entity
            for entity in self._kept(kind).values()
            if query.get("type", entity["type"]) == entity["type"]
            and ("attrs" not in query or entity.keys() & set(query["attrs"].split(",")))
        ]
        return found[start : start + limit]


@asynccontextmanager
async def other_broker() -> AsyncIterator[OtherBroker]:
    """Run a broker for the time of a test."""
    async with OtherBroker().listening() as broker:
        yield broker
