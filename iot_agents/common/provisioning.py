"""The FIWARE provisioning API over HTTP: `/iot/services`, `/iot/groups` and `/iot/devices`.

Deviates: from the FIWARE agents in these points. Several devices in one request are created, and
deleted, all or none; an `entity_name` that is not a URI is made one here and not at the first
measure; a body's mistake is answered with its place; `fiware-service` may be empty, which is the
default tenant, and `NGSILD-Tenant` may say it; a device without an apikey cannot be created beside
one of the same id. Secrets of brokers (`token`, `trust`) are taken and not kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from aiohttp import web

from iot_agents.common.device import Device, document_of, read
from iot_agents.common.provisioning_checks import NOT_KEPT, SET_BY_US, Checks
from iot_agents.common.provisioning_errors import (
    BadRequest,
    MismatchedService,
    MissingHeaders,
    WrongSyntax,
)
from iot_agents.common.provisioning_requests import (
    ALL_PATHS,
    Place,
    answer_errors,
    body_of,
    page_of,
    place_of,
    without,
    wrapped_in,
)
from iot_agents.common.registry import Registry
from iot_agents.common.registry_rows import Known, Selection
from iot_agents.common.service_group import ServiceGroup
from iot_agents.common.vitals import Vitals
from iot_agents.common.vitals import shown as shown_vital

_READ_ONLY: Final = SET_BY_US | {"autoprovision"}
_DEVICE_MEMBERS: Final = (
    {field.encode_name for field in msgspec.structs.fields(Device)} | NOT_KEPT
) - _READ_ONLY


class _Gone(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An element of `/iot/op/delete`."""

    device_id: str = msgspec.field(name="deviceId")
    apikey: str | None = None


