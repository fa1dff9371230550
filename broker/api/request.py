"""A request as handlers see it: checked parameters, negotiated types, resolved @context."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from aiohttp import web

from broker.api import media
from broker.api.keys import BROKER
from broker.api.problems import http_problem
from broker.core.conformance import Version, parse_version
from broker.core.errors import BadRequestData, InvalidRequest
from broker.core.identifiers import DEFAULT_TENANT, Iri, Tenant, check_tenant, check_uri
from broker.core.ld_context import LdContext
from broker.operations.broker import Broker

_decode = msgspec.json.decode


class Request:
    """One exchange. What is asked for is read when it is asked for, so a refusal costs little.

    Attributes:
        params: the query parameters by name, decoded; only those the operation takes.
        accept: the media type of the answer.
        version: the version of the standard that the client prefers (clause 4.3.6.8).
        body_read: whether the body has been asked for.
    """

    __slots__ = (
        "accept",
        "body_read",
        "broker",
        "content_type",
        "params",
        "raw",
        "tenant",
        "version",
    )

    def __init__(
        self,
        raw: web.Request,
        offers: tuple[str, ...],
        taken: frozenset[str],
        *,
        needs_body: bool = True,
        takes: tuple[str, ...] = media.DOCUMENTS,
    ) -> None:
        """Check what can be checked before the body.

        Raises:
            Refused: no media type fits, or a body has no length or type.
            InvalidRequest: a parameter is unknown, given twice, or not text.
        """
        self.raw = raw
        self.body_read = False
        self.broker: Broker = raw.app[BROKER]
        headers = raw.headers
        self.content_type = ""
        if raw.method in _WITH_BODY and (needs_body or self.has_body):
            if takes is not media.LINES and "Content-Length" not in headers:
                raise media.Refused(web.Response(status=411))
            self.content_type = media.content_type(headers.get("Content-Type"), raw.method, takes)
        tenant = headers.get("NGSILD-Tenant")
        self.tenant: Tenant = check_tenant(tenant) if tenant else DEFAULT_TENANT
        accept = headers.get("Accept", "*/*")
        chosen = media.negotiate(accept, offers)
        if chosen is None:
            raise media.not_acceptable(accept, offers)
        self.accept = chosen
        prefer = headers.get("Prefer")
        version = None if prefer is None else media.prefers(prefer, "ngsi-ld")
        self.version: Version | None = None if version is None else _version(version)
        self.params = read(raw.rel_url.raw_query_string, taken)

    @property
    def has_body(self) -> bool:
        """Whether something follows the headers."""
        return self.raw.headers.get("Content-Length", "0") != "0" or self.raw.body_exists

    @property
    def reader(self) -> str | None:
        """Who is asking, as far as a connection tells: the address and port it comes from."""
        transport = self.raw.transport
        peer = None if transport is None else transport.get_extra_info("peername")
        return None if not peer else f"{peer[0]} {peer[1]}"

    def path(self, name: str) -> str:
        """Return a part of the path, decoded."""
        return self.raw.match_info[name]

    def uri(self, name: str) -> Iri:
        """Return a part of the path that must be a URI.

        Raises:
            BadRequestData: it is not one (clause 4.5.1).
        """
        return check_uri(self.raw.match_info[name], name)

    async def body(self) -> Any:
        """Return the decoded body.

        Raises:
            InvalidRequest: it is not JSON (clause 5.5.4), or not packed as it says.
            Refused: 413, it is larger than is taken here.
        """
        self.body_read = True
        try:
            content = await self.raw.read()
        except web.RequestPayloadError as error:
            encoding = self.raw.headers.get("Content-Encoding", "none")
            detail = f"the body did not come whole; Content-Encoding: {encoding:.80}"
            raise InvalidRequest(detail) from error
        except web.HTTPRequestEntityTooLarge as error:
            detail = f"the body has more than {self.raw.client_max_size} bytes"
            raise media.Refused(http_problem(413, "Content too large", detail)) from error
        try:
            return _decode(content)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidRequest(f"the body is not JSON: {error}") from error

    async def document(self) -> tuple[Any, LdContext]:
        """Return the body without its @context, and that @context (clause 6.3.5).

        Raises:
            InvalidRequest: the body is not a JSON object.
            BadRequestData: the @context is where the content type does not have it.
        """
        document = await self.body()
        if not isinstance(document, dict):
            raise InvalidRequest("the body: expected a JSON object")
        return await self.split(document)

    async def split(self, document: Mapping[str, Any]) -> tuple[dict[str, Any], LdContext]:
        """Part one document of the body from its @context."""
        if self.content_type != media.LD_JSON:
            if "@context" in document:
                raise BadRequestData(f"@context: only {media.LD_JSON} has it in the body")
            return dict(document), await self.ld_context()
        if "@context" not in document:
            raise BadRequestData(f"@context: {media.LD_JSON} has to have it in the body")
        self.refuse_link()
        if document["@context"] is None:
            raise BadRequestData("@context: expected an @context, got null")
        rest = {key: value for key, value in document.items() if key != "@context"}
        return rest, await self.broker.contexts.resolve(document["@context"], self.tenant)

    def refuse_link(self) -> None:
        """Refuse a Link to an @context beside a body that has its own.

        Raises:
            BadRequestData: there is one.
        """
        if self._linked() is not None:
            raise BadRequestData(f"Link: {media.LD_JSON} has its @context in the body alone")

    async def ld_context(self) -> LdContext:
        """Return the @context of the Link header, or the default one (clause 6.3.5)."""
        return await self.broker.contexts.resolve(self._linked(), self.tenant)

    def _linked(self) -> str | None:
        links = self.raw.headers.getall("Link", ())
        return media.context_link(", ".join(links)) if links else None


_WITH_BODY = frozenset({"POST", "PATCH", "PUT"})
_BOOLEANS = frozenset({"local", "entityMap", "splitEntities"})
"""Parameters that are booleans wherever they are taken, also where they change nothing here."""


def _version(text: str) -> Version | None:
    """Return a preferred version; what is none is passed over, as RFC 7240 has it (section 2)."""
    try:
        return parse_version(text)
    except InvalidRequest:
        return None


@lru_cache(maxsize=4096)
def read(query: str, taken: frozenset[str]) -> Mapping[str, str]:
    """Return the parameters of a raw query string by name, decoded.

    Raises:
        InvalidRequest: one is unknown, given twice or no boolean, or the text cannot be read.
    """
    if not query:
        return {}
    found: dict[str, str] = {}
    try:
        pairs = parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=100)
    except ValueError as error:  # includes what is not UTF-8
        raise InvalidRequest(f"the query string cannot be read: {error}") from error
    for name, value in pairs:
        if name not in taken:
            known = ", ".join(sorted(taken)) or "none"
            raise InvalidRequest(f"{name!r:.80} is no parameter of this operation; known: {known}")
        if name in found:
            raise InvalidRequest(f"{name}: given twice")
        if name in _BOOLEANS and value.lower() not in ("true", "false"):
            raise InvalidRequest(f"{name}: expected true or false, got {value!r:.80}")
        found[name] = value
    return found
