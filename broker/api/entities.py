"""/entities and what is below it (clauses 6.4–6.7)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from aiohttp import web

from broker.api import answers, media, parameters
from broker.api.answers import no_content
from broker.api.rendering import (
    Form,
    array,
    entity_bytes,
    feature_collection,
    inline_bytes,
    linked_bytes,
    with_context,
)
from broker.api.request import Request
from broker.api.routes import Route
from broker.core.conformance import NATIVE
from broker.core.errors import BadRequestData, InvalidRequest, ResourceNotFound
from broker.core.etag import entity_tag, parse_tags
from broker.core.fragments import Applied
from broker.core.identifiers import Iri, check_uri
from broker.core.ld_context import LdContext
from broker.core.timestamps import check_timestamp
from broker.operations import entities as operations
from broker.operations import linking, purging, queries
from broker.store.interface import StoredEntity

_WRITE = frozenset({"type", "local", "via"})


async def create_entity(request: Request) -> web.Response:
    """POST /entities."""
    document, ld_context = await request.document()
    entity_id = await operations.create_entity(request.broker, request.tenant, document, ld_context)
    return answers.created(f"/ngsi-ld/v1/entities/{entity_id}")


async def retrieve_entity(request: Request) -> web.StreamResponse:
    """GET /entities/{entityId}."""
    entity_id = request.uri("entityId")
    ld_context = await request.ld_context()
    asked = parameters.retrieval(request, ld_context)
    stored = await queries.retrieve_entity(
        request.broker, request.tenant, entity_id, types=asked.types, query=asked.query
    )
    tag = _tag(stored)
    known = request.raw.headers.get("If-None-Match")
    if known is not None and asked.join is None:
        tags = parse_tags(known, "If-None-Match")
        if tags is None or tag in tags:
            return web.Response(status=304, headers={"ETag": tag})
    items = await _items(request, ld_context, asked, [stored])
    if not items[0]:
        raise ResourceNotFound(f"entity {entity_id} has none of the members asked for")
    if asked.join == "flat":
        return _list(request, ld_context, items, {})
    if request.accept == media.GEO_JSON:
        return _features(request, ld_context, items[0], {"ETag": tag})
    return _conformant(request, answers.rendered(request, items[0], ld_context, {"ETag": tag}))


def _tag(stored: StoredEntity) -> str:
    """Return the entity tag of a state, made once."""
    tag = stored.renderings.get("ETag")
    if tag is None:
        tag = stored.renderings["ETag"] = entity_tag(stored.entity).encode()
    return tag.decode()


async def query_entities(request: Request) -> web.StreamResponse:
    """GET /entities."""
    ld_context = await request.ld_context()
    return await answer_query(request, ld_context, parameters.query(request, ld_context))


async def answer_query(
    request: Request, ld_context: LdContext, asked: parameters.Asked
) -> web.StreamResponse:
    """Answer a query, however it was put."""
    page = await queries.query_entities(
        request.broker,
        request.tenant,
        asked.query,
        limit=asked.limit,
        offset=asked.offset,
        count=asked.count,
    )
    headers = answers.page_links(request, limit=asked.limit, offset=asked.offset, more=page.more)
    if page.count is not None:
        headers["NGSILD-Results-Count"] = str(page.count)
    items = await _items(request, ld_context, asked, page.entities)
    return _list(request, ld_context, items, headers)


async def _items(
    request: Request,
    ld_context: LdContext,
    asked: parameters.Asked,
    entities: Sequence[StoredEntity],
) -> list[bytes]:
    """Render entities, with those that they link to where that is asked for (clause 4.5.23)."""
    form = Form(
        ld_context,
        asked.representation,
        request.accept,
        asked.geometry_property,
        request.version or NATIVE,
    )
    if asked.join is None:
        return [entity_bytes(stored, form) for stored in entities]
    linked = await linking.linked_entities(
        request.broker,
        request.tenant,
        entities,
        asked.representation,
        level=asked.join_level,
        contained_by=asked.contained_by,
    )
    if asked.join == "flat":
        given = {stored.entity["id"] for stored in entities}
        others = (one for key, one in linked.items() if key not in given)
        return [
            *(entity_bytes(stored, form) for stored in entities),
            *(linked_bytes(one, form) for one in others),
        ]
    return [
        inline_bytes(
            stored,
            form,
            linked,
            join_level=asked.join_level,
            contained_by=asked.contained_by,
        )
        for stored in entities
    ]


def _list(
    request: Request, ld_context: LdContext, items: Iterable[bytes], headers: dict[str, str]
) -> web.Response:
    if request.accept == media.GEO_JSON:
        return _features(request, ld_context, feature_collection(items), headers)
    return _conformant(request, answers.rendered(request, array(items), ld_context, headers))


def _conformant(request: Request, response: web.Response) -> web.Response:
    """Say which version of the standard an answer conforms to, if that was asked (4.3.6.8)."""
    if request.version is not None:
        major, minor = request.version
        response.headers["Preference-Applied"] = f"ngsi-ld={major}.{minor}"
        if request.version != NATIVE:
            response.set_status(203)
    return response


def _features(
    request: Request, ld_context: LdContext, body: bytes, headers: dict[str, str]
) -> web.Response:
    """Answer GeoJSON: its @context in the body, unless the client prefers it in a Link (6.3.6)."""
    if media.prefers(request.raw.headers.get("Prefer", ""), "body") == "json":
        headers = {**headers, "Preference-Applied": "body=json"}
        return answers.rendered(request, body, ld_context, headers)
    body = with_context(body, ld_context)
    return _conformant(
        request, web.Response(body=body, headers={"Content-Type": media.GEO_JSON, **headers})
    )


async def merge_entity(request: Request) -> web.Response:
    """PATCH /entities/{entityId}."""
    entity_id = request.uri("entityId")
    document, ld_context = await request.document()
    observed_at = request.params.get("observedAt")
    await operations.merge_entity(
        request.broker,
        request.tenant,
        entity_id,
        document,
        ld_context,
        observed_at=None if observed_at is None else check_timestamp(observed_at, "observedAt"),
        lang=request.params.get("lang"),
        simplified=parameters.simplified(request),
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
    asked = parameters.purge(request, await request.ld_context())
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
    entity_id = request.uri("entityId")
    document, ld_context = await _attribute_document(request)
    await operations.partial_attr_update(
        request.broker,
        request.tenant,
        entity_id,
        parameters.attribute(request, ld_context),
        document,
        ld_context,
        narrowing=parameters.narrowing(request, ld_context),
    )
    return no_content()


async def replace_attrs(request: Request) -> web.Response:
    """PUT /entities/{entityId}/attrs/{attrId}."""
    entity_id = request.uri("entityId")
    document, ld_context = await _attribute_document(request)
    await operations.replace_attr(
        request.broker,
        request.tenant,
        entity_id,
        parameters.attribute(request, ld_context),
        document,
        ld_context,
        narrowing=parameters.narrowing(request, ld_context),
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
    dataset_id = request.params.get("datasetId")
    await operations.delete_attr(
        request.broker,
        request.tenant,
        entity_id,
        parameters.attribute(request, ld_context),
        dataset_id=None if dataset_id is None else _dataset(dataset_id),
        delete_all=request.flag("deleteAll"),
        narrowing=parameters.narrowing(request, ld_context),
    )
    return no_content()


def _dataset(text: str) -> str:
    return text if text == "@none" else Iri(check_uri(text, "datasetId"))


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
        parameters.RETRIEVE,
        media.ENTITIES,
        slash=False,
    ),
    Route(
        "PATCH",
        _ENTITY,
        merge_entity,
        "mergeEntity",
        _WRITE | {"options", "format", "observedAt", "lang"},
        slash=False,
    ),
    Route("PUT", _ENTITY, replace_entity, "replaceEntity", _WRITE, slash=False),
    Route("DELETE", _ENTITY, delete_entity, "deleteEntity", _WRITE, slash=False),
    Route("POST", _ATTRS, append_attrs, "appendAttrs", _WRITE | {"options"}),
    Route("PATCH", _ATTRS, update_entity, "updateEntity", _WRITE),
    Route("PATCH", _ATTR, update_attrs, "updateAttrs", _WRITE, slash=False),
    Route("PUT", _ATTR, replace_attrs, "replaceAttrs", _WRITE, slash=False),
    Route(
        "DELETE",
        _ATTR,
        delete_attrs,
        "deleteAttrs",
        _WRITE | {"datasetId", "deleteAll"},
        slash=False,
    ),
    Route("POST", "/entities", create_entity, "createEntity", frozenset({"local", "via"})),
    Route("GET", "/entities", query_entities, "queryEntity", parameters.QUERY, media.ENTITIES),
    Route("DELETE", "/entities", purge_entities, "purgeEntities", parameters.PURGE),
)
