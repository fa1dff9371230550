"""OCPI, receiver interface of the modules Locations, Sessions, CDRs and Tariffs.

    {base}/{version}/locations/{country_code}/{party_id}/{id}[/{evse_uid}[/{connector_id}]]
    {base}/{version}/sessions/{country_code}/{party_id}/{id}
    {base}/{version}/tariffs/{country_code}/{party_id}/{id}
    {base}/{version}/cdrs[/{country_code}/{party_id}/{id}]

A change is answered with success once it is on disk; a sender that hears nothing or an error sends
it again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from aiohttp import web
from yarl import URL

from iot_agents.ocpi.envelope import Refusal, Status
from iot_agents.ocpi.front import Front
from iot_agents.ocpi.locations import Locations
from iot_agents.ocpi.model import Document, InvalidObject
from iot_agents.ocpi.objects import Name, Objects
from iot_agents.ocpi.parts import Address, UnknownObject
from iot_agents.ocpi.versions import (
    CDRS,
    LOCATIONS,
    SESSIONS,
    TARIFFS,
    VERSIONS,
    Version,
    uniform,
    uniform_connector,
    uniform_evse,
)

_OBJECT = "/{country_code}/{party_id}/{id}"
_PARTS = ("", "/{evse_uid}", "/{evse_uid}/{connector_id}")


@dataclass(frozen=True, slots=True)
class Shelves:
    """Where objects are kept."""

    locations: Locations
    objects: Objects


class Receiver:
    """The handlers, bound to what they keep."""

    def __init__(self, shelves: Shelves, front: Front) -> None:
        self._locations = shelves.locations
        self._objects = shelves.objects
        self._front = front

    def app(self) -> web.Application:
        """Return the application to mount under the base path."""
        app = web.Application(middlewares=[self._front.middleware])
        for version in VERSIONS.values():
            _Routes(self._front, self._locations, self._objects, version).add_to(app.router)
        return app


class _Routes:
    """The handlers of one version."""

    def __init__(
        self, front: Front, locations: Locations, objects: Objects, version: Version
    ) -> None:
        self._front = front
        self._locations = locations
        self._objects = objects
        self._version = version

    def add_to(self, router: web.UrlDispatcher) -> None:
        base = f"/{self._version.number}"
        for part in _PARTS:
            path = f"{base}/{LOCATIONS}{_OBJECT}{part}"
            router.add_get(path, self._get_location, allow_head=False)
            router.add_put(path, self._put_location)
            router.add_patch(path, self._patch_location)
        every, changing = f"{SESSIONS}|{TARIFFS}|{CDRS}", f"{SESSIONS}|{TARIFFS}"
        router.add_get(f"{base}/{{module:{every}}}{_OBJECT}", self._get, allow_head=False)
        router.add_put(f"{base}/{{module:{changing}}}{_OBJECT}", self._put)
        router.add_patch(f"{base}/{{module:{changing}}}{_OBJECT}", self._patch)
        router.add_delete(f"{base}/{{module:{TARIFFS}}}{_OBJECT}", self._delete)
        router.add_post(f"{base}/{CDRS}", self._post)

    async def _get_location(self, request: web.Request) -> web.Response:
        try:
            document = await self._locations.get(_address(request))
        except UnknownObject as error:
            raise Refusal(Status.UNKNOWN_LOCATION, str(error), http=404) from error
        return self._front.respond(request, data=document)

    async def _put_location(self, request: web.Request) -> web.Response:
        address = _address(request)
        document = self._part(await body(request), address)
        created = await self._locations.put(address, document)
        return self._taken(request, created=created)

    async def _patch_location(self, request: web.Request) -> web.Response:
        address = _address(request)
        await self._locations.patch(address, self._part(await body(request), address))
        return self._taken(request)

    def _part(self, document: Document, address: Address) -> Document:
        if address.connector_id:
            changed: Document = uniform_connector(document)
            return changed
        if address.evse_uid:
            return uniform_evse(document)
        party = address.country_code, address.party_id
        return uniform(document, LOCATIONS, self._version, party)

    async def _get(self, request: web.Request) -> web.Response:
        try:
            document = await self._objects.get(_name(request))
        except UnknownObject as error:
            raise Refusal(Status.CLIENT_ERROR, str(error), http=404) from error
        return self._front.respond(request, data=document)

    async def _put(self, request: web.Request) -> web.Response:
        name = _name(request)
        document = self._uniform(await body(request), name)
        return self._taken(request, created=await self._objects.put(name, document))

    async def _patch(self, request: web.Request) -> web.Response:
        name = _name(request)
        changed = self._uniform(await body(request), name)
        try:
            await self._objects.patch(name, changed)
        except UnknownObject as error:
            raise Refusal(Status.CLIENT_ERROR, str(error), http=404) from error
        return self._taken(request)

    async def _delete(self, request: web.Request) -> web.Response:
        try:
            await self._objects.delete(_name(request))
        except UnknownObject as error:
            raise Refusal(Status.CLIENT_ERROR, str(error), http=404) from error
        return self._taken(request)

    async def _post(self, request: web.Request) -> web.Response:
        document = await body(request)
        party = self._front.owner(request, document)
        if not isinstance(document.get("id"), str):
            raise InvalidObject("cdr: id is missing or no text")
        name = Name(CDRS, *party, document["id"])
        created = await self._objects.put(name, self._uniform(document, name))
        own = f"{self._front.public_url(request)}{request.path}"
        url = URL(own).joinpath(*party, name.id.replace("/", "%2F"), encoded=False)
        return self._taken(request, created=created, headers={"Location": str(url)})

    def _uniform(self, document: Document, name: Name) -> Document:
        return uniform(document, name.module, self._version, name.party)

    def _taken(
        self,
        request: web.Request,
        *,
        created: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> web.Response:
        self._front.counters.acknowledged += 1
        answer = self._front.respond(request, http=201 if created else 200)
        answer.headers.update(headers or {})
        return answer


async def body(request: web.Request) -> Document:
    """Return the object that a request brings.

    Raises:
        Refusal: it is no JSON object.
    """
    try:
        document: Document = msgspec.json.decode(await request.read(), type=Document)
    except msgspec.DecodeError as error:
        raise Refusal(Status.INVALID_PARAMETERS, f"body: {error}", http=400) from error
    return document


def party_of(named: Mapping[str, str]) -> tuple[str, str]:
    """Return whose objects a path names."""
    return named["country_code"].upper(), named["party_id"].upper()


def _address(request: web.Request) -> Address:
    named: Mapping[str, Any] = request.match_info
    return Address(
        *party_of(named), named["id"], named.get("evse_uid", ""), named.get("connector_id", "")
    )


def _name(request: web.Request) -> Name:
    named = request.match_info
    return Name(named["module"], *party_of(named), named["id"])
