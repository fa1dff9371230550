"""OCPI, receiver interface of the modules Locations, Sessions, CDRs and Tariffs.

    {base}/{version}/locations/{country_code}/{party_id}/{id}[/{evse_uid}[/{connector_id}]]
    {base}/{version}/sessions/{country_code}/{party_id}/{id}
    {base}/{version}/tariffs/{country_code}/{party_id}/{id}
    {base}/{version}/cdrs[/{country_code}/{party_id}/{id}]

A change is answered with success once it is on disk; a sender that hears nothing or an error sends
it again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from aiohttp import web

from broker.core.timestamps import format_timestamp
from iot_agents.ocpi.envelope import Refusal, Status
from iot_agents.ocpi.front import Front
from iot_agents.ocpi.locations import Locations
from iot_agents.ocpi.model import Document, InvalidObject, decoded
from iot_agents.ocpi.objects import Name, Objects
from iot_agents.ocpi.parties import Party
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

    def __init__(self, shelves: Shelves, front: Front, want: Callable[[Party, str], None]) -> None:
        """Bind the handlers.

        Args:
            want: is told of a Location that a push names and nobody knows.
        """
        self._want = want
        self._locations = shelves.locations
        self._objects = shelves.objects
        self._front = front

    def app(self) -> web.Application:
        """Return the application to mount under the base path."""
        app = web.Application(middlewares=[self._front.middleware])
        for version in VERSIONS.values():
            routes = _Routes(self._front, self._locations, self._objects, version, self._want)
            routes.add_to(app.router)
        return app


class _Routes:
    """The handlers of one version."""

    def __init__(
        self,
        front: Front,
        locations: Locations,
        objects: Objects,
        version: Version,
        want: Callable[[Party, str], None],
    ) -> None:
        self._want = want
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
        patched = "|".join(sorted(self._version.patched - {LOCATIONS}))
        router.add_patch(f"{base}/{{module:{patched}}}{_OBJECT}", self._patch)
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
        with self._wanting(address):
            created = await self._locations.put(address, document)
        return self._taken(request, created=created)

    async def _patch_location(self, request: web.Request) -> web.Response:
        address = _address(request)
        changed = self._part(self._dated(await body(request)), address)
        with self._wanting(address):
            await self._locations.patch(address, changed)
        return self._taken(request)

    @contextmanager
    def _wanting(self, address: Address) -> Iterator[None]:
        try:
            yield
        except UnknownObject:
            self._want((address.country_code, address.party_id), address.location_id)
            raise

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
        changed = self._uniform(self._dated(await body(request)), name)
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
        path = "/".join((request.path, *party, quote(name.id, safe="")))
        url = f"{self._front.public_url(request)}{path}"
        return self._taken(request, created=created, headers={"Location": url})

    def _dated(self, changed: Document) -> Document:
        """Return a change with its time, which is now where OCPI leaves it out."""
        if self._version.dated_changes or changed.get("last_updated"):
            return changed
        return {**changed, "last_updated": format_timestamp(self._front.clock())}

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
        return decoded(await request.read())
    except InvalidObject as error:
        raise Refusal(Status.INVALID_PARAMETERS, f"body: {error}", http=400) from error


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
