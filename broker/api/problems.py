"""Errors as problem details (RFC 7807, clauses 5.5.2 and 6.3.2): one table, one rendering."""

from __future__ import annotations

import logging

import msgspec
from aiohttp import web

from broker.core import errors

_log = logging.getLogger(__name__)

STATUS: dict[type[errors.NgsiLdError], int] = {
    errors.NgsiLdError: 500,
    errors.InvalidRequest: 400,
    errors.BadRequestData: 400,
    errors.AlreadyExists: 409,
    errors.Conflict: 409,
    errors.OperationNotSupported: 422,
    errors.ResourceNotFound: 404,
    errors.InternalError: 500,
    errors.TooComplexQuery: 403,
    errors.TooManyResults: 403,
    errors.LdContextNotAvailable: 504,
    errors.NonexistentTenant: 404,
    errors.NoMultiTenantSupport: 501,
    errors.Overloaded: 503,
    errors.PreconditionFailed: 412,
}
_HTTP_ERROR = "https://uri.etsi.org/ngsi-ld/errors/InvalidRequest"


def status_of(error: errors.NgsiLdError) -> int:
    """Return the status of an error, that of its nearest base class in the table."""
    return next(STATUS[cls] for cls in type(error).__mro__ if cls in STATUS)


def details(error: errors.NgsiLdError) -> dict[str, object]:
    """Return the problem details of an error, as they stand in bodies and batch results."""
    return {
        "type": error.type,
        "title": error.title,
        "detail": error.detail,
        "status": status_of(error),
        **error.members,
    }


def answer(error: errors.NgsiLdError) -> web.Response:
    """Render an error."""
    headers = {"Content-Type": "application/json"}
    retry_after = error.members.get("retry_after")
    if retry_after is not None:
        headers["Retry-After"] = str(retry_after)
    return web.Response(
        status=status_of(error), body=msgspec.json.encode(details(error)), headers=headers
    )


def unexpected(where: str) -> web.Response:
    """Render an exception nobody foresaw; its trace goes to the log under a reference."""
    error = errors.unforeseen()
    _log.exception("%s failed, reference %s", where, error.members["reference"])
    return answer(error)


def http_problem(
    status: int, title: str, detail: str, headers: dict[str, str] | None = None
) -> web.Response:
    """Render an error of HTTP itself, such as 405, 406 or 415."""
    body = {"type": _HTTP_ERROR, "title": title, "detail": detail, "status": status}
    return web.Response(
        status=status,
        body=msgspec.json.encode(body),
        headers={"Content-Type": "application/json", **(headers or {})},
    )
