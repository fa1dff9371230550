"""The errors of the provisioning API: each has the name and the status integrators know it by."""

from __future__ import annotations

from typing import ClassVar


class ProvisioningError(Exception):
    """Root of the errors that are answered as `{"name": …, "message": …}`."""

    name: ClassVar[str] = "INTERNAL_DB_ERROR"
    status: ClassVar[int] = 500


class MissingHeaders(ProvisioningError):
    """A mandatory header or query parameter is absent."""

    name = "MISSING_HEADERS"
    status = 400


class WrongSyntax(ProvisioningError):
    """The body is not what the operation takes; the message names the place."""

    name = "WRONG_SYNTAX"
    status = 400


class BadRequest(ProvisioningError):
    """The request contradicts itself or what is stored."""

    name = "BAD_REQUEST"
    status = 400


class UnsupportedContentType(ProvisioningError):
    """The body is not sent as JSON."""

    name = "UNSUPPORTED_CONTENT_TYPE"
    status = 400


class MissingAttributes(ProvisioningError):
    """A device without `device_id`."""

    name = "MISSING_ATTRIBUTES"
    status = 400


class MissingConfigParams(ProvisioningError):
    """A group without `entity_type`."""

    name = "MISSING_CONFIG_PARAMS"
    status = 400


class InvalidExpression(ProvisioningError):
    """An expression does not parse."""

    name = "INVALID_EXPRESSION"
    status = 400


class WrongExpressionType(ProvisioningError):
    """Expressions shall be in another language than JEXL."""

    name = "WRONG_EXPRESSION_TYPE"
    status = 400


class TooLarge(ProvisioningError):
    """The body is larger than requests may be."""

    name = "PAYLOAD_TOO_LARGE"
    status = 413


class MismatchedService(ProvisioningError):
    """The group belongs to another service."""

    name = "MISMATCHED_SERVICE"
    status = 403


class DeviceNotFound(ProvisioningError):
    """There is no such device."""

    name = "DEVICE_NOT_FOUND"
    status = 404


class GroupFull(DeviceNotFound):
    """There is no such device, and its group has as many as it takes in by itself."""


class GroupNotFound(ProvisioningError):
    """There is no such group."""

    name = "DEVICE_GROUP_NOT_FOUND"
    status = 404


class DuplicateGroup(ProvisioningError):
    """Another group has this resource and apikey, in whatever service."""

    name = "DUPLICATE_GROUP"
    status = 409


class DuplicateDeviceId(ProvisioningError):
    """The device exists already."""

    name = "DUPLICATE_DEVICE_ID"
    status = 409
