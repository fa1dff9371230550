"""/jsonldContexts and what is below it (clauses 6.29, 6.30)."""

from __future__ import annotations

from aiohttp import web

from broker.api import answers
from broker.api.request import Request
from broker.api.routes import Route
from broker.contexts.entries import KINDS
from broker.core.errors import BadRequestData
from broker.operations import contexts as operations


async def create_context(request: Request) -> web.Response:
    """POST /jsonldContexts."""
    document = await request.body()
    path = await operations.create_context(request.broker, request.tenant, document)
    return answers.created(path)


async def list_contexts(request: Request) -> web.Response:
    """GET /jsonldContexts."""
    details = _flag(request, "details")
    kind = request.params.get("kind")
    if kind is not None and kind not in KINDS:
        raise BadRequestData(f"kind: expected one of {', '.join(KINDS)}, got {kind!r:.80}")
    found = operations.list_contexts(request.broker, request.tenant, kind=kind, details=details)
    return answers.plain(found)


async def retrieve_context(request: Request) -> web.Response:
    """GET /jsonldContexts/{contextId}."""
    identifier = request.path("contextId")
    if _flag(request, "details"):
        return answers.plain(
            operations.describe_context(request.broker, request.tenant, identifier)
        )
    body = operations.retrieve_context(request.broker, request.tenant, identifier)
    headers = {"Content-Type": request.accept, "Vary": answers.VARY}
    return web.Response(body=body, headers=headers)


async def delete_context(request: Request) -> web.Response:
    """DELETE /jsonldContexts/{contextId}."""
    reload = _flag(request, "reload")
    await operations.delete_context(
        request.broker, request.tenant, request.path("contextId"), reload=reload
    )
    return answers.no_content()


def _flag(request: Request, name: str) -> bool:
    """Return a Boolean parameter; here a wrong value is BadRequestData (clause 5.13)."""
    value = request.params.get(name, "false").lower()
    if value not in {"true", "false"}:
        raise BadRequestData(f"{name}: expected true or false, got {value!r:.80}")
    return value == "true"


ROUTES = (
    Route("POST", "/jsonldContexts", create_context, "createContext"),
    Route("GET", "/jsonldContexts", list_contexts, "listContexts", frozenset({"details", "kind"})),
    Route(
        "GET",
        "/jsonldContexts/{contextId}",
        retrieve_context,
        "retrieveContext",
        frozenset({"details"}),
    ),
    Route(
        "DELETE",
        "/jsonldContexts/{contextId}",
        delete_context,
        "deleteContext",
        frozenset({"reload"}),
    ),
)
