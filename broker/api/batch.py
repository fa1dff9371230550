"""/entityOperations (clauses 6.14–6.17, 6.23, 6.31)."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from broker.api import answers, asking, media, parameters, problems
from broker.api.entity_answers import answer_query
from broker.api.request import Request
from broker.api.routes import Route
from broker.core.errors import BadRequestData, InvalidRequest, NgsiLdError
from broker.core.identifiers import Iri
from broker.core.ld_context import LdContext
from broker.core.timestamps import check_timestamp
from broker.operations import batch as operations
from broker.operations.batch import BatchResult, Item


async def create_batch(request: Request) -> web.Response:
    """POST /entityOperations/create."""
    items = await _items(request)
    result = await operations.create_batch(request.broker, request.tenant, items)
    return _created(result) or answers.plain(result.created, status=201)


async def upsert_batch(request: Request) -> web.Response:
    """POST /entityOperations/upsert."""
    chosen = parameters.options(request, frozenset({"update", "replace"}))
    items = await _items(request)
    result = await operations.upsert_batch(
        request.broker,
        request.tenant,
        items,
        update="update" in chosen,
        keep_newer=_keep_newer(request),
    )
    if result.errors:
        return _partial([*result.created, *result.updated], result)
    return answers.plain(result.created, 201) if result.created else answers.no_content()


async def update_batch(request: Request) -> web.Response:
    """POST /entityOperations/update."""
    chosen = parameters.options(request, frozenset({"noOverwrite"}))
    items = await _items(request)
    result = await operations.update_batch(
        request.broker,
        request.tenant,
        items,
        overwrite="noOverwrite" not in chosen,
        keep_newer=_keep_newer(request),
    )
    return _updated(result)


async def merge_batch(request: Request) -> web.Response:
    """POST /entityOperations/merge."""
    simplified = parameters.simplified(request)
    observed_at = request.params.get("observedAt")
    items = await _items(request)
    result = await operations.merge_batch(
        request.broker,
        request.tenant,
        items,
        observed_at=None if observed_at is None else check_timestamp(observed_at, "observedAt"),
        lang=request.params.get("lang"),
        simplified=simplified,
        keep_newer=_keep_newer(request),
    )
    return _updated(result)


async def delete_batch(request: Request) -> web.Response:
    """POST /entityOperations/delete."""
    ids = await _array(request)
    result = await operations.delete_batch(request.broker, request.tenant, ids)
    return _updated(result)


async def query_batch(request: Request) -> web.StreamResponse:
    """POST /entityOperations/query."""
    document, ld_context = await request.document()
    return await answer_query(
        request, ld_context, asking.document_query(request, document, ld_context)
    )


def _keep_newer(request: Request) -> bool:
    return parameters.flag(request.params, "keepNewer")


async def _array(request: Request) -> list[Any]:
    """Return the body, an array that is not empty and holds no null.

    Raises:
        BadRequestData: it is none, or longer than batches may be.
    """
    body = await request.body()
    if not isinstance(body, list) or not body:
        raise BadRequestData("the body: expected an array with at least one item")
    limit = request.broker.limits.max_batch
    if len(body) > limit:
        raise BadRequestData(f"the body: {len(body)} items, at most {limit} are taken at once")
    for place, item in enumerate(body):
        if item is None:
            raise BadRequestData(f"[{place}]: expected an item, got null")
    return body


async def _items(request: Request) -> list[Item]:
    """Part each entity from its @context; what cannot be read is reported as that item's error."""
    documents = await _array(request)
    ld_context = None
    if request.content_type == media.LD_JSON:
        request.refuse_link()
    else:
        ld_context = await request.ld_context()
    return [
        await _item(request, document, place, ld_context)
        for place, document in enumerate(documents)
    ]


async def _item(request: Request, document: Any, place: int, ld_context: LdContext | None) -> Item:
    """Return one item; `ld_context` is that of all, None where each has its own."""
    if not isinstance(document, dict):
        return Item("", InvalidRequest(f"[{place}]: expected a JSON object"))
    name = str(document.get("id", document.get("@id", "")))
    if ld_context is None:
        try:
            return Item(name, await request.split(document))
        except NgsiLdError as error:
            return Item(name, error)
    if "@context" in document:
        wrong = f"[{place}].@context: only {media.LD_JSON} has it in the body"
        return Item(name, BadRequestData(wrong))
    return Item(name, (document, ld_context))


def _created(result: BatchResult) -> web.Response | None:
    return _partial(result.created, result) if result.errors else None


def _updated(result: BatchResult) -> web.Response:
    if result.errors:
        return _partial(result.updated, result)
    return answers.no_content()


def _partial(success: list[Iri], result: BatchResult) -> web.Response:
    """Answer 207 with each id that succeeded once, and every error (clause 5.2.16)."""
    errors = [
        {"entityId": entity_id, "error": problems.details(error)}
        for entity_id, error in result.errors
    ]
    return answers.plain({"success": list(dict.fromkeys(success)), "errors": errors}, status=207)


ROUTES = (
    Route("POST", "/entityOperations/create", create_batch, "createBatch", frozenset({"local"})),
    Route(
        "POST",
        "/entityOperations/upsert",
        upsert_batch,
        "upsertBatch",
        frozenset({"options", "local", "keepNewer"}),
    ),
    Route(
        "POST",
        "/entityOperations/update",
        update_batch,
        "updateBatch",
        frozenset({"options", "local", "keepNewer"}),
    ),
    Route(
        "POST",
        "/entityOperations/merge",
        merge_batch,
        "mergeBatch",
        frozenset({"options", "format", "observedAt", "lang", "local", "keepNewer"}),
    ),
    Route(
        "POST",
        "/entityOperations/query",
        query_batch,
        "queryBatch",
        parameters.PAGE | {"options", "format", "local", "geometryProperty", "asOf"},
        media.ENTITIES,
    ),
    Route("POST", "/entityOperations/delete", delete_batch, "deleteBatch", frozenset({"local"})),
)
