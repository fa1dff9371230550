"""Documents of remote @contexts: shipped, mirrored, cached, or fetched once and then kept.

A document that was fetched stays what it was. When its time is over its host is asked again, in
the background; if the content changed, the copy in use stays in use and the digest of the new one
is noted, until somebody asks for a reload. So neither a host that is gone nor one that was taken
over changes what names mean here.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from broker.core.errors import BadRequestData, LdContextNotAvailable, NgsiLdError
from broker.core.identifiers import DEFAULT_TENANT
from broker.core.ld_definitions import ContextItem, document_items
from broker.core.timestamps import format_timestamp, parse_timestamp
from broker.egress import Answer, Egress, EgressFailed, EgressRefused
from broker.store.interface import DocumentStore

_T = TypeVar("_T")
_log = logging.getLogger(__name__)

_KIND: Final = "contextDocument"
_ACCEPT: Final = "application/ld+json, application/json;q=0.9, */*;q=0.1"
_MAX_AGE = re.compile(r"(?:^|[\s,])max-age\s*=\s*\"?(\d{1,9})")
_OK = 200


@dataclass(frozen=True, slots=True)
class ContextLimits:
    """What @contexts may cost.

    Attributes:
        document_bytes: largest document.
        cached_bytes: all fetched documents together; the longest unused ones are dropped.
        hosted_bytes: all @contexts that clients have stored here together.
        resolved: @contexts kept ready for use; the longest unused ones are dropped.
        resolved_terms: terms of all @contexts kept ready.
        fetches: documents fetched at the same time.
        timeout: seconds to fetch one document, and for all that one request needs.
        lifetime: seconds after which a host is asked again, if it does not say.
        min_lifetime: seconds for which it is not asked again, whatever it says.
        retry: seconds for which a URL that failed is not tried again; doubled each time.
        max_retry: the longest such time.
    """

    document_bytes: int = 1_000_000
    cached_bytes: int = 32_000_000
    hosted_bytes: int = 64_000_000
    resolved: int = 2000
    resolved_terms: int = 250_000
    fetches: int = 16
    timeout: float = 5.0
    lifetime: float = 86_400.0
    min_lifetime: float = 3600.0
    retry: float = 5.0
    max_retry: float = 300.0


@dataclass(frozen=True, slots=True)
class Document:
    """A document with an @context.

    Attributes:
        content: the `@context` value as a JSON array, its URLs absolute.
        digest: of the content.
        fetched_at: when it was had; None when it belongs to this broker.
        expires_at: when its host is to be asked again.
        newer: the digest of what the host has been seen to serve since.
    """

    content: bytes
    digest: str
    fetched_at: datetime | None = None
    expires_at: datetime | None = None
    newer: str | None = None

    @classmethod
    def of(cls, document: object, url: str) -> Document:
        """Read a decoded document.

        Raises:
            BadRequestData: it has no valid @context.
        """
        content = msgspec.json.encode(document_items(document, url))
        return cls(content, hashlib.sha256(content).hexdigest())

    def items(self) -> list[ContextItem]:
        """Return the URLs and objects of its @context."""
        found: list[ContextItem] = msgspec.json.decode(self.content)
        return found


@dataclass(frozen=True, slots=True)
class _Failure:
    error: NgsiLdError
    until: datetime
    seconds: float


class Documents:
    """Finds the document of a URL; used inside the block of `Contexts`."""

    def __init__(
        self,
        store: DocumentStore,
        egress: Egress,
        clock: Callable[[], datetime],
        limits: ContextLimits,
        *,
        bundled: Mapping[str, Mapping[str, Any]],
        mirror: Path | None,
        fetch: bool,
    ) -> None:
        """Take in what is shipped.

        Args:
            bundled: documents by each of their URLs; they need no cache and no host.
            mirror: directory with an `index.json` that maps URLs to names of files in it.
            fetch: whether other URLs may be fetched at all.
        """
        self._store = store
        self._egress = egress
        self._clock = clock
        self._limits = limits
        self._mirror = mirror
        self._fetching = fetch
        self._bundled = _documents(bundled)
        self._mirrored: dict[str, str] = {}
        self._cached: OrderedDict[str, Document] = OrderedDict()
        self._bytes = 0
        self._failures: OrderedDict[str, _Failure] = OrderedDict()
        self._flights: dict[str, asyncio.Task[Document | NgsiLdError]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._slots = asyncio.Semaphore(limits.fetches)
        self._group: asyncio.TaskGroup | None = None
        self.bundled: frozenset[str] = frozenset(bundled)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Read the cache and the mirror's index, and let fetches run until the block ends."""
        for _, url, stored in await self._store.all(_KIND):
            self._keep(url, _from_stored(stored))
        if self._mirror is not None:
            self._mirrored = await asyncio.to_thread(_read_index, self._mirror)
        async with asyncio.TaskGroup() as self._group:
            try:
                yield
            finally:
                for task in self._tasks:
                    task.cancel()

    def cached(self, url: str) -> Document | None:
        """Return a document that was fetched, if it is in the cache."""
        return self._cached.get(url)

    async def get(self, url: str) -> Document:
        """Return the document of a URL, fetched if nothing else helps.

        Raises:
            LdContextNotAvailable: it could not be had, now or a moment ago.
            BadRequestData: what came is no document with an @context.
        """
        document = self._bundled.get(url) or self._cached.get(url)
        if document is not None:
            if url in self._cached:
                self._cached.move_to_end(url)
            return document
        if url in self._mirrored:
            return await self._from_mirror(url)
        failure = self._failures.get(url)
        if failure is not None and self._clock() < failure.until:
            raise _again(failure.error)
        return await self._fetched(url)

    async def reload(self, url: str) -> Document:
        """Fetch a document again and use what came from now on.

        Raises:
            LdContextNotAvailable: it could not be had; the one in use stays.
        """
        if url in self._bundled or url in self._mirrored:
            self._take_out(url)
            return await self.get(url)
        document = await self._one_fetch(url)
        if isinstance(document, NgsiLdError):
            raise LdContextNotAvailable(document.detail)
        await self._put(url, document)
        return document

    async def forget(self, url: str) -> None:
        """Drop a document from the cache."""
        self._failures.pop(url, None)
        if self._take_out(url):
            await self._store.remove(DEFAULT_TENANT, _KIND, url)

    def refresh(self, url: str) -> None:
        """Ask the host of a cached document again, in the background, if its time is over."""
        document = self._cached.get(url)
        if document is None or document.expires_at is None or not self._fetching:
            return
        if self._clock() < document.expires_at:
            return
        # The next look comes after the shortest lifetime, also if this one fails.
        self._cached[url] = replace(document, expires_at=self._after(self._limits.min_lifetime))
        self._start(self._refreshed(url), f"refresh {url:.80}")

    async def _refreshed(self, url: str) -> None:
        try:
            fetched = await self._one_fetch(url)
            present = self._cached.get(url)
            if present is None or isinstance(fetched, NgsiLdError):
                return
            newer = fetched.digest if fetched.digest != present.digest else None
            if newer is not None and newer != present.newer:
                _log.warning("@context %s has changed; the copy from before stays in use", url)
            await self._put(url, replace(present, expires_at=fetched.expires_at, newer=newer))
        except NgsiLdError as error:
            _log.warning("@context %s: what its host serves could not be noted: %s", url, error)

    async def _fetched(self, url: str) -> Document:
        if not self._fetching:
            raise LdContextNotAvailable(f"@context: {url:.200} is not known and not fetched here")
        found = await self._one_fetch(url)
        if isinstance(found, NgsiLdError):
            raise _again(found)
        return found

    async def _one_fetch(self, url: str) -> Document | NgsiLdError:
        """Fetch a URL, together with whoever wants the same; leaving early does not stop it."""
        flight = self._flights.get(url)
        if flight is None:
            flight = self._start(self._fly(url), f"fetch {url:.80}")
            self._flights[url] = flight
            flight.add_done_callback(lambda _: self._flights.pop(url, None))
        return await asyncio.shield(flight)

    async def _fly(self, url: str) -> Document | NgsiLdError:
        """Fetch, and note what came of it even if nobody waits any more."""
        found = await self._fetch(url)
        if isinstance(found, NgsiLdError):
            self._failed(url, found)
            return found
        self._failures.pop(url, None)
        try:
            if url not in self._cached:
                await self._put(url, found)
        except NgsiLdError as error:
            _log.warning("@context %s is kept in memory alone: %s", url, error)
        return found

    def _failed(self, url: str, error: NgsiLdError) -> None:
        """Remember a failure, so that a dead host costs one request its time and nothing else."""
        before = self._failures.pop(url, None)
        seconds = self._limits.retry if before is None else before.seconds * 2
        seconds = min(seconds, self._limits.max_retry)
        self._failures[url] = _Failure(error, self._after(seconds), seconds)
        if len(self._failures) > self._limits.resolved:
            self._failures.popitem(last=False)

    def _start(self, work: Coroutine[Any, Any, _T], name: str) -> asyncio.Task[_T]:
        if self._group is None:
            work.close()
            raise RuntimeError("Contexts is used outside its `async with`")
        task = self._group.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _fetch(self, url: str) -> Document | NgsiLdError:
        try:
            async with self._slots:
                answer = await self._egress.request(
                    "GET",
                    url,
                    headers={"Accept": _ACCEPT},
                    timeout=self._limits.timeout,
                    max_bytes=self._limits.document_bytes,
                )
            if answer.status != _OK:
                return LdContextNotAvailable(f"@context: {url:.200} answered {answer.status}")
            document = Document.of(msgspec.json.decode(answer.body), answer.url)
        except (EgressRefused, EgressFailed) as error:
            return LdContextNotAvailable(f"@context: {url:.200}: {error}")
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return BadRequestData(f"@context: {url:.200} is not JSON")
        except NgsiLdError as error:
            return error
        return replace(
            document,
            fetched_at=self._clock(),
            expires_at=self._after(_lifetime(answer, self._limits)),
        )

    async def _from_mirror(self, url: str) -> Document:
        if self._mirror is None:
            raise LdContextNotAvailable(f"@context: {url:.200} is not in the mirror")
        path = self._mirror / self._mirrored[url]
        try:
            content = await asyncio.to_thread(path.read_bytes)
            document = Document.of(msgspec.json.decode(content), url)
        except (OSError, msgspec.DecodeError, BadRequestData) as error:
            raise LdContextNotAvailable(
                f"@context: the mirror's copy of {url:.200} cannot be read"
            ) from error
        self._keep(url, document)
        return document

    async def _put(self, url: str, document: Document) -> None:
        dropped = self._keep(url, document)
        await self._store.put(DEFAULT_TENANT, _KIND, url, _to_stored(document))
        for other in dropped:
            await self._store.remove(DEFAULT_TENANT, _KIND, other)

    def _keep(self, url: str, document: Document) -> list[str]:
        self._take_out(url)
        self._cached[url] = document
        self._bytes += len(document.content)
        dropped = []
        while self._bytes > self._limits.cached_bytes and len(self._cached) > 1:
            oldest = next(iter(self._cached))
            self._take_out(oldest)
            dropped.append(oldest)
        return dropped

    def _take_out(self, url: str) -> bool:
        document = self._cached.pop(url, None)
        if document is not None:
            self._bytes -= len(document.content)
        return document is not None

    def _after(self, seconds: float) -> datetime:
        return self._clock() + timedelta(seconds=seconds)


