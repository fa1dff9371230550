"""OCPI calls to other parties, through the policy for what may be called."""

from __future__ import annotations

import base64
import re
import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlencode

import msgspec
from yarl import URL

from broker.egress import Answer, Egress
from iot_agents.ocpi.envelope import Status
from iot_agents.ocpi.model import Document, InvalidObject, decoded
from iot_agents.ocpi.versions import MODULES, VERSIONS

_SUCCESS: Final = range(1000, 2000)
_UNAUTHORIZED: Final = 401
_MOST_PAGES: Final = 10_000
_MOST_OBJECTS: Final = 1_000_000
_SECONDS: Final = 30.0
_COUNT = re.compile(r"[0-9]{1,9}")
_NEXT = re.compile(r"<([^<>]+)>\s*;[^,<]*\brel=\"?next\b")


class OcpiFailed(Exception):
    """A party did not answer as OCPI wants.

    Attributes:
        retry_after: seconds it asks to wait, if it does.
        status: what it is told, where it waits for our answer.
    """

    def __init__(
        self,
        message: str,
        retry_after: float | None = None,
        *,
        status: Status = Status.CLIENT_UNUSABLE,
    ) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.status = status


@dataclass(frozen=True, slots=True)
class Access:
    """How a party is called.

    Attributes:
        token: what it knows us by.
        encoding: how the token is sent: `auto`, `base64`, `raw`.
        routing: headers that say from whom to whom requests to modules go.
    """

    token: str
    encoding: str = "auto"
    routing: Mapping[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        return "Access()"


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a list.

    Attributes:
        total: how many objects the whole list has, None when that is not said.
    """

    objects: list[Any]
    total: int | None


class OcpiClient:
    """Calls parties."""

    def __init__(self, egress: Egress) -> None:
        self._egress = egress
        self._raw: set[str] = set()
        """Roots of the parties that wanted their token raw."""

    async def call(
        self, method: str, url: str, access: Access, body: Document | None = None
    ) -> tuple[Any, Mapping[str, str]]:
        """Send a request and return the data of its answer, and the answer's headers.

        Raises:
            OcpiFailed: the party refused, or its answer is no OCPI.
            EgressRefused: the URL must not be called.
            EgressFailed: there was no answer.
        """
        root = _origin(url)
        raw = access.encoding == "raw" or (access.encoding == "auto" and root in self._raw)
        answer = await self._send(method, url, access, body, raw=raw)
        if answer.status == _UNAUTHORIZED and access.encoding == "auto":
            again = await self._send(method, url, access, body, raw=not raw)
            if again.status != _UNAUTHORIZED:
                answer = again
                self._raw = self._raw - {root} if raw else self._raw | {root}
        return _data(answer, access), answer.headers

    async def version(self, url: str, access: Access) -> tuple[str, Mapping[str, str]]:
        """Return the best version that both sides speak, and where the modules are.

        Raises: see `call`.
        """
        offered, _ = await self.call("GET", url, access)
        urls = {str(v.get("version")): v.get("url") for v in _documents(offered)}
        number = next((n for n in VERSIONS if isinstance(urls.get(n), str)), None)
        if number is None:
            raise OcpiFailed(
                f"{url}: no version in common, it has {sorted(urls)!s:.100}",
                status=Status.UNSUPPORTED_VERSION,
            )
        details, _ = await self.call("GET", as_safe(str(urls[number]), url), access)
        listed = details.get("endpoints") if isinstance(details, dict) else None
        endpoints = {
            str(end["identifier"]): as_safe(str(end["url"]), url)
            for end in _documents(listed)
            if _is_sender(end, number)
        }
        if not endpoints.keys() & set(MODULES):
            raise OcpiFailed(
                f"{url}: version {number} has nothing to pull from",
                status=Status.NO_MATCHING_ENDPOINTS,
            )
        return number, endpoints

    async def pages(
        self, url: str, access: Access, query: Mapping[str, str], limit: int
    ) -> AsyncIterator[Page]:
        """Yield the pages of a list, following its links within the same origin.

        Raises: see `call`.
        """
        following: str | None = f"{url}?{urlencode({**query, 'offset': '0', 'limit': str(limit)})}"
        seen: set[str] = set()
        count = 0
        while following is not None:
            if following in seen or len(seen) == _MOST_PAGES:
                raise OcpiFailed(f"{url}: its pages do not come to an end")
            seen.add(following)
            objects, headers = await self.call("GET", following, access)
            if not isinstance(objects, list):
                raise OcpiFailed(f"{following}: expected a list")
            count += len(objects)
            if count > _MOST_OBJECTS:
                raise OcpiFailed(f"{url}: lists more than {_MOST_OBJECTS} objects")
            total = _number(headers.get("X-Total-Count"))
            yield Page(objects, total)
            following = _next(url, headers.get("Link", ""))
            if following is None and objects and total is not None and count < total:
                # Some tell how much there is and give no link.
                more = {**query, "offset": str(count), "limit": str(limit)}
                following = f"{url}?{urlencode(more)}"

    async def _send(
        self, method: str, url: str, access: Access, body: Document | None, *, raw: bool
    ) -> Answer:
        headers = {
            **access.routing,
            "Authorization": f"Token {access.token if raw else _base64(access.token)}",
            "X-Request-ID": str(uuid.uuid4()),
            "X-Correlation-ID": str(uuid.uuid4()),
            "Accept": "application/json",
        }
        content = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            content = msgspec.json.encode(body)
        return await self._egress.request(
            method, url, headers=headers, body=content, timeout=_SECONDS
        )


def _data(answer: Answer, access: Access) -> Any:
    try:
        said = decoded(answer.body)
    except InvalidObject as error:
        said = {"status_message": f"no OCPI answer: {error}"}
    code = said.get("status_code")
    if answer.status < 400 and code in _SUCCESS:  # noqa: PLR2004 - HTTP
        return said.get("data")
    message = str(said.get("status_message", ""))
    for secret in (access.token, _base64(access.token)):
        message = message.replace(secret, "…")
    raise OcpiFailed(
        f"{URL(answer.url).with_query(None)}: HTTP {answer.status}, {code!s:.20}: {message:.200}",
        _number(answer.headers.get("Retry-After")),
    )


def _next(url: str, link: str) -> str | None:
    match = _NEXT.search(link)
    if match is None:
        return None
    try:
        target = as_safe(str(URL(url).join(URL(match[1]))), url)
    except ValueError as error:
        raise OcpiFailed(f"{url}: the link to its next page is no URL") from error
    if _origin(target) != _origin(url):
        raise OcpiFailed(f"{url}: its next page is on another host, {_origin(target)}")
    return target


def as_safe(target: str, known: str) -> str:
    """Return a URL that a party told us, by https where that is how we called it.

    Behind a proxy many do not know that they are called by https.

    Raises:
        OcpiFailed: it is another host's, and not as safe.
    """
    try:
        there, here = URL(target), URL(known)
        if (here.scheme, there.scheme) != ("https", "http"):
            return target
        if there.host == here.host:
            return str(here.join(there.relative()))
    except ValueError as error:
        raise OcpiFailed(f"{known}: it names {target!r:.80}, which is no URL") from error
    raise OcpiFailed(f"{known}: it names {there.origin()}, which has no https")


def _origin(url: str) -> str:
    try:
        return str(URL(url).origin())
    except ValueError as error:
        raise OcpiFailed(f"{url!r:.80} is no URL") from error


def _base64(token: str) -> str:
    return base64.b64encode(token.encode()).decode()


def _is_sender(endpoint: Document, version: str) -> bool:
    known = endpoint.get("identifier") in (*MODULES, "credentials")
    if not known or not isinstance(endpoint.get("url"), str):
        return False
    if not VERSIONS[version].endpoint_roles or endpoint["identifier"] == "credentials":
        return True
    return endpoint.get("role") == "SENDER"


def _documents(listed: Any) -> list[Document]:
    return [item for item in listed if isinstance(item, dict)] if isinstance(listed, list) else []


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and _COUNT.fullmatch(text) else None
