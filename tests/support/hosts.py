"""Hosts on this machine that a server may be made to call, well-behaved ones and others."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

from aiohttp import web

from tests.support.sockets import Session, listening

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Host:
    """An HTTP server with one handler per path; it counts what reaches it.

    Attributes:
        requests: method and path of every request, in order.
        connections: how many were opened.
        handlers: may be changed while it runs.
    """

    def __init__(self, handlers: Mapping[str, Handler]) -> None:
        self.handlers = dict(handlers)
        self.requests: list[str] = []
        self.port = 0
        self._peers: set[object] = set()

    @property
    def url(self) -> str:
        """Its root without a slash."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def connections(self) -> int:
        """The number of connections that carried a request."""
        return len(self._peers)

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Dispatch by path."""
        self.requests.append(f"{request.method} {request.path}")
        assert request.transport is not None
        self._peers.add(request.transport.get_extra_info("peername"))
        handler = self.handlers.get(request.path)
        return web.Response(status=404) if handler is None else await handler(request)


@asynccontextmanager
async def serving(handlers: Mapping[str, Handler], *, port: int = 0) -> AsyncIterator[Host]:
    """Run a host until the block ends."""
    host = Host(handlers)
    runner = web.ServerRunner(web.Server(host.answer), shutdown_timeout=0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        host.port = runner.addresses[0][1]
        yield host
    finally:
        await runner.cleanup()


@asynccontextmanager
async def speaking(session: Session) -> AsyncIterator[str]:
    """Run a server that speaks whatever the session makes of a connection; yield its root."""
    async with listening(session) as port:
        yield f"http://127.0.0.1:{port}"


def says(
    body: bytes | str = b"", status: int = 200, headers: Mapping[str, str] | None = None
) -> Handler:
    """Return a handler that gives the same answer to everything."""
    content = body.encode() if isinstance(body, str) else body

    async def handle(request: web.BaseRequest) -> web.Response:
        del request
        return web.Response(body=content, status=status, headers=headers)

    return handle
