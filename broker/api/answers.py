"""Answers that several handlers give, with the headers of clauses 6.3.5, 6.3.10 and 6.3.13."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import msgspec
from aiohttp import web

from broker.api import media
from broker.api.request import Request
from broker.core.ld_context import LdContext

VARY = "Accept, Accept-Encoding, Link, NGSILD-Tenant, Prefer"
"""What besides the URL decides an answer: a cache on the way must not mix tenants or contexts."""
_encode = msgspec.json.encode
_IN_PATH = "!$&'()*+,:;=@"
"""What besides letters, digits and `_.-~` stands for itself in one part of a path."""
_IN_LINK = "!$'()*,/:;=?@[]|"
"""What besides letters, digits and `_.-~` stands for itself in the query of a link."""


def path_of(collection: str, resource_id: str) -> str:
    """Return the path of a resource, whatever characters its id has."""
    return f"/ngsi-ld/v1/{collection}/{quote(resource_id, _IN_PATH)}"


def created(location: str, body: Any = None) -> web.Response:
    """Answer 201 with where the new resource is, and a body if there is one."""
    headers = {"Location": location}
    if body is None:
        return web.Response(status=201, headers=headers)
    headers["Content-Type"] = media.JSON
    return web.Response(status=201, headers=headers, body=_encode(body))


def no_content() -> web.Response:
    """Answer 204."""
    return web.Response(status=204)


def plain(body: Any, status: int = 200) -> web.Response:
    """Answer a document that has no @context, such as a batch result."""
    headers = {"Content-Type": media.JSON, "Vary": VARY}
    return web.Response(status=status, body=_encode(body), headers=headers)


def document(
    request: Request,
    body: dict[str, Any] | list[dict[str, Any]],
    ld_context: LdContext,
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    """Answer one document or a list, with its @context where the media type has it."""
    if request.accept == media.LD_JSON:
        body = _with_context(body, ld_context)
    return rendered(request, _encode(body), ld_context, headers)


def rendered(
    request: Request,
    body: bytes,
    ld_context: LdContext,
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    """Answer bytes that are already in the form of the negotiated media type."""
    found = {"Content-Type": request.accept, "Vary": VARY, **(headers or {})}
    if request.accept != media.LD_JSON and ld_context.link is not None:
        link = media.link_to(ld_context.link)
        found["Link"] = f"{link}, {found['Link']}" if "Link" in found else link
    return web.Response(body=body, headers=found)


def _with_context(body: Any, ld_context: LdContext) -> Any:
    if isinstance(body, list):
        return [{**item, "@context": ld_context.source} for item in body]
    return {**body, "@context": ld_context.source}


def page_links(request: Request, *, limit: int, offset: int, more: bool) -> dict[str, str]:
    """Return the Link header to the pages before and after this one, if there are any.

    Values are written in the order of their names and percent-encoded only where they could not
    stand in a link otherwise.
    """
    if limit == 0:
        return {}
    links = []
    if offset > 0:
        links.append(_page_link(request, max(offset - limit, 0), limit, "prev"))
    if more:
        links.append(_page_link(request, offset + limit, limit, "next"))
    return {"Link": ", ".join(links)} if links else {}


def _page_link(request: Request, offset: int, limit: int, rel: str) -> str:
    params = {**request.params, "limit": str(limit), "offset": str(offset)}
    query = "&".join(f"{name}={quote(value, _IN_LINK)}" for name, value in sorted(params.items()))
    path = request.raw.rel_url.raw_path.rstrip("/")
    return f'<{path}?{query}>;rel="{rel}";type="{request.accept}"'
