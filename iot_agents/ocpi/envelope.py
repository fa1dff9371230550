"""OCPI's answers: an envelope with a status code of its own, and headers that echo the request."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import IntEnum
from typing import Any

from aiohttp import web

from broker.core.timestamps import format_timestamp

_ECHOED = ("X-Request-ID", "X-Correlation-ID")
# The answer goes back where the request came from.
_TURNED = {
    "OCPI-from-country-code": "OCPI-to-country-code",
    "OCPI-from-party-id": "OCPI-to-party-id",
    "OCPI-to-country-code": "OCPI-from-country-code",
    "OCPI-to-party-id": "OCPI-from-party-id",
}


class Status(IntEnum):
    """Status codes of OCPI 2.2.1."""

    SUCCESS = 1000
    CLIENT_ERROR = 2000
    INVALID_PARAMETERS = 2001
    UNKNOWN_LOCATION = 2003
    SERVER_ERROR = 3000
    CLIENT_UNUSABLE = 3001
    UNSUPPORTED_VERSION = 3002
    NO_MATCHING_ENDPOINTS = 3003


class Refusal(Exception):
    """A request that is answered with an error.

    Attributes:
        status: OCPI's code.
        http: the HTTP status; OCPI wants 200 once it understood the request.
    """

    def __init__(self, status: Status, message: str, *, http: int = 200) -> None:
        super().__init__(message)
        self.status = status
        self.http = http


def respond(
    request: web.Request,
    now: datetime,
    *,
    data: Any = None,
    status: Status = Status.SUCCESS,
    message: str = "",
    http: int = 200,
) -> web.Response:
    """Return an answer in OCPI's envelope."""
    body: dict[str, Any] = {"status_code": int(status), "timestamp": format_timestamp(now)}
    if data is not None:
        body["data"] = data
    if message:
        body["status_message"] = message
    return web.json_response(body, status=http, headers=_headers(request.headers))


def _headers(given: Mapping[str, str]) -> dict[str, str]:
    headers = {name: given[name] for name in _ECHOED if name in given}
    headers.update((to, given[name]) for name, to in _TURNED.items() if name in given)
    return headers
