"""/temporal/entities and what is below it, and queries of it by POST (clauses 6.18–6.22, 6.24)."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from broker.api import answers, parameters, temporal_asking
from broker.api.answers import no_content
from broker.api.request import Request
from broker.api.routes import Route
from broker.api.temporal_asking import Asked
from broker.core import evolution_forms, moments
from broker.core.errors import InvalidRequest, ResourceNotFound
from broker.core.identifiers import Iri, check_uri
from broker.core.ld_context import LdContext
from broker.operations import temporal as operations
from broker.store.temporal import EvolutionPage

_WRITE = frozenset({"local", "via"})


async def upsert_temporal(request: Request) -> web.Response:
    """POST /temporal/entities."""
    document, ld_context = await request.document()
    entity_id, created = await operations.upsert_temporal(
        request.broker, request.tenant, document, ld_context
    )
    if not created:
        return no_content()
    return answers.created(answers.path_of("temporal/entities", entity_id))


async def query_temporal(request: Request) -> web.Response:
    """GET /temporal/entities."""
    ld_context = await request.ld_context()
    return await _answer_query(request, ld_context, temporal_asking.query(request, ld_context))


async def post_query_temporal(request: Request) -> web.Response:
    """POST /temporal/entityOperations/query."""
    document, ld_context = await request.document()
    asked = temporal_asking.document_query(request, document, ld_context)
    return await _answer_query(request, ld_context, asked)


async def retrieve_temporal(request: Request) -> web.Response:
    """GET /temporal/entities/{entityId}."""
    entity_id = request.uri("entityId")
    ld_context = await request.ld_context()
    asked = temporal_asking.retrieval(request, ld_context)
    page = await operations.retrieve_temporal(
        request.broker, request.tenant, entity_id, asked.selection
    )
    evolution = page.evolutions[0]
    document = evolution_forms.render(evolution, ld_context, asked.form)
    shown = asked.form.projection
    has_none = shown is not None and shown.attrs is not None and not evolution["attributes"]
    if has_none or not document:
        raise ResourceNotFound(f"the history of {entity_id} has none of the members asked for")
    response = answers.document(request, document, ld_context)
    return _cut(response, page, asked)


async def append_attrs_temporal(request: Request) -> web.Response:
    """POST /temporal/entities/{entityId}/attrs."""
    entity_id = request.uri("entityId")
    document, ld_context = await request.document()
    await operations.append_attrs_temporal(
        request.broker, request.tenant, entity_id, document, ld_context
    )
    return no_content()


async def delete_attrs_temporal(request: Request) -> web.Response:
    """DELETE /temporal/entities/{entityId}/attrs/{attrId}."""
    entity_id = request.uri("entityId")
    attribute = parameters.attribute(request, await request.ld_context())
    await operations.delete_attrs_temporal(
        request.broker,
        request.tenant,
        entity_id,
        attribute,
        dataset_id=parameters.dataset_id(request.params),
        delete_all=parameters.flag(request.params, "deleteAll"),
    )
    return no_content()


async def update_attrs_temporal(request: Request) -> web.Response:
    """PATCH /temporal/entities/{entityId}/attrs/{attrId}/{instanceId}."""
    entity_id = request.uri("entityId")
    document, ld_context = await _instance_document(request)
    await operations.update_attrs_temporal(
        request.broker,
        request.tenant,
        entity_id,
        parameters.attribute(request, ld_context),
        Iri(check_uri(request.path("instanceId"), "instanceId")),
        document,
        ld_context,
    )
    return no_content()


async def _instance_document(request: Request) -> tuple[Any, LdContext]:
    """Return the body of a change to one instance: the instance, or an array of it."""
    body = await request.body()
    if isinstance(body, list):
        return body, await request.ld_context()
    if not isinstance(body, dict):
        raise InvalidRequest("the body: expected a JSON object")
    return await request.split(body)


async def delete_attr_instance_temporal(request: Request) -> web.Response:
    """DELETE /temporal/entities/{entityId}/attrs/{attrId}/{instanceId}."""
    entity_id = request.uri("entityId")
    attribute = parameters.attribute(request, await request.ld_context())
    instance_id = Iri(check_uri(request.path("instanceId"), "instanceId"))
    await operations.delete_attr_instance_temporal(
        request.broker, request.tenant, entity_id, attribute, instance_id
    )
    return no_content()


async def delete_temporal(request: Request) -> web.Response:
    """DELETE /temporal/entities/{entityId}."""
    entity_id = request.uri("entityId")
    await operations.delete_temporal(request.broker, request.tenant, entity_id)
    return no_content()


async def _answer_query(request: Request, ld_context: LdContext, asked: Asked) -> web.Response:
    found = await operations.query_temporal(
        request.broker,
        request.tenant,
        asked.query,
        asked.selection,
        limit=asked.limit,
        offset=asked.offset,
        count=asked.count,
    )
    page = found.page
    headers = answers.page_links(request, limit=asked.limit, offset=asked.offset, more=page.more)
    if found.count is not None:
        headers["NGSILD-Results-Count"] = str(found.count)
    rendered = (
        evolution_forms.render(evolution, ld_context, asked.form) for evolution in page.evolutions
    )
    documents = [document for document in rendered if document]
    return _cut(answers.document(request, documents, ld_context, headers), page, asked)


def _cut(response: web.Response, page: EvolutionPage, asked: Asked) -> web.Response:
    """Say of which time the instances are when not all could be served (clause 6.3.10)."""
    if page.cut is None:
        return response
    first, last = (moments.join(instant) for instant in page.cut)
    size = asked.selection.window.last_n or "*"
    response.set_status(206)
    response.headers["Content-Range"] = f"date-time {first}-{last}/{size}"
    return response


_ENTITIES = "/temporal/entities"
_ENTITY = _ENTITIES + "/{entityId:[^/]+}"
_ATTRS = _ENTITIES + "/{entityId:[^/]*}/attrs"
_ATTR = _ATTRS + "/{attrId:[^/]*}"
_INSTANCE = _ATTRS + "/{attrId:[^/]+}/{instanceId:[^/]+}"

ROUTES = (
    Route(
        "GET", _ENTITY, retrieve_temporal, "retrieveTemporal", temporal_asking.RETRIEVE, slash=False
    ),
    Route("DELETE", _ENTITY, delete_temporal, "deleteTemporal", _WRITE, slash=False),
    Route("POST", _ATTRS, append_attrs_temporal, "appendAttrsTemporal", _WRITE),
    Route(
        "DELETE",
        _ATTR,
        delete_attrs_temporal,
        "deleteAttrsTemporal",
        _WRITE | {"datasetId", "deleteAll"},
        slash=False,
    ),
    Route(
        "PATCH",
        _INSTANCE,
        update_attrs_temporal,
        "updateAttrsTemporal",
        _WRITE,
        slash=False,
    ),
    *(
        Route(
            "DELETE",
            path,
            delete_attr_instance_temporal,
            "deleteAttrInstanceTemporal",
            _WRITE,
            slash=False,
        )
        for path in (_INSTANCE, _ATTR + "/{instanceId:[^/]*}")  # without a name or an id: 400
    ),
    Route("POST", _ENTITIES, upsert_temporal, "upsertTemporal", _WRITE),
    Route("GET", _ENTITIES, query_temporal, "queryTemporal", temporal_asking.QUERY),
    Route(
        "POST",
        "/temporal/entityOperations/query",
        post_query_temporal,
        "queryTemporalByPost",
        parameters.PAGE | {"options", "format", "local", "lang", "instances"},
    ),
)
