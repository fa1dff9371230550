"""The one door out: every request that somebody else's URL makes this process send.

A URL is checked before anything is sent, the addresses its name resolves to are checked before
they are connected to, and the connection goes to exactly those; so it is with every redirect.
Answers are limited in size, also unpacked, and in time.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, Self

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from broker.core.addresses import parse_host
from broker.core.egress_policy import EgressPolicy, EgressRefused, Rules

__all__ = ["Answer", "Egress", "EgressFailed", "EgressPolicy", "EgressRefused", "Resolve"]

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Finds the addresses of a host name; OSError when it has none."""

_HTTP: Final = frozenset(("http", "https"))
_REDIRECTS: Final = frozenset((301, 302, 303, 307, 308))
_CHECKED_URLS = 4096
_DNS_THREADS = 8
_DNS_SECONDS = 30
# Shorter than servers usually wait, so that a connection is seldom reused while its peer closes it.
_KEEP_ALIVE = 4.0
_GZIP_OR_ZLIB = zlib.MAX_WBITS | 32
_ZLIB_METHOD = 8
_SENSITIVE = frozenset(("authorization", "cookie", "proxy-authorization"))


class EgressFailed(Exception):
    """No usable answer came: unreachable, late, too large; its text says which."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back.

    Attributes:
        headers: looked up without regard to case.
        url: where it came from in the end, after redirects.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str


class Egress:
    """Sends requests under a policy; entered once, it keeps connections for reuse."""

    def __init__(
        self,
        policy: EgressPolicy | None = None,
        *,
        resolve: Resolve | None = None,
        user_agent: str = "rigel",
    ) -> None:
        """Prepare the checks; nothing is connected before the first request.

        Args:
            resolve: finds the addresses of a name; the system's resolver by default.
        """
        self.policy = policy or EgressPolicy()
        self._user_agent = user_agent
        self._rules = Rules(self.policy)
        self._pool = ThreadPoolExecutor(_DNS_THREADS, "egress-dns") if resolve is None else None
        self._resolve = resolve or self._system_addresses
        self._checked: dict[str, URL | EgressRefused] = {}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(
            resolver=_Resolver(self.addresses),
            ttl_dns_cache=_DNS_SECONDS,
            limit=0,
            limit_per_host=self.policy.connections_per_host,
            keepalive_timeout=_KEEP_ALIVE,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": self._user_agent, "Accept-Encoding": "gzip, deflate"},
            skip_auto_headers=("Content-Type",),
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=None),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def check(self, url: str) -> str | None:
        """Say why a URL would be refused, or None; names are not resolved, nothing is sent."""
        checked = self._check(url)
        return str(checked) if isinstance(checked, EgressRefused) else None

    async def addresses(self, host: str, port: int) -> list[str]:
        """Return the addresses of a host that may be connected to (for clients other than HTTP's).

        Raises:
            EgressRefused: the host is an address, or has only addresses, that must not be called.
            OSError: the name cannot be resolved.
        """
        try:
            literal = parse_host(host)
        except ValueError as error:
            raise EgressRefused(str(error)) from error
        found = [str(literal)] if literal else await self._resolve(host, port)
        if not found:
            raise OSError(errno.EADDRNOTAVAIL, f"{host} has no address")
        return self._rules.allowed(host, found)

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - translated to asyncio.timeout here
        max_bytes: int | None = None,
    ) -> Answer:
        """Send a request and return the whole answer, whatever its status.

        Args:
            timeout: seconds, if other than the policy's.
            max_bytes: largest answer, if other than the policy's.

        Raises:
            EgressRefused: the policy forbids the URL, its addresses or a redirect.
            EgressFailed: there was no answer in time, or it was too large or broken.
        """
        limit = self.policy.max_bytes if max_bytes is None else max_bytes
        seconds = self.policy.timeout if timeout is None else timeout
        try:
            async with asyncio.timeout(seconds):
                return await self._follow(
                    method, self._target(url), dict(headers or {}), body, limit
                )
        except TimeoutError as error:
            raise EgressFailed(f"{url:.200} did not answer within {seconds:g} s") from error
        except aiohttp.ClientError as error:
            refused = _cause(error, EgressRefused)
            if refused is not None:
                raise EgressRefused(str(refused)) from error
            raise EgressFailed(f"{url:.200}: {str(error) or type(error).__name__:.200}") from error
        except (OSError, zlib.error) as error:
            raise EgressFailed(f"{url:.200}: {error!s:.200}") from error

    async def _follow(
        self, method: str, target: URL, headers: dict[str, str], body: bytes | None, limit: int
    ) -> Answer:
        for _ in range(self.policy.max_redirects + 1):
            answer = await self._exchange(method, target, headers, body, limit)
            location = answer.headers.get("Location")
            if answer.status not in _REDIRECTS or method != "GET" or location is None:
                return answer
            following = self._redirected(target, location)
            if following.origin() != target.origin():
                headers = {k: v for k, v in headers.items() if k.lower() not in _SENSITIVE}
            target = following
        raise EgressRefused(f"more than {self.policy.max_redirects} redirects")

    async def _exchange(
        self, method: str, target: URL, headers: dict[str, str], body: bytes | None, limit: int
    ) -> Answer:
        if self._session is None:
            raise RuntimeError("Egress is used outside its `async with`")
        async with self._session.request(
            method, target, headers=headers, data=body, allow_redirects=False
        ) as response:
            content = await _read(response, limit)
            return Answer(response.status, response.headers, content, str(target))

    def _redirected(self, source: URL, location: str) -> URL:
        try:
            target = source.join(URL(location))
        except ValueError as error:
            raise EgressRefused(f"redirect to {location!r:.120}, which is no URL") from error
        if source.scheme == "https" and target.scheme != "https":
            raise EgressRefused("redirect from https to http")
        return self._target(str(target))

    def _target(self, url: str) -> URL:
        checked = self._check(url)
        if isinstance(checked, EgressRefused):
            raise EgressRefused(str(checked))
        if checked.scheme not in _HTTP:
            raise EgressRefused(f"{checked.scheme} is not HTTP")
        return checked

    def _check(self, url: str) -> URL | EgressRefused:
        found = self._checked.get(url)
        if found is None:
            found = self._rules.check(url)
            if len(self._checked) >= _CHECKED_URLS:
                self._checked.clear()
            self._checked[url] = found
        return found

    async def _system_addresses(self, host: str, port: int) -> Sequence[str]:
        # Threads of its own: a slow name server must not hold up what else runs in threads.
        found = await asyncio.get_running_loop().run_in_executor(
            self._pool, _system_addresses, host, port
        )
        return list(dict.fromkeys(found))


class _Resolver(AbstractResolver):
    """Gives the connector none but checked addresses."""

    def __init__(self, addresses: Callable[[str, int], Awaitable[list[str]]]) -> None:
        self._addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        try:
            addresses = await self._addresses(host, port)
        except EgressRefused as error:
            raise OSError(str(error)) from error
        return [
            {
                "hostname": host,
                "host": address,
                "port": port,
                "family": socket.AF_INET6 if ":" in address else socket.AF_INET,
                "proto": 0,
                "flags": socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            }
            for address in addresses
            if family in (socket.AF_UNSPEC, socket.AF_INET6 if ":" in address else socket.AF_INET)
        ]

    async def close(self) -> None:
        """Nothing is held."""


def _system_addresses(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    return [str(sockaddr[0]) for *_, sockaddr in found]


def _cause(error: BaseException, kind: type[EgressRefused]) -> EgressRefused | None:
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, kind):
            return seen
        seen = seen.__cause__ or seen.__context__
    return None


async def _read(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """Read a body, unpacking it, and stop at the limit."""
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    chunks: AsyncIterator[bytes] = response.content.iter_any()
    if encoding in ("gzip", "x-gzip", "deflate"):
        chunks = _unpacked(chunks, encoding, limit)
    elif encoding not in ("", "identity"):
        raise EgressFailed(f"answer in an encoding that was not asked for: {encoding:.40}")
    parts: list[bytes] = []
    size = 0
    async for chunk in chunks:
        size += len(chunk)
        if size > limit:
            # Not read to its end, the connection cannot be used again.
            response.close()
            raise EgressFailed(f"the answer is larger than {limit} bytes")
        parts.append(chunk)
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def _unpacked(chunks: Any, encoding: str, limit: int) -> AsyncIterator[bytes]:
    unpacker: Any = None
    packed = 0
    async for chunk in chunks:
        packed += len(chunk)
        if unpacker is None:
            # Some servers send deflate without the header that RFC 1950 puts before it.
            raw = encoding == "deflate" and chunk[0] & 0x0F != _ZLIB_METHOD
            unpacker = zlib.decompressobj(-zlib.MAX_WBITS if raw else _GZIP_OR_ZLIB)
        yield unpacker.decompress(chunk, limit + 1)
        if packed > limit:
            raise EgressFailed(f"the answer is larger than {limit} bytes")
    if unpacker is not None and not unpacker.eof:
        raise EgressFailed("the compressed answer is cut short")
