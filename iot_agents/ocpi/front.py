"""What every OCPI request meets first and last: the token is checked, the answer gets its envelope.

An error is told with OCPI's code and with the object's place, and what an object was refused for
is kept among the dead letters.
"""

from __future__ import annotations

import logging
import sqlite3
import uuid
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

import msgspec
from aiohttp import web

from broker.core.timestamps import format_timestamp
from iot_agents.common.counters import Counters
from iot_agents.common.dead_letters import DeadLetter, DeadLetters
from iot_agents.common.measure import NotDurable
from iot_agents.common.spool import SpoolFull
from iot_agents.ocpi.envelope import Refusal, Status, respond
from iot_agents.ocpi.model import Document, InvalidObject, decoded
from iot_agents.ocpi.parties import Party
from iot_agents.ocpi.parts import UnknownObject
from iot_agents.ocpi.settings import OcpiSettings
from iot_agents.ocpi.versions import PERSONAL

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Callers = Callable[[str], frozenset[Party]]
"""Says whom an Authorization header speaks for."""

_log = logging.getLogger(__name__)
_PERSONAL = frozenset((*PERSONAL, "cdr_token", "token"))


class Front:
    """The middleware, and how answers are made."""

    def __init__(
        self,
        settings: OcpiSettings,
        callers: Callers,
        letters: Letters,
        *,
        counters: Counters,
        clock: Callable[[], datetime],
    ) -> None:
        self._settings = settings
        self._callers = callers
        self._letters = letters
        self.counters = counters
        self.clock = clock

    def respond(self, request: web.Request, *, data: Any = None, http: int = 200) -> web.Response:
        """Return a success."""
        return respond(request, self.clock(), data=data, http=http)

    def public_url(self, request: web.Request) -> str:
        """Return the root under which the caller reaches us."""
        return self._settings.public_url or str(request.url.origin())

    def owner(self, request: web.Request, document: Document) -> Party:
        """Return whose an object is that a URL says nothing of.

        Raises:
            Refusal: the caller does not speak for that party.
        """
        callers = self._callers(request.headers.get("Authorization", ""))
        said = document.get("country_code"), document.get("party_id")
        if said == (None, None) and len(callers) == 1:
            return next(iter(callers))
        party = str(said[0]).upper(), str(said[1]).upper()
        if party not in callers:
            raise Refusal(
                Status.INVALID_PARAMETERS,
                f"country_code, party_id: the token does not speak for {party[0]}*{party[1]}",
            )
        return party

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let known callers in, and answer with the envelope whatever happens."""
        try:
            self._authenticate(request)
            if request.method != "GET":
                self.counters.received += 1
            return await handler(request)
        except Refusal as error:
            refusal = error
        except InvalidObject as error:
            refusal = Refusal(Status.INVALID_PARAMETERS, str(error))
        except UnknownObject as error:
            refusal = Refusal(Status.UNKNOWN_LOCATION, str(error))
        except (SpoolFull, NotDurable, sqlite3.Error) as error:
            refusal = Refusal(Status.SERVER_ERROR, str(error), http=503)
        except web.HTTPException as error:
            refusal = Refusal(Status.CLIENT_ERROR, error.reason, http=error.status)
        except Exception:  # noqa: BLE001 - the top of a request
            # The caller learns where to look in the log, and nothing of what is there.
            reference = uuid.uuid4().hex[:12]
            _log.exception("error %s: %s %s", reference, request.method, _told(request))
            refusal = Refusal(Status.SERVER_ERROR, f"internal error {reference}", http=500)
        return await self._refuse(request, refusal)

    async def _refuse(self, request: web.Request, refusal: Refusal) -> web.Response:
        if refusal.http == web.HTTPUnauthorized.status_code:
            self.counters.unauthorized += 1
        elif request.method != "GET":
            self.counters.rejected += 1
            _log.warning("%s %s refused: %s", request.method, _told(request), refusal)
            if refusal.status is Status.INVALID_PARAMETERS:
                await self._letters.add(request.path, str(refusal), await _object(request))
        return respond(
            request,
            self.clock(),
            status=refusal.status,
            message=str(refusal),
            http=refusal.http,
        )

    def _authenticate(self, request: web.Request) -> None:
        callers = self._callers(request.headers.get("Authorization", ""))
        if not callers:
            raise Refusal(Status.CLIENT_ERROR, "the token is missing or unknown", http=401)
        named = request.match_info
        if "party_id" not in named:
            return
        party = named["country_code"].upper(), named["party_id"].upper()
        if party not in callers:
            raise Refusal(
                Status.INVALID_PARAMETERS, f"the token does not speak for {party[0]}*{party[1]}"
            )


class Letters:
    """The dead letters of objects, without what they say of persons."""

    def __init__(
        self, dead_letters: DeadLetters, tenant: str, clock: Callable[[], datetime]
    ) -> None:
        self._dead_letters = dead_letters
        self._tenant = tenant
        self._clock = clock

    async def add(self, where: str, reason: str, document: Any) -> None:
        """Keep an object that was refused."""
        payload = msgspec.json.encode(without_persons(document))
        at = format_timestamp(self._clock())
        try:
            await self._dead_letters.add(
                DeadLetter(self._tenant, where, at, "measure", reason, payload)
            )
        except sqlite3.Error as error:
            _log.warning("%s: the refused object could not be kept: %s", where, error)


def without_persons(document: Any) -> Any:
    """Return an object without the members that name persons or are secret."""
    if not isinstance(document, dict):
        return None
    return {name: value for name, value in document.items() if name not in _PERSONAL}


def _told(request: web.Request) -> str:
    """Return a path for the log; one that nothing is served at may have a token's id inside."""
    info = request.match_info
    return request.path if info.http_exception is None else "what is not served here"


async def _object(request: web.Request) -> Any:
    try:
        return decoded(await request.read())
    except (InvalidObject, web.HTTPException):
        return None
