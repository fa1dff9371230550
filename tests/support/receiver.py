"""A receiver of notifications on a real port, which behaves as a test tells it to."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
from aiohttp import web

from tests.support.eventually import PATIENCE


@dataclass(frozen=True, slots=True)
class Received:
    """One notification that came.

    Attributes:
        number: how many came before it.
        headers: with names as they were sent.
    """

    number: int
    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]

    @property
    def id(self) -> str:
        """The notification's id."""
        return str(self.body["id"])

    @property
    def entities(self) -> list[dict[str, Any]]:
        """The entities it holds."""
        found: list[dict[str, Any]] = self.body["data"]
        return found


Respond = Callable[[Received, web.Request], Awaitable[web.StreamResponse]]


async def accept(received: Received, request: web.Request) -> web.Response:
    """Answer 204."""
    del received, request
    return web.Response(status=204)


def answering(status: int, **headers: str) -> Respond:
    """Answer every notification with a status; underscores in header names stand for hyphens."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}

    async def respond(received: Received, request: web.Request) -> web.Response:
        del received, request
        return web.Response(status=status, headers=named)

    return respond


def first(count: int, respond: Respond, then: Respond = accept) -> Respond:
    """Behave one way for some notifications and another way after that."""

    async def change(received: Received, request: web.Request) -> web.StreamResponse:
        chosen = respond if received.number < count else then
        return await chosen(received, request)

    return change


async def reset(received: Received, request: web.Request) -> web.StreamResponse:
    """Cut the connection."""
    del received
    transport = request.transport
    assert transport is not None
    transport.abort()
    return web.Response(status=500)


async def hang(received: Received, request: web.Request) -> web.StreamResponse:
    """Never answer."""
    del received, request
    await asyncio.Event().wait()
    return web.Response()


async def drip(received: Received, request: web.Request) -> web.StreamResponse:
    """Answer 500 at once, and never come to the end of the body."""
    del received
    response = web.StreamResponse(status=500, headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b"so")
    await asyncio.Event().wait()
    return response


@dataclass
class Receiver:
    """What came, in order.

    Attributes:
        tls: with which it listens, if it does so by https.
    """

    respond: Respond = accept
    port: int = 0
    tls: ssl.SSLContext | None = None
    all: list[Received] = field(default_factory=list)
    accepted: list[Received] = field(default_factory=list)
    _came: asyncio.Event = field(default_factory=asyncio.Event)

    def url(self, path: str = "/notify") -> str:
        """Return where to send notifications."""
        return f"{'http' if self.tls is None else 'https'}://127.0.0.1:{self.port}{path}"

    async def received(self, count: int) -> list[Received]:
        """Wait until this many notifications came, whatever was answered."""
        await self.until(lambda: len(self.all) >= count)
        return self.all

    async def has_accepted(self, count: int) -> list[Received]:
        """Wait until this many notifications were answered with 2xx."""
        await self.until(lambda: len(self.accepted) >= count)
        return self.accepted

    async def until(self, reached: Callable[[], bool]) -> None:
        """Wait for a fact about what came, however often something else comes."""
        async with asyncio.timeout(PATIENCE):
            while not reached():
                self._came.clear()
                await self._came.wait()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Take a notification."""
        names = {key.decode(): value.decode() for key, value in request.raw_headers}
        received = Received(
            len(self.all), request.path, names, msgspec.json.decode(await request.read())
        )
        self.all.append(received)
        self._came.set()
        response = await self.respond(received, request)
        if 200 <= response.status < 300 and request.transport is not None:
            self.accepted.append(received)
            self._came.set()
        return response

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Listen, again on the same port if it was listening before."""
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_post("/{path:.*}", self.handle)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        try:
            site = web.TCPSite(
                runner, "127.0.0.1", self.port, reuse_address=True, ssl_context=self.tls
            )
            await site.start()
            self.port = runner.addresses[0][1]
            yield
        finally:
            await runner.cleanup()


@asynccontextmanager
async def receiver(
    respond: Respond = accept, *, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Receiver]:
    """Run a receiver for the time of a test."""
    made = Receiver(respond, tls=tls)
    async with made.listening():
        yield made
