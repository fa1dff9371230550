"""The HTTP application: every route behind one door that checks, counts and renders errors."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

import msgspec
from aiohttp import hdrs, web
from yarl import URL

from broker.api import (
    batch,
    contexts,
    deliveries,
    discovery,
    entities,
    health,
    media,
    openapi,
    past_instances,
    problems,
    streams,
    subscriptions,
    temporal,
)
from broker.api.cors import Cors
from broker.api.keys import BROKER, CORS
from broker.api.media import Refused
from broker.api.metrics import METRICS, Metrics
from broker.api.request import Request
from broker.api.routes import Route
from broker.core.errors import BadRequestData, NgsiLdError
from broker.operations.broker import Broker

ROOT = "/ngsi-ld/v1"
ROUTES: tuple[Route, ...] = (
    *entities.ROUTES,
    *batch.ROUTES,
    *temporal.ROUTES,
    *past_instances.ROUTES,
    *discovery.ROUTES,
    *subscriptions.ROUTES,
    *deliveries.ROUTES,
    *streams.ROUTES,
    *contexts.ROUTES,
)
_WORTH_COMPRESSING = 2048
_log = logging.getLogger(__name__)
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def make_app(
    broker: Broker,
    metrics: Metrics,
    *,
    max_body: int,
    cors: Cors,
    bundled: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> web.Application:
    """Build the application.

    Args:
        max_body: largest body taken, in bytes.
        bundled: @contexts that the platform ships, by URL; served at the paths of these.
    """
    app = web.Application(client_max_size=max_body, logger=_log)
    app[BROKER] = broker
    app[METRICS] = metrics
    app[CORS] = cors
    app.on_shutdown.append(_end_streams)
    _add(app, ROUTES, metrics, cors)
    for method, path, handler in (*health.HANDLERS, *openapi.handlers(ROOT, ROUTES)):
        app.router.add_route(method, path, handler)
    for path, document in {URL(url).path: document for url, document in bundled.items()}.items():
        app.router.add_get(path, _document(document))
    app.router.add_route(hdrs.METH_ANY, "/{path:.*}", _unknown_path)
    return app


async def _end_streams(app: web.Application) -> None:
    """End the streams, for which a shutdown would wait otherwise."""
    app[BROKER].streams.stop()


def _add(app: web.Application, routes: Iterable[Route], metrics: Metrics, cors: Cors) -> None:
    by_path: dict[str, list[Route]] = defaultdict(list)
    for route in routes:
        by_path[ROOT + route.path].append(route)
        if route.slash:
            by_path[ROOT + route.path + "/"].append(route)
    for path, found in by_path.items():
        resource = app.router.add_resource(path)
        for route in found:
            resource.add_route(route.method, _door(route, metrics, cors))
        allowed = sorted({route.method for route in found} | {hdrs.METH_OPTIONS})
        resource.add_route(hdrs.METH_ANY, _other_methods(allowed, cors))


def _door(route: Route, metrics: Metrics, cors: Cors) -> _Handler:
    handler, offers, taken = route.handler, route.offers, route.params
    needs_body, takes = route.needs_body, route.takes
    counted = metrics.operation(route.operation_id)

    async def handle(raw: web.Request) -> web.StreamResponse:
        started = time.perf_counter()
        response: web.StreamResponse
        try:
            response = await handler(
                Request(raw, offers, taken, needs_body=needs_body, takes=takes)
            )
        except NgsiLdError as error:
            response = problems.answer(error)
        except Refused as refused:
            response = refused.response
        except web.HTTPException:
            raise
        except Exception:  # noqa: BLE001 - the last door before the client
            response = problems.unexpected(f"{raw.method} {raw.path}")
        if response.prepared:  # a stream: its headers are gone, and its time says nothing
            counted(response.status, 0.0)
            return response
        headers = raw.headers
        _name_tenant(raw, response)
        if hdrs.ACCEPT_ENCODING in headers:
            _compress(response, headers[hdrs.ACCEPT_ENCODING])
        if cors.origins:
            cors.allow(raw, response)
        counted(response.status, time.perf_counter() - started)
        return response

    return handle


def _name_tenant(request: web.Request, response: web.StreamResponse) -> None:
    """Say which tenant was asked for, in every answer (6.3.14)."""
    tenant = request.headers.get("NGSILD-Tenant")
    if tenant is not None:
        response.headers["NGSILD-Tenant"] = tenant


def _compress(response: web.StreamResponse, accepted: str) -> None:
    """Send a larger body compressed, as the client takes it."""
    if (
        isinstance(response, web.Response)
        and isinstance(response.body, bytes)
        and len(response.body) >= _WORTH_COMPRESSING
    ):
        coding = media.content_coding(accepted)
        if coding is not None:
            response.enable_compression(web.ContentCoding(coding))


def _other_methods(allowed: list[str], cors: Cors) -> _Handler:
    allow = ", ".join(allowed)

    def answer(request: web.Request) -> web.Response:
        if request.method == hdrs.METH_OPTIONS:
            return cors.options(request, allow)
        if request.path.endswith("/entities/") and request.method in {"PUT", "PATCH"}:
            return problems.answer(BadRequestData("id: expected a URI, there is none"))
        return problems.http_problem(
            405, "Method not allowed", f"{request.method} is not among {allow}", {"Allow": allow}
        )

    async def handle(request: web.Request) -> web.StreamResponse:
        response = answer(request)
        _name_tenant(request, response)
        return response

    return handle


def _document(document: Mapping[str, Any]) -> _Handler:
    body = msgspec.json.encode(document)
    headers = {
        "Content-Type": media.LD_JSON,
        "Cache-Control": "public, max-age=31536000, immutable",
    }

    async def handle(_: web.Request) -> web.StreamResponse:
        return web.Response(body=body, headers=headers)

    return handle


async def _unknown_path(request: web.Request) -> web.StreamResponse:
    detail = f"there is nothing at {request.path!r:.200}"
    response = problems.http_problem(404, "Not found", detail)
    _name_tenant(request, response)
    return response
