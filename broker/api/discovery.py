"""/types and /attributes (clauses 6.25–6.28)."""

from __future__ import annotations

from aiohttp import web

from broker.api import answers, parameters
from broker.api.request import Request
from broker.api.routes import Route
from broker.operations import discovery as operations

_LIST = frozenset({"details", "local"})
_ONE = frozenset({"local"})


async def list_types(request: Request) -> web.Response:
    """GET /types."""
    ld_context = await request.ld_context()
    body = await operations.entity_types(
        request.broker,
        request.tenant,
        ld_context,
        details=parameters.flag(request.params, "details"),
    )
    return answers.document(request, body, ld_context)


async def retrieve_type(request: Request) -> web.Response:
    """GET /types/{type}."""
    ld_context = await request.ld_context()
    body = await operations.entity_type(
        request.broker, request.tenant, request.path("type"), ld_context
    )
    return answers.document(request, body, ld_context)


async def list_attributes(request: Request) -> web.Response:
    """GET /attributes."""
    ld_context = await request.ld_context()
    body = await operations.attributes(
        request.broker,
        request.tenant,
        ld_context,
        details=parameters.flag(request.params, "details"),
    )
    return answers.document(request, body, ld_context)


async def retrieve_attribute(request: Request) -> web.Response:
    """GET /attributes/{attrId}."""
    ld_context = await request.ld_context()
    body = await operations.attribute(
        request.broker, request.tenant, request.path("attrId"), ld_context
    )
    return answers.document(request, body, ld_context)


ROUTES = (
    Route("GET", "/types", list_types, "retrieveEntityTypes", _LIST),
    Route("GET", "/types/{type:.+}", retrieve_type, "retrieveEntityTypeInfo", _ONE, slash=False),
    Route("GET", "/attributes", list_attributes, "retrieveAttrTypes", _LIST),
    Route(
        "GET",
        "/attributes/{attrId:.+}",
        retrieve_attribute,
        "retrieveAttrTypeInfo",
        _ONE,
        slash=False,
    ),
)
