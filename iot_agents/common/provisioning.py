"""The FIWARE provisioning API over HTTP: `/iot/services`, `/iot/groups` and `/iot/devices`.

Deviates: from the FIWARE agents in four points. Several devices in one request are created all or
none; an `entity_name` that is not a URI is made one here and not at the first measure; a body's
mistake is answered with its place; `fiware-service` may be empty, which is the default tenant.
`GET /iot/waiting`, its `DELETE`, and `GET /iot/dead-letters` are extensions.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from aiohttp import web

from broker.core.errors import BadRequestData
from broker.core.identifiers import check_tenant
from iot_agents.common.device import Device, document_of, entity_id, read
from iot_agents.common.provisioning_errors import (
    BadRequest,
    MismatchedService,
    MissingAttributes,
    MissingConfigParams,
    MissingHeaders,
    ProvisioningError,
    UnsupportedContentType,
    WrongSyntax,
)
from iot_agents.common.registry import Registry
from iot_agents.common.service_group import ServiceGroup, in_force

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
CheckExpressions = Callable[[Mapping[str, Any]], None]
"""Raises InvalidExpression when what is in force for a device cannot be compiled."""

_log = logging.getLogger(__name__)
_ALL_PATHS = "/*"
_DEFAULT_TYPE = "Thing"
_MAX_PAGE = 1000
_SET_BY_US = {"service", "service_path", "subservice"}
_READ_ONLY = {*_SET_BY_US, "polling", "autoprovision"}
_DEVICE_MEMBERS = {field.encode_name for field in msgspec.structs.fields(Device)} - _READ_ONLY
_CORRELATOR = "Fiware-Correlator"


@dataclass(frozen=True, slots=True)
class _Place:
    """The service and path a request is about; the path may be `/*` for listing groups."""

    service: str
    path: str


class Provisioning:
    """The handlers, bound to a registry."""

    def __init__(self, registry: Registry, check: CheckExpressions) -> None:
        self._registry = registry
        self._check = check

    def app(self) -> web.Application:
        """Return the application to mount under `/iot`."""
        app = web.Application(middlewares=[_answer_errors])
        router = app.router
        for kind in ("services", "groups"):
            router.add_post(f"/{kind}", self.create_groups)
            router.add_get(f"/{kind}", self.list_groups)
            router.add_put(f"/{kind}", self.update_group)
            router.add_delete(f"/{kind}", self.delete_group)
        router.add_post("/devices", self.create_devices)
        router.add_get("/devices", self.list_devices)
        router.add_get("/devices/{device_id}", self.show_device)
        router.add_put("/devices/{device_id}", self.update_device)
        router.add_delete("/devices/{device_id}", self.delete_device)
        return app

    async def create_groups(self, request: web.Request) -> web.Response:
        """Create service groups, all or none."""
        place = _place(request)
        wrapper = request.path.rsplit("/", 1)[1]
        groups = []
        for number, document in enumerate(await _wrapped(request, wrapper)):
            where = f"{wrapper}[{number}]"
            own = {**_without(document, _SET_BY_US), "service": place.service}
            group = read({**own, "subservice": place.path}, ServiceGroup, where)
            if not group.entity_type:
                raise MissingConfigParams(f"{where}: entity_type is missing")
            groups.append(group)
        await self._registry.add_groups(groups)
        return web.json_response({}, status=201)

    async def list_groups(self, request: web.Request) -> web.Response:
        """Return the groups of a service, or of one path in it."""
        place = _place(request, all_paths=True)
        limit, offset = _paging(request)
        path = None if place.path == _ALL_PATHS else place.path
        query = request.query
        if "resource" in query and "apikey" in query:
            found = [await self._group(request, place)]
            count = 1
        else:
            count, found = await self._registry.groups(
                place.service, path, limit=limit, offset=offset
            )
        wrapper = request.path.rsplit("/", 1)[1]
        shown = [document_of(group) for group in found]
        return web.json_response({"count": count, wrapper: shown})

    async def update_group(self, request: web.Request) -> web.Response:
        """Replace some members of a group."""
        group = await self._group(request, _place(request))
        changes = _without(await _body(request), _SET_BY_US)
        await self._registry.update_group(
            read({**document_of(group), **changes}, ServiceGroup, "group")
        )
        return web.Response(status=204)

    async def delete_group(self, request: web.Request) -> web.Response:
        """Remove a group, on demand with its devices."""
        group = await self._group(request, _place(request))
        devices = request.query.get("device", "").lower() == "true"
        await self._registry.delete_group(group, devices=devices)
        return web.Response(status=204)

    async def create_devices(self, request: web.Request) -> web.Response:
        """Create devices, all or none."""
        place = _place(request)
        devices = []
        for number, document in enumerate(await _wrapped(request, "devices")):
            where = f"devices[{number}]"
            if not document.get("device_id"):
                raise MissingAttributes(f"{where}: device_id is missing")
            own = {**_without(document, _SET_BY_US), "service": place.service}
            device = read({**own, "service_path": place.path}, Device, where)
            devices.append(self._checked(device))
        await self._registry.add_devices(devices)
        return web.json_response({}, status=201)

    async def list_devices(self, request: web.Request) -> web.Response:
        """Return a page of the devices of a service path."""
        place = _place(request)
        limit, offset = _paging(request)
        count, devices = await self._registry.devices(
            place.service, place.path, limit=limit, offset=offset
        )
        return web.json_response({"count": count, "devices": [document_of(d) for d in devices]})

    async def show_device(self, request: web.Request) -> web.Response:
        """Return one device."""
        return web.json_response(document_of(await self._device(request)))

    async def update_device(self, request: web.Request) -> web.Response:
        """Replace some members of a device."""
        old = await self._device(request)
        changes = await _body(request)
        if "device_id" in changes:
            raise BadRequest("device_id cannot be changed")
        if unknown := set(changes) - _DEVICE_MEMBERS:
            raise WrongSyntax(f"device: unknown member {min(unknown)!r:.80}")
        new = self._checked(read({**document_of(old), **changes}, Device, "device"))
        await self._registry.update_device(old, new)
        return web.Response(status=204)

    async def delete_device(self, request: web.Request) -> web.Response:
        """Remove a device."""
        await self._registry.delete_device(await self._device(request))
        return web.Response(status=204)

    async def _device(self, request: web.Request) -> Device:
        place = _place(request)
        return await self._registry.device(
            place.service, place.path, request.match_info["device_id"], request.query.get("apikey")
        )

    async def _group(self, request: web.Request, place: _Place) -> ServiceGroup:
        query = request.query
        if "resource" not in query or "apikey" not in query:
            raise MissingHeaders("the query parameters resource and apikey are needed")
        group = await self._registry.group(query["resource"], query["apikey"])
        if group.service != place.service or place.path not in (group.subservice, _ALL_PATHS):
            raise MismatchedService("the group belongs to another service or path")
        return group

    def _checked(self, device: Device) -> Device:
        if device.attributes or device.static_attributes:
            self._check(in_force(device, None))
        if not device.entity_name:
            return device
        name = entity_id(device.entity_name, device.entity_type or _DEFAULT_TYPE)
        return msgspec.structs.replace(device, entity_name=name)


@web.middleware
async def _answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        answer = await handler(request)
    except sqlite3.Error as error:
        _log.exception("the registry failed")
        failure = ProvisioningError(f"the registry failed: {type(error).__name__}")
        answer = _problem(failure)
    except ProvisioningError as error:
        answer = _problem(error)
    if _CORRELATOR in request.headers:
        answer.headers[_CORRELATOR] = request.headers[_CORRELATOR]
    return answer


def _problem(error: ProvisioningError) -> web.Response:
    return web.json_response({"name": error.name, "message": str(error)}, status=error.status)


def _place(request: web.Request, *, all_paths: bool = False) -> _Place:
    headers = request.headers
    missing = [name for name in ("fiware-service", "fiware-servicepath") if name not in headers]
    if missing:
        raise MissingHeaders(f"missing header: {', '.join(missing)}")
    service, path = headers["fiware-service"], headers["fiware-servicepath"]
    if not path.startswith("/") or (path == _ALL_PATHS and not all_paths):
        raise BadRequest(f"fiware-servicepath: {path!r:.80} is not a path here")
    try:
        return _Place(check_tenant(service) if service else "", path)
    except BadRequestData as error:
        raise BadRequest(f"fiware-service: {service!r:.80} is not a service's name") from error


def _paging(request: web.Request) -> tuple[int, int]:
    try:
        limit = int(request.query.get("limit", "20"))
        offset = int(request.query.get("offset", "0"))
    except ValueError as error:
        raise WrongSyntax("limit and offset must be numbers") from error
    if not 0 < limit <= _MAX_PAGE or offset < 0:
        raise WrongSyntax(f"limit must be 1 to {_MAX_PAGE} and offset 0 or more")
    return limit, offset


async def _body(request: web.Request) -> dict[str, Any]:
    if request.content_type != "application/json":
        raise UnsupportedContentType(f"{request.content_type!r:.80} is not application/json")
    try:
        return msgspec.json.decode(await request.read(), type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise WrongSyntax(f"body: {error}") from error


async def _wrapped(request: web.Request, wrapper: str) -> list[dict[str, Any]]:
    body = await _body(request)
    if set(body) != {wrapper}:
        raise WrongSyntax(f"body: expected an object with {wrapper!r} and nothing else")
    return read(body[wrapper], list[dict[str, Any]], wrapper)


def _without(document: Mapping[str, Any], members: set[str]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name not in members}
