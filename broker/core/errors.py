"""Errors a client can cause or meet (clause 5.5.2); `broker.api.problems` maps them to HTTP."""

from __future__ import annotations

import uuid
from typing import ClassVar

_ETSI = "https://uri.etsi.org/ngsi-ld/errors/"


class NgsiLdError(Exception):
    """Root of the errors that are answered as problem details.

    Args:
        detail: what was wrong and where, in one sentence.
        members: further members of the problem details, such as `retry_after` (seconds).
    """

    type: ClassVar[str] = _ETSI + "InternalError"
    title: ClassVar[str] = "Internal error"

    def __init__(self, detail: str, **members: object) -> None:
        super().__init__(detail)
        self.detail = detail
        self.members = members


class InvalidRequest(NgsiLdError):
    """The request's syntax is wrong: not JSON, unknown or malformed parameter."""

    type = _ETSI + "InvalidRequest"
    title = "Invalid request"


class BadRequestData(NgsiLdError):
    """The request's content is not what the operation takes."""

    type = _ETSI + "BadRequestData"
    title = "Bad request data"


class AlreadyExists(NgsiLdError):
    """The resource to create exists."""

    type = _ETSI + "AlreadyExists"
    title = "Already exists"


class Conflict(NgsiLdError):
    """The operation contradicts the state of the resource."""

    type = _ETSI + "Conflict"
    title = "Conflict"


class OperationNotSupported(NgsiLdError):
    """This broker does not offer the operation."""

    type = _ETSI + "OperationNotSupported"
    title = "Operation not supported"


class ResourceNotFound(NgsiLdError):
    """There is no such resource."""

    type = _ETSI + "ResourceNotFound"
    title = "Resource not found"


class InternalError(NgsiLdError):
    """Something broke here; the reference in the answer finds it in the log."""


class TooComplexQuery(NgsiLdError):
    """The query would cost more than this broker spends on one."""

    type = _ETSI + "TooComplexQuery"
    title = "Too complex query"


class TooManyResults(NgsiLdError):
    """The answer would be larger than this broker sends."""

    type = _ETSI + "TooManyResults"
    title = "Too many results"


class LdContextNotAvailable(NgsiLdError):
    """A remote @context could not be had."""

    type = _ETSI + "LdContextNotAvailable"
    title = "JSON-LD context not available"


class NonexistentTenant(NgsiLdError):
    """No tenant of this name has been created yet."""

    type = _ETSI + "NonexistentTenant"
    title = "Nonexistent tenant"


class NoMultiTenantSupport(NgsiLdError):
    """Tenants are not supported here."""

    type = _ETSI + "NoMultiTenantSupport"
    title = "No multi-tenant support"


class Overloaded(NgsiLdError):
    """A queue is full: nothing was written, try again after `retry_after` seconds."""

    type = _ETSI + "InternalError"
    title = "Overloaded"


class PreconditionFailed(NgsiLdError):
    """The resource is not in the version that If-Match named."""

    type = _ETSI + "Conflict"
    title = "Precondition failed"


def unforeseen() -> InternalError:
    """Make the error of what nobody foresaw, whose cause is to be logged under its reference."""
    reference = uuid.uuid4().hex[:12]
    return InternalError(
        f"something broke here; the log has it as {reference}", reference=reference
    )