def _documents(bundled: Mapping[str, Mapping[str, Any]]) -> dict[str, Document]:
    """Read what is shipped; a document under many URLs is kept once."""
    read: dict[int, Document] = {}
    for url, document in bundled.items():
        if id(document) not in read:
            read[id(document)] = Document.of(document, url)
    return {url: read[id(document)] for url, document in bundled.items()}


def _read_index(mirror: Path) -> dict[str, str]:
    """Return the names of the mirror's files by URL; they lie in the directory itself."""
    index: dict[str, str] = msgspec.json.decode(
        (mirror / "index.json").read_bytes(), type=dict[str, str]
    )
    for url, name in index.items():
        if Path(name).name != name:
            raise ValueError(f"index.json: {name!r} of {url} is not the name of a file beside it")
    return index


def _lifetime(answer: Answer, limits: ContextLimits) -> float:
    found = _MAX_AGE.search(answer.headers.get("Cache-Control", "").lower())
    seconds = float(found[1]) if found else limits.lifetime
    return max(seconds, limits.min_lifetime)


def _again(error: NgsiLdError) -> NgsiLdError:
    """Return an equal error; one that is raised to many would collect all their tracebacks."""
    return type(error)(error.detail, **error.members)


def _to_stored(document: Document) -> dict[str, Any]:
    times = {"fetchedAt": document.fetched_at, "expiresAt": document.expires_at}
    return {
        "@context": document.items(),
        **{name: format_timestamp(moment) for name, moment in times.items() if moment},
        **({"newer": document.newer} if document.newer else {}),
    }


def _from_stored(stored: Mapping[str, Any]) -> Document:
    content = msgspec.json.encode(stored["@context"])
    times = {
        name: parse_timestamp(stored[name], name) if name in stored else None
        for name in ("fetchedAt", "expiresAt")
    }
    return Document(
        content,
        hashlib.sha256(content).hexdigest(),
        times["fetchedAt"],
        times["expiresAt"],
        stored.get("newer"),
    )
