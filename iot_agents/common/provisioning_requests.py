"""What all requests of the provisioning API have in common: where they are about, body, errors."""

from __future__ import annotations

import logging
import re
import sqlite3
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from aiohttp import web

from broker.core.errors import BadRequestData
from broker.core.identifiers import check_tenant
from iot_agents.common.device import read
from iot_agents.common.provisioning_errors import (
    BadRequest,
    MissingHeaders,
    ProvisioningError,
    TooLarge,
    UnsupportedContentType,
    WrongSyntax,
)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

ALL_PATHS: Final = "/*"
MAX_PAGE: Final = 1000
_CORRELATOR: Final = "Fiware-Correlator"
_USABLE_CORRELATOR: Final = re.compile(r"[\x21-\x7e]{1,256}")
_PATH: Final = re.compile(r"/[^\s\x00-\x1f\x7f*]{0,500}")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Place:
    """The service and path a request is about; the path may be `/*` for listing groups."""

    service: str
    path: str


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a list is asked for."""

    limit: int = MAX_PAGE
    offset: int = 0


@web.middleware
async def answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer errors as `{"name": …, "message": …}`, and everything with its correlator."""
    given = request.headers.get(_CORRELATOR, "")
    correlator = given if _USABLE_CORRELATOR.fullmatch(given) else uuid.uuid4().hex
    try:
        answer = await handler(request)
    except sqlite3.Error as error:
        _log.exception("correlator %s: the registry failed", correlator)
        answer = _problem(ProvisioningError(f"the registry failed: {type(error).__name__}"))
    except web.HTTPRequestEntityTooLarge as error:
        answer = _problem(TooLarge(error.text or "the body is too large"))
    except ProvisioningError as error:
        answer = _problem(error)
    answer.headers[_CORRELATOR] = correlator
    return answer


def _problem(error: ProvisioningError) -> web.Response:
    return web.json_response({"name": error.name, "message": str(error)}, status=error.status)


def place_of(request: web.Request, *, all_paths: bool = False) -> Place:
    """Return what the FIWARE headers say, or those of NGSI-LD where they are missing.

    Raises:
        MissingHeaders: neither says it.
        BadRequest: it is not a service or not a path, or both say different things.
    """
    service = _header(request, "fiware-service", "NGSILD-Tenant")
    path = _header(request, "fiware-servicepath", "NGSILD-Path")
    if path is None and "fiware-service" not in request.headers and service is not None:
        path = "/"  # NGSI-LD knows no paths
    missing = {"fiware-service": service, "fiware-servicepath": path}
    if service is None or path is None:
        names = ", ".join(name for name, value in missing.items() if value is None)
        raise MissingHeaders(f"missing header: {names}")
    if path == ALL_PATHS and all_paths:
        return Place(_service(service), path)
    if not _PATH.fullmatch(path):
        raise BadRequest(f"fiware-servicepath: {path!r:.80} is not a path here")
    return Place(_service(service), path)


def _header(request: web.Request, name: str, other: str) -> str | None:
    first, second = request.headers.get(name), request.headers.get(other)
    if first is not None and second is not None and first.lower() != second.lower():
        raise BadRequest(f"the headers {name} and {other} contradict each other")
    return second if first is None else first


def _service(text: str) -> str:
    try:
        return check_tenant(text) if text else ""
    except BadRequestData as error:
        raise BadRequest(f"fiware-service: {text!r:.80} is not a service's name") from error


def page_of(request: web.Request) -> Page:
    """Return `limit` and `offset`.

    Raises:
        WrongSyntax: they are not numbers, or out of range.
    """
    try:
        limit = int(request.query.get("limit", MAX_PAGE))
        offset = int(request.query.get("offset", 0))
    except ValueError as error:
        raise WrongSyntax("limit and offset must be numbers") from error
    if not 0 < limit <= MAX_PAGE or not 0 <= offset < 2**63:
        raise WrongSyntax(f"limit must be 1 to {MAX_PAGE} and offset 0 or more")
    return Page(limit, offset)


async def body_of(request: web.Request) -> dict[str, Any]:
    """Return the body, an object.

    Raises:
        UnsupportedContentType: it does not say that it is JSON.
        WrongSyntax: it is not JSON, or not an object.
    """
    if request.content_type != "application/json":
        raise UnsupportedContentType(f"{request.content_type!r:.80} is not application/json")
    try:
        return msgspec.json.decode(await request.read(), type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError) as error:
        raise WrongSyntax(f"body: {error}") from error


async def wrapped_in(request: web.Request, wrapper: str) -> list[dict[str, Any]]:
    """Return the elements of a body `{"<wrapper>": [...]}`.

    Raises:
        UnsupportedContentType: see `body_of`.
        WrongSyntax: it is another body, or one without elements.
    """
    body = await body_of(request)
    if set(body) != {wrapper}:
        raise WrongSyntax(f"body: expected an object with {wrapper!r} and nothing else")
    return read(body[wrapper], list[dict[str, Any]], wrapper)


def without(document: Mapping[str, Any], members: set[str] | frozenset[str]) -> dict[str, Any]:
    """Return a document without some members."""
    return {name: value for name, value in document.items() if name not in members}
