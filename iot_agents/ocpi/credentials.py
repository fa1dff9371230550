"""Registration in both directions: we at an operator, and an operator at us.

The one who registers sends the token by which the other shall call, and is answered with the token
by which to call the other. Names as in the specification: A opens the registration and is used
once, B is what the registering side gives, C what it gets.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable
from typing import Annotated, Any, Final
from weakref import WeakValueDictionary

import msgspec
from aiohttp import web

from broker.egress import EgressFailed, EgressRefused
from iot_agents.ocpi.client import Access, OcpiClient, OcpiFailed
from iot_agents.ocpi.envelope import Refusal, Status
from iot_agents.ocpi.front import Front
from iot_agents.ocpi.model import Document, InvalidObject, checked
from iot_agents.ocpi.parties import Entry
from iot_agents.ocpi.peers import Peer, Peers, Visit
from iot_agents.ocpi.receiver import body
from iot_agents.ocpi.settings import OcpiSettings
from iot_agents.ocpi.versions import MODULES, VERSIONS, Version

PATH: Final = "/ocpi"
_TOKEN_BYTES: Final = 32
_CPO: Final = "CPO"
_log = logging.getLogger(__name__)


class _Role(msgspec.Struct):
    country_code: str
    party_id: str
    role: str = _CPO


class _Credentials(msgspec.Struct):
    token: Annotated[str, msgspec.Meta(pattern=r"^[!-~]{1,64}$")]
    url: Annotated[str, msgspec.Meta(max_length=255)]
    roles: list[_Role] | None = None
    country_code: str = ""
    party_id: str = ""

    @property
    def operators(self) -> frozenset[tuple[str, str]]:
        """Whose objects it says to bring; what else its platform does says nothing of that."""
        roles = self.roles or [_Role(self.country_code, self.party_id)]
        return frozenset(
            (role.country_code.upper(), role.party_id.upper())
            for role in roles
            if role.role.upper() == _CPO
        )


class Registrar:
    """Registers, and knows what was agreed."""

    def __init__(self, settings: OcpiSettings, peers: Peers, client: OcpiClient) -> None:
        self._settings = settings
        self._client = client
        self.peers = peers
        self.root = settings.public_url
        """The root of our URLs."""
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def lock(self, entry: Entry) -> asyncio.Lock:
        """Return the lock of what is agreed with an operator."""
        return self._locks.setdefault(entry.name, asyncio.Lock())

    async def agreed(self, entry: Entry) -> Peer | None:
        """Return how an operator is pulled from, after a registration if it has to be.

        None means that the operator has not registered yet.

        Raises:
            OcpiFailed, EgressRefused, EgressFailed: see `OcpiClient.call`.
            OSError: what was agreed could not be kept.
        """
        peer = self.peers.get(entry)
        if peer.registered:
            return peer
        if not entry.url:
            return None
        if entry.register:
            async with self.lock(entry):
                return await self._register(entry)
        access = Access(entry.token, entry.encoding)
        version, endpoints = await self._client.version(entry.url, access)
        return Peer(outbound=entry.token, url=entry.url, version=version, endpoints=dict(endpoints))

    async def _register(self, entry: Entry) -> Peer:
        if self.peers.get(entry).registered:
            return self.peers.get(entry)
        access = Access(entry.token, entry.encoding)
        number, endpoints = await self._client.version(entry.url, access)
        if "credentials" not in endpoints:
            raise OcpiFailed(f"{entry.url}: has no endpoint for credentials")
        # It may call with the new token before it answers.
        given = self.peers.get(entry).inbound or secrets.token_urlsafe(_TOKEN_BYTES)
        known = msgspec.structs.replace(self.peers.get(entry), inbound=given)
        await self.peers.put(entry, known)
        said, _ = await self._client.call(
            "POST", endpoints["credentials"], access, self.credentials(given, VERSIONS[number])
        )
        try:
            theirs = checked(said, _Credentials, "credentials")
            _check_parties(entry, theirs)
        except InvalidObject as error:
            raise OcpiFailed(f"{entry.url}: {error}") from error
        agreed = msgspec.structs.replace(
            known,
            outbound=theirs.token,
            url=theirs.url,
            version=number,
            endpoints=dict(endpoints),
            registered=True,
        )
        await self.peers.put(entry, agreed)
        _log.info("registered with OCPI party %s, version %s", entry.name, number)
        return agreed

    async def admit(self, entry: Entry, document: Document) -> Peer:
        """Take an operator's registration, or its renewal, and return what is agreed now.

        Raises:
            InvalidObject: the credentials are wrong.
            Refusal: the operator could not be called with them.
        """
        theirs = checked(document, _Credentials, "credentials")
        _check_parties(entry, theirs)
        access = Access(theirs.token, entry.encoding)
        try:
            number, endpoints = await self._client.version(theirs.url, access)
        except (OcpiFailed, EgressFailed, EgressRefused) as error:
            status = getattr(error, "status", Status.CLIENT_UNUSABLE)
            raise Refusal(status, f"url, token: {error}") from error
        agreed = Peer(
            inbound=secrets.token_urlsafe(_TOKEN_BYTES),
            outbound=theirs.token,
            url=theirs.url,
            version=number,
            endpoints=dict(endpoints),
            registered=True,
            spent=entry.registration_digest,
        )
        await self.peers.put(entry, agreed)
        _log.info("OCPI party %s registered, version %s", entry.name, number)
        return agreed

    def credentials(self, token: str, version: Version) -> Document:
        """Return our credentials with a token."""
        settings = self._settings
        if not settings.party:
            raise OcpiFailed("agents.ocpi_party is not set, so that nobody can register")
        who = {
            "country_code": settings.party[0],
            "party_id": settings.party[1],
            "business_details": {"name": settings.name},
        }
        found: Document = {"token": token, "url": f"{self.root}{PATH}/versions"}
        if version.flat_credentials:
            return found | who
        return found | {"roles": [{"role": settings.role, **who}]}


class CredentialsApi:
    """The handlers of versions and credentials."""

    def __init__(
        self,
        settings: OcpiSettings,
        registrar: Registrar,
        front: Front,
        registered: Callable[[Entry], None],
    ) -> None:
        """Bind the handlers.

        Args:
            registered: is told of who registered, or renewed its registration.
        """
        self._settings = settings
        self._registrar = registrar
        self._peers = registrar.peers
        self._front = front
        self._registered = registered

    def app(self) -> web.Application:
        """Return the application to mount under `PATH`."""
        app = web.Application(middlewares=[self._front.middleware])
        numbers = "|".join(number.replace(".", r"\.") for number in VERSIONS)
        app.router.add_get("/versions", self.versions, allow_head=False)
        app.router.add_get(f"/{{version:{numbers}}}", self.details, allow_head=False)
        path = f"/{{version:{numbers}}}/credentials"
        app.router.add_get(path, self.get, allow_head=False)
        app.router.add_post(path, self.post)
        app.router.add_put(path, self.put)
        app.router.add_delete(path, self.delete)
        return app

    async def versions(self, request: web.Request) -> web.Response:
        """Return the versions we speak."""
        root = self._front.public_url(request)
        listed = [{"version": n, "url": f"{root}{PATH}/{n}"} for n in VERSIONS]
        return self._front.respond(request, data=listed)

    async def details(self, request: web.Request) -> web.Response:
        """Return where the modules of a version are."""
        version, root = _version(request), self._front.public_url(request)
        role = {"role": "RECEIVER"} if version.endpoint_roles else {}
        listed = [
            {"identifier": "credentials", **role, "url": f"{root}{request.path}/credentials"},
            *(
                {
                    "identifier": module,
                    **role,
                    "url": f"{root}{self._settings.base_path}/{version.number}/{module}",
                }
                for module in MODULES
            ),
        ]
        return self._front.respond(request, data={"version": version.number, "endpoints": listed})

    async def get(self, request: web.Request) -> web.Response:
        """Return our credentials for the caller."""
        return self._ours(request, self._visit(request).token)

    async def post(self, request: web.Request) -> web.Response:
        """Register the caller."""
        return await self._admit(request, registered=False)

    async def put(self, request: web.Request) -> web.Response:
        """Renew the tokens, or change the version."""
        return await self._admit(request, registered=True)

    async def delete(self, request: web.Request) -> web.Response:
        """Forget the registration."""
        entry = self._visit(request).entry
        async with self._registrar.lock(entry):
            self._check(request, registered=True)
            await self._peers.put(entry, Peer(spent=self._peers.get(entry).spent))
        _log.info("OCPI party %s ended its registration", entry.name)
        return self._front.respond(request)

    async def _admit(self, request: web.Request, *, registered: bool) -> web.Response:
        entry = self._visit(request).entry
        document = await body(request)
        async with self._registrar.lock(entry):
            self._check(request, registered=registered)
            self._ours(request, "")
            peer = await self._registrar.admit(entry, document)
        self._registered(entry)
        return self._ours(request, peer.inbound)

    def _check(self, request: web.Request, *, registered: bool) -> None:
        visit = self._visit(request)
        if visit.registered is not registered:
            said = "already" if visit.registered else "not"
            raise Refusal(Status.CLIENT_ERROR, f"{visit.entry.name} is {said} registered", http=405)

    def _ours(self, request: web.Request, token: str) -> web.Response:
        try:
            data: Any = self._registrar.credentials(token, _version(request))
        except OcpiFailed as error:
            raise Refusal(Status.SERVER_ERROR, str(error)) from error
        data["url"] = f"{self._front.public_url(request)}{PATH}/versions"
        return self._front.respond(request, data=data)

    def _visit(self, request: web.Request) -> Visit:
        visit = self._peers.visitor(request.headers.get("Authorization", ""))
        if visit is None:
            raise Refusal(Status.CLIENT_ERROR, "the token does not open registrations", http=401)
        return visit


def _version(request: web.Request) -> Version:
    return VERSIONS[request.match_info["version"]]


def _check_parties(entry: Entry, credentials: _Credentials) -> None:
    if others := credentials.operators - entry.parties:
        names = ", ".join(sorted(f"{country!s:.5}*{party!s:.5}" for country, party in others))
        raise InvalidObject(f"credentials: roles: {names} is not expected from this operator")
