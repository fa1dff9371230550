"""How commands are asked for over HTTP.

    POST          /commands/<agent>/notify?tenant=&command=   notifications of the subscriptions
    PATCH, PUT    /ngsi-ld/v1/entities/<id>/attrs[/<name>]    as brokers forward an update
    PATCH         /ngsi-ld/v1/entities/<id>                   likewise, merged
    POST          /iot/commands                               one command for many devices
    GET           /iot/commands, /iot/commands/<id>           what became of commands
    DELETE        /iot/commands/<id>                          gives up one that has not left

The last three are extensions. A request is answered with a 2xx once it is on disk.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from aiohttp import web

from broker.core.errors import BadRequestData
from broker.core.identifiers import NGSI_LD_NULL, check_tenant
from broker.core.vocabulary import VALUE_KINDS
from iot_agents.common.commands.desk import Asked, Desk, TooManyCommands
from iot_agents.common.commands.model import State
from iot_agents.common.commands.provisioned import UNASKED
from iot_agents.common.commands.rows import Row, Selection
from iot_agents.common.spool import SpoolFull

NOTIFY: Final = "/commands/{agent}/notify"
_RETRY_AFTER: Final = {"Retry-After": "5"}
_ABOUT: Final = ("id", "type", "@context", "scope", "createdAt", "modifiedAt")
_MAX_ENTITIES: Final = 10_000
_MAX_LISTED: Final = 1000


class _Notification(msgspec.Struct):
    data: list[dict[str, Any]]
    id: str = ""


class _Bulk(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What `POST /iot/commands` takes: a command, and the devices by ids, type or group."""

    command: str
    value: Any = ""
    entities: list[str] = []
    type: str = ""
    apikey: str = ""
    expiry: float | None = None
    key: str = ""

    def __post_init__(self) -> None:
        if not (self.entities or self.type or self.apikey):
            raise ValueError("one of entities, type and apikey is needed")
        if len(self.entities) > _MAX_ENTITIES:
            raise ValueError(f"more than {_MAX_ENTITIES} entities")
        if self.expiry is not None and self.expiry <= 0:
            raise ValueError("expiry must be above 0")


_notification = msgspec.json.Decoder(_Notification).decode
_bulk = msgspec.json.Decoder(_Bulk).decode


