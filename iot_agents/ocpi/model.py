"""OCPI Locations as they come in: checked for what we rely on, tolerant of everything else.

Documents stay dicts, so that members we do not know survive a GET; `tidy_location` returns them in
one form: times in UTC with a Z, status words of EVSEs in upper case and known, coordinates the
right way round.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

import msgspec

from broker.core.timestamps import format_timestamp
from iot_agents.common.nesting import MAX_DEPTH, deeper_than
from iot_agents.ocpi.countries import exchanged

T = TypeVar("T")
Document = dict[str, Any]
Identifier = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
"""Longer than OCPI's ids, which senders exceed, and never empty."""

STATUSES = frozenset(
    {
        "AVAILABLE",
        "BLOCKED",
        "CHARGING",
        "INOPERATIVE",
        "OUTOFORDER",
        "PLANNED",
        "REMOVED",
        "RESERVED",
        "UNKNOWN",
    }
)
REMOVED = "REMOVED"


class InvalidObject(Exception):
    """An object is not what OCPI says it is; the text names the place."""


class GeoLocation(msgspec.Struct):
    """A point; OCPI has texts, some send numbers."""

    latitude: str | float
    longitude: str | float


class Connector(msgspec.Struct):
    """What is needed of a connector."""

    id: Identifier
    last_updated: str
    standard: str | None = None


class Evse(msgspec.Struct):
    """What is needed of an EVSE."""

    uid: Identifier
    status: str
    last_updated: str
    connectors: list[Connector] | None = None
    coordinates: GeoLocation | None = None


class Location(msgspec.Struct):
    """What is needed of a Location."""

    country_code: str
    party_id: str
    id: Identifier
    coordinates: GeoLocation
    last_updated: str
    country: str | None = None
    publish: bool = True
    evses: list[Evse] | None = None


def tidy_location(document: Document, now: datetime) -> tuple[Document, Sequence[str]]:
    """Return a Location in one form, and what was put right in it.

    Raises:
        InvalidObject: a member we rely on is missing or wrong.
    """
    location = checked(document, Location, "location")
    country = location.country or ""
    warnings: list[str] = []
    tidy = {
        **document,
        "country_code": location.country_code.upper(),
        "party_id": location.party_id.upper(),
        "coordinates": _point(document["coordinates"], country, warnings),
        "last_updated": moment(location.last_updated, now),
        "evses": [_tidy_evse(evse, country, now, warnings) for evse in document.get("evses") or ()],
    }
    return tidy, warnings


def tidy_evse(document: Document, country: str, now: datetime) -> tuple[Document, Sequence[str]]:
    """Return an EVSE in one form, and what was put right in it.

    Raises:
        InvalidObject: a member we rely on is missing or wrong.
    """
    checked(document, Evse, "evse")
    warnings: list[str] = []
    return _tidy_evse(document, country, now, warnings), warnings


def tidy_connector(document: Document, now: datetime) -> Document:
    """Return a connector in one form.

    Raises:
        InvalidObject: a member we rely on is missing or wrong.
    """
    connector = checked(document, Connector, "connector")
    return {**document, "last_updated": moment(connector.last_updated, now)}


def moment(text: object, now: datetime) -> str:
    """Return a DateTime with its Z, which senders forget; one in the future is now.

    Raises:
        InvalidObject: it is none.
    """
    try:
        parsed = datetime.fromisoformat(str(text))
    except ValueError as error:
        raise InvalidObject(f"last_updated: {text!r:.40} is not a DateTime") from error
    parsed = parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
    return format_timestamp(min(parsed, now))


def newest(moments: Iterable[str]) -> str:
    """Return the latest of times in the form `moment` gives them."""
    return max(moments)


def _tidy_evse(document: Document, country: str, now: datetime, warnings: list[str]) -> Document:
    status = str(document["status"]).upper()
    if status not in STATUSES:
        warnings.append(f"evse {document['uid']}: status {status!r:.40} is unknown")
        status = "UNKNOWN"
    tidy = {
        **document,
        "status": status,
        "last_updated": moment(document["last_updated"], now),
        "connectors": [
            {**connector, "last_updated": moment(connector["last_updated"], now)}
            for connector in document.get("connectors") or ()
        ],
    }
    if document.get("coordinates") is not None:
        tidy["coordinates"] = _point(document["coordinates"], country, warnings)
    return tidy


def _point(coordinates: Document, country: str, warnings: list[str]) -> Document:
    latitude, longitude = coordinates["latitude"], coordinates["longitude"]
    try:
        numbers = float(latitude), float(longitude)
    except ValueError:
        numbers = math.nan, math.nan
    if not all(map(math.isfinite, numbers)):
        raise InvalidObject(f"coordinates: {coordinates!r:.80} are no numbers")
    if not exchanged(*numbers, country):
        return coordinates
    warnings.append(f"coordinates swapped: {latitude}, {longitude} is not in {country or 'range'}")
    return {**coordinates, "latitude": longitude, "longitude": latitude}


def decoded(content: bytes) -> Document:
    """Return the JSON object of a message.

    Raises:
        InvalidObject: it is none, or nested deeper than anything of OCPI.
    """
    try:
        document = msgspec.json.decode(content, type=Document)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidObject(f"no JSON object: {error}") from error
    if deeper_than(MAX_DEPTH, document):
        raise InvalidObject(f"nested deeper than {MAX_DEPTH} levels")
    return document


def checked(document: Document, kind: type[T], where: str) -> T:
    """Return the members of an object that are relied on.

    Raises:
        InvalidObject: one is missing or wrong; the text names it.
    """
    try:
        return msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        raise InvalidObject(f"{where}: {error}") from error
