"""The rows of the attribute index: what of an attribute is written, and how values are encoded.

A value is one SQLite value, so that the index sorts as clause 4.23.2 has it: numbers as numbers,
texts as texts, and everything else as bytes that start with the rank of its data type:

    02 + IRI               object of a relationship
    03                     JSON object; "L" follows for a languageMap, "*" for what is not indexed
    04                     array; "*" follows for one with too many elements to index
    05 + 00 or 01          boolean
    06, 07, 08 + 8 bytes   Time, Date, DateTime, in microseconds, biased to sort
    09                     null
    FE                     mark: the entity has several values here that can be compared

A shape is a geometry as JSON, or a point as longitude and latitude in 16 bytes.

The number `n` of a row tells its place among those of one attribute or path of an entity: the
upper bits count the instances, the default one first; zero in the lower 16 is the head, which holds
the value itself; elements of an array have bit 15 set, as has the mark; the texts of a languageMap
have not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from math import inf
from struct import Struct
from typing import Any, Final, NamedTuple

import msgspec

from broker.core import moments
from broker.core.identifiers import DEFAULT_INSTANCE
from broker.core.query.values import (
    RELATIONSHIPS,
    Rank,
    may_be_temporal,
    ranked,
    unwrap,
)
from broker.core.vocabulary import VALUE_MEMBERS

MAX_TEXT = 256
"""Characters of a text that are indexed; the rest is left to the evaluator."""

MAX_ELEMENTS = 64
"""Elements of an array, texts of a languageMap, or members at all depths of an object."""

MAX_DEPTH = 5

INSTANCE = 1 << 16
ELEMENT = 1 << 15

REFERENCE = bytes([Rank.REFERENCE])
OBJECT = bytes([Rank.OBJECT])
LANGUAGES = OBJECT + b"L"
OPAQUE = OBJECT + b"*"
ARRAY = bytes([Rank.ARRAY])
LONG_ARRAY = ARRAY + b"*"
SEVERAL = b"\xfe"

SqlValue = float | str | bytes

_BIAS = 1 << 62
_LARGEST = 2**63
_SCALARS = frozenset({float, int, str, bool})
_POINT = Struct("<dd")


class Payload(NamedTuple):
    """What a row holds beside its key; times are microseconds since the epoch."""

    value: SqlValue
    observed: int | None = None
    created: int | None = None
    modified: int | None = None


RowKey = tuple[int, int]
"""A row's path and n."""

ONLY: Final[RowKey] = (0, 0)
"""The key of the row of an attribute that has no other."""


@lru_cache(maxsize=4096)
def path_number(names: tuple[str, ...], trailing: tuple[str, ...]) -> int:
    """Return the number of a path below an attribute; 0 is the attribute itself.

    Paths are the users' and without bound, so they are digested instead of being kept as terms.
    """
    if not names and not trailing:
        return 0
    text = "\x1f".join(names) + "\x1e" + "\x1f".join(trailing)
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") >> 1 | 1


def encode(value: Any) -> SqlValue:
    """Return a value as it is indexed; of an array or object, that it is one."""
    if value.__class__ is float:  # what most measures are
        return float(value)
    if value.__class__ is str and not may_be_temporal(value):
        return str(value[:MAX_TEXT])
    rank, key = ranked(value)
    if rank is Rank.TEXT:
        return str(key[:MAX_TEXT])
    if rank is Rank.NUMBER:
        return key if -_LARGEST <= key < _LARGEST else _real(key)
    if rank in (Rank.TIME, Rank.DATE, Rank.DATE_TIME):
        return encode_time(rank, key)
    return bytes([rank, key] if rank is Rank.BOOLEAN else [rank])


def _real(number: int) -> float:
    """Return a number as a float, infinite if it is beyond all of them."""
    try:
        return float(number)
    except OverflowError:
        return inf if number > 0 else -inf


