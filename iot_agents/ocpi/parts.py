"""A Location and its parts, EVSEs and connectors: found, replaced and merged, as pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from iot_agents.ocpi.model import (
    REMOVED,
    Document,
    InvalidObject,
    tidy_connector,
    tidy_evse,
    tidy_location,
)

MISSING_SINCE = "missing_since"
"""The member of an EVSE that its operator's list did not name any more; ours, not OCPI's."""

WHOLE_UPDATED = "whole_last_updated"
"""The member of a Location that has the `last_updated` it came with, apart from its EVSEs; ours."""


class UnknownObject(Exception):
    """There is no such Location, EVSE or connector; the text says which."""


@dataclass(frozen=True, slots=True)
class Address:
    """What a URL names; EVSE and connector are empty for what is above them."""

    country_code: str
    party_id: str
    location_id: str
    evse_uid: str = ""
    connector_id: str = ""

    def __str__(self) -> str:
        parts = (self.country_code, self.party_id, self.location_id)
        return "/".join(filter(None, (*parts, self.evse_uid, self.connector_id)))

    def names(self, document: Document) -> bool:
        """Tell whether a document is the object of this address, as far as it says which it is."""
        if self.connector_id:
            return _same(document.get("id"), self.connector_id)
        if self.evse_uid:
            return _same(document.get("uid"), self.evse_uid)
        party = (document.get("country_code"), document.get("party_id"), document.get("id"))
        wanted = (self.country_code, self.party_id, self.location_id)
        return all(map(_same, party, wanted))


def tidy(
    document: Document, address: Address, country: str, now: datetime
) -> tuple[Document, Sequence[str]]:
    """Return the object of an address in one form, and what was put right in it.

    Raises:
        InvalidObject: it is not what OCPI says it is, or not the object of the address.
    """
    warnings: Sequence[str] = ()
    if address.connector_id:
        tidied = tidy_connector(document, now)
    elif address.evse_uid:
        tidied, warnings = tidy_evse(document, country, now)
    else:
        tidied, warnings = tidy_location(document, now)
    if not address.names(tidied):
        raise InvalidObject(f"the object is not the one of the URL, {address}")
    return tidied, warnings


def part_of(location: Document, address: Address) -> Document:
    """Return the object of an address in its Location.

    Raises:
        UnknownObject: the Location has none.
    """
    if not address.evse_uid:
        return location
    evse = _find(location["evses"], "uid", address.evse_uid)
    if evse is None:
        raise UnknownObject(f"no EVSE {address.evse_uid!r:.40} in {location['id']!r:.40}")
    if not address.connector_id:
        return evse
    connector = _find(evse["connectors"], "id", address.connector_id)
    if connector is None:
        raise UnknownObject(
            f"no connector {address.connector_id!r:.40} in {address.evse_uid!r:.40}"
        )
    return connector


def outdated(part: Document, known: Document) -> bool:
    """Tell whether an object is older than what we know; what was missing is back at any age."""
    if MISSING_SINCE in known:
        return False
    return bool(known.get(WHOLE_UPDATED, known["last_updated"]) > part["last_updated"])


def missing(location: Document, now: str) -> Document | None:
    """Return a Location that its operator's list lacks, None when nothing of it changes.

    Nobody knows how its EVSEs are.
    """
    evses = location.get("evses") or []
    if not evses or all(MISSING_SINCE in evse or evse["status"] == REMOVED for evse in evses):
        return None
    return {**location, "evses": [_missing(evse, "UNKNOWN", now) for evse in evses]}


def _missing(evse: Document, status: str, now: str) -> Document:
    if evse["status"] == REMOVED:
        return evse
    return {MISSING_SINCE: now, **evse, "status": status, "last_updated": now}


def with_part(location: Document, address: Address, part: Document) -> Document:
    """Return a Location with an object put in or replaced; what contains it gets no older."""
    if not address.evse_uid:
        return part if not location else _with_all_evses(location, part)
    if address.connector_id:
        evse = part_of(location, Address("", "", "", address.evse_uid))
        connectors = _replaced(evse["connectors"], "id", part)
        part = _touched({**evse, "connectors": connectors}, part)
    whole = {WHOLE_UPDATED: location["last_updated"], **location}
    return _touched({**whole, "evses": _replaced(location["evses"], "uid", part)}, part)


def _with_all_evses(old: Document, new: Document) -> Document:
    """Return the newer of two Locations with the newer of each EVSE.

    An EVSE may be newer in the older one: some operators change an EVSE and not the time of its
    Location, and a push of one EVSE makes our Location newer than theirs. EVSEs that the newer one
    lacks are removed, but for those that are newer than it.
    """
    late = outdated(new, old)
    base = {**old} if late else {**new, WHOLE_UPDATED: new["last_updated"]}
    evses: list[Document] = []
    for known in old["evses"]:
        evse = _find(new["evses"], "uid", known["uid"])
        if evse is None:
            kept = late or known["last_updated"] > new["last_updated"]
            evses.append(known if kept else _missing(known, REMOVED, new["last_updated"]))
        else:
            evses.append(known if _stays(known, evse, late=late) else evse)
    evses += [evse for evse in new["evses"] if _find(evses, "uid", evse["uid"]) is None]
    return _touched({**base, "evses": evses}, old)


def _stays(known: Document, evse: Document, *, late: bool) -> bool:
    """Tell whether an EVSE of a whole Location says nothing new; a late one revives nothing."""
    if late and known["status"] == REMOVED:
        return bool(known["last_updated"] >= evse["last_updated"])
    return outdated(evse, known)


def _replaced(parts: Sequence[Document], name: str, part: Document) -> list[Document]:
    if _find(parts, name, part[name]) is None:
        return [*parts, part]
    return [part if _same(other[name], part[name]) else other for other in parts]


def _touched(whole: Document, part: Document) -> Document:
    return {**whole, "last_updated": max(whole["last_updated"], part["last_updated"])}


def without_ours(part: Document) -> Document:
    """Return an object as its sender knows it."""
    return {name: value for name, value in part.items() if name != WHOLE_UPDATED}


def _find(parts: Sequence[Document], name: str, wanted: object) -> Document | None:
    return next((part for part in parts if _same(part[name], wanted)), None)


def _same(one: object, other: object) -> bool:
    # OCPI's ids are the same in upper and lower case.
    return str(one).casefold() == str(other).casefold()
