"""From the value of an `@context` member or a Link header to a resolved @context."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Self
from weakref import WeakValueDictionary

import msgspec

from broker.contexts.documents import ContextLimits, Document, Documents
from broker.contexts.entries import Entries, Entry, Kind
from broker.core.errors import BadRequestData, LdContextNotAvailable, Overloaded
from broker.core.identifiers import DEFAULT_TENANT, Tenant
from broker.core.ld_context import CORE, CORE_URL, CORE_URLS, LdContext, build
from broker.core.ld_definitions import (
    MAX_DEPTH,
    MAX_PARTS,
    ContextItem,
    ContextSource,
    context_items,
    references,
)
from broker.egress import Egress
from broker.store.interface import DocumentStore

_NEVER: Final = datetime.max.replace(tzinfo=UTC)
# What is resolved in less than about 5 ms is not worth a thread.
_IN_LOOP_BYTES: Final = 20_000


@dataclass(slots=True)
class _Resolution:
    """A resolved @context of a tenant with what it was made of."""

    ld_context: LdContext
    entries: Sequence[Entry]
    urls: frozenset[str]
    check_at: datetime

    def use(self, now: datetime) -> None:
        for entry in self.entries:
            entry.use(now)


class Contexts:
    """All @contexts of a broker; entered once, it loads what is stored.

    Attributes:
        public_url: the root this broker is reached under, such as `http://broker.example:1026`;
            the server sets it when it is known only after listening.
    """

    def __init__(
        self,
        store: DocumentStore,
        egress: Egress,
        *,
        clock: Callable[[], datetime],
        public_url: str = "",
        bundled: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
        mirror: Path | None = None,
        fetch: bool = True,
        limits: ContextLimits | None = None,
    ) -> None:
        """Bind the collaborators.

        Args:
            bundled: documents that the platform ships, by each of their URLs; they may scope
                terms to types.
            mirror: directory with copies of remote documents, named in its `index.json`.
            fetch: whether a URL that is not known may be fetched.
        """
        self.public_url = public_url
        self._clock = clock
        self._limits = limits or ContextLimits()
        self._documents = Documents(
            store, egress, clock, self._limits, bundled=bundled, mirror=mirror, fetch=fetch
        )
        self._entries = Entries(store)
        self._core = Entry("urn:ngsi-ld:Context:core", "Cached", clock(), CORE_URL)
        self._resolved: OrderedDict[tuple[Tenant, str | bytes], _Resolution] = OrderedDict()
        self._terms = 0
        # One @context that many tenants use is compiled and kept once.
        self._compiled: WeakValueDictionary[object, LdContext] = WeakValueDictionary()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self._documents.running())
        await self._entries.load()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def resolve(self, source: Any, tenant: Tenant = DEFAULT_TENANT) -> LdContext:
        """Return the resolved @context for what a request brings; None is the core @context.

        Raises:
            BadRequestData: it is no valid @context, or a document it names is none.
            LdContextNotAvailable: a document could not be had in time.
        """
        if source is None or (isinstance(source, str) and source in CORE_URLS):
            return CORE
        key = (tenant, source if isinstance(source, str) else _digest(source))
        found = self._resolved.get(key)
        if found is None:
            found = await self._resolve(key, source)
        else:
            self._resolved.move_to_end(key)
        now = self._clock()
        found.use(now)
        if now >= found.check_at:
            self._check(found)
        return found.ld_context

    async def link(self, ld_context: LdContext, tenant: Tenant) -> str:
        """Return a URL for a Link header; what has none of its own is stored and served here.

        Raises:
            BadRequestData: as much is stored here as the limits allow.
        """
        if ld_context.link is not None:
            return ld_context.link
        entry = self._entries.made_for(tenant, ld_context.key)
        if entry is None:
            body = {"@context": ld_context.source}
            entry = await self._host(tenant, "ImplicitlyCreated", body, ld_context.key)
        return self.url(entry)

    async def add(self, tenant: Tenant, document: Mapping[str, Any]) -> Entry:
        """Store an @context to be served here (5.13.2); members beside `@context` are left out.

        Raises:
            BadRequestData: it is not valid, or as much is stored here as the limits allow.
        """
        value = document["@context"]
        build([item for item in context_items(value) if _stands_alone(item)])
        return await self._host(tenant, "Hosted", {"@context": value}, None)

    def entries(self, tenant: Tenant) -> list[Entry]:
        """Return what a tenant has stored or used, the core @context first."""
        return [self._core, *self._entries.all(tenant)]

    def entry(self, tenant: Tenant, identifier: str) -> Entry | None:
        """Find one by its local id, its URL here, or the URL it was fetched from."""
        if identifier in CORE_URLS or identifier == self._core.local_id:
            return self._core
        return self._entries.get(tenant, identifier)

    def is_core(self, entry: Entry) -> bool:
        """Tell whether an entry is the core @context."""
        return entry is self._core

    def url(self, entry: Entry) -> str:
        """Return where an @context can be had: at its origin if Cached, else here."""
        return entry.url or self.public_url.rstrip("/") + entry.path

    def document(self, entry: Entry) -> Document | None:
        """Return the cached document of a Cached entry, if it was fetched."""
        return self._documents.cached(entry.url) if entry.url else None

    async def remove(self, tenant: Tenant, entry: Entry) -> None:
        """Delete a tenant's @context; a document that no other tenant uses leaves the cache."""
        await self._entries.remove(tenant, entry)
        self._drop(entry.url or entry.local_id, tenant)
        if entry.url is not None and not self._entries.uses(entry.url):
            await self._documents.forget(entry.url)

    async def reload(self, entry: Entry) -> None:
        """Fetch a Cached @context again and use what came.

        Raises:
            LdContextNotAvailable: it could not be had; the one in use stays.
        """
        if entry.url is not None and entry is not self._core:
            await self._documents.reload(entry.url)
            self._drop(entry.url, None)

    async def _resolve(self, key: tuple[Tenant, str | bytes], source: Any) -> _Resolution:
        tenant = key[0]
        items = context_items(source)
        try:
            async with asyncio.timeout(self._limits.timeout):
                documents = await self._gather(references(items), tenant)
        except TimeoutError as error:
            raise LdContextNotAvailable(
                f"@context: its documents took more than {self._limits.timeout:g} s"
            ) from error
        ld_context = await self._compile(source, key[1], documents)
        now = self._clock()
        top = frozenset(references(items))
        used = {url: await self._used(tenant, url, now) for url in documents}
        for url in documents.keys() - top:
            used[url].use(now)
        names = frozenset(entry.url or entry.local_id for entry in used.values())
        entries = tuple(entry for url, entry in used.items() if url in top)
        resolution = _Resolution(ld_context, entries, names, _earliest(documents.values()))
        self._keep(key, resolution)
        return resolution

    async def _gather(self, urls: Iterable[str], tenant: Tenant) -> dict[str, Document]:
        """Return the documents of URLs and of all they name, level by level."""
        documents: dict[str, Document] = {}
        wanted = [url for url in dict.fromkeys(urls) if url not in CORE_URLS]
        for _ in range(MAX_DEPTH + 1):
            if not wanted:
                break
            if len(documents) + len(wanted) > MAX_PARTS:
                raise LdContextNotAvailable(f"@context: more than {MAX_PARTS} documents")
            found = [await self._document(url, tenant) for url in wanted]
            documents.update(zip(wanted, found, strict=True))
            named = [url for each in found for url in references(each.items())]
            wanted = [
                url for url in dict.fromkeys(named) if url not in documents and url not in CORE_URLS
            ]
        return documents

    async def _document(self, url: str, tenant: Tenant) -> Document:
        hosted = self._entries.hosted(url)
        if hosted is None:
            return await self._documents.get(url)
        owner, entry = hosted
        if owner != tenant or entry.body is None:
            raise LdContextNotAvailable(f"@context: {url:.200} is not available to this tenant")
        return Document.of(msgspec.json.decode(entry.body), url)

    async def _compile(
        self, source: ContextSource, key: str | bytes, documents: Mapping[str, Document]
    ) -> LdContext:
        digests = (key, tuple((url, each.digest) for url, each in documents.items()))
        found = self._compiled.get(digests)
        if found is None:
            decoded = {url: {"@context": each.items()} for url, each in documents.items()}
            bundled = self._documents.bundled
            size = sum(len(each.content) for each in documents.values())
            if size > _IN_LOOP_BYTES or not isinstance(source, str):
                found = await asyncio.to_thread(build, source, decoded, scoped=bundled)
            else:
                found = build(source, decoded, scoped=bundled)
            self._compiled[digests] = found
        return found

    async def _used(self, tenant: Tenant, url: str, now: datetime) -> Entry:
        found = self._entries.get(tenant, url)
        if found is not None:
            return found
        try:
            return await self._entries.add(tenant, "Cached", now, url=url)
        except Overloaded:
            # A read must not fail because the list of what was used cannot be written.
            return Entry("", "Cached", now, url)

    async def _host(
        self, tenant: Tenant, kind: Kind, document: Mapping[str, Any], key: str | None
    ) -> Entry:
        body = msgspec.json.encode(document)
        if self._entries.hosted_bytes + len(body) > self._limits.hosted_bytes:
            raise BadRequestData(
                f"@context: no more than {self._limits.hosted_bytes} bytes are stored here"
            )
        return await self._entries.add(tenant, kind, self._clock(), body=body, key=key)

    def _check(self, found: _Resolution) -> None:
        for url in found.urls:
            self._documents.refresh(url)
        cached = [self._documents.cached(url) for url in found.urls]
        found.check_at = _earliest(document for document in cached if document is not None)

    def _keep(self, key: tuple[Tenant, str | bytes], resolution: _Resolution) -> None:
        before = self._resolved.pop(key, None)
        self._resolved[key] = resolution
        self._terms += resolution.ld_context.size - (before.ld_context.size if before else 0)
        limits = self._limits
        while len(self._resolved) > limits.resolved or (
            self._terms > limits.resolved_terms and len(self._resolved) > 1
        ):
            _, old = self._resolved.popitem(last=False)
            self._terms -= old.ld_context.size

    def _drop(self, name: str, tenant: Tenant | None) -> None:
        """Forget what was resolved with a URL or local id, of one tenant or of all (None)."""
        stale = [
            key
            for key, resolution in self._resolved.items()
            if name in resolution.urls and tenant in (None, key[0])
        ]
        for key in stale:
            self._terms -= self._resolved.pop(key).ld_context.size


def _digest(source: object) -> bytes:
    """Return the name of an inline value: equal bodies are resolved once."""
    return hashlib.sha256(msgspec.json.encode(source)).digest()


def _stands_alone(item: ContextItem) -> bool:
    return isinstance(item, dict) and "@import" not in item


def _earliest(documents: Iterable[Document]) -> datetime:
    return min((each.expires_at for each in documents if each.expires_at), default=_NEVER)
