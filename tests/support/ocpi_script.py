"""A charging point operator that answers as an OCPI vector says, request by request."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from yarl import URL

Answer = Mapping[str, Any]
Before = Callable[[Answer, Any], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that came."""

    method: str
    url: URL
    headers: Mapping[str, str]
    body: Any


@dataclass
class Script:
    """What it answers and what it was asked.

    `answers` are by method and path. `origin` is the operator's root in the vector: in what it
    answers the script's own stands for it. `before` is called with the answer and the request's
    body before an answer goes out.
    """

    url: str = ""
    origin: str = ""
    answers: dict[tuple[str, str], Answer] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    before: Before | None = None

    async def handle(self, request: web.Request) -> web.Response:
        """Answer as written, or 404."""
        body = await request.json() if request.can_read_body else None
        self.asked.append(Asked(request.method, request.url, request.headers.copy(), body))
        answer = self.answers.get((request.method, request.path))
        if answer is None:
            return web.Response(status=404)
        if self.before is not None:
            await self.before(answer, body)
        return web.json_response(
            self.moved(answer["body"]), status=answer["http"], headers=answer.get("headers")
        )

    def moved(self, value: Any) -> Any:
        """Return a part of the vector with our root in place of the operator's."""
        if isinstance(value, str):
            return value.replace(self.origin, self.url) if self.origin else value
        if isinstance(value, dict):
            return {name: self.moved(inner) for name, inner in value.items()}
        return [self.moved(inner) for inner in value] if isinstance(value, list) else value


@asynccontextmanager
async def ocpi_script(
    answers: Mapping[tuple[str, str], Answer], origin: str = ""
) -> AsyncIterator[Script]:
    """Run it for the time of a test."""
    script = Script(origin=origin, answers=dict(answers))
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", script.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        script.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield script
    finally:
        await runner.cleanup()