def encode_time(rank: Rank, microseconds: int) -> bytes:
    """Return a Time, Date or DateTime as it is indexed."""
    return bytes([rank]) + (microseconds + _BIAS).to_bytes(8, "big")


def encode_object(iri: str) -> bytes:
    """Return the object of a relationship as it is indexed."""
    return REFERENCE + iri.encode()


def plain_value(instances: Mapping[str, Mapping[str, Any]]) -> SqlValue | None:
    """Return the value in the only row of an attribute; None if it has several or none.

    One row have a plain value, one object and one geometry, which is what most attributes are.
    """
    if len(instances) != 1:
        return None
    instance = instances.get(DEFAULT_INSTANCE)
    if instance is None or "attributes" in instance:
        return None
    kind = instance["type"]
    if kind == "Property":
        value = instance["value"]
        return encode(value) if value.__class__ in _SCALARS else None
    if kind == "Relationship":
        target = instance["object"]
        return encode_object(target) if target.__class__ is str else None
    return OPAQUE if kind == "GeoProperty" else None


def timed(value: SqlValue, instance: Mapping[str, Any]) -> Payload:
    """Return a value with the times of its instance."""
    observed = instance.get("observedAt")
    created = instance.get("createdAt")
    modified = instance.get("modifiedAt")
    return Payload(
        value,
        None if observed is None else moments.instant(observed),
        None if created is None else moments.instant(created),
        None if modified is None else moments.instant(modified),
    )


