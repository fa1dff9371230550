"""A query as a document (clauses 5.2.23, 5.2.33, 5.2.13, 5.2.43): its members as parameters.

A query by POST says the same as one by GET, so its members are brought into the form of query
parameters, and everything behind that is shared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from broker.core.errors import BadRequestData
from broker.core.identifiers import check_uri
from broker.core.ld_context import LdContext
from broker.core.query import patterns
from broker.core.query import types as type_language
from broker.core.query.entity_query import EntitySelector


def parameters(document: Mapping[str, Any]) -> dict[str, str]:
    """Return the members of a Query, but its selectors, as query parameters.

    Raises:
        BadRequestData: a member is unknown, of the wrong type, or empty.
    """
    if document.get("type") != "Query":
        raise BadRequestData(f"type: expected Query, got {document.get('type')!r:.80}")
    found = _any_type(document.get("entities"))
    for name, value in document.items():
        if name in {"type", "entities"}:
            continue
        convert = _MEMBERS.get(name)
        if convert is None:
            raise BadRequestData(f"{name}: is no member of a Query here")
        found.update(convert(name, value))
    return found


def _any_type(entities: Any) -> dict[str, str]:
    """Say as a parameter what a selector of all types says: local scope (clause 5.2.33)."""
    listed = entities if isinstance(entities, list) else []
    everything = any(isinstance(entry, dict) and entry.get("type") == "*" for entry in listed)
    return {"type": "*"} if everything else {}


def temporal_parameters(document: Mapping[str, Any]) -> dict[str, str]:
    """Return the members of a Query of the past, but its selectors, as query parameters.

    Raises:
        BadRequestData: a member is unknown, of the wrong type, or empty.
    """
    past = {name: _window for name in ("temporalQ", "aggrParams") if name in document}
    present = {name: item for name, item in document.items() if name not in past}
    found = parameters(present)
    for name, convert in past.items():
        found.update(convert(name, document[name]))
    return found


def selectors(document: Mapping[str, Any], ld_context: LdContext) -> tuple[EntitySelector, ...]:
    """Return the entity selectors of a Query.

    Raises:
        BadRequestData: there is an empty array of them, or one that selects nothing properly.
    """
    if "entities" not in document:
        return ()
    entries = document["entities"]
    if not isinstance(entries, list) or not entries:
        raise BadRequestData("entities: expected an array with at least one selector")
    return tuple(
        _selector(entry, f"entities[{place}]", ld_context) for place, entry in enumerate(entries)
    )


def _selector(entry: Any, where: str, ld_context: LdContext) -> EntitySelector:
    if not isinstance(entry, dict):
        raise BadRequestData(f"{where}: expected an object, got {entry!r:.80}")
    unknown = entry.keys() - {"id", "idPattern", "type"}
    if unknown:
        raise BadRequestData(f"{where}.{min(unknown)}: is no member of a selector")
    kind = entry.get("type")
    if not isinstance(kind, str) or not kind:
        raise BadRequestData(f"{where}.type: expected a type selection, got {kind!r:.80}")
    ids = entry.get("id", [])
    if ids == [] and "id" in entry:
        raise BadRequestData(f"{where}.id: expected a URI or an array with at least one, got []")
    ids = ids if isinstance(ids, list) else [ids]
    pattern = entry.get("idPattern")
    if pattern is not None:
        if not isinstance(pattern, str):
            raise BadRequestData(f"{where}.idPattern: expected a string, got {pattern!r:.80}")
        patterns.finder(pattern, f"{where}.idPattern")
    return EntitySelector(
        types=type_language.parse(kind, ld_context.expand, f"{where}.type"),
        ids=tuple(check_uri(one, f"{where}.id") for one in ids),
        id_pattern=None if ids else pattern,
    )


Converted = Mapping[str, str]


def _text(name: str, value: Any) -> Converted:
    if not isinstance(value, str) or not value:
        raise BadRequestData(f"{name}: expected a string that is not empty, got {value!r:.80}")
    return {name: value}


def _texts(name: str, value: Any) -> Converted:
    if not isinstance(value, list) or not value:
        raise BadRequestData(f"{name}: expected an array with at least one string")
    for place, one in enumerate(value):
        _text(f"{name}[{place}]", one)
    return {name: ",".join(value)}


def _boolean(name: str, value: Any) -> Converted:
    if not isinstance(value, bool):
        raise BadRequestData(f"{name}: expected true or false, got {value!r:.80}")
    return {name: "true" if value else "false"}


def _number(name: str, value: Any) -> Converted:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise BadRequestData(f"{name}: expected a whole number from 1, got {value!r:.80}")
    return {name: str(value)}


def _geo_query(name: str, value: Any) -> Converted:
    if not isinstance(value, dict):
        raise BadRequestData(f"{name}: expected an object, got {value!r:.80}")
    found: dict[str, str] = {}
    for member, one in value.items():
        if member not in {"geometry", "coordinates", "georel", "geoproperty"}:
            raise BadRequestData(f"{name}.{member}: is no member of a GeoQuery")
        found[member] = (
            _coordinates(f"{name}.{member}", one)
            if member == "coordinates"
            else (_text(f"{name}.{member}", one)[f"{name}.{member}"])
        )
    for member in ("georel", "geometry", "coordinates"):
        if member not in found:
            raise BadRequestData(f"{name}.{member}: expected, there is none")
    return found


def _coordinates(name: str, value: Any) -> str:
    """Return coordinates as the text a parameter has; a string is taken as it is."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        raise BadRequestData(f"{name}: expected an array, got {value!r:.80}")
    return msgspec.json.encode(value).decode()


