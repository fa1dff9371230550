"""Bare aiohttp answering given bytes: what the broker's rates are shares of.

Usage: `python -m bench.ceiling PORT FILE` answers GET with the file's bytes as JSON and anything
else, once its body is read, with 204.
"""

from __future__ import annotations

import sys
from pathlib import Path

import uvloop
from aiohttp import web


def main(port: int, body: bytes) -> None:
    """Serve until the process is ended."""

    async def get(_: web.Request) -> web.Response:
        return web.Response(body=body, headers={"Content-Type": "application/json"})

    async def write(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(status=204)

    app = web.Application()
    app.router.add_get("/", get)
    for method in ("POST", "PATCH"):
        app.router.add_route(method, "/", write)
    uvloop.install()
    web.run_app(app, host="127.0.0.1", port=port, access_log=None, print=None)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]).read_bytes())
