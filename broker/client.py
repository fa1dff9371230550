"""NGSI-LD over HTTP: what agents, subscribers, forwarding and tests use to speak to a broker.

It works with any NGSI-LD broker; nothing here knows this one's internals.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import urlsplit, urlunsplit

import aiohttp
import msgspec
from aiohttp import ClientSession, ClientTimeout

from broker.core.backoff import Backoff

_LINK = '<{}>; rel="http://www.w3.org/ns/json-ld#context"; type="application/ld+json"'
_PAGE = 1000
_LONGEST_RETRY_AFTER = 3600.0


class BrokerRefused(Exception):
    """The broker answered with an error.

    Attributes:
        status: the HTTP status.
        problem: the problem details, empty when the answer had none.
        retry_after: seconds the broker asks to wait, if it does.
    """

    def __init__(
        self, status: int, problem: Mapping[str, Any], retry_after: float | None = None
    ) -> None:
        super().__init__(
            f"{status}: {problem.get('detail') or problem.get('title') or 'no details'}"
        )
        self.status = status
        self.problem = problem
        self.retry_after = retry_after

    @property
    def temporary(self) -> bool:
        """Whether the same request may succeed later (429 and 5xx)."""
        return self.status == 429 or self.status >= 500  # noqa: PLR2004 - HTTP statuses


class BrokerUnreachable(Exception):
    """No answer came: connection refused, reset, or too late."""


def without_credentials(url: str) -> str:
    """Return a URL as it may be shown: without user and password."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def wait_after(error: Exception, failures: int, backoff: Backoff) -> float:
    """Return the seconds to wait after some failures in a row, `error` being the last of them.

    What the broker asks for is the least, as far as it is an hour at most.
    """
    wait = backoff.delay(failures)
    if isinstance(error, BrokerRefused) and error.retry_after is not None:
        return max(wait, min(error.retry_after, _LONGEST_RETRY_AFTER))
    return wait


@dataclass(frozen=True, slots=True)
class BatchAnswer:
    """What a batch operation did (clauses 5.2.16, 5.2.17).

    Attributes:
        success: ids that were written, or None when all were and the broker did not list them.
        errors: problem details per refused id.
    """

    success: Sequence[str] | None = None
    errors: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