def _ordering(name: str, value: Any) -> Converted:
    if not isinstance(value, dict):
        raise BadRequestData(f"{name}: expected an object, got {value!r:.80}")
    found: dict[str, str] = {}
    for member, one in value.items():
        where = f"{name}.{member}"
        if member == "orderBy":
            found["orderBy"] = _texts(where, one)[where]
        elif member == "coordinates":
            found["orderFrom"] = _coordinates(where, one)
        elif member == "geometry":
            found["orderGeometry"] = _text(where, one)[where]
        elif member == "collation":
            found["collation"] = _text(where, one)[where]
        else:
            raise BadRequestData(f"{where}: is no member of OrderingParams")
    return found


def _window(name: str, value: Any) -> Converted:
    """Read a TemporalQuery or AggregationParams (clauses 5.2.21, 5.2.44)."""
    if not isinstance(value, dict):
        raise BadRequestData(f"{name}: expected an object, got {value!r:.80}")
    found: dict[str, str] = {}
    for member, one in value.items():
        convert = _WINDOW_MEMBERS.get(member)
        if convert is None:
            raise BadRequestData(f"{name}.{member}: is no member of it")
        found[member] = convert(f"{name}.{member}", one)[f"{name}.{member}"]
    return found


def _methods(name: str, value: Any) -> Converted:
    return _text(name, value) if isinstance(value, str) else _texts(name, value)


_WINDOW_MEMBERS: dict[str, Callable[[str, Any], Converted]] = {
    "timerel": _text,
    "timeAt": _text,
    "endTimeAt": _text,
    "timeproperty": _text,
    "lastN": _number,
    "aggrMethods": _methods,
    "aggrPeriodDuration": _text,
}

_MEMBERS: dict[str, Callable[[str, Any], Converted]] = {
    "q": _text,
    "scopeQ": _text,
    "csf": _text,
    "lang": _text,
    "expandValues": _text,
    "jsonKeys": _text,
    "join": _text,
    "entityMapLifetime": _text,
    "attrs": _texts,
    "pick": _texts,
    "omit": _texts,
    "datasetId": _texts,
    "containedBy": _texts,
    "entityMap": _boolean,
    "splitEntities": _boolean,
    "joinLevel": _number,
    "geoQ": _geo_query,
    "ordering": _ordering,
}