class Provisioning:
    """The handlers, bound to a registry."""

    def __init__(self, registry: Registry, checks: Checks, vitals: Vitals | None = None) -> None:
        """Bind the handlers.

        Args:
            vitals: tells how devices get on; without it nobody asks.
        """
        self._registry = registry
        self._checks = checks
        self._vitals = vitals

    def app(self) -> web.Application:
        """Return the application to mount under `/iot`."""
        app = web.Application(middlewares=[answer_errors])
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
        router.add_post("/op/delete", self.delete_devices)
        return app

    async def create_groups(self, request: web.Request) -> web.Response:
        """Create service groups, all or none."""
        place, wrapper = place_of(request), _wrapper(request)
        documents = await wrapped_in(request, wrapper)
        await self._registry.add_groups(
            [
                self._checks.group(document, place, f"{wrapper}[{number}]")
                for number, document in enumerate(documents)
            ]
        )
        return web.json_response({}, status=201)

    async def list_groups(self, request: web.Request) -> web.Response:
        """Return the groups of a service, or of one path in it, or the one of a resource and key.

        Deviates: from the FIWARE agents, which page only over all paths.
        """
        place, page = place_of(request, all_paths=True), page_of(request)
        query = request.query
        if "resource" in query and "apikey" in query:
            count, found = 1, [await self._group(request, place)]
        else:
            path = None if place.path == ALL_PATHS else place.path
            count, found = await self._registry.groups(
                place.service, path, limit=page.limit, offset=page.offset
            )
        shown = [document_of(group) for group in found]
        return web.json_response({"count": count, _wrapper(request): shown})

    async def update_group(self, request: web.Request) -> web.Response:
        """Replace some members of a group."""
        place = place_of(request)
        old = await self._group(request, place)
        changes = without(await body_of(request), SET_BY_US)
        new = self._checks.group({**document_of(old), **changes}, place, "group")
        await self._registry.update_group(old, new)
        return web.Response(status=204)

    async def delete_group(self, request: web.Request) -> web.Response:
        """Remove a group, on demand with its devices."""
        group = await self._group(request, place_of(request))
        devices = request.query.get("device", "").lower() == "true"
        await self._registry.delete_group(group, devices=devices)
        return web.Response(status=204)

    async def create_devices(self, request: web.Request) -> web.Response:
        """Create devices, all or none."""
        place = place_of(request)
        documents = await wrapped_in(request, "devices")
        await self._registry.add_devices(
            [
                self._checks.device(document, place, f"devices[{number}]")
                for number, document in enumerate(documents)
            ]
        )
        return web.json_response({}, status=201)

    async def list_devices(self, request: web.Request) -> web.Response:
        """Return a page of the devices of a service path.

        `entity`, `apikey` and `entity_type` select; `detailed=on` adds how each gets on; the
        `protocol` of other agents' clients changes nothing.
        """
        place, page, query = place_of(request), page_of(request), request.query
        selection = Selection(
            place.service,
            place.path,
            entity=query.get("entity"),
            apikey=query.get("apikey"),
            entity_type=query.get("entity_type"),
        )
        count, devices = await self._registry.devices(
            selection, limit=page.limit, offset=page.offset
        )
        detailed = query.get("detailed", "").lower() in ("on", "true")
        states = await self._states(devices) if detailed else [{} for _ in devices]
        documents = [{**shown(each), **state} for each, state in zip(devices, states, strict=True)]
        return web.json_response({"count": count, "devices": documents})

    async def show_device(self, request: web.Request) -> web.Response:
        """Return one device, with how it gets on in the extension member `state`."""
        known = await self._device(request)
        (state,) = await self._states([known])
        return web.json_response({**shown(known), **state})

    async def update_device(self, request: web.Request) -> web.Response:
        """Replace some members of a device."""
        old = (await self._device(request)).device
        changes = await body_of(request)
        if "device_id" in changes:
            raise BadRequest("device_id cannot be changed")
        if unknown := set(changes) - _DEVICE_MEMBERS:
            raise WrongSyntax(f"device: unknown member {min(unknown)!r:.80}")
        new = self._checks.device({**document_of(old), **changes}, place_of(request), "device")
        await self._registry.update_device(old, new)
        if "lastMeasure" in changes and self._vitals is not None:
            await self._vitals.forget_measure(new)
        return web.Response(status=204)

    async def delete_device(self, request: web.Request) -> web.Response:
        """Remove a device."""
        await self._registry.delete_devices([(await self._device(request)).device])
        return web.Response(status=204)

    async def delete_devices(self, request: web.Request) -> web.Response:
        """Remove the devices that a body names, all or none."""
        place = place_of(request)
        named = read(await wrapped_in(request, "devices"), list[_Gone], "devices")
        await self._registry.delete_devices(
            [
                (
                    await self._registry.device(
                        place.service, place.path, each.device_id, each.apikey
                    )
                ).device
                for each in named
            ]
        )
        return web.Response(status=204)

    async def _states(self, devices: Sequence[Known]) -> Sequence[dict[str, Any]]:
        if self._vitals is None:
            return [{} for _ in devices]
        vitals = await self._vitals.of([known.device for known in devices])
        return [shown_vital(vital) for vital in vitals]

    async def _device(self, request: web.Request) -> Known:
        place = place_of(request)
        return await self._registry.device(
            place.service, place.path, request.match_info["device_id"], request.query.get("apikey")
        )

    async def _group(self, request: web.Request, place: Place) -> ServiceGroup:
        query = request.query
        if "resource" not in query or "apikey" not in query:
            raise MissingHeaders("the query parameters resource and apikey are needed")
        group = await self._registry.group(query["resource"], query["apikey"])
        if group.service != place.service or place.path not in (group.subservice, ALL_PATHS):
            raise MismatchedService("the group belongs to another service or path")
        return group


def shown(known: Known) -> dict[str, Any]:
    """Return a device as clients see it: with its entity, and whether it fetches its commands."""
    document = document_of(known.device)
    named = {
        name: value
        for name in ("entity_name", "entity_type")
        if (value := known.in_force.get(name))
    }
    transport = str(known.in_force.get("transport", ""))
    polling = transport.upper() == "HTTP" and not known.in_force.get("endpoint")
    # Members at their default are left out of documents, but clients look for these.
    place = {"service": known.device.service, "service_path": known.device.service_path}
    return {**document, **place, **named, "polling": polling}


def _wrapper(request: web.Request) -> str:
    return request.path.rsplit("/", 1)[1]