class Client:
    """One broker, one tenant, one @context."""

    def __init__(
        self,
        session: ClientSession,
        url: str,
        *,
        tenant: str = "",
        ld_context: str | None = None,
        timeout: float = 10.0,
    ) -> None:
        """Bind a session to a broker.

        Args:
            session: carries the connections; its owner closes it.
            url: the broker's root, such as `http://localhost:1026`; `/ngsi-ld/v1` is added here.
            ld_context: URL of the @context that names are short for; None is the core context.
            timeout: seconds for a whole exchange.
        """
        self._session = session
        self._base = url.rstrip("/") + "/ngsi-ld/v1"
        self._shown = without_credentials(self._base)
        self._timeout = ClientTimeout(total=timeout)
        self._headers: dict[str, str] = {"Accept": "application/json"}
        if tenant:
            self._headers["NGSILD-Tenant"] = tenant
        if ld_context is not None:
            self._headers["Link"] = _LINK.format(ld_context)

    @classmethod
    @asynccontextmanager
    async def connect(cls, url: str, **options: Any) -> AsyncIterator[Self]:
        """Open a session and close it at the end; options are those of the constructor."""
        async with ClientSession() as session:
            yield cls(session, url, **options)

    async def create_entity(self, entity: Mapping[str, Any]) -> None:
        """Create an entity (5.6.1)."""
        await self.request("POST", "/entities", body=entity)

    async def retrieve_entity(self, entity_id: str, **params: str) -> dict[str, Any] | None:
        """Return an entity, or None when there is none (5.7.1)."""
        try:
            found: dict[str, Any] = await self.request(
                "GET", f"/entities/{_segment(entity_id)}", params=params
            )
        except BrokerRefused as error:
            if error.status == 404:  # noqa: PLR2004 - HTTP status
                return None
            raise
        return found

    async def query_entities(self, **params: str) -> AsyncIterator[dict[str, Any]]:
        """Yield all entities that match, page by page (5.7.2); parameters are those of the API."""
        offset = 0
        while True:
            page = await self.request(
                "GET", "/entities", params={**params, "limit": str(_PAGE), "offset": str(offset)}
            )
            for entity in page:
                yield entity
            if len(page) < _PAGE:
                return
            offset += len(page)

    async def merge_entity(self, entity_id: str, fragment: Mapping[str, Any]) -> None:
        """Merge a fragment into an entity (5.6.17)."""
        await self.request("PATCH", f"/entities/{_segment(entity_id)}", body=fragment)

    async def update_attrs(self, entity_id: str, fragment: Mapping[str, Any]) -> None:
        """Replace the attributes of an entity that the fragment names (5.6.2)."""
        await self.request("PATCH", f"/entities/{_segment(entity_id)}/attrs", body=fragment)

    async def delete_entity(self, entity_id: str) -> None:
        """Delete an entity (5.6.6)."""
        await self.request("DELETE", f"/entities/{_segment(entity_id)}")

    async def delete_attribute(self, entity_id: str, name: str) -> None:
        """Delete an attribute of an entity, in all its instances (5.6.5)."""
        path = f"/entities/{_segment(entity_id)}/attrs/{_segment(name)}"
        await self.request("DELETE", path, params={"deleteAll": "true"})

    async def upsert(
        self,
        entities: Sequence[Mapping[str, Any]],
        *,
        update: bool = True,
        keep_newer: bool = False,
    ) -> BatchAnswer:
        """Create entities or update those that exist (5.6.8).

        Args:
            update: keep attributes that a given entity does not name; otherwise replace it whole.
            keep_newer: what is there and was observed later stays (an extension of Rigel's).
        """
        params = {"options": "update" if update else "replace"}
        if keep_newer:
            params["keepNewer"] = "true"
        answer = await self.request(
            "POST",
            "/entityOperations/upsert",
            params=params,
            body=list(entities),
        )
        if not isinstance(answer, Mapping):
            return BatchAnswer()
        errors = {e["entityId"]: e.get("error", {}) for e in answer.get("errors", ())}
        return BatchAnswer(answer.get("success", ()), errors)

    async def create_subscription(self, subscription: Mapping[str, Any]) -> None:
        """Create a subscription (5.8.1)."""
        await self.request("POST", "/subscriptions", body=subscription)

    async def put_subscription(self, subscription: Mapping[str, Any]) -> None:
        """Create a subscription, or make the one of this id what it says."""
        try:
            await self.create_subscription(subscription)
        except BrokerRefused as error:
            if error.status != 409:  # noqa: PLR2004 - HTTP status
                raise
            patch = {key: value for key, value in subscription.items() if key != "id"}
            await self.request(
                "PATCH", f"/subscriptions/{_segment(str(subscription['id']))}", body=patch
            )

    async def retrieve_subscription(self, subscription_id: str) -> dict[str, Any]:
        """Return a subscription (5.8.3)."""
        answer: dict[str, Any] = await self.request(
            "GET", f"/subscriptions/{_segment(subscription_id)}"
        )
        return answer

    async def delete_subscription(self, subscription_id: str) -> None:
        """Delete a subscription (5.8.5)."""
        await self.request("DELETE", f"/subscriptions/{_segment(subscription_id)}")

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Any = None,
    ) -> Any:
        """Send a request below `/ngsi-ld/v1` and return the decoded answer, None when empty.

        Raises:
            BrokerRefused: the status is 400 or more.
            BrokerUnreachable: there was no answer in time.
        """
        headers = self._headers
        data = None
        if body is not None:
            headers = {**headers, "Content-Type": "application/json"}
            if (isinstance(body, Mapping) and "@context" in body) or _any_inline(body):
                headers["Content-Type"] = "application/ld+json"
                headers.pop("Link", None)
            data = msgspec.json.encode(body)
        return await self._exchange(method, path, params, data, headers)

    async def send_lines(self, path: str, lines: bytes, media_type: str) -> Any:
        """Send lines of text below `/ngsi-ld/v1` and return the decoded answer.

        Raises:
            BrokerRefused: the status is 400 or more.
            BrokerUnreachable: there was no answer in time.
        """
        headers = {**self._headers, "Content-Type": media_type}
        return await self._exchange("POST", path, None, lines, headers)

    async def _exchange(
        self,
        method: str,
        path: str,
        params: Mapping[str, str] | None,
        data: bytes | None,
        headers: Mapping[str, str],
    ) -> Any:
        try:
            async with self._session.request(
                method,
                self._base + path,
                params=params,
                data=data,
                headers=headers,
                timeout=self._timeout,
            ) as response:
                content = await response.read()
                return _decoded(response, content)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise BrokerUnreachable(
                f"{method} {self._shown}{path}: {str(error) or type(error).__name__}"
            ) from error

    async def lines(self, path: str, media_type: str) -> AsyncIterator[bytes]:
        """Yield the lines of an answer below `/ngsi-ld/v1` as they come.

        Raises:
            BrokerRefused: the status is 400 or more.
            BrokerUnreachable: there was no answer, or it ended too early.
        """
        url = self._base + path
        headers = {**self._headers, "Accept": media_type}
        timeout = ClientTimeout(total=None, sock_read=self._timeout.total)
        try:
            async with self._session.get(url, headers=headers, timeout=timeout) as response:
                if response.status >= 400:  # noqa: PLR2004 - HTTP status
                    _decoded(response, await response.read())
                async for line in response.content:
                    yield line
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise BrokerUnreachable(f"GET {url}: {str(error) or type(error).__name__}") from error


def _any_inline(body: Any) -> bool:
    return isinstance(body, list) and any("@context" in item for item in _mappings(body))


def _mappings(items: Iterable[Any]) -> Iterable[Mapping[str, Any]]:
    return (item for item in items if isinstance(item, Mapping))


def _segment(text: str) -> str:
    return text.replace("%", "%25").replace("/", "%2F").replace("?", "%3F").replace("#", "%23")


def _decoded(response: aiohttp.ClientResponse, content: bytes) -> Any:
    if response.status < 400:  # noqa: PLR2004 - HTTP status
        return msgspec.json.decode(content) if content else None
    try:
        problem = msgspec.json.decode(content)
    except msgspec.DecodeError:
        problem = {}
    if not isinstance(problem, dict):
        problem = {}
    try:
        retry_after = float(response.headers["Retry-After"])
    except (KeyError, ValueError):
        retry_after = None
    raise BrokerRefused(response.status, problem, retry_after)
