"""The @contexts each tenant has stored or used, as clause 5.13 lists them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, get_args
from urllib.parse import quote, unquote

import msgspec

from broker.core.identifiers import Tenant, new_id
from broker.core.timestamps import format_timestamp, parse_timestamp
from broker.store.interface import DocumentStore

Kind = Literal["Cached", "Hosted", "ImplicitlyCreated"]
KINDS: Final[tuple[str, ...]] = get_args(Kind)

PATH: Final = "/ngsi-ld/v1/jsonldContexts/"
_OWN = re.compile(r"https?://[^/?#]+" + re.escape(PATH) + r"([^/?#]+)")
_KIND: Final = "context"
_MAX_CACHED = 1000


@dataclass(slots=True)
class Entry:
    """One @context of a tenant. How often it is used is counted here and not stored.

    Attributes:
        url: where a Cached one comes from.
        body: the document that is served, of a Hosted or ImplicitlyCreated one.
        key: what an ImplicitlyCreated one was made for.
    """

    local_id: str
    kind: Kind
    created_at: datetime
    url: str | None = None
    body: bytes | None = None
    key: str | None = None
    hits: int = 0
    last_usage: datetime | None = None

    def use(self, now: datetime) -> None:
        """Count one use."""
        self.hits += 1
        self.last_usage = now

    @property
    def path(self) -> str:
        """The path this broker serves it under."""
        return PATH + quote(self.local_id, safe=":")


def own_id(url: str) -> str | None:
    """Return the local id that a URL of a hosted @context ends in, None for other URLs."""
    match = _OWN.fullmatch(url)
    return unquote(match[1]) if match else None


class Entries:
    """All entries, in memory and in the store."""

    def __init__(self, store: DocumentStore) -> None:
        self._store = store
        self._by_id: dict[Tenant, dict[str, Entry]] = {}
        self._by_url: dict[tuple[Tenant, str], Entry] = {}
        self._by_key: dict[tuple[Tenant, str], Entry] = {}
        self._owners: dict[str, Tenant] = {}
        self.hosted_bytes = 0

    async def load(self) -> None:
        """Read what is stored."""
        for tenant, local_id, stored in await self._store.all(_KIND):
            self._keep(tenant, _from_stored(local_id, stored))

    def all(self, tenant: Tenant) -> Iterator[Entry]:
        """Yield a tenant's entries, oldest first."""
        yield from self._by_id.get(tenant, {}).values()

    def get(self, tenant: Tenant, identifier: str) -> Entry | None:
        """Find an entry by its local id, its own URL, or the URL a Cached one comes from."""
        mine = self._by_id.get(tenant, {})
        found = mine.get(identifier) or self._by_url.get((tenant, identifier))
        return found or mine.get(own_id(identifier) or "")

    def hosted(self, url: str) -> tuple[Tenant, Entry] | None:
        """Return the entry that is served under a URL, with the tenant it is private to."""
        local_id = own_id(url)
        tenant = self._owners.get(local_id) if local_id else None
        return (
            None if tenant is None or local_id is None else (tenant, self._by_id[tenant][local_id])
        )

    def made_for(self, tenant: Tenant, key: str) -> Entry | None:
        """Return the ImplicitlyCreated entry that was made for a key."""
        return self._by_key.get((tenant, key))

    def uses(self, url: str) -> bool:
        """Tell whether any tenant has this URL cached."""
        return any(other == url for _, other in self._by_url)

    async def add(
        self,
        tenant: Tenant,
        kind: Kind,
        now: datetime,
        *,
        url: str | None = None,
        body: bytes | None = None,
        key: str | None = None,
    ) -> Entry:
        """Make an entry; it is durable when this returns. The oldest Cached ones make room."""
        entry = Entry(str(new_id("Context")), kind, now, url, body, key)
        self._keep(tenant, entry)
        try:
            await self._store.put(tenant, _KIND, entry.local_id, _to_stored(entry))
        except BaseException:
            self._take_out(tenant, entry)
            raise
        if kind == "Cached":
            cached = [each for each in self.all(tenant) if each.kind == "Cached"]
            for old in cached[:-_MAX_CACHED]:
                await self.remove(tenant, old)
        return entry

    async def remove(self, tenant: Tenant, entry: Entry) -> None:
        """Delete an entry."""
        if self._take_out(tenant, entry):
            await self._store.remove(tenant, _KIND, entry.local_id)

    def _take_out(self, tenant: Tenant, entry: Entry) -> bool:
        if self._by_id.get(tenant, {}).pop(entry.local_id, None) is None:
            return False
        self._by_url.pop((tenant, entry.url or ""), None)
        self._by_key.pop((tenant, entry.key or ""), None)
        self._owners.pop(entry.local_id, None)
        self.hosted_bytes -= len(entry.body or b"")
        return True

    def _keep(self, tenant: Tenant, entry: Entry) -> None:
        self._by_id.setdefault(tenant, {})[entry.local_id] = entry
        if entry.url is not None:
            self._by_url[tenant, entry.url] = entry
        if entry.key is not None:
            self._by_key[tenant, entry.key] = entry
        if entry.body is not None:
            self._owners[entry.local_id] = tenant
            self.hosted_bytes += len(entry.body)


def _to_stored(entry: Entry) -> dict[str, Any]:
    members = {
        "kind": entry.kind,
        "createdAt": format_timestamp(entry.created_at),
        "url": entry.url,
        "body": msgspec.json.decode(entry.body) if entry.body is not None else None,
        "key": entry.key,
    }
    return {name: value for name, value in members.items() if value is not None}


def _from_stored(local_id: str, stored: Mapping[str, Any]) -> Entry:
    body = stored.get("body")
    return Entry(
        local_id,
        stored["kind"],
        parse_timestamp(stored["createdAt"], "createdAt"),
        stored.get("url"),
        msgspec.json.encode(body) if body is not None else None,
        stored.get("key"),
    )
