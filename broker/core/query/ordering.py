"""The Entity Ordering Language (clause 4.23): parse it, and sort entities by it.

    orderBy   = term *("," term)
    term      = path [";" direction]
    direction = "asc" / "desc" / "dist-asc" / "dist-desc"

Values of different types sort by type (`values.Rank`), then by value; what an entity does not have
comes last in either direction, and entities that are equal keep their order.

Texts sort by a collation if one is given (`und` is the root collation, which 4.23.1 has as the
default of the API), else by code point.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from broker.core.errors import BadRequestData
from broker.core.identifiers import DEFAULT_INSTANCE, ExpandedEntity
from broker.core.query import collation as collations
from broker.core.query import geo
from broker.core.query.distances import Distance, haversine, measure_from
from broker.core.query.nodes import Geometry, OrderBy, Path
from broker.core.query.path import Expand, parse_path
from broker.core.query.scanner import Scanner
from broker.core.query.values import RELATIONSHIPS, Rank, Ranked, ranked
from broker.core.vocabulary import VALUE_MEMBERS

T = TypeVar("T")

MAX_KEYS = 16
"""Terms of one ordering."""

SortKey = tuple[Any, ...]
"""What an entity is sorted by; None in its place means that there is nothing to sort by."""

_MEMBER = "member"
"""Stands for the attribute type of an entity's own members, which are in no language."""

_OBJECTS = {"GeoProperty": 1, "LanguageProperty": 2}
"""Attribute types whose values are objects, as they follow other objects."""

_DIRECTIONS = {
    "asc": (False, False),
    "desc": (True, False),
    "dist-asc": (False, True),
    "dist-desc": (True, True),
}
_LONGEST_FIRST = sorted(_DIRECTIONS, key=len, reverse=True)


def parse(
    text: str,
    expand: Expand,
    *,
    distance_from: Geometry | None = None,
    collation: str | None = None,
    where: str = "orderBy",
) -> tuple[OrderBy, ...]:
    """Parse an ordering; the items of a `String[]` are joined by commas before.

    Args:
        distance_from: the geometry of `orderFrom`, needed for `dist-asc` and `dist-desc`.
        collation: a BCP 47 tag to sort texts by.

    Raises:
        BadRequestData: the text does not follow the grammar, or something it needs is missing.
    """
    if collation is not None:
        collations.sort_key(collation)
    scanner = Scanner(where, text)
    found = [_term(scanner, expand, distance_from, collation)]
    while scanner.take(","):
        found.append(_term(scanner, expand, distance_from, collation))
        if len(found) > MAX_KEYS:
            raise BadRequestData(f"{where}: more than {MAX_KEYS} terms")
    scanner.expect_end("';', ',' or the end")
    return tuple(found)


def _term(
    scanner: Scanner, expand: Expand, distance_from: Geometry | None, collation: str | None
) -> OrderBy:
    path = parse_path(scanner, expand)
    if path.link is not None:
        scanner.fail("an attribute of the entity itself")
    descending, by_distance = False, False
    if scanner.take(";"):
        direction = scanner.take(*_LONGEST_FIRST)
        if not direction:
            scanner.fail("asc, desc, dist-asc or dist-desc")
        descending, by_distance = _DIRECTIONS[direction]
    if not by_distance:
        return OrderBy(path, descending, collation=collation)
    if distance_from is None:
        raise BadRequestData(
            f"{scanner.language}: an order by distance needs the coordinates to measure from"
        )
    return OrderBy(path, descending, distance_from, collation)


def sort(
    entities: Iterable[ExpandedEntity],
    order: Sequence[OrderBy],
    dataset_ids: frozenset[str] = frozenset(),
) -> list[ExpandedEntity]:
    """Return the entities in an order; only instances with the given datasetIds count."""
    keys = [compile_key(term, dataset_ids) for term in order]
    keyed = [(tuple(key(entity) for key in keys), entity) for entity in entities]
    return sort_keyed(keyed, order)


