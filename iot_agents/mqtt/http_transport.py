"""Messages of devices over HTTP, on the port and the paths that FIWARE's agents have.

    GET|POST  <resource>?k=<apikey>&i=<device>[&t=<time>][&d=<payload>][&getCmd=1]
    POST      <resource>/attrs/<attribute>?k=&i=[&t=]
    POST      <resource>/commands?k=&i=           results of commands
    POST      <resource>/configuration?k=&i=      what the device asks to be told

`/iot/json` means JSON and `/iot/d` UltraLight; any other path is the `resource` of a group, and its
language is that of the device or of the payload. A 2xx is sent once everything is on disk.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from aiohttp import web

from iot_agents.common.commands.desk import Desk
from iot_agents.common.counters import Counters
from iot_agents.common.measure import NotDurable, Outcome, Ticket
from iot_agents.common.provisioning_errors import DeviceNotFound, GroupNotFound
from iot_agents.common.registry_rows import AmbiguousDevice, Known
from iot_agents.common.spool import SpoolFull
from iot_agents.mqtt.payloads import ultralight
from iot_agents.mqtt.payloads.language import Language, language_of_resource
from iot_agents.mqtt.reception import Message, Reception, language_in
from iot_agents.mqtt.topics import Kind
from iot_agents.mqtt.transport import AskConfiguration

_RETRY_AFTER: Final = {"Retry-After": "5"}
_JSON: Final = ("application/json", "application/ld+json")
_TEXT: Final = ("text/plain", "application/octet-stream")
_CONTENT: Final[Mapping[Language | None, tuple[str, ...]]] = {
    Language.JSON: _JSON,
    Language.ULTRALIGHT: ("text/plain",),
    None: (*_JSON, "text/plain"),
}


class _Refused(Exception):
    """A request that is answered with an error of the FIWARE agents."""

    def __init__(self, status: int, name: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.name = name


@dataclass(frozen=True, slots=True)
class _Place:
    """What a path means: whose messages, of which kind, about which attribute."""

    resource: str
    kind: Kind
    attribute: str = ""


class HttpTransport:
    """Hands what devices send by HTTP to the reception."""

    def __init__(
        self,
        reception: Reception,
        desk: Desk,
        ask_configuration: AskConfiguration,
        counters: Counters,
    ) -> None:
        self._reception = reception
        self._desk = desk
        self._ask_configuration = ask_configuration
        self._counters = counters

    def app(self) -> web.Application:
        """Return the application that serves a port of its own."""
        app = web.Application(
            client_max_size=self._reception.settings.max_body, middlewares=[_answer_errors]
        )
        app.router.add_get("/{path:.*}", self.take)
        app.router.add_post("/{path:.*}", self.take)
        return app

    async def take(self, request: web.Request) -> web.Response:
        """Take a message and answer once it is durable."""
        place = _place(request)
        message = await self._message(request, place)
        known = await self._sender(message)
        if place.kind is Kind.CONFIGURATION:
            return self._configure(message)
        if message.payload or not _wants_commands(request):
            await self._measure(message)
        return await self._answer(request, message, known)

    async def _message(self, request: web.Request, place: _Place) -> Message:
        query = request.query
        missing = [name for name in ("k", "i") if not query.get(name)]
        if missing:
            raise _refused_parameters(missing)
        language = language_of_resource(place.resource)
        if request.method == "GET":
            payload = query.get("d", "").encode()
        else:
            _check_content(request, language, place)
            payload = await request.read()
        if not payload and not _wants_commands(request):
            raise _refused_parameters(["d" if request.method == "GET" else "body"])
        if language is None and request.content_type in _JSON:
            language = Language.JSON
        return Message(
            query["k"],
            query["i"],
            place.kind,
            payload,
            request.path,
            language=language,
            attribute=place.attribute,
            resource=place.resource,
            at=query.get("t", ""),
        )

    async def _sender(self, message: Message) -> Known:
        try:
            return await self._reception.sender(message)
        except GroupNotFound as error:
            self._counters.unauthorized += 1
            raise _Refused(404, "DEVICE_GROUP_NOT_FOUND", str(error)) from error
        except (DeviceNotFound, AmbiguousDevice) as error:
            if message.payload and message.kind is Kind.MEASURES:
                await self._measure(message)
            raise _Refused(404, "DEVICE_NOT_FOUND", str(error)) from error

    async def _measure(self, message: Message) -> None:
        ticket = await self._reception.take(message, wait=False)
        outcome = await ticket.durable()
        self._counters.acknowledged += 1
        if outcome is Outcome.WAITING:
            raise _Refused(404, "DEVICE_NOT_FOUND", ticket.reason)
        if outcome is Outcome.REJECTED:
            raise _rejection(ticket)

    def _configure(self, message: Message) -> web.Response:
        if not self._ask_configuration(message):
            raise web.HTTPServiceUnavailable(headers=_RETRY_AFTER)
        return web.json_response({})

    async def _answer(self, request: web.Request, message: Message, known: Known) -> web.Response:
        commands = list(await self._desk.fetch(known)) if _wants_commands(request) else []
        if language_in(message, known) is Language.ULTRALIGHT:
            parts = [ultralight.command(message.device, row.name, row.value) for row in commands]
            return web.Response(body=b"#".join(parts), content_type="text/plain")
        if not commands and not _takes_json(request):
            return web.Response(text="")
        return web.json_response({row.name: row.value for row in commands}, dumps=_dumps)


def _wants_commands(request: web.Request) -> bool:
    return request.query.get("getCmd") == "1"


def _place(request: web.Request) -> _Place:
    path = request.path
    for tail, kind in (("/commands", Kind.RESULT), ("/configuration", Kind.CONFIGURATION)):
        if path.endswith(tail) and request.method == "POST":
            return _Place(path.removesuffix(tail), kind)
    resource, attrs, attribute = path.rpartition("/attrs/")
    if attrs and request.method == "POST":
        return _Place(resource, Kind.MEASURES, attribute)
    return _Place(path.rstrip("/"), Kind.MEASURES)


def _check_content(request: web.Request, language: Language | None, place: _Place) -> None:
    allowed = _CONTENT[language]
    if place.attribute:
        allowed = (*_JSON, *_TEXT)
    if "Content-Type" in request.headers and request.content_type not in allowed:
        raise _Refused(
            400,
            "UNSUPPORTED_TYPE",
            f"{request.content_type:.80} is not {' or '.join(allowed)}",
        )


def _refused_parameters(missing: list[str]) -> _Refused:
    return _Refused(400, "MANDATORY_PARAMS_NOT_FOUND", f"missing: {', '.join(missing)}")


def _rejection(ticket: Ticket) -> _Refused:
    """Return the answer to a rejected message, whose reason may begin with an error's name."""
    name, colon, reason = ticket.reason.partition(": ")
    if colon and name.isupper():
        return _Refused(400, name, reason)
    return _Refused(400, "BAD_PAYLOAD", ticket.reason)


def _takes_json(request: web.Request) -> bool:
    accepted = request.headers.get("Accept", "*/*")
    return any(kind in accepted for kind in ("json", "*/*", "application/*"))


def _dumps(document: Any) -> str:
    return msgspec.json.encode(document).decode()


@web.middleware
async def _answer_errors(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except _Refused as error:
        body = {"name": error.name, "message": str(error)}
        return web.json_response(body, status=error.status)
    except (SpoolFull, NotDurable, sqlite3.Error) as error:
        body = {"name": "TEMPORARILY_UNAVAILABLE", "message": str(error)}
        return web.json_response(body, status=503, headers=_RETRY_AFTER)
