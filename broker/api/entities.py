"""/entities and what is below it (clauses 6.4–6.7)."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from broker.api import answers, asking, media, parameters
from broker.api.answers import no_content
from broker.api.entity_answers import answer_entity, answer_query
from broker.api.request import Request
from broker.api.routes import Handler, Route
from broker.core.errors import BadRequestData, InvalidRequest
from broker.core.fragments import Applied
from broker.core.identifiers import check_name
from broker.core.ld_context import LdContext
from broker.core.timestamps import check_timestamp
from broker.operations import entities as operations
from broker.operations import purging, queries

_WRITE = frozenset({"type", "local", "via"})


async def create_entity(request: Request) -> web.Response:
    """POST /entities."""
    document, ld_context = await request.document()
    entity_id = await operations.create_entity(request.broker, request.tenant, document, ld_context)
    return answers.created(answers.path_of("entities", entity_id))


async def retrieve_entity(request: Request) -> web.StreamResponse:
    """GET /entities/{entityId}."""
    entity_id = request.uri("entityId")
    ld_context = await request.ld_context()
    asked = asking.retrieval(request, ld_context)
    stored = await queries.retrieve_entity(
        request.broker,
        request.tenant,
        entity_id,
        types=asked.types,
        query=asked.query,
        as_of=asked.as_of,
    )
    return await answer_entity(request, ld_context, asked, stored)


async def query_entities(request: Request) -> web.StreamResponse:
    """GET /entities."""
    ld_context = await request.ld_context()
    return await answer_query(request, ld_context, asking.query(request, ld_context))


def _entity_first(handle: Handler) -> Handler:
    """Tell of an entity that is not there before what is wrong with the body.

    So the clauses order it (5.6.2.4, 5.6.3.4, 5.6.17.4, 5.6.18.4, 5.6.19.4; 5.6.4.4 does not).
    """

    async def handle_for_known(request: Request) -> web.StreamResponse:
        try:
            return await handle(request)
        except (BadRequestData, InvalidRequest):
            if request.body_read:
                entity_id = request.uri("entityId")
                await queries.retrieve_entity(request.broker, request.tenant, entity_id)
            raise

    return handle_for_known


async def merge_entity(request: Request) -> web.Response:
    """PATCH /entities/{entityId}."""
    entity_id = request.uri("entityId")
    observed_at = request.params.get("observedAt")
    if observed_at is not None:
        check_timestamp(observed_at, "observedAt")
    simplified = parameters.simplified(request)
    document, ld_context = await request.document()
    await operations.merge_entity(
        request.broker,
        request.tenant,
        entity_id,
        document,
        ld_context,
        observed_at=observed_at,
        lang=request.params.get("lang"),
        simplified=simplified,
        narrowing=parameters.narrowing(request, ld_context),
    )
    return no_content()


async def replace_entity(request: Request) -> web.Response:
    """PUT /entities/{entityId}."""
    entity_id = request.uri("entityId")
    document, ld_context = await request.document()
    await operations.replace_entity(
        request.broker,
        request.tenant,
        entity_id,
        document,
        ld_context,
        narrowing=parameters.narrowing(request, ld_context),
    )
    return no_content()


async def delete_entity(request: Request) -> web.Response:
    """DELETE /entities/{entityId}."""
    entity_id = request.uri("entityId")
    narrowing = parameters.narrowing(request, await request.ld_context())
    await operations.delete_entity(request.broker, request.tenant, entity_id, narrowing=narrowing)
    return no_content()


async def purge_entities(request: Request) -> web.Response:
    """DELETE /entities."""
    asked = asking.purge(request, await request.ld_context())
    await purging.purge_entities(
        request.broker, request.tenant, asked.query, keep=asked.keep, drop=asked.drop
    )
    return no_content()


async def append_attrs(request: Request) -> web.Response:
    """POST /entities/{entityId}/attrs."""
    entity_id = request.uri("entityId")
    overwrite = "noOverwrite" not in parameters.options(request, frozenset({"noOverwrite"}))
    document, ld_context = await request.document()
    applied = await operations.append_attrs(
        request.broker,
        request.tenant,
        entity_id,
        document,
        ld_context,
        overwrite=overwrite,
        narrowing=parameters.narrowing(request, ld_context),
    )
    return _applied(applied)


async def update_entity(request: Request) -> web.Response:
    """PATCH /entities/{entityId}/attrs."""
    entity_id = request.uri("entityId")
    document, ld_context = await request.document()
    applied = await operations.update_attrs(
        request.broker,
        request.tenant,
        entity_id,
        document,
        ld_context,
        narrowing=parameters.narrowing(request, ld_context),
    )
    return _applied(applied)


def _applied(applied: Applied) -> web.Response:
    if not applied.not_updated:
        return no_content()
    body = {
        "updated": list(applied.updated),
        "notUpdated": [
            {"attributeName": name, "reason": reason} for name, reason in applied.not_updated
        ],
    }
    return answers.plain(body, status=207)


async def update_attrs(request: Request) -> web.Response:
    """PATCH /entities/{entityId}/attrs/{attrId}."""
    return await _write_attribute(request, operations.partial_attr_update)


async def replace_attrs(request: Request) -> web.Response:
    """PUT /entities/{entityId}/attrs/{attrId}."""
    return await _write_attribute(request, operations.replace_attr)


async def _write_attribute(request: Request, operation: operations.WriteAttribute) -> web.Response:
    entity_id = request.uri("entityId")
    if check_name(request.path("attrId"), "attrId") == "scope":
        raise BadRequestData("attrId: scope is not changed as an attribute")
    document, ld_context = await _attribute_document(request)
    await operation(
        request.broker,
        request.tenant,
        entity_id,
        parameters.attribute(request, ld_context),
        document,
        ld_context,
        parameters.narrowing(request, ld_context),
    )
    return no_content()


async def _attribute_document(request: Request) -> tuple[Any, LdContext]:
    """Return the body of an operation on one attribute: an instance, or an array of them."""
    body = await request.body()
    if isinstance(body, list):
        if request.content_type == media.LD_JSON:
            raise BadRequestData(f"@context: an array cannot have it; send {media.JSON} and a Link")
        return body, await request.ld_context()
    if not isinstance(body, dict):
        raise InvalidRequest("the body: expected a JSON object")
    return await request.split(body)


async def delete_attrs(request: Request) -> web.Response:
    """DELETE /entities/{entityId}/attrs/{attrId}."""
    entity_id = request.uri("entityId")
    ld_context = await request.ld_context()
    await operations.delete_attr(
        request.broker,
        request.tenant,
        entity_id,
        parameters.attribute(request, ld_context),
        dataset_id=parameters.dataset_id(request.params),
        delete_all=parameters.flag(request.params, "deleteAll"),
        narrowing=parameters.narrowing(request, ld_context),
    )
    return no_content()


_ENTITY = "/entities/{entityId:[^/]+}"
# An empty id or name is an error of the client's to be told about, not a path that is not there.
_ATTRS = "/entities/{entityId:[^/]*}/attrs"
_ATTR = _ATTRS + "/{attrId:[^/]*}"

# The router tries the paths in this order, so the one most asked for stands first.
ROUTES = (
    Route(
        "GET",
        _ENTITY,
        retrieve_entity,
        "retrieveEntity",
        asking.RETRIEVE,
        media.ENTITIES,
        slash=False,
    ),
    Route(
        "PATCH",
        _ENTITY,
        _entity_first(merge_entity),
        "mergeEntity",
        _WRITE | {"options", "format", "observedAt", "lang", "keepNewer"},
        slash=False,
    ),
    Route("PUT", _ENTITY, _entity_first(replace_entity), "replaceEntity", _WRITE, slash=False),
    Route("DELETE", _ENTITY, delete_entity, "deleteEntity", _WRITE, slash=False),
    Route(
        "POST",
        _ATTRS,
        _entity_first(append_attrs),
        "appendAttrs",
        _WRITE | {"options", "keepNewer"},
    ),
    Route("PATCH", _ATTRS, _entity_first(update_entity), "updateEntity", _WRITE | {"keepNewer"}),
    Route("PATCH", _ATTR, update_attrs, "updateAttrs", _WRITE, slash=False),
    Route("PUT", _ATTR, _entity_first(replace_attrs), "replaceAttrs", _WRITE, slash=False),
    Route(
        "DELETE",
        _ATTR,
        delete_attrs,
        "deleteAttrs",
        _WRITE | {"datasetId", "deleteAll"},
        slash=False,
    ),
    Route("POST", "/entities", create_entity, "createEntity", frozenset({"local", "via"})),
    Route("GET", "/entities", query_entities, "queryEntity", asking.QUERY, media.ENTITIES),
    Route("DELETE", "/entities", purge_entities, "purgeEntities", asking.PURGE),
)