class _Refused(Exception):
    """A request that cannot be served."""

    def __init__(self, status: int, title: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.title = title


class CommandRequests:
    """The handlers, bound to the desks of a process."""

    def __init__(self, desks: Mapping[str, Desk]) -> None:
        self._desks = desks

    def routes(self) -> Sequence[web.RouteDef]:
        """Return the routes."""
        entity = "/ngsi-ld/v1/entities/{entity}"
        given: Sequence[tuple[str, str, Callable[[web.Request], Awaitable[web.Response]]]] = (
            ("POST", NOTIFY, self.notified),
            ("PATCH", entity, self.forwarded),
            ("PATCH", entity + "/attrs", self.forwarded),
            ("PUT", entity + "/attrs", self.forwarded),
            ("PATCH", entity + "/attrs/{name}", self.forwarded),
            ("PUT", entity + "/attrs/{name}", self.forwarded),
            ("GET", "/ngsi-ld/v1/entities", self.nothing),
            ("POST", "/iot/commands", self.ask_many),
            ("GET", "/iot/commands", self.listed),
            ("GET", "/iot/commands/{id}", self.shown),
            ("DELETE", "/iot/commands/{id}", self.cancel),
        )
        return [web.route(method, path, _answering(handler)) for method, path, handler in given]

    async def notified(self, request: web.Request) -> web.Response:
        """Take a notification of one of our subscriptions."""
        desk = self._desks.get(request.match_info["agent"])
        name = request.query.get("command", "")
        if desk is None or not name:
            raise _Refused(404, "ResourceNotFound", "no agent listens here")
        tenant = _tenant(request.query.get("tenant", ""))
        notification = _decoded(await request.read(), _notification)
        asked = [
            one
            for entity in notification.data
            for one in _asked_by(tenant, name, entity, notification.id)
        ]
        await desk.ask(asked)
        return web.Response(status=204)

    async def forwarded(self, request: web.Request) -> web.Response:
        """Take an update that a broker forwards."""
        headers = request.headers
        tenant = _tenant(headers.get("NGSILD-Tenant") or headers.get("fiware-service") or "")
        body = _decoded(await request.read(), msgspec.json.Decoder(dict[str, Any]).decode)
        name = request.match_info.get("name")
        attributes = {name: body} if name is not None else body
        entity_id = request.match_info["entity"]
        asked = [
            Asked(tenant, entity_id, name, value)
            for name, attribute in attributes.items()
            if name not in _ABOUT
            for value in _values(attribute)
        ]
        if not await self._ask(asked):
            raise _Refused(404, "ResourceNotFound", f"{entity_id:.200} has no such command")
        return web.Response(status=204)

    async def nothing(self, _: web.Request) -> web.Response:
        """Answer a broker that takes the agent for a source of entities."""
        return web.json_response([])

    async def ask_many(self, request: web.Request) -> web.Response:
        """Ask for one command of many devices."""
        tenant = _tenant(request.headers.get("fiware-service", ""))
        bulk = _decoded(await request.read(), _bulk)
        found: list[str] = []
        known: set[str] = set()
        for desk in self._desks.values():
            entities = bulk.entities or await desk.entities(
                tenant, bulk.type, bulk.apikey, _MAX_ENTITIES
            )
            asked = [
                Asked(
                    tenant,
                    entity,
                    bulk.command,
                    bulk.value,
                    key=f"bulk/{tenant}/{bulk.key}/{entity}/{bulk.command}" if bulk.key else "",
                    expiry=bulk.expiry,
                )
                for entity in entities
            ]
            taken = await desk.ask(asked)
            found += taken.ids
            known.update(taken.entities)
        if not known:
            detail = f"none of the devices asked for has a command {bulk.command:.80}"
            raise _Refused(404, "ResourceNotFound", detail)
        unknown = [entity for entity in bulk.entities if entity not in known]
        answer = {"count": len(found), "commands": found, "unknown": unknown}
        return web.json_response(answer, status=202)

    async def listed(self, request: web.Request) -> web.Response:
        """Return the newest commands, of an entity, a device or a state if so asked."""
        query = request.query
        state, limit = query.get("state", ""), query.get("limit", "100")
        if state and state not in set(State):
            raise _Refused(400, "BadRequestData", f"state must be one of {', '.join(State)}")
        if not limit.isdecimal() or not 0 < int(limit) <= _MAX_LISTED:
            raise _Refused(400, "BadRequestData", f"limit must be 1 to {_MAX_LISTED}")
        selection = Selection(
            _tenant(request.headers.get("fiware-service", "")),
            query.get("entity", ""),
            query.get("device", ""),
            state,
            int(limit),
        )
        found = [
            {"agent": agent, **row.document()}
            for agent, desk in self._desks.items()
            for row in await desk.listed(selection)
        ]
        return _json({"count": len(found), "commands": found})

    async def shown(self, request: web.Request) -> web.Response:
        """Return one command."""
        agent, row = await self._meant(request)
        return _json({"agent": agent, **row.document()})

    async def cancel(self, request: web.Request) -> web.Response:
        """Give up a command that has not left."""
        agent, row = await self._meant(request)
        if not await self._desks[agent].cancel(row.id):
            raise _Refused(409, "Conflict", "the command has left already")
        return web.Response(status=204)

    async def _meant(self, request: web.Request) -> tuple[str, Row]:
        """Return the command that a path names, with its agent; a tenant sees its own alone."""
        tenant = _tenant(request.headers.get("fiware-service", ""))
        for agent, desk in self._desks.items():
            row = await desk.one(request.match_info["id"])
            if row is not None and row.tenant == tenant:
                return agent, row
        raise _Refused(404, "ResourceNotFound", "no such command")

    async def _ask(self, asked: Sequence[Asked]) -> bool:
        taken = [await desk.ask(asked) for desk in self._desks.values()]
        return any(each.ids for each in taken)


def _asked_by(
    tenant: str, name: str, entity: Mapping[str, Any], notification: str
) -> Iterator[Asked]:
    """Yield what a notified entity asks for: its only attribute, by whatever name it is shown."""
    for shown, attribute in entity.items():
        if shown in _ABOUT:
            continue
        for instance in attribute if isinstance(attribute, list) else [attribute]:
            if not isinstance(instance, dict):
                continue
            for value in _values(instance):
                moment = instance.get("modifiedAt") or instance.get("createdAt")
                distinct = [moment or notification, instance.get("datasetId"), value]
                digest = hashlib.blake2b(msgspec.json.encode(distinct), digest_size=16)
                key = f"{tenant}/{entity.get('id')}/{name}/{digest.hexdigest()}"
                told = bool(moment or notification)
                entity_id = str(entity.get("id"))
                yield Asked(
                    tenant,
                    entity_id,
                    name,
                    value,
                    key=key if told else "",
                    at=_moment(moment),
                    stored=True,
                )


def _values(attribute: Any) -> list[Any]:
    """Return what an attribute says, each of its instances; concise ones are values."""
    if isinstance(attribute, list):
        return [value for instance in attribute for value in _values(instance)]
    if isinstance(attribute, dict):
        member = next((each for each in VALUE_KINDS if each in attribute), None)
        value = attribute[member] if member else attribute
    else:
        value = attribute
    return [] if value in (UNASKED, NGSI_LD_NULL) else [value]


def _moment(text: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None


def _tenant(name: str) -> str:
    try:
        return check_tenant(name) if name else ""
    except BadRequestData as error:
        raise _Refused(400, "BadRequestData", f"tenant: {error}") from error


def _decoded(body: bytes, decode: Callable[[bytes], Any]) -> Any:
    try:
        return decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise _Refused(400, "BadRequestData", f"body: {error}") from error


def _json(document: Any) -> web.Response:
    return web.Response(body=msgspec.json.encode(document), content_type="application/json")


def _answering(
    handler: Callable[[web.Request], Awaitable[web.Response]],
) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(request: web.Request) -> web.Response:
        try:
            return await handler(request)
        except _Refused as error:
            return _problem(error.status, error.title, str(error))
        except (SpoolFull, TooManyCommands, sqlite3.Error) as error:
            return _problem(503, "InternalError", str(error), _RETRY_AFTER)

    return answer


def _problem(
    status: int, title: str, detail: str, headers: Mapping[str, str] | None = None
) -> web.Response:
    kind = f"https://uri.etsi.org/ngsi-ld/errors/{title}"
    body = {"type": kind, "title": title, "detail": detail, "name": title, "message": detail}
    return web.Response(
        status=status,
        body=msgspec.json.encode(body),
        headers=headers,
        content_type="application/problem+json",
    )
