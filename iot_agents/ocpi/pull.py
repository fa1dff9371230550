"""Pulling from an operator: all of it now and then, and in between what changed.

Pushes are neither queued nor repeated by their senders, so what was pushed while nobody listened is
only found this way. How far the pulls came is kept on disk per operator and module, and only a pull
that came to its end moves it.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NoReturn
from urllib.parse import quote

import msgspec

from broker.core.timestamps import format_timestamp
from broker.egress import EgressFailed, EgressRefused
from iot_agents.common.backoff import Backoff
from iot_agents.common.counters import Counters
from iot_agents.common.measure import NotDurable
from iot_agents.common.spool import Entry as Spooled
from iot_agents.common.spool import Spool, SpoolFull
from iot_agents.ocpi.client import Access, OcpiClient, OcpiFailed
from iot_agents.ocpi.credentials import Registrar
from iot_agents.ocpi.front import Letters
from iot_agents.ocpi.model import Document, InvalidObject, moment
from iot_agents.ocpi.objects import Name
from iot_agents.ocpi.parties import Entry, Party
from iot_agents.ocpi.parts import Address, UnknownObject
from iot_agents.ocpi.receiver import Shelves
from iot_agents.ocpi.versions import LOCATIONS, MODULES, TARIFFS, VERSIONS, Version, uniform

FAILURES: Final = (
    OcpiFailed,
    EgressRefused,
    EgressFailed,
    SpoolFull,
    NotDurable,
    sqlite3.Error,
    OSError,
    ValueError,
)
_WHOLE: Final = frozenset((LOCATIONS, TARIFFS))
# Lists shift while they are paged through, and clocks differ.
_OVERLAP: Final = timedelta(minutes=10)
_MOST_WANTED: Final = 1000
_LONGEST_RETRY_AFTER: Final = 3600.0
_log = logging.getLogger(__name__)


class _Progress(msgspec.Struct, frozen=True):
    """How far the pulls of a module came.

    Attributes:
        newest: the latest `last_updated` seen.
        whole: when the last pull of everything began, in seconds since 1970.
    """

    newest: str = ""
    whole: float = 0.0


@dataclass(slots=True)
class _Seen:
    """What a pull met."""

    newest: str
    ids: set[str] = field(default_factory=set)
    total: int | None = None

    @property
    def complete(self) -> bool:
        """Whether no object can have slipped between two pages."""
        return self.total is None or len(self.ids) >= self.total


class Puller:
    """Pulls from one operator, for ever."""

    def __init__(
        self,
        entry: Entry,
        registrar: Registrar,
        client: OcpiClient,
        shelves: Shelves,
        spool: Spool,
        letters: Letters,
        *,
        counters: Counters,
        clock: Callable[[], datetime],
        backoff: Backoff,
    ) -> None:
        self.entry = entry
        self._registrar = registrar
        self._client = client
        self._shelves = shelves
        self._spool = spool
        self._letters = letters
        self._counters = counters
        self._clock = clock
        self._backoff = backoff
        self._wake = asyncio.Event()
        self._wanted: set[str] = set()
        self.trouble = ""
        """Why the last pull failed; empty when it did not."""

    def wake(self) -> None:
        """Pull now."""
        self._wake.set()

    def want(self, location_id: str) -> None:
        """Fetch a Location that a push named and nobody knows."""
        if len(self._wanted) < _MOST_WANTED:
            self._wanted.add(location_id)
            self.wake()

    async def run(self) -> NoReturn:
        """Pull until cancelled."""
        failures = 0
        while True:
            self._wake.clear()
            wait = self.entry.interval
            try:
                await self.pull()
                failures, self.trouble = 0, ""
            except FAILURES as error:
                failures += 1
                self.trouble = str(error) or repr(error)
                _log.warning("OCPI party %s: %s", self.entry.name, self.trouble)
                asked = getattr(error, "retry_after", None) or 0.0
                wait = max(self._backoff.delay(failures), min(asked, _LONGEST_RETRY_AFTER))
            try:
                async with asyncio.timeout(wait):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def pull(self) -> None:
        """Pull once what is due.

        Raises: those of `FAILURES`.
        """
        agreed = await self._registrar.agreed(self.entry)
        if agreed is None:
            return
        access = Access(agreed.outbound, self.entry.encoding)
        version = VERSIONS[agreed.version]
        if LOCATIONS in agreed.endpoints:
            await self._fetch_wanted(agreed.endpoints[LOCATIONS], access, version)
        for module in MODULES:
            if module in self.entry.modules and module in agreed.endpoints:
                await self._pull(module, agreed.endpoints[module], access, version)

    async def _pull(self, module: str, url: str, access: Access, version: Version) -> None:
        key = f"ocpi/pull/{self.entry.name}/{module}".casefold()
        kept = await self._spool.state(key)
        before = _Progress() if kept is None else msgspec.json.decode(kept, type=_Progress)
        began = self._clock()
        due = before.whole + self.entry.full_interval <= began.timestamp()
        whole = module in _WHOLE and due
        query = {} if whole else {"date_from": self._from(before)}
        seen = _Seen(before.newest)
        async for page in self._client.pages(url, access, query, self.entry.limit):
            seen.total = page.total
            for document in page.objects:
                await self._take(module, document, version, seen)
        if whole and module == LOCATIONS:
            await self._miss(seen, began)
        after = _Progress(seen.newest, began.timestamp() if whole else before.whole)
        await self._spool.put(Spooled("", "", state={key: msgspec.json.encode(after)}))

    def _from(self, progress: _Progress) -> str:
        if progress.newest:
            known = datetime.fromisoformat(progress.newest).astimezone(UTC)
            return format_timestamp(known - _OVERLAP)
        return format_timestamp(self._clock() - timedelta(days=self.entry.since))

    async def _miss(self, seen: _Seen, began: datetime) -> None:
        if not seen.complete:
            _log.warning(
                "OCPI party %s: the list has %s Locations and %d came; none is missed",
                self.entry.name,
                seen.total,
                len(seen.ids),
            )
            return
        for party in sorted(self.entry.parties):
            for name in await self._shelves.locations.miss(party, seen.ids, began):
                _log.warning("OCPI party %s does not list %s any more", self.entry.name, name)

    async def _fetch_wanted(self, url: str, access: Access, version: Version) -> None:
        while self._wanted:
            wanted = next(iter(self._wanted))
            try:
                found, _ = await self._client.call("GET", f"{url}/{quote(wanted, safe='')}", access)
                await self._take(LOCATIONS, found, version, _Seen(""))
            except OcpiFailed as error:
                if error.retry_after is not None:
                    raise
                _log.warning("OCPI party %s: Location %s: %s", self.entry.name, wanted, error)
            self._wanted.discard(wanted)

    async def _take(self, module: str, document: Any, version: Version, seen: _Seen) -> None:
        self._counters.received += 1
        try:
            name, tidied = self._named(module, document, version)
            # What the list names is not missing, even if it cannot be used.
            seen.ids.add(name[1].casefold())
            await self._keep(module, name, tidied)
            at = moment(tidied.get("last_updated"), self._clock())
        except (InvalidObject, UnknownObject) as error:
            self._counters.rejected += 1
            where = f"{self.entry.name} {module}"
            _log.warning("OCPI party %s: %s", where, error)
            await self._letters.add(where, str(error), document)
            return
        self._counters.acknowledged += 1
        seen.newest = max(seen.newest, at)

    def _named(
        self, module: str, document: Any, version: Version
    ) -> tuple[tuple[Party, str], Document]:
        if not isinstance(document, dict) or not isinstance(document.get("id"), str):
            raise InvalidObject(f"{module}: expected an object with an id")
        parties = self.entry.parties
        said: Mapping[str, Any] = document
        party = str(said.get("country_code")).upper(), str(said.get("party_id")).upper()
        if not version.party_in_objects and len(parties) == 1:
            party = next(iter(parties))
        if party not in parties:
            raise InvalidObject(
                f"country_code, party_id: {party[0]!s:.10}*{party[1]!s:.10} is not of this operator"
            )
        return (party, document["id"]), uniform(document, module, version, party)

    async def _keep(self, module: str, name: tuple[Party, str], document: Document) -> None:
        party, identifier = name
        if module == LOCATIONS:
            await self._shelves.locations.put(Address(*party, identifier), document)
        else:
            await self._shelves.objects.put(Name(module, *party, identifier), document)
