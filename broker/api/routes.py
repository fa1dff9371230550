"""A route of the API: what it takes and offers, and the handler behind it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

from broker.api import media
from broker.api.request import Request

Handler = Callable[[Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Route:
    """One operation of the API.

    Attributes:
        path: below `/ngsi-ld/v1`.
        operation_id: the operation's name in the OpenAPI description.
        params: the query parameters it takes; any other is refused (clause 6.3.20).
        offers: the media types it can answer with, in the order of clause 6.3.4.
        slash: whether the path also answers with a slash behind it.
        needs_body: whether a POST, PATCH or PUT must have a body.
        takes: the media types of that; lines may come without a length, and be as long as they are.
    """

    method: str
    path: str
    handler: Handler
    operation_id: str
    params: frozenset[str] = frozenset()
    offers: tuple[str, ...] = media.DOCUMENTS
    slash: bool = True
    needs_body: bool = True
    takes: tuple[str, ...] = media.DOCUMENTS
