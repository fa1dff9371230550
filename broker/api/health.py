"""For operators: is it alive, ready, which version, what it counted, whose data it has."""

from __future__ import annotations

from importlib.metadata import version

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from broker.api.keys import BROKER
from broker.api.metrics import METRICS


async def health(request: web.Request) -> web.Response:
    """Answer 200 for as long as the event loop turns."""
    del request
    return web.json_response({"status": "up"})


async def ready(request: web.Request) -> web.Response:
    """Answer 200 when requests can be served, else 503 with the reason."""
    reason = await request.app[BROKER].not_ready()
    if reason is None:
        return web.json_response({"status": "ready"})
    return web.json_response({"status": "not ready", "reason": reason}, status=503)


async def about(request: web.Request) -> web.Response:
    """Answer with the versions of the program and of the standard."""
    del request
    return web.json_response({"name": "Rigel", "version": version("rigel"), "ngsi-ld": "v1.9.1"})


async def tenants(request: web.Request) -> web.Response:
    """Answer with the tenants that exist, for operators (an extension)."""
    found = await request.app[BROKER].entities.tenants()
    return web.json_response({"tenants": sorted(found)})


async def metrics(request: web.Request) -> web.Response:
    """Answer with the counters in the text format of Prometheus."""
    body = request.app[METRICS].render()
    return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})


HANDLERS = (
    ("GET", "/health", health),
    ("GET", "/ready", ready),
    ("GET", "/version", about),
    ("GET", "/metrics", metrics),
    ("GET", "/ngsi-ld/ex/v1/tenants", tenants),
)
