"""OCPI calls to other parties, through the policy for what may be called."""

from __future__ import annotations

import base64
import re
import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

import msgspec
from yarl import URL

from broker.egress import Answer, Egress
from iot_agents.ocpi.model import Document
from iot_agents.ocpi.versions import MODULES, VERSIONS

_SUCCESS: Final = range(1000, 2000)
_UNAUTHORIZED: Final = 401
_MOST_PAGES: Final = 10_000
_SECONDS: Final = 30.0
_NEXT = re.compile(r"<([^<>]+)>\s*;[^,<]*\brel=\"?next\b")


class OcpiFailed(Exception):
    """A party did not answer as OCPI wants.

    Attributes:
        retry_after: seconds it asks to wait, if it does.
        http: its HTTP status.
    """

    def __init__(self, message: str, retry_after: float | None = None, http: int = 0) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.http = http


@dataclass(frozen=True, slots=True)
class Access:
    """How a party is called: the token and how it is sent (`auto`, `base64`, `raw`)."""

    token: str
    encoding: str = "auto"

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
        root = str(URL(url).origin())
        raw = access.encoding == "raw" or (access.encoding == "auto" and root in self._raw)
        answer = await self._send(method, url, access.token, body, raw=raw)
        if answer.status == _UNAUTHORIZED and access.encoding == "auto":
            again = await self._send(method, url, access.token, body, raw=not raw)
            if again.status != _UNAUTHORIZED:
                answer = again
                self._raw = self._raw - {root} if raw else self._raw | {root}
        return _data(answer), answer.headers

    async def version(self, url: str, access: Access) -> tuple[str, Mapping[str, str]]:
        """Return the best version that both sides speak, and where the modules are.

        Raises: see `call`.
        """
        offered, _ = await self.call("GET", url, access)
        urls = {v.get("version"): v.get("url") for v in _documents(offered)}
        number = next((n for n in VERSIONS if isinstance(urls.get(n), str)), None)
        if number is None:
            raise OcpiFailed(f"{url}: no version in common, it has {sorted(map(str, urls))}")
        details, _ = await self.call("GET", str(urls[number]), access)
        listed = details.get("endpoints") if isinstance(details, dict) else None
        return number, {
            str(end["identifier"]): str(end["url"])
            for end in _documents(listed)
            if _is_sender(end, number)
        }

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
            total = _number(headers.get("X-Total-Count"))
            yield Page(objects, total)
            following = _next(url, headers.get("Link", ""))
            if following is None and objects and total is not None and count < total:
                # Some tell how much there is and give no link.
                more = {**query, "offset": str(count), "limit": str(limit)}
                following = f"{url}?{urlencode(more)}"

    async def _send(
        self, method: str, url: str, token: str, body: Document | None, *, raw: bool
    ) -> Answer:
        sent = token if raw else base64.b64encode(token.encode()).decode()
        headers = {
            "Authorization": f"Token {sent}",
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


def _data(answer: Answer) -> Any:
    try:
        said = msgspec.json.decode(answer.body, type=Document)
    except msgspec.DecodeError:
        said = {}
    code = said.get("status_code")
    if answer.status < 400 and code in _SUCCESS:  # noqa: PLR2004 - HTTP
        return said.get("data")
    message = f"{said.get('status_message') or 'no OCPI answer'!s:.200}"
    raise OcpiFailed(
        f"{URL(answer.url).with_query(None)}: HTTP {answer.status}, {code}: {message}",
        _number(answer.headers.get("Retry-After")),
        answer.status,
    )


def _next(url: str, link: str) -> str | None:
    match = _NEXT.search(link)
    if match is None:
        return None
    target = URL(url).join(URL(match[1]))
    if target.origin() != URL(url).origin():
        raise OcpiFailed(f"{url}: its next page is on another host, {target.origin()}")
    return str(target)


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
    return int(text) if text is not None and text.isdecimal() else None