def sort_keyed(
    keyed: Iterable[tuple[tuple[SortKey | None, ...], T]], order: Sequence[OrderBy]
) -> list[T]:
    """Return items in an order, given their keys, one for each term."""
    found = list(keyed)
    for place, term in reversed(list(enumerate(order))):
        there = [item for item in found if item[0][place] is not None]
        absent = [item for item in found if item[0][place] is None]
        there.sort(key=partial(_key_at, place), reverse=term.descending)
        found = there + absent
    return [item for _, item in found]


def _key_at(place: int, item: tuple[tuple[SortKey | None, ...], object]) -> SortKey:
    return item[0][place] or ()


def compile_key(
    term: OrderBy, dataset_ids: frozenset[str] = frozenset()
) -> Callable[[ExpandedEntity], SortKey | None]:
    """Return what to sort an entity by in one term; None for an entity that has nothing there."""
    value_key = _value_key(term.collation)
    distance = None if term.distance_from is None else _distance(term.distance_from)
    before = 1 if term.descending else -1

    def key(entity: ExpandedEntity) -> SortKey | None:
        target = _target(entity, term.path, dataset_ids)
        if target is None:
            return None
        kind, value = target
        if distance is not None and kind == "GeoProperty":
            geometry = geo.point_of(value) or geo.read(value)
            if geometry is not None:
                # Geometries stand before all other values, in either direction.
                return (before, Ranked(Rank.NUMBER, distance(geometry)))
        return (0, value_key(kind, value))

    return key


def _distance(reference: Geometry) -> Distance:
    return measure_from(geo.draw(reference), haversine)


def _value_key(collation: str | None) -> Callable[[str, Any], Ranked]:
    collate = None if collation is None else collations.sort_key(collation)

    def key(kind: str, value: Any) -> Ranked:
        if kind in RELATIONSHIPS and isinstance(value, str):
            return Ranked(Rank.REFERENCE, value)
        if kind in _OBJECTS:
            return Ranked(Rank.OBJECT, _OBJECTS[kind])
        found = ranked(value)
        if collate is not None and found.rank is Rank.TEXT and kind != _MEMBER:
            return Ranked(Rank.TEXT, collate(found.key))
        return found

    return key


def _target(
    entity: ExpandedEntity, path: Path, dataset_ids: frozenset[str]
) -> tuple[str, Any] | None:
    """Return the kind and value that a path leads to first, the default instance before others."""
    first, *names = path.names
    if ":" not in first:
        return None if names or path.trailing else _member(entity, first)
    found = [
        (key, instance)
        for key, instance in _ordered(entity["attributes"].get(first, {}))
        if not dataset_ids or key in dataset_ids
    ]
    for name in names:
        if ":" not in name:
            return None if path.trailing or not found else _instance_member(name, *found[0])
        found = [
            below
            for _, instance in found
            for below in _ordered(instance.get("attributes", {}).get(name, {}))
        ]
    for _, instance in found:
        kind = instance["type"]
        target = _inside(kind, instance[VALUE_MEMBERS[kind]], path.trailing)
        if target is not None:
            return target
    return None


def _member(entity: ExpandedEntity, name: str) -> tuple[str, Any] | None:
    value = entity.get(name)
    if not value:
        return None
    if name == "type":
        return _MEMBER, " ".join(sorted(value))
    return _MEMBER, value[0] if isinstance(value, list) else value


def _instance_member(
    name: str, dataset_id: str, instance: Mapping[str, Any]
) -> tuple[str, Any] | None:
    if name == "datasetId":
        return None if dataset_id == DEFAULT_INSTANCE else ("Property", dataset_id)
    return ("Property", instance[name]) if name in instance else None


def _ordered(
    instances: Mapping[str, Mapping[str, Any]],
) -> list[tuple[str, Mapping[str, Any]]]:
    return sorted(instances.items(), key=lambda item: (item[0] != DEFAULT_INSTANCE, item[0]))


def _inside(kind: str, value: Any, trailing: tuple[str, ...]) -> tuple[str, Any] | None:
    if not trailing:
        return kind, value
    if kind in RELATIONSHIPS:
        return None
    for member in trailing:
        if not isinstance(value, dict) or "@value" in value or member not in value:
            return None
        value = value[member]
    return "Property", value