def ordered(instances: Mapping[str, Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the instances of an attribute, the default one first, then by datasetId."""
    if len(instances) == 1:
        return list(instances.values())
    keys = sorted(instances, key=lambda key: (key != DEFAULT_INSTANCE, key))
    return [instances[key] for key in keys]


def attribute_rows(instances: Mapping[str, Mapping[str, Any]]) -> dict[RowKey, Payload]:
    """Return all rows of an attribute, by path and n."""
    value = plain_value(instances)
    if value is not None:
        return {ONLY: timed(value, instances[DEFAULT_INSTANCE])}
    rows = _Rows()
    rows.add_instances(instances, ())
    rows.mark_several()
    return rows.found


class _Rows:
    def __init__(self) -> None:
        self.found: dict[RowKey, Payload] = {}
        self._heads: dict[int, int] = {}

    def _head(self, path: int) -> int:
        """Return the next free head: a path can be met in several instances of what is above."""
        count = self._heads[path] = self._heads.get(path, -1) + 1
        return count * INSTANCE

    def add_instances(
        self, instances: Mapping[str, Mapping[str, Any]], names: tuple[str, ...]
    ) -> None:
        path = path_number(names, ())
        for instance in ordered(instances):
            head = self._head(path)
            kind = instance["type"]
            self._add_value(path, head, names, kind, instance[VALUE_MEMBERS[kind]])
            row = timed(self.found[path, head].value, instance)
            # A write renews the times of all sub-attributes: kept out, their rows can stay.
            self.found[path, head] = row._replace(created=None, modified=None) if names else row
            for name, below in instance.get("attributes", {}).items():
                self.add_instances(below, (*names, name))

    def mark_several(self) -> None:
        """Mark the paths at which an entity has more than one value to compare with."""
        if len(self.found) == 1:
            return
        counts: dict[int, int] = {}
        for path, n in self.found:
            if not n & ELEMENT:
                counts[path] = counts.get(path, 0) + 1
        for path, count in counts.items():
            if count > 1:
                self.found[path, ELEMENT] = Payload(SEVERAL)

    def _add_value(
        self, path: int, head: int, names: tuple[str, ...], kind: str, value: Any
    ) -> None:
        if kind == "GeoProperty":
            self.found[path, head] = Payload(OPAQUE)
        elif kind == "LanguageProperty":
            self._add_texts(path, head, value)
        elif kind not in RELATIONSHIPS:
            self._add_json(path, head, names, value)
        elif isinstance(value, str):
            self.found[path, head] = Payload(encode_object(value))
        else:
            self._add_elements(path, head, [encode_object(iri) for iri in value])

    def _add_json(self, path: int, head: int, names: tuple[str, ...], value: Any) -> None:
        value = unwrap(value)
        if value.__class__ is list:
            self._add_elements(path, head, [encode(element) for element in value])
        elif value.__class__ is not dict:
            self.found[path, head] = Payload(encode(value))
        else:
            members = _members(value)
            self.found[path, head] = Payload(OPAQUE if members is None else OBJECT)
            for trailing, member in members or ():
                below = path_number(names, trailing)
                start = self._head(below)
                if member.__class__ is list:
                    self._add_elements(below, start, [encode(element) for element in member])
                else:
                    self.found[below, start] = Payload(encode(member))

    def _add_elements(self, path: int, head: int, elements: Sequence[SqlValue]) -> None:
        if len(elements) > MAX_ELEMENTS:
            self.found[path, head] = Payload(LONG_ARRAY)
            return
        self.found[path, head] = Payload(ARRAY)
        for place, element in enumerate(dict.fromkeys(elements), start=(head | ELEMENT) + 1):
            self.found[path, place] = Payload(element)

    def _add_texts(self, path: int, head: int, language_map: Mapping[str, Any]) -> None:
        texts = list(dict.fromkeys(_texts(language_map)))
        if len(texts) > MAX_ELEMENTS:
            self.found[path, head] = Payload(OPAQUE)
            return
        self.found[path, head] = Payload(LANGUAGES)
        for place, text in enumerate(texts, start=head + 1):
            self.found[path, place] = Payload(encode(text))


def _members(value: Mapping[str, Any]) -> list[tuple[tuple[str, ...], Any]] | None:
    """Return what is inside an object, at all depths; None if it is too much to index."""
    found: list[tuple[tuple[str, ...], Any]] = []
    waiting: list[tuple[tuple[str, ...], Mapping[str, Any]]] = [((), value)]
    left = MAX_ELEMENTS
    while waiting:
        above, members = waiting.pop()
        for name, member in members.items():
            trailing = (*above, name)
            plain = unwrap(member)
            left -= max(1, len(plain)) if plain.__class__ is list else 1
            if left < 0 or len(trailing) > MAX_DEPTH:
                return None
            found.append((trailing, plain))
            if plain.__class__ is dict:
                waiting.append((trailing, plain))
    return found


def _texts(language_map: Mapping[str, Any]) -> Iterator[str]:
    for value in language_map.values():
        if isinstance(value, str):
            yield value
        else:
            yield from value


def bounds(geometry: Any) -> tuple[float, float, float, float] | None:
    """Return the west, east, south and north of a GeoJSON geometry; None if it has no position."""
    if not isinstance(geometry, dict):
        return None
    coordinates = geometry.get("coordinates")
    if geometry.get("type") == "Point" and coordinates:
        longitude, latitude = coordinates[0], coordinates[1]
        return longitude, longitude, latitude, latitude
    positions = list(_positions(coordinates))
    if not positions:
        return None
    longitudes = [position[0] for position in positions]
    latitudes = [position[1] for position in positions]
    return min(longitudes), max(longitudes), min(latitudes), max(latitudes)


def encode_shape(geometry: Mapping[str, Any]) -> bytes:
    """Return a geometry as it is indexed."""
    if geometry["type"] == "Point":
        return _POINT.pack(*geometry["coordinates"][:2])
    return msgspec.json.encode(geometry)


def decode_shape(shape: bytes) -> Any:
    """Return the geometry of a shape."""
    if len(shape) == _POINT.size:
        return {"type": "Point", "coordinates": _POINT.unpack(shape)}
    return msgspec.json.decode(shape)


def _positions(coordinates: Any) -> Iterator[Sequence[float]]:
    if isinstance(coordinates, list) and coordinates:
        if isinstance(coordinates[0], list):
            for inner in coordinates:
                yield from _positions(inner)
        else:
            yield coordinates
