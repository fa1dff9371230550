"""Answers that show entities: one, a page, with those they link to, as JSON or GeoJSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from aiohttp import web

from broker.api import answers, media
from broker.api.asking import Asked
from broker.api.rendering import (
    array,
    entity_bytes,
    feature_collection,
    inline_bytes,
    linked_bytes,
    with_context,
)
from broker.api.request import Request
from broker.core.conformance import NATIVE
from broker.core.errors import ResourceNotFound
from broker.core.etag import entity_tag, parse_tags
from broker.core.ld_context import LdContext
from broker.operations import linking, queries
from broker.store.interface import StoredEntity


async def answer_entity(
    request: Request, ld_context: LdContext, asked: Asked, stored: StoredEntity
) -> web.StreamResponse:
    """Answer a retrieval.

    Raises:
        ResourceNotFound: the projection leaves nothing of the entity (clause 4.21).
    """
    tag = _tag(stored)
    known = request.raw.headers.get("If-None-Match")
    if known is not None and asked.join is None:
        tags = parse_tags(known, "If-None-Match")
        if tags is None or tag in tags:
            return web.Response(status=304, headers={"ETag": tag, "Vary": answers.VARY})
    items = await _items(request, ld_context, asked, [stored])
    if not items[0]:
        raise ResourceNotFound(f"entity {stored.entity['id']} has none of the members asked for")
    if asked.join == "flat":
        return _list(request, ld_context, items, {})
    if request.accept == media.GEO_JSON:
        return _features(request, ld_context, items[0], {"ETag": tag})
    return _conformant(request, answers.rendered(request, items[0], ld_context, {"ETag": tag}))


async def answer_query(request: Request, ld_context: LdContext, asked: Asked) -> web.StreamResponse:
    """Answer a query, however it was put."""
    found = await queries.query_entities(
        request.broker,
        request.tenant,
        asked.query,
        limit=asked.limit,
        offset=asked.offset,
        count=asked.count,
        reader=request.reader,
        as_of=asked.as_of,
    )
    page = found.page
    headers = answers.page_links(request, limit=asked.limit, offset=asked.offset, more=page.more)
    if found.count is not None:
        headers["NGSILD-Results-Count"] = str(found.count)
    items = await _items(request, ld_context, asked, page.entities)
    return _list(request, ld_context, items, headers)


async def _items(
    request: Request,
    ld_context: LdContext,
    asked: Asked,
    entities: Sequence[StoredEntity],
) -> list[bytes]:
    """Render entities, with those that they link to where that is asked for (clause 4.5.23)."""
    form = asked.form(ld_context, request.accept, request.version or NATIVE)
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
        response.headers.add("Preference-Applied", f"ngsi-ld={major}.{minor}")
        if request.version != NATIVE:
            response.set_status(203)
    return response


def _features(
    request: Request, ld_context: LdContext, body: bytes, headers: dict[str, str]
) -> web.Response:
    """Answer GeoJSON: its @context in the body, unless the client prefers it in a Link (6.3.6)."""
    if media.prefers(request.raw.headers.get("Prefer", ""), "body") == "json":
        headers = {**headers, "Preference-Applied": "body=json"}
        return _conformant(request, answers.rendered(request, body, ld_context, headers))
    body = with_context(body, ld_context)
    return _conformant(
        request,
        web.Response(
            body=body,
            headers={"Content-Type": media.GEO_JSON, "Vary": answers.VARY, **headers},
        ),
    )


def _tag(stored: StoredEntity) -> str:
    """Return the entity tag of a state, made once."""
    tag = stored.renderings.get("ETag")
    if tag is None:
        tag = stored.renderings["ETag"] = entity_tag(stored.entity).encode()
    return tag.decode()
