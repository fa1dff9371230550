"""Pulling from an operator: all of it now and then, and in between what changed.

Pushes are neither queued nor repeated by their senders, so what was pushed while nobody listened is
only found this way. How far the pulls came is kept on disk per operator and module, and only a pull
that came to its end moves it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NoReturn
from urllib.parse import quote

import msgspec

from broker.core.backoff import Backoff
from broker.core.timestamps import format_timestamp
from broker.egress import EgressFailed, EgressRefused
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

_FORESEEN: Final = (OcpiFailed, EgressRefused, EgressFailed, SpoolFull, NotDurable, OSError)
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
    met: set[tuple[str, ...]] = field(default_factory=set)
    totals: set[int] = field(default_factory=set)
    listed: defaultdict[Party, set[str]] = field(default_factory=lambda: defaultdict(set))

    def meet(self, document: Any) -> None:
        """Count an object, whatever it is worth, once."""
        said = document if isinstance(document, dict) else {"id": document}
        members = ("country_code", "party_id", "id")
        self.met.add(tuple(f"{said.get(name)!s:.255}".casefold() for name in members))

    @property
    def complete(self) -> bool:
        """Whether no object can have slipped between two pages, as far as the operator says."""
        return not self.totals or (len(self.totals) == 1 and len(self.met) >= max(self.totals))


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
        own: Party | None,
    ) -> None:
        """Bind it.

        Args:
            own: who we are, when we ever said.
        """
        self.entry = entry
        self._own = own
        self._renewed = False
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

    def renew(self) -> None:
        """Pull everything now: the operator registered, so who knows what was missed."""
        self._renewed = True
        self._wake.set()

    def want(self, location_id: str) -> None:
        """Fetch a Location that a push named and nobody knows."""
        if len(self._wanted) < _MOST_WANTED:
            self._wanted.add(location_id)
            self._wake.set()

    async def run(self) -> NoReturn:
        """Pull until cancelled."""
        failures = 0
        while True:
            self._wake.clear()
            wait = self.entry.interval
            try:
                await self.pull()
                failures, self.trouble = 0, ""
            except Exception as error:  # noqa: BLE001 - nothing an operator sends stops the others
                failures += 1
                self.trouble = str(error) or repr(error)
                unforeseen = None if isinstance(error, _FORESEEN) else error
                _log.warning("OCPI party %s: %s", self.entry.name, error, exc_info=unforeseen)
                asked = getattr(error, "retry_after", None) or 0.0
                wait = max(self._backoff.delay(failures), min(asked, _LONGEST_RETRY_AFTER))
            try:
                async with asyncio.timeout(wait):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def pull(self) -> None:
        """Pull once what is due.

        Raises:
            OcpiFailed, EgressRefused, EgressFailed: see `OcpiClient.call`.
            SpoolFull, NotDurable, sqlite3.Error, OSError: it could not be kept.
        """
        agreed = await self._registrar.agreed(self.entry)
        if agreed is None:
            return
        version = VERSIONS[agreed.version]
        access = Access(agreed.outbound, self.entry.encoding, self._routing(version))
        renewed, self._renewed = self._renewed, False
        try:
            await self._pull_all(agreed.endpoints, access, version, anew=renewed)
        except BaseException:
            self._renewed = self._renewed or renewed
            raise

    def _routing(self, version: Version) -> Mapping[str, str]:
        """Return who asks whom; without whom, a hub asks everybody behind it."""
        if not version.routed:
            return {}
        ends = {"from": self._own}
        if len(self.entry.parties) == 1:
            ends["to"] = next(iter(self.entry.parties))
        return {
            f"OCPI-{end}-{name}": value
            for end, party in ends.items()
            if party is not None
            for name, value in zip(("country-code", "party-id"), party, strict=True)
        }

    async def _pull_all(
        self, endpoints: Mapping[str, str], access: Access, version: Version, *, anew: bool
    ) -> None:
        if LOCATIONS in endpoints:
            await self._fetch_wanted(endpoints[LOCATIONS], access, version)
        for module in MODULES:
            if module in self.entry.modules and module in endpoints:
                await self._pull(module, endpoints[module], access, version, anew=anew)

    async def _pull(
        self, module: str, url: str, access: Access, version: Version, *, anew: bool
    ) -> None:
        key = f"ocpi/pull/{self.entry.name}/{module}".casefold()
        kept = await self._spool.state(key)
        before = _Progress() if kept is None else msgspec.json.decode(kept, type=_Progress)
        began = self._clock()
        due = anew or before.whole + self.entry.full_interval <= began.timestamp()
        whole = module in _WHOLE and due
        query = {} if whole else {"date_from": self._from(before)}
        seen = _Seen(before.newest)
        async for page in self._client.pages(url, access, query, self.entry.limit):
            seen.totals |= set() if page.total is None else {page.total}
            for document in page.objects:
                await self._take(module, document, version, seen)
        done = whole and await self._missed(module, seen, began)
        after = _Progress(seen.newest, began.timestamp() if done else before.whole)
        await self._spool.put(Spooled("", "", state={key: msgspec.json.encode(after)}))

    def _from(self, progress: _Progress) -> str:
        if progress.newest:
            known = datetime.fromisoformat(progress.newest).astimezone(UTC)
            return format_timestamp(known - _OVERLAP)
        return format_timestamp(self._clock() - timedelta(days=self.entry.since))

    async def _missed(self, module: str, seen: _Seen, began: datetime) -> bool:
        """Miss what a whole list lacks; False when it has to be asked for again to know."""
        if not seen.complete:
            _log.warning(
                "OCPI party %s: the list has %s %s and %d came; none is missed",
                self.entry.name,
                "/".join(map(str, sorted(seen.totals))),
                module,
                len(seen.met),
            )
            return False
        for party in sorted(self.entry.parties):
            listed = seen.listed[party]
            if module == LOCATIONS:
                gone = await self._shelves.locations.miss(party, listed, began)
            else:
                gone = await self._shelves.objects.miss(module, party, listed, began)
            for name in gone:
                _log.warning(
                    "OCPI party %s does not list %s of %s any more", self.entry.name, name, module
                )
        return True

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
        seen.meet(document)
        try:
            name, tidied = self._named(module, document, version)
            # What the list names is not missing, even if it cannot be used.
            seen.listed[name[0]].add(name[1].casefold())
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
