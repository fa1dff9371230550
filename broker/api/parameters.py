"""Query parameters of the operations on entities (clauses 6.3.20, 6.4, 6.5)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from broker.api import media, query_document
from broker.api.request import Request, read
from broker.core import projection
from broker.core.errors import BadRequestData, InvalidRequest
from broker.core.etag import parse_tags
from broker.core.identifiers import Iri, check_name, check_uri
from broker.core.ld_context import LdContext
from broker.core.query import geo, ordering, patterns, q, scope
from broker.core.query import types as type_language
from broker.core.query.entity_query import EntityQuery, EntitySelector
from broker.core.query.nodes import GeoQuery, OrderBy, QNode, TypeIs, TypeNode
from broker.core.representations import Format, Representation
from broker.operations.broker import Limits
from broker.operations.changes import ANY, Narrowing
from broker.operations.queries import ALL

SELECT = frozenset(
    {
        "id", "type", "idPattern", "attrs", "q", "csf", "geometry", "georel", "coordinates",
        "geoproperty", "scopeQ", "expandValues", "jsonKeys", "local",
    }
)  # fmt: skip
SHOW = frozenset(
    {
        "attrs", "pick", "omit", "lang", "options", "format", "datasetId", "geometryProperty",
        "join", "joinLevel", "containedBy",
    }
)  # fmt: skip
PAGE = frozenset({"limit", "offset", "count"})
ORDER = frozenset({"orderBy", "orderFrom", "orderGeometry", "collation"})
RETRIEVE = SHOW | {"type", "local", "entityMap", "entityMapLifetime"}
PURGE = SELECT | {"keep", "drop"}
QUERY = SELECT | SHOW | PAGE | ORDER | {"entityMap", "entityMapLifetime", "splitEntities"}

_FORMATS: Mapping[str, Format] = {
    "normalized": "normalized",
    "concise": "concise",
    "simplified": "simplified",
    "keyValues": "simplified",
}
_REMEMBERED = 2048
_MOST_DIGITS = 12
_MOST_JOINED = 10
_GEO = ("georel", "geometry", "coordinates")


@dataclass(frozen=True, slots=True)
class Asked:
    """What a retrieval or query asks for."""

    query: EntityQuery
    representation: Representation
    types: TypeNode | None
    geometry_property: Iri | None
    join: str | None = None
    join_level: int = 0
    contained_by: frozenset[Iri] = frozenset()
    limit: int = 0
    offset: int = 0
    count: bool = False


def retrieval(request: Request, ld_context: LdContext) -> Asked:
    """Read the parameters of a retrieval (table 6.5.3.1-1).

    Raises:
        BadRequestData: a value is wrong, or does not go with the media type.
    """
    _check_geometry_property(request)
    return _retrieval(request.raw.rel_url.raw_query_string, ld_context)


def query(request: Request, ld_context: LdContext) -> Asked:
    """Read the parameters of a query (table 6.4.3.2-1).

    Raises:
        BadRequestData: a value is wrong, or the query is too wide (clause 5.7.2.4).
        InvalidRequest: `format` or `options` is wrong.
    """
    _check_geometry_property(request)
    return _query(request.raw.rel_url.raw_query_string, ld_context, request.broker.limits)


def _check_geometry_property(request: Request) -> None:
    if request.accept != media.GEO_JSON and "geometryProperty" in request.params:
        raise BadRequestData(f"geometryProperty: only with Accept: {media.GEO_JSON}")


@dataclass(frozen=True, slots=True)
class Purge:
    """What a purge is about: the entities, and the attributes to keep or drop instead of all."""

    query: EntityQuery
    keep: frozenset[Iri] | None
    drop: frozenset[Iri] | None


@lru_cache(maxsize=_REMEMBERED)
def _retrieval(raw: str, ld_context: LdContext) -> Asked:
    params = read(raw, RETRIEVE)
    attrs = frozenset(ld_context.expand(name) for name in _list(params, "attrs"))
    level = _join_level(params)
    return Asked(
        query=EntityQuery(attrs=attrs) if attrs else ALL,
        representation=_representation(params, ld_context),
        types=_types(params, ld_context),
        geometry_property=_name(params, "geometryProperty", ld_context),
        join=None if level == 0 else params["join"],
        join_level=level,
        contained_by=_contained_by(params, level),
    )


@lru_cache(maxsize=_REMEMBERED)
def _query(raw: str, ld_context: LdContext, limits: Limits) -> Asked:
    return _asked(read(raw, QUERY), ld_context, limits, selectors=None)


def purge(request: Request, ld_context: LdContext) -> Purge:
    """Read the parameters of a purge (table 6.4.3.3-1).

    Raises:
        BadRequestData: a value is wrong, or the purge is too wide (clause 5.6.21.4).
    """
    params = request.params
    if "keep" in params and "drop" in params:
        raise BadRequestData("keep: not together with drop")
    found = _entity_query(params, ld_context, None)
    _check_width(params, found)
    selected = ld_context.for_types(_type_names(found.selectors))
    return Purge(
        query=found,
        keep=_attributes(params, "keep", selected),
        drop=_attributes(params, "drop", selected),
    )


def _attributes(
    params: Mapping[str, str], name: str, ld_context: LdContext
) -> frozenset[Iri] | None:
    if name not in params:
        return None
    names = _list(params, name)
    return frozenset(ld_context.expand(check_name(one, name)) for one in names)


def document_query(request: Request, document: Mapping[str, Any], ld_context: LdContext) -> Asked:
    """Read a query by POST: its document, with the parameters of the page (clause 6.23)."""
    params = {**query_document.parameters(document), **request.params}
    selectors = query_document.selectors(document, ld_context)
    return _asked(params, ld_context, request.broker.limits, selectors=selectors)


def _asked(
    params: Mapping[str, str],
    ld_context: LdContext,
    limits: Limits,
    *,
    selectors: tuple[EntitySelector, ...] | None,
) -> Asked:
    level = _join_level(params)
    asked = Asked(
        query=_entity_query(params, ld_context, selectors),
        representation=_representation(params, ld_context),
        types=None,
        geometry_property=_name(params, "geometryProperty", ld_context),
        join=None if level == 0 else params["join"],
        join_level=level,
        contained_by=_contained_by(params, level),
        limit=_number(params, "limit", limits.default_limit, most=limits.max_limit),
        offset=_number(params, "offset", 0),
        count=_flag(params, "count"),
    )
    _check_width(params, asked.query)
    return asked


def _entity_query(
    params: Mapping[str, str],
    ld_context: LdContext,
    selectors: tuple[EntitySelector, ...] | None,
) -> EntityQuery:
    if selectors is None:
        selectors = _selectors(params, ld_context)
    selected = ld_context.for_types(_type_names(selectors))
    return EntityQuery(
        selectors=selectors,
        attrs=frozenset(selected.expand(name) for name in _list(params, "attrs")),
        q=_q(params, selected),
        geo=_geo(params, selected),
        scope=scope.parse(params["scopeQ"]) if "scopeQ" in params else None,
        order=_order(params, selected),
    )


def _q(params: Mapping[str, str], ld_context: LdContext) -> QNode | None:
    if "q" not in params:
        return None
    node = q.parse(
        params["q"], ld_context.expand, expand_values=frozenset(_list(params, "expandValues"))
    )
    level = _join_level(params)
    if q.linked_depth(node) > level:
        raise BadRequestData(f"q: it follows more relationships than joinLevel ({level}) lets it")
    return node


def _geo(params: Mapping[str, str], ld_context: LdContext) -> GeoQuery | None:
    given = [name for name in _GEO if name in params]
    if not given:
        return None
    for name in _GEO:
        if name not in params:
            raise BadRequestData(f"{name}: expected beside {given[0]}")
    return geo.parse(
        params["georel"],
        params["geometry"],
        params["coordinates"],
        ld_context.expand(params.get("geoproperty", "location")),
    )


def _type_names(selectors: tuple[EntitySelector, ...]) -> Iterator[Iri]:
    for selector in selectors:
        if selector.types is not None:
            yield from _named(selector.types)


def _named(node: TypeNode) -> Iterator[Iri]:
    if isinstance(node, TypeIs):
        yield node.type
        return
    for operand in node.operands:
        yield from _named(operand)


def _selectors(params: Mapping[str, str], ld_context: LdContext) -> tuple[EntitySelector, ...]:
    types = _types(params, ld_context)
    ids = tuple(check_uri(part.strip(), "id") for part in _list(params, "id"))
    pattern = params.get("idPattern")
    if pattern is not None:
        patterns.finder(pattern, "idPattern")
    if types is None and not ids and pattern is None:
        return ()
    return (EntitySelector(types, ids, None if ids else pattern),)


def _order(params: Mapping[str, str], ld_context: LdContext) -> tuple[OrderBy, ...]:
    if "orderBy" not in params:
        return ()
    return ordering.parse(
        params["orderBy"],
        ld_context,
        collation=params.get("collation"),
        order_from=params.get("orderFrom"),
        order_geometry=params.get("orderGeometry"),
    )


def _check_width(params: Mapping[str, str], asked: EntityQuery) -> None:
    """Refuse a query that would answer with everything there is (clause 5.7.2.4)."""
    if _flag(params, "local"):
        return
    if params.get("type", "").strip() == "*":
        if params.get("local") == "false":
            raise BadRequestData("type: * means local=true, which cannot be false then")
        return
    wide = (
        not any(selector.types is not None for selector in asked.selectors)
        and not asked.attrs
        and asked.geo is None
        and (asked.q is None or not q.attributes(asked.q))
    )
    if wide:
        raise BadRequestData("the query is too wide: give type, attrs, q, georel or local=true")


def _representation(params: Mapping[str, str], ld_context: LdContext) -> Representation:
    chosen = _chosen(params, frozenset({*_FORMATS, "sysAttrs"}))
    name = params.get("format")
    if name is not None and name not in _FORMATS:
        raise InvalidRequest(f"format: expected one of {', '.join(_FORMATS)}, got {name!r:.80}")
    formats = [_FORMATS[option] for option in chosen if option in _FORMATS]
    return Representation(
        format=_FORMATS[name] if name is not None else formats[0] if formats else "normalized",
        sys_attrs="sysAttrs" in chosen,
        lang=params.get("lang"),
        projection=projection.parse(
            ld_context,
            pick=params.get("pick"),
            omit=params.get("omit"),
            attrs=params.get("attrs"),
            join_level=_join_level(params),
        ),
        dataset_ids=_datasets(params),
    )


def options(request: Request, known: frozenset[str]) -> list[str]:
    """Return the keywords of `options` (clause 6.3.20).

    Raises:
        InvalidRequest: one of them is not known to the operation.
    """
    return _chosen(request.params, known)


def simplified(request: Request) -> bool:
    """Tell whether the body of a merge is in simplified representation (table 6.5.3.4-1).

    Raises:
        InvalidRequest: `format` or `options` is something else.
    """
    known = frozenset({"simplified", "keyValues"})
    chosen = _chosen(request.params, known)
    name = request.params.get("format")
    if name is not None and name not in known:
        raise InvalidRequest(f"format: expected simplified or keyValues, got {name!r:.80}")
    return bool(name or chosen)


def narrowing(request: Request, ld_context: LdContext) -> Narrowing:
    """Return what must be true of an entity to be written: type (4.17), state (If-Match)."""
    state = request.raw.headers.get("If-Match")
    if state is None and "type" not in request.params:
        return ANY
    return Narrowing(
        types=_types(request.params, ld_context),
        tags=None if state is None else parse_tags(state, "If-Match"),
    )


def attribute(request: Request, ld_context: LdContext) -> Iri:
    """Return the attribute a path names, as an IRI.

    Raises:
        BadRequestData: it is no attribute name.
    """
    return ld_context.expand(check_name(request.path("attrId"), "attrId"))


def _types(params: Mapping[str, str], ld_context: LdContext) -> TypeNode | None:
    text = params.get("type")
    if text is None or text.strip() == "*":
        return None
    return type_language.parse(text, ld_context.expand)


def _join_level(params: Mapping[str, str]) -> int:
    """Return how deep linked entities are to be joined, 0 without `join` (clause 4.5.23)."""
    join = params.get("join", "@none")
    if join not in {"inline", "flat", "@none"}:
        raise BadRequestData(f"join: expected inline, flat or @none, got {join!r:.80}")
    level = _number(params, "joinLevel", 1, least=1, most=_MOST_JOINED)
    return 0 if join == "@none" else level


def _contained_by(params: Mapping[str, str], level: int) -> frozenset[Iri]:
    if "containedBy" in params and level == 0:
        raise BadRequestData("containedBy: only together with join")
    return frozenset(check_uri(part, "containedBy") for part in _list(params, "containedBy"))


def _name(params: Mapping[str, str], name: str, ld_context: LdContext) -> Iri | None:
    return ld_context.expand(params[name]) if name in params else None


def _list(params: Mapping[str, str], name: str) -> list[str]:
    if name not in params:
        return []
    parts = [part.strip() for part in params[name].split(",")]
    if not all(parts):
        raise BadRequestData(
            f"{name}: expected a list separated by commas, got {params[name]!r:.80}"
        )
    return parts


def _datasets(params: Mapping[str, str]) -> frozenset[str] | None:
    parts = _list(params, "datasetId")
    if not parts:
        return None
    return frozenset(part if part == "@none" else check_uri(part, "datasetId") for part in parts)


def _chosen(params: Mapping[str, str], known: frozenset[str]) -> list[str]:
    chosen = [part.strip() for part in params.get("options", "").split(",") if part.strip()]
    for option in chosen:
        if option not in known:
            expected = ", ".join(sorted(known))
            raise InvalidRequest(f"options: expected some of {expected}, got {option!r:.80}")
    return chosen


def _flag(params: Mapping[str, str], name: str) -> bool:
    value = params.get(name, "false").lower()
    if value not in {"true", "false"}:
        raise InvalidRequest(f"{name}: expected true or false, got {value!r:.80}")
    return value == "true"


def page(request: Request) -> tuple[int, int, bool]:
    """Return `limit`, `offset` and whether `count` is asked for, of any list."""
    limits = request.broker.limits
    return (
        _number(request.params, "limit", limits.default_limit, most=limits.max_limit),
        _number(request.params, "offset", 0),
        _flag(request.params, "count"),
    )


def _number(
    params: Mapping[str, str], name: str, default: int, *, least: int = 0, most: int | None = None
) -> int:
    text = params.get(name)
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > _MOST_DIGITS:
        raise BadRequestData(f"{name}: expected a whole number from {least}, got {text!r:.80}")
    number = int(text)
    if number < least:
        raise BadRequestData(f"{name}: at least {least}, got {number}")
    if most is not None and number > most:
        raise BadRequestData(f"{name}: at most {most}, got {number}")
    return number
