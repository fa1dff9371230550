"""OCPI 2.2.1, receiver interface of the module Locations.

    {base}/2.2.1/locations/{country_code}/{party_id}/{location_id}[/{evse_uid}[/{connector_id}]]

with GET, PUT and PATCH. A change is answered with success once it is on disk; a sender that hears
nothing or an error sends it again.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Awaitable, Callable
from datetime import datetime

import msgspec
from aiohttp import web

from iot_agents.common.counters import Counters
from iot_agents.common.measure import NotDurable
from iot_agents.common.spool import SpoolFull
from iot_agents.ocpi.envelope import Refusal, Status, respond
from iot_agents.ocpi.locations import Locations
from iot_agents.ocpi.model import Document, InvalidObject
from iot_agents.ocpi.parts import Address, UnknownObject
from iot_agents.ocpi.settings import OcpiSettings

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_log = logging.getLogger(__name__)
_PATHS = (
    "/{country_code}/{party_id}/{location_id}",
    "/{country_code}/{party_id}/{location_id}/{evse_uid}",
    "/{country_code}/{party_id}/{location_id}/{evse_uid}/{connector_id}",
)


class Receiver:
    """The handlers, bound to the Locations."""

    def __init__(
        self,
        settings: OcpiSettings,
        locations: Locations,
        *,
        counters: Counters,
        clock: Callable[[], datetime],
    ) -> None:
        self._settings = settings
        self._locations = locations
        self._counters = counters
        self._clock = clock

    def app(self) -> web.Application:
        """Return the application to mount under the base path."""
        app = web.Application(middlewares=[self._envelope])
        for path in _PATHS:
            app.router.add_get("/2.2.1/locations" + path, self.get, allow_head=False)
            app.router.add_put("/2.2.1/locations" + path, self.put)
            app.router.add_patch("/2.2.1/locations" + path, self.patch)
        return app

    async def get(self, request: web.Request) -> web.Response:
        """Return an object as we know it."""
        try:
            document = await self._locations.get(_address(request))
        except UnknownObject as error:
            raise Refusal(Status.UNKNOWN_LOCATION, str(error), http=404) from error
        return respond(request, self._clock(), data=document)

    async def put(self, request: web.Request) -> web.Response:
        """Take a whole object."""
        created = await self._locations.put(_address(request), await _body(request))
        return self._taken(request, created=created)

    async def patch(self, request: web.Request) -> web.Response:
        """Take a change."""
        await self._locations.patch(_address(request), await _body(request))
        return self._taken(request, created=False)

    def _taken(self, request: web.Request, *, created: bool) -> web.Response:
        self._counters.acknowledged += 1
        return respond(request, self._clock(), http=201 if created else 200)

    @web.middleware
    async def _envelope(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            self._authenticate(request)
            if request.method != "GET":
                self._counters.received += 1
            return await handler(request)
        except Refusal as error:
            refusal = error
        except InvalidObject as error:
            refusal = Refusal(Status.INVALID_PARAMETERS, str(error))
        except UnknownObject as error:
            refusal = Refusal(Status.UNKNOWN_LOCATION, str(error))
        except (SpoolFull, NotDurable, sqlite3.Error) as error:
            refusal = Refusal(Status.SERVER_ERROR, str(error), http=503)
        return self._refuse(request, refusal)

    def _refuse(self, request: web.Request, refusal: Refusal) -> web.Response:
        if refusal.http == web.HTTPUnauthorized.status_code:
            self._counters.unauthorized += 1
        elif request.method != "GET":
            self._counters.rejected += 1
            _log.warning("%s %s refused: %s", request.method, request.path, refusal)
        return respond(
            request,
            self._clock(),
            status=refusal.status,
            message=str(refusal),
            http=refusal.http,
        )

    def _authenticate(self, request: web.Request) -> None:
        callers = self._settings.parties_of(request.headers.get("Authorization", ""))
        if not callers:
            raise Refusal(Status.CLIENT_ERROR, "the token is missing or unknown", http=401)
        if "location_id" not in request.match_info:
            return  # no path of ours: the router answers
        address = _address(request)
        if (address.country_code, address.party_id) not in callers:
            raise Refusal(
                Status.INVALID_PARAMETERS,
                f"the token does not speak for {address.country_code}*{address.party_id}",
            )


def _address(request: web.Request) -> Address:
    named = dict(request.match_info)
    for name in ("country_code", "party_id"):
        named[name] = named.get(name, "").upper()
    return Address(**named)


async def _body(request: web.Request) -> Document:
    try:
        document: Document = msgspec.json.decode(await request.read(), type=Document)
    except msgspec.DecodeError as error:
        raise Refusal(Status.INVALID_PARAMETERS, f"body: {error}", http=400) from error
    return document
